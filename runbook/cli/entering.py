"""The commands of ``runbook records`` that enter something into a ledger, signed by who does so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runbook.records.archive.archive import Archive

app = typer.Typer()

ArchiveOption = Annotated[Path, typer.Option("--archive", help="The folder of records.")]
KeyOption = Annotated[
    Path | None,
    typer.Option(envvar="RUNBOOK_KEY", help="SSH key to sign with, or its .pub in the agent."),
]
OwnKeyOption = Annotated[
    Path, typer.Option(envvar="RUNBOOK_KEY", help="SSH key to sign with, or its .pub in the agent.")
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Beginning or end of a run's id, or: last.")
]
RECORDS = Path("records")


def approve(
    run: RunArgument,
    key: OwnKeyOption,
    reason: Annotated[str, typer.Option(help="Why, in a few words.")],
    hours: Annotated[int, typer.Option(help="How long it may be applied.")] = 24,
    archive: ArchiveOption = RECORDS,
) -> None:
    """Approve the plan that a run has shown, so that somebody else may apply it."""
    from runbook.records.archive.archive import identify
    from runbook.records.keeping import approve as approving
    from runbook.records.reading.search import find

    run_id = find(archive, run).run_id
    own = identify(archive, key)
    valid_for = timedelta(hours=hours)
    typer.echo(approving.approve(archive, run_id, own, reason=reason, valid_for=valid_for))


@app.command()
def redact(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="FILE", help="The file within the run's folder.")],
    by: Annotated[
        Path,
        typer.Option("--with", exists=True, dir_okay=False, help="The file that takes its place."),
    ],
    reason: Annotated[str, typer.Option(help="Why; without the secret itself.")],
    archive: ArchiveOption = RECORDS,
    key: KeyOption = None,
) -> None:
    """Replace a file in which a secret was found; rotate that secret first."""
    from runbook.records.keeping import prune as pruning
    from runbook.records.reading.search import find

    content = by.read_bytes()
    pruning.redact(_signing(archive, key), find(archive, run).run_id, name, content, reason)


@app.command()
def prune(
    site: Annotated[Path, typer.Argument(metavar="SITE", help="A site file.")],
    archive: ArchiveOption = RECORDS,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove them; else they are only shown.")
    ] = False,
    key: KeyOption = None,
) -> None:
    """Show which runs have outlived the time that their site says, and remove them if told so."""
    from runbook.records.keeping import prune as pruning
    from runbook.site import load

    declared = load(site).site
    days = declared.records.retention_days
    found = pruning.due(archive, declared.name, days)
    for run in found:
        typer.echo(f"{run.run_id} closed {run.closed}")
    if yes:
        pruning.prune(_signing(archive, key), found, f"kept for {days} days")
    typer.echo(f"{len(found)} runs {'removed' if yes else 'would be removed (--yes)'}")


@app.command()
def hold(
    run: RunArgument,
    reason: Annotated[str, typer.Option(help="Why it is kept, or no longer.")],
    release: Annotated[bool, typer.Option("--release", help="End the hold.")] = False,
    archive: ArchiveOption = RECORDS,
    key: KeyOption = None,
) -> None:
    """Keep a run beyond its time."""
    from runbook.records.keeping import prune as pruning
    from runbook.records.reading.search import find

    pruning.hold(_signing(archive, key), find(archive, run).run_id, reason, release=release)


@app.command()
def review(
    run: RunArgument,
    reason: Annotated[str, typer.Option(help="What the review came to.")],
    archive: ArchiveOption = RECORDS,
    key: KeyOption = None,
) -> None:
    """Enter that somebody else has looked at an emergency."""
    from runbook.records.reading import report as reporting
    from runbook.records.reading.search import find

    reporting.review(_signing(archive, key), find(archive, run).run_id, reason)


@app.command()
def anchor(key: OwnKeyOption, archive: ArchiveOption = RECORDS) -> None:
    """Sign the heads of all ledgers, best as somebody who does not operate."""
    from runbook.records.archive import anchors
    from runbook.records.archive.archive import identify

    typer.echo(anchors.anchor(archive, identify(archive, key)))


def _signing(folder: Path, key: Path | None) -> Archive:
    from runbook.records.archive.archive import Archive, identify

    if key is None:
        typer.secho("without --key this entry is not signed", fg=typer.colors.RED, err=True)
    return Archive(folder, identify(folder, key) if key else None)
