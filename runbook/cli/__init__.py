"""The command line, `runbook …`: every command parses, calls one function and shows its value.

Exit status: 0 done or nothing to do; 1 a change or a check failed; 2 bad input; 3 a host cannot be
reached or the site refuses, nothing was changed; 4 `run --plan` or `check` found differences;
129 hung up, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runbook.cli.entering import approve
from runbook.cli.terminal import plain
from runbook.errors import BadInput, RunbookError

if TYPE_CHECKING:
    from runbook.site import SiteFile

app = typer.Typer(
    help="Take a Docker Swarm and its Shorewall gateway to a highly available edge.",
    epilog="Exit status: 0 done, 1 failed, 2 bad input, 3 unreachable or refused, 4 differences.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
GROUPS = {"site": "runbook.cli.site", "records": "runbook.cli.records", "lab": "runbook.cli.lab"}

SiteArgument = Annotated[
    Path, typer.Argument(metavar="SITE", help="A site file, such as parameters/lab.yml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print results.json instead of tables.")]
RecordsOption = Annotated[Path, typer.Option(help="Folder that receives the run's record.")]
NotebooksOption = Annotated[
    Path | None, typer.Option(help="Folder of the notebooks; by default those of the package.")
]
KeyOption = Annotated[
    Path | None,
    typer.Option(help="SSH key that signs the record, or its .pub where the agent holds it."),
]
JunitOption = Annotated[
    Path | None, typer.Option(help="Also write the results into this file, as JUnit XML.")
]


@app.command()
def run(
    site: SiteArgument,
    plan: Annotated[bool, typer.Option("--plan", help="Change nothing; show the plan.")] = False,
    only: Annotated[str | None, typer.Option(help="Run this one step.")] = None,
    from_step: Annotated[
        str | None, typer.Option("--from", help="Run this step and those after it.")
    ] = None,
    ticket: Annotated[str | None, typer.Option(help="The change request.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, in a few words.")] = None,
    approved: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Apply what this run planned and somebody approved."),
    ] = None,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Do not wait for an approval; needs --reason.")
    ] = False,
    key: KeyOption = None,
    junit: JunitOption = None,
    as_json: JsonOption = False,
    records: RecordsOption = Path("records"),
    notebooks: NotebooksOption = None,
) -> None:
    """Run the notebooks in order, headless, and leave a record."""
    mode: Literal["plan", "apply"] = "plan" if plan else "apply"
    why = {"ticket": ticket, "reason": reason, "approved": approved, "emergency": emergency}
    steps = {"only": only, "from_step": from_step}
    _run(site, {"mode": mode, **steps, **why}, (records, notebooks, key), as_json, junit)


@app.command()
def check(
    site: SiteArgument,
    key: KeyOption = None,
    junit: JunitOption = None,
    as_json: JsonOption = False,
    records: RecordsOption = Path("records"),
    notebooks: NotebooksOption = None,
) -> None:
    """Plan only, for cron and CI: the exit status is 4 where the site has drifted."""
    _run(site, {"mode": "plan"}, (records, notebooks, key), as_json, junit)


@app.command()
def trust(
    site: SiteArgument,
    yes: Annotated[
        bool, typer.Option("--yes", help="Pin without asking; only where nobody can listen in.")
    ] = False,
) -> None:
    """Show the hosts' key fingerprints and pin those that you confirm."""
    from runbook.cli.host_keys import confirm_keys

    confirm_keys(_load(site), confirmed=yes)


app.command()(approve)


def _run(
    site: Path,
    asked: dict[str, Any],
    places: tuple[Path, Path | None, Path | None],
    as_json: bool,
    junit: Path | None,
) -> None:
    site_file = _load(site)
    from rich.console import Console

    from runbook.cli import summary
    from runbook.run import Request, run

    _refuse_unwritable(junit)
    records, notebooks, key = places
    request = Request(notebooks=notebooks or _notebooks(), records=records, key=key, **asked)
    console = Console(stderr=True, highlight=False)
    with summary.Progress(console) as progress:
        result = run(site_file, request, listener=progress)
    if as_json:
        typer.echo(summary.as_json(result.results))
    else:
        summary.show(result, Console(highlight=False))
    if junit is not None:
        from runbook.records.reading.junit import write

        write(junit, result.results)
    raise typer.Exit(int(result.exit_status))


def _refuse_unwritable(junit: Path | None) -> None:
    # Before the run: its results are not to be lost for a name that was mistyped.
    if junit is None:
        return
    if junit.is_dir() or not (junit.parent.is_dir() and os.access(junit.parent, os.W_OK)):
        todo = f"make the folder {junit.parent}, or name another file"
        raise BadInput(f"{junit} cannot be written", todo=todo)


def _notebooks() -> Path:
    """Return the notebooks of this checkout, or those that were installed with the package."""
    here = Path(__file__).parents[1]
    found = [
        folder for folder in (here.parent / "notebooks", here / "notebooks") if folder.is_dir()
    ]
    if not found:
        raise BadInput("the notebooks are not where they should be", todo="name them: --notebooks")
    return found[0]


def _load(site: Path) -> SiteFile:
    from runbook.site import load

    return load(site)


def main() -> None:
    """Run the command line; an error that an operator can cause ends as one message."""
    # A group's module brings its libraries, so only the one that is asked for is imported.
    wanted = [word for word in sys.argv[1:2] if word in GROUPS] or list(GROUPS)
    if not sys.argv[1:2] or sys.argv[1] in (*GROUPS, "--help"):
        for name in wanted:
            app.add_typer(import_module(GROUPS[name]).app, name=name)
    # What is left at the end is the system's to take back; to collect it takes half a second.
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a letter that the terminal has not is no failure
            stream.reconfigure(errors="backslashreplace")
    try:
        _refuse_other_charsets()
        app(prog_name="runbook")
    except RunbookError as error:
        typer.echo(_masked(f"{type(error).__name__}: {error}"), err=True)
        sys.exit(error.exit_code)
    except Exception:  # nobody foresaw it, so what it says may hold anything
        typer.echo(_masked(traceback.format_exc()), err=True)
        sys.exit(1)


def _refuse_other_charsets() -> None:
    for word in sys.argv:
        try:
            word.encode()
        except UnicodeEncodeError:  # records are UTF-8, and a reason in them is to be what was said
            todo = "write it in UTF-8, or name the file otherwise"
            raise BadInput(f"{word!r} on the command line is not UTF-8", todo=todo) from None


def _masked(text: str) -> str:
    from runbook.masking.redact import MASKER

    return plain(MASKER.mask(text))
