"""How the commands of ``runbook records`` print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runbook.cli.terminal import plain

if TYPE_CHECKING:
    from runbook.records.archive.findings import Verification
    from runbook.records.reading.index import Run

COLOURS = {"bad": "red", "incomplete": "red", "note": "dim"}
VERDICTS = ("as they were written", "altered, dropped, added or replaced", "it cannot be said")


def runs(found: Sequence[Run], machine: bool) -> None:
    """Print runs, one a row; one that nobody signed says so in red."""
    if machine:
        as_json([asdict(run) for run in found])
        return
    headings = ("Run", "Mode", "Outcome", "Changed", "Ticket", "Signed by")
    rows = [
        (r.folder, r.mode, r.outcome, r.changed, r.ticket, r.signer or _unsigned(r)) for r in found
    ]
    table(headings, rows, title=f"{len(rows)} runs")


def _unsigned(run: Run) -> Text:
    return Text(plain(f"nobody ({run.operator})"), style="red")


def findings(verification: Verification) -> None:
    """Print what was found, the heads to be kept elsewhere, and the verdict in one line."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for finding in verification.findings:
        console.print(plain(finding), style=COLOURS[finding.level])
    for head in verification.heads:
        console.print(f"head {head.principal} {head.seq} {head.head}")
    counted = f"{verification.runs} runs, {verification.lines} lines"
    console.print(f"{counted}: {VERDICTS[verification.exit_status]}")


def table(headings: Iterable[str], rows: Iterable[Iterable[Any]], title: str) -> None:
    """Print a table whose cells are never cut short."""
    shown = Table(title=Text(title))
    for heading in headings:
        # The default cuts long values short; a run's id is to be copied whole.
        shown.add_column(heading, overflow="fold", no_wrap=heading == "Run")
    for row in rows:
        shown.add_row(
            *(cell if isinstance(cell, Text) else Text(plain(text(cell))) for cell in row)
        )
    Console(highlight=False).print(shown)


def leaves(name: str, value: Any) -> list[tuple[str, str]]:
    """Return the leaves of nested mappings, each under its full name."""
    if not isinstance(value, dict) or not value:
        return [(name, text(value))]
    begin = f"{name}." if name else ""
    return [leaf for key in value for leaf in leaves(begin + key, value[key])]


def text(value: Any) -> str:
    """Return a value for a cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_json(value: Any) -> None:
    """Print plain values as JSON."""
    typer.echo(json.dumps(value, indent=1))
