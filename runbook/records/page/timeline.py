"""The timeline of a run, from its journal: what took how long, and what went on beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from runbook.events import ChangeEnded, Message
from runbook.records.journal.entries import (
    CellEnded,
    Entry,
    EventTold,
    StepEnded,
    StepStarted,
    of_step,
)
from runbook.records.journal.status import ENDED_WELL, NOT_RUN, Status

TICKS = 8
_TICK_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time, in percent of the whole; a moment has no width."""

    left: float
    width: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """A step, or what one host did within it."""

    step: str
    host: str | None
    status: str
    duration_ms: int | None
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """All rows, the length of the whole in milliseconds, and where ticks are: percent, seconds."""

    rows: tuple[Row, ...]
    duration_ms: int
    ticks: tuple[tuple[float, float], ...]


def kind(status: str) -> str:
    """Return what a status is to a reader: ``good``, ``bad``, or ``quiet``, which is no news."""
    if status in ENDED_WELL or status == "done":  # the word for a change that was made
        return "good"
    return "quiet" if status in NOT_RUN or status == "running" else "bad"


def timeline(entries: Sequence[Entry]) -> Timeline | None:
    """Return a run's timeline; ``None`` where no step started."""
    times = [_ms(entry) for entry in entries]
    begun = [entry for entry in entries if isinstance(entry, StepStarted)]
    if not begun:
        return None
    scale = _Scale(times[0], max(1, max(times) - times[0]))
    rows: list[Row] = []
    for start in begun:
        own = of_step(entries, start.step)
        rows += _step(scale, start, own, max(times))
    step_s = next(s for s in (*_TICK_S, scale.length / 1000) if scale.length / 1000 / s <= TICKS)
    marks = [n * step_s for n in range(int(scale.length / 1000 / step_s) + 1)]
    ticks = tuple((round(seconds * 100_000 / scale.length, 2), seconds) for seconds in marks)
    return Timeline(tuple(rows), scale.length, ticks)


@dataclass(frozen=True, slots=True)
class _Scale:
    start: int
    length: int

    def bar(self, begin: int, end: int, kind: str, label: str) -> Bar:
        begin, end = (min(max(0, time - self.start), self.length) for time in (begin, end))
        left, width = (round(time * 100 / self.length, 2) for time in (begin, end - begin))
        return Bar(left, width, kind, label)


def _step(scale: _Scale, start: StepStarted, own: Sequence[Entry], last: int) -> Iterator[Row]:
    ended = next((e for e in own if isinstance(e, StepEnded)), None)
    status = ended.status if ended else Status.RUNNING
    end = _ms(ended) if ended else last
    whole = scale.bar(_ms(start), end, f"whole {kind(status)}", f"{start.step}: {status}")
    cells = [
        scale.bar(_ms(e) - (e.duration_ms or 0), _ms(e), "part", str(e.cell))
        for e in own
        if isinstance(e, CellEnded)
    ]
    yield Row(start.step, None, status, ended.duration_ms if ended else None, (whole, *cells))
    told = [(_ms(entry), entry.told) for entry in own if isinstance(entry, EventTold)]
    events = [(time, e) for time, e in told if isinstance(e, Message | ChangeEnded) and e.host]
    for host in sorted({str(event.host) for _, event in events}):
        yield _host(scale, start.step, host, [pair for pair in events if pair[1].host == host])


def _host(
    scale: _Scale, step: str, host: str, events: list[tuple[int, Message | ChangeEnded]]
) -> Row:
    bars, spent, status = [], 0, ""
    for time, event in events:
        if isinstance(event, Message):
            bars.append(scale.bar(time, time, "told", event.message))
        else:
            took, word = event.duration_ms or 0, event.outcome
            label = f"{event.action} {event.resource}: {word}, {took} ms"
            bars.append(scale.bar(time - took, time, kind(word), label))
            spent += took
            status = word if status in ("", "done") else status
    return Row(step, host, status, spent or None, tuple(bars))


def _ms(entry: Entry) -> int:
    return round(datetime.fromisoformat(entry.time).timestamp() * 1000)
