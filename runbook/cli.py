"""The command line, `runbook …`: every command parses, calls one function and shows its value.

Exit status: 0 done or nothing to do; 1 a change or a check failed; 2 bad input; 3 a host cannot be
reached or the site refuses, nothing was changed; 4 `run --plan` or `check` found differences;
130 interrupted, 143 terminated.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

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
GROUPS = {"site": "runbook.site.cli", "lab": "runbook.lab.cli"}

SiteArgument = Annotated[
    Path, typer.Argument(metavar="SITE", help="A site file, such as parameters/lab.yml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print results.json instead of tables.")]
RecordsOption = Annotated[Path, typer.Option(help="Folder that receives the run's record.")]
NotebooksOption = Annotated[
    Path | None, typer.Option(help="Folder of the notebooks; by default those of the package.")
]


@app.command()
def run(
    site: SiteArgument,
    plan: Annotated[bool, typer.Option("--plan", help="Change nothing; show the plan.")] = False,
    only: Annotated[str | None, typer.Option(help="Run this one step.")] = None,
    from_step: Annotated[
        str | None, typer.Option("--from", help="Run this step and those after it.")
    ] = None,
    as_json: JsonOption = False,
    records: RecordsOption = Path("records"),
    notebooks: NotebooksOption = None,
) -> None:
    """Run the notebooks in order, headless, and leave a record."""
    _run(site, "plan" if plan else "apply", (only, from_step), as_json, (records, notebooks))


@app.command()
def check(
    site: SiteArgument,
    as_json: JsonOption = False,
    records: RecordsOption = Path("records"),
    notebooks: NotebooksOption = None,
) -> None:
    """Plan only, for cron and CI: the exit status is 4 where the site has drifted."""
    _run(site, "plan", (None, None), as_json, (records, notebooks))


@app.command()
def trust(
    site: SiteArgument,
    yes: Annotated[
        bool, typer.Option("--yes", help="Pin without asking; only where nobody can listen in.")
    ] = False,
) -> None:
    """Show the hosts' key fingerprints and pin those that you confirm."""
    from runbook.trust_cli import confirm_keys

    confirm_keys(_load(site), confirmed=yes)


def _run(
    site: Path,
    mode: Literal["plan", "apply"],
    steps: tuple[str | None, str | None],
    as_json: bool,
    folders: tuple[Path, Path | None],
) -> None:
    site_file = _load(site)
    from rich.console import Console

    from runbook import summary
    from runbook.execute import Request, run

    only, from_step = steps
    records, notebooks = folders
    request = Request(mode, only, from_step, notebooks or _notebooks(), records)
    console = Console(stderr=True, highlight=False)
    with summary.Progress(console) as progress:
        result = run(site_file, request, listener=progress)
    if as_json:
        typer.echo(summary.as_json(result.results))
    else:
        summary.show(result, Console(highlight=False))
    raise typer.Exit(int(result.exit_status))


def _notebooks() -> Path:
    """Return the notebooks of this checkout, or those that were installed with the package."""
    here = Path(__file__).parent
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
    try:
        app(prog_name="runbook")
    except RunbookError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
