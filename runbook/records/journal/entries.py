"""The lines of a journal, in the order in which a run has them; a class each.

They hold no secret. Everything about a run is derived from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from runbook.events import heard, of_json
from runbook.records.journal.status import Status

Mode = Literal["plan", "apply"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line. The journal numbers and dates it; of a kind that is not known there is no more."""

    seq: int = 0
    time: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class DeclaredStep:
    """A step that there is; what is skipped was not asked for."""

    step: str
    notebook: str
    skipped: bool = False


@dataclass(frozen=True, kw_only=True)
class RunOpened(Entry):
    """The first line: what is run, where, by which settings (name: value), and why."""

    kind: Literal["run opened"] = "run opened"
    run_id: str
    site: str
    site_file: str
    settings: dict[str, Any] = field(default_factory=dict)
    mode: Mode
    context: dict[str, Any] = field(default_factory=dict)
    emergency: bool = False
    steps: tuple[DeclaredStep, ...]


@dataclass(frozen=True, kw_only=True)
class RecordClosed(Entry):
    """The record of an earlier run that was killed was found, and closed now."""

    kind: Literal["record closed"] = "record closed"
    record: str


@dataclass(frozen=True, kw_only=True)
class KernelStarted(Entry):
    """A kernel, and the name of its folder of sockets among the temporary files."""

    kind: Literal["kernel started"] = "kernel started"
    folder: str


@dataclass(frozen=True, kw_only=True)
class OfStep(Entry):
    """A line about one step."""

    step: str = ""


@dataclass(frozen=True, kw_only=True)
class StepStarted(OfStep):
    """A step's notebook is begun."""

    kind: Literal["step started"] = "step started"
    notebook: str


@dataclass(frozen=True, kw_only=True)
class CellStarted(OfStep):
    """A cell is run; the index counts all cells of the notebook."""

    kind: Literal["cell started"] = "cell started"
    cell: str | None
    index: int


@dataclass(frozen=True, kw_only=True)
class EventTold(OfStep):
    """What the notebook told of itself, as it came; see :mod:`runbook.events`."""

    kind: Literal["event"] = "event"
    event: dict[str, Any]

    @cached_property
    def told(self) -> object:
        """Return what it means, see :func:`runbook.events.heard`."""
        return heard(self.event)


@dataclass(frozen=True, slots=True)
class Cell:
    """How a cell ended, and after how long where it was run."""

    cell: str | None
    index: int
    status: Status
    duration_ms: int | None


@dataclass(frozen=True, kw_only=True)
class CellEnded(Cell, OfStep):
    """A cell came to its end, or broke off."""

    kind: Literal["cell ended"] = "cell ended"


@dataclass(frozen=True, kw_only=True)
class NotebookEnded(OfStep):
    """How a notebook ended, and each of its cells."""

    kind: Literal["notebook ended"] = "notebook ended"
    status: Status
    reason: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class StepEnded(OfStep):
    """How a step ended, once its evidence was judged."""

    kind: Literal["step ended"] = "step ended"
    status: Status
    reason: str
    duration_ms: int


@dataclass(frozen=True, kw_only=True)
class Interrupted(Entry):
    """A signal came."""

    kind: Literal["interrupted"] = "interrupted"
    signal: str


@dataclass(frozen=True, kw_only=True)
class RunEnded(Entry):
    """The last line; of a run that was killed it is written by the run that finds it."""

    kind: Literal["run closed", "run killed"] = "run closed"
    status: Status
    reason: str
    exit_status: int | None = None
    duration_ms: int | None = None


KINDS: dict[str, type[Entry]] = {
    "run opened": RunOpened,
    "record closed": RecordClosed,
    "kernel started": KernelStarted,
    "step started": StepStarted,
    "cell started": CellStarted,
    "event": EventTold,
    "cell ended": CellEnded,
    "notebook ended": NotebookEnded,
    "step ended": StepEnded,
    "interrupted": Interrupted,
    "run closed": RunEnded,
    "run killed": RunEnded,
}


def read(path: Path) -> list[Entry]:
    """Return the entries of a journal; a last line that was cut off is left out."""
    # Not splitlines(): a line ends at a line feed, not at U+2028 within a message.
    *lines, _cut_off = path.read_bytes().split(b"\n")
    return [parse(line) for line in lines]


def parse(line: bytes) -> Entry:
    """Return a line of a journal; as a bare :class:`Entry` where it is not as its kind should be.

    Raises:
        ValueError: It is no line of a journal.
    """
    try:
        return of_json(KINDS.get(json.loads(line).get("kind"), Entry), line)
    except ValueError:
        return of_json(Entry, line)


def of_step(entries: Iterable[Entry], step: str) -> list[OfStep]:
    """Return the entries about one step."""
    return [entry for entry in entries if isinstance(entry, OfStep) and entry.step == step]


def told(entries: Iterable[Entry], kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield the events of a kind with their step; they count for the step that they name."""
    for entry in entries:
        if isinstance(entry, EventTold) and entry.event.get("step") == entry.step:
            event = entry.told
            if isinstance(event, kind):
                yield entry.step, event
