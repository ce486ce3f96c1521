"""``runbook records``: find, read, compare, verify and hand over what runs have left."""

from __future__ import annotations

import json
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook.cli import entering, showing
from runbook.cli.entering import RECORDS, ArchiveOption, RunArgument
from runbook.errors import BadInput

if TYPE_CHECKING:
    from runbook.records.verify.witness import Journals

app = typer.Typer(
    help="Find, read, compare, verify and hand over what runs have left.",
    epilog="Exit status of verify: 0 as written, 1 altered, 2 it cannot be said.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
SinceOption = Annotated[str | None, typer.Option(help="First day, such as 2026-11-01, in UTC.")]
UntilOption = Annotated[str | None, typer.Option(help="Last day, in UTC.")]


@app.command("list")
def list_(
    archive: ArchiveOption = RECORDS,
    since: SinceOption = None,
    until: UntilOption = None,
    site: Annotated[str | None, typer.Option(help="Runs on this site.")] = None,
    host: Annotated[str | None, typer.Option(help="Runs that reached this host.")] = None,
    operator: Annotated[str | None, typer.Option(help="Runs of this operator.")] = None,
    ticket: Annotated[str | None, typer.Option(help="Runs for this ticket.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Runs with this outcome.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List sealed runs, the newest first."""
    from runbook.records.reading.search import Filter, select

    wanted = Filter(since, until, site, None, operator, ticket, outcome, host)
    showing.runs(select(archive, wanted), as_json)


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words, or beginnings of words.")],
    archive: ArchiveOption = RECORDS,
    as_json: JsonOption = False,
) -> None:
    """Find the runs that hold all these words."""
    from runbook.records.reading import search as finding

    showing.runs(finding.search(archive, words), as_json)


@app.command()
def show(run: RunArgument, archive: ArchiveOption = RECORDS, as_json: JsonOption = False) -> None:
    """Show what a run's statement says, and whether the run is as it was written."""
    from runbook.records.reading.search import find
    from runbook.records.verify.verify import Options, verify

    found = find(archive, run)
    told = json.loads((archive / found.folder / "statement.json").read_text(encoding="utf-8"))
    verification = verify(archive, Options(runs=(found.run_id,)))
    if as_json:
        showing.as_json({"statement": told, "verification": verification.as_dict()})
    else:
        showing.table(("Field", "Value"), showing.leaves("", told["predicate"]), title=found.run_id)
        showing.findings(verification)
    raise typer.Exit(verification.exit_status)


@app.command("open")
def open_(run: RunArgument, archive: ArchiveOption = RECORDS) -> None:
    """Open a run's page in the browser, and print where it is."""
    from runbook.records.reading.search import find

    page = archive / find(archive, run).folder / "report.html"
    if not page.is_file():
        raise BadInput(f"{page.parent} has no page", todo="open a notebook in it instead")
    typer.echo(page)
    webbrowser.open(page.absolute().as_uri())


@app.command()
def diff(
    left: RunArgument,
    right: RunArgument,
    archive: ArchiveOption = RECORDS,
    as_json: JsonOption = False,
) -> None:
    """Show which facts differ between two runs; facts are results and snapshots, not notebooks."""
    from runbook.records.reading import compare
    from runbook.records.reading.search import find

    one, other = (archive / find(archive, run).folder for run in (left, right))
    found = compare.diff(one, other)
    if as_json:
        showing.as_json([asdict(difference) for difference in found])
        return
    rows = [(d.fact, d.left, d.right) for d in found]
    showing.table(("Fact", one.name, other.name), rows, title=f"{len(rows)} facts differ")


@app.command()
def verify(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN|ZIP]", help="One run, or an export; none: all.")
    ] = None,
    archive: ArchiveOption = RECORDS,
    witness: Annotated[
        Path | None,
        typer.Option(help="Heads kept elsewhere, in a .json; or a site whose managers are asked."),
    ] = None,
    signers: Annotated[
        Path | None, typer.Option(help="A reviewed copy of allowed_signers.")
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="Let ssh-keygen verify every signature.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say everything that is not as it was written, by file and line."""
    from runbook.records.reading.search import find
    from runbook.records.verify.verify import Options, read_witness
    from runbook.records.verify.verify import verify as verified

    exported = run is not None and run.endswith(".zip")
    runs = (find(archive, run).run_id,) if run and not exported else ()
    is_list = witness is not None and witness.suffix == ".json"
    heads = read_witness(witness) if witness and is_list else ()
    told = _asked(witness) if witness and not is_list else None
    place = Path(run) if run and exported else archive
    verification = verified(place, Options(runs, heads, independent, signers, told))
    if as_json:
        showing.as_json(verification.as_dict())
    else:
        showing.findings(verification)
    raise typer.Exit(verification.exit_status)


@app.command("witness")
def witness_(
    site: Annotated[Path, typer.Argument(metavar="SITE", help="A site file.")],
    archive: ArchiveOption = RECORDS,
) -> None:
    """Print what a site's managers have seen of these ledgers, for verify.sh --witness."""
    from runbook.records.verify import witness
    from runbook.records.verify.verify import chains_of

    chains, told = chains_of(archive), _asked(site)
    heads = witness.heads(told, chains)
    showing.as_json([head.as_dict() for head in heads])
    others = {seen.head for seen in told.seen} - set(heads)
    if others:
        typer.echo(f"left out: {len(others)} heads of ledgers that are not these", err=True)


@app.command()
def report(
    archive: ArchiveOption = RECORDS,
    since: SinceOption = None,
    until: UntilOption = None,
    csv: Annotated[
        Path | None, typer.Option(help="Also write the population into this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show every run that there was in a period, without gaps, and what stands out."""
    from runbook.records.reading import report as reporting

    made = reporting.report(archive, since, until)
    if csv is not None:
        csv.write_text(reporting.population(made.entries), encoding="utf-8")
    if as_json:
        showing.as_json(made.as_dict())
        return
    headings = ("Run", "Operator", "Mode", "Ticket", "Outcome", "Record")
    rows = [(e.run_id, e.operator, e.mode, e.ticket, e.outcome, e.record) for e in made.entries]
    period = f"{since or 'the first'} to {until or made.made}"
    showing.table(headings, rows, title=f"{len(rows)} runs from {period}")
    anomalies = [(a.kind, a.run_id, a.what) for a in made.anomalies]
    showing.table(("What stands out", "Run", "Why"), anomalies, title=f"{len(anomalies)} anomalies")
    showing.findings(made.verification)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(metavar="ZIP", help="The file to write.")],
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="These runs; none: all.")
    ] = None,
    archive: ArchiveOption = RECORDS,
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Write runs into a zip that verifies anywhere, also without this program."""
    from runbook.records.copies import export as exporting
    from runbook.records.reading.search import Filter

    names = exporting.export(archive, target, tuple(runs or ()), Filter(since=since, until=until))
    typer.echo(f"{len(names)} runs in {target}; unpacked, sh verify.sh verifies them")


@app.command()
def copy(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="s3://BUCKET or s3://BUCKET/PREFIX, one for each archive."
        ),
    ],
    archive: ArchiveOption = RECORDS,
    retain_days: Annotated[
        int | None,
        typer.Option(min=1, max=36500, help="For how many days nobody can remove what is sent."),
    ] = None,
) -> None:
    """Copy closed runs, ledgers and what verifies them to S3; what is there is not sent again.

    Keys, region and endpoint are those of boto3: AWS_… variables, such as AWS_ENDPOINT_URL_S3 for
    another storage than Amazon's, or ~/.aws.
    """
    from runbook.records.copies import storage

    sent, there = storage.copy(archive, target, retain_days=retain_days)
    typer.echo(f"{sent} files sent, {there} were there already: {target}")


def _asked(site: Path) -> Journals:
    from runbook.records.verify import witness
    from runbook.site import load

    return witness.read_back(load(site))


app.registered_commands += entering.app.registered_commands
