"""What a person sees of a run: progress while it is under way, one table at its end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from runbook import events
from runbook.cli.terminal import plain
from runbook.records.archive.statement import WITHHELD
from runbook.records.journal import entries
from runbook.records.journal.status import ENDED_WELL, NOT_RUN

if TYPE_CHECKING:
    from runbook.records.journal.results import Results
    from runbook.run import RunResult

_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


class Progress:
    """Shows a run under way; the listener to give to :func:`runbook.run.run`.

    On a terminal the running steps are shown in place, a line a host; elsewhere, as in CI, every
    entry worth reading is one line.

    Args:
        console: Where to, usually standard error.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: dict[str, _Running] = {}
        live = Live(console=console, transient=True, get_renderable=self._view)
        self._live = live if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, entry: entries.Entry) -> None:
        """Take one entry of the journal."""
        text, running = line(entry), self._steps.get(getattr(entry, "step", ""))
        if self._live is not None:
            match entry:
                case entries.StepStarted():
                    self._steps[entry.step] = _Running()
                    return
                # A finding is read later, too.
                case entries.EventTold() if running and type(entry.told) is not events.Finding:
                    if text:
                        running.hosts[getattr(entry.told, "host", None)] = text
                    return
                case entries.StepEnded():
                    del self._steps[entry.step]
        if text:
            self._console.print(Text(plain(text)), soft_wrap=True)

    def _view(self) -> Table:
        view = Table.grid(padding=(0, 1))
        for name, step in list(self._steps.items()):
            view.add_row(step.spinner, Text(name, style="bold"), Text(f"{step.seconds:.0f} s"))
            for text in list(step.hosts.values()):
                view.add_row("", "", Text(plain(text), style="dim"))
        return view


class _Running:
    """A step under way: since when, and the last word on each host."""

    def __init__(self) -> None:
        self.spinner = Spinner("line")
        self.hosts: dict[str | None, str] = {}
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun


def line(entry: entries.Entry) -> str:
    """Return one entry of a journal as a line for people; empty where it is not worth one."""
    match entry:
        case entries.RecordClosed():
            withheld = entry.record.startswith(WITHHELD)
            became = "holds a secret and is withheld" if withheld else "is closed"
            return f"an earlier run was killed; its record {became}: {entry.record}"
        case entries.StepStarted():
            return f"{entry.step}: started"
        case entries.StepEnded():
            why = f": {entry.reason}" if entry.reason else ""
            return f"{entry.step}: {entry.status}{why} ({_seconds(entry.duration_ms)})"
        case entries.Interrupted():
            return f"{entry.signal}: waiting for clean-up; once more to kill it"
        case entries.EventTold():
            return _event_line(entry.step, entry.told)
    return ""


def _event_line(step: str, event: object) -> str:
    match event:
        case events.Message():
            text = event.message
        case events.Planned():
            text = f"{_count(len(event.changes), 'change')} planned"
        case events.ChangeEnded():
            took = _seconds(event.duration_ms)
            text = f"{event.action} {event.resource}: {event.outcome} ({took})"
        case events.Check():
            passed = "passed" if event.passed else f"failed, seen {event.seen}"
            text = f"check {event.name!r}: {passed}"
        case events.Finding() if event.level is not events.Level.FINE:
            text = f"{event.level}: {event.what}"
        case _ if isinstance(event, tuple(events.OTHERS.values())):
            text = events.words(event)
        case _:
            return ""
    host = getattr(event, "host", None)
    return f"{step} {host}: {text}" if host else f"{step}: {text}"


def show(result: RunResult, console: Console) -> None:
    """Print how a run ended: the plan where it was one, the steps, and where the record is.

    Args:
        result: The run.
        console: Where to, usually standard output.
    """
    results = result.results
    if results.mode == "plan":
        console.print(plan_view(results), soft_wrap=True)
    console.print(steps_table(results))
    if results.reason:
        console.print(Text(plain(results.reason), style="red"), soft_wrap=True)
    console.print(Text(f"Record: {result.record}"), soft_wrap=True)
    _show_seal(result, console)


def _show_seal(result: RunResult, console: Console) -> None:
    head = result.sealed.head
    if result.sealed.signed_by is None:
        told = "Not signed: nothing shows who made this record. Name your SSH key: --key"
        console.print(Text(told, style="red"), soft_wrap=True)
    else:
        console.print(Text(f"Signed by {result.sealed.signed_by}"), soft_wrap=True)
    # For the ticket: who has the head finds it out when a later line is missing or another.
    console.print(Text(f"Ledger head: {head.principal} {head.seq} {head.head}"), soft_wrap=True)
    if result.testimony is not None:
        keepers = ", ".join(result.testimony.keepers) or "nobody"
        console.print(Text(f"Witnessed by {keepers}"), soft_wrap=True)
        for error in result.testimony.errors:
            console.print(Text(plain(f"Not witnessed: {error}"), style="red"), soft_wrap=True)


def as_json(results: Results) -> str:
    """Return the results as ``results.json`` holds them."""
    return json.dumps(events.to_json(results), indent=1, sort_keys=True)


def plan_view(results: Results) -> Group:
    """Return every planned change with its diff."""
    parts: list[Text] = []
    for step in results.steps:
        for change in step.changes:
            head = f"{step.step}  {change.host}  {change.summary}"
            parts.append(Text(plain(head), style="bold"))
            parts += _diff(change.diff)
    total = sum(len(step.changes) for step in results.steps)
    return Group(*parts, Text(f"{_count(total, 'change')} planned"))


def _diff(text: str) -> Iterator[Text]:
    for each in plain(text).splitlines():
        yield Text(f"  {each}", style=_DIFF_STYLES.get(each[:1], ""))


def steps_table(results: Results) -> Table:
    """Return one row a step: changes, checks, seconds, status."""
    table = Table("step", "changes", "checks", "seconds", "status")
    for column in table.columns[1:4]:
        column.justify = "right"
    for step in results.steps:
        counts, status = step.counts, step.status
        changes = f"{counts.done} of {counts.changes}"
        if results.mode == "plan":
            changes = str(counts.changes)
        seconds = "" if step.duration_ms is None else f"{step.duration_ms / 1000:.1f}"
        passed = f"{counts.checks_passed} of {len(step.checks)}" if step.checks else ""
        style = "green" if status in ENDED_WELL else "dim" if status in NOT_RUN else "red"
        table.add_row(step.step, changes, passed, seconds, Text(status, style=style))
    return table


def _seconds(duration_ms: int | None) -> str:
    return f"{(duration_ms or 0) / 1000:.1f} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
