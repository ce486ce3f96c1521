"""What a run's journal amounts to: the results of its steps, and whether they are proven."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from runbook import events
from runbook.records.journal import entries as journal
from runbook.records.journal.entries import Entry, RunEnded, RunOpened, StepEnded, of_step, told
from runbook.records.journal.status import ENDED_WELL, NOT_RUN, ExitStatus, Status

E = TypeVar("E", bound=Entry)


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of it there is."""

    changes: int
    done: int
    failed: int
    checks_passed: int
    checks_failed: int


@dataclass(frozen=True, kw_only=True)
class StepResults(events.Evidence):
    """What one step did and left as evidence; what did not happen is ``None`` or empty."""

    step: str
    notebook: str
    status: Status
    reason: str
    started: str | None
    finished: str | None
    duration_ms: int | None
    digest: str | None
    changes: tuple[events.PlannedChange, ...]
    verdict: events.Verdict | None
    counts: Counts
    cells: tuple[journal.Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of a run, as ``results.json`` holds them."""

    schema: Literal[1] = 1
    run_id: str
    site: str
    site_file: str
    mode: journal.Mode
    started: str
    finished: str | None
    duration_ms: int | None
    status: Status
    reason: str
    exit_status: int | None
    steps: tuple[StepResults, ...]


def of_record(folder: Path) -> Results | None:
    """Return the results in a record; ``None`` where the run was killed before it had any.

    Raises:
        ValueError: What is there are none.
    """
    path = folder / "results.json"
    return events.of_json(Results, path.read_bytes()) if path.is_file() else None


def collect(entries: Sequence[Entry]) -> Results:
    """Return the results of a run.

    Args:
        entries: The run's journal, whole or as far as it came.
    """
    opened = entries[0]
    assert isinstance(opened, RunOpened)
    ended = _last(entries, RunEnded)
    killed = ended is not None and ended.kind == "run killed"
    return Results(
        run_id=opened.run_id,
        site=opened.site,
        site_file=opened.site_file,
        mode=opened.mode,
        started=opened.time,
        finished=ended.time if ended else None,
        duration_ms=ended.duration_ms if ended else None,
        status=ended.status if ended else Status.RUNNING,
        reason=ended.reason if ended else "",
        exit_status=ended.exit_status if ended else None,
        steps=tuple(step_results(entries, declared, killed) for declared in opened.steps),
    )


def step_results(
    entries: Iterable[Entry], declared: journal.DeclaredStep, killed: bool = False
) -> StepResults:
    """Return what one step did and left as evidence."""
    own = of_step(entries, declared.step)
    started, ended = _last(own, journal.StepStarted), _last(own, StepEnded)
    unfinished = Status.KILLED if killed else Status.RUNNING
    not_run = Status.SKIPPED if declared.skipped else Status.NEVER_RAN
    plan = next((event for _, event in told(own, events.Planned)), None)
    changes = plan.changes if plan else ()
    kept = {name: tuple(event for _, event in told(own, k)) for name, k in events.LISTS.items()}
    kept["outcomes"] += tuple(_cut_off(own, {outcome.key for outcome in kept["outcomes"]}))
    made = _split(outcome.outcome == "done" for outcome in kept["outcomes"])
    held = _split(check.passed for check in kept["checks"])
    return StepResults(
        step=declared.step,
        notebook=declared.notebook,
        status=ended.status if ended else unfinished if started else not_run,
        reason=ended.reason if ended else "",
        started=started.time if started else None,
        finished=ended.time if ended else None,
        duration_ms=ended.duration_ms if ended else None,
        digest=plan.digest if plan else None,
        changes=changes,
        verdict=next((event for _, event in told(reversed(own), events.Verdict)), None),
        **kept,
        counts=Counts(len(changes), *made, *held),
        cells=_cells(own),
    )


def outcome(
    entries: Sequence[Entry], step: str, error: BaseException | None, required: Iterable[str] | None
) -> tuple[Status, str]:
    """Return how a step ended, and why where it did not end well.

    Args:
        entries: The run's journal up to now.
        step: The step.
        error: What running its notebook raised.
        required: Names of the checks that must have passed; ``None``: no proof is due.
    """
    ended = _last(of_step(entries, step), journal.NotebookEnded)
    status, reason = (ended.status, ended.reason) if ended else (Status.FAILED, "")
    if error is not None:
        broken = Status.FAILED if status in ENDED_WELL else status
        return broken, reason or f"{type(error).__name__}: {error}"
    if status not in ENDED_WELL:
        return status, reason
    reason = judge(step_results(entries, journal.DeclaredStep(step, "")), required)
    return (Status.FAILED if reason else status), reason


def judge(evidence: StepResults, required: Iterable[str] | None) -> str:
    """Return why the evidence of a step does not suffice; empty when the step is proven.

    Args:
        evidence: What the step left.
        required: Names of the checks that must have passed; ``None``: no proof is due.
    """
    malformed = [error.message for error in evidence.errors if error.kind == events.MALFORMED]
    if malformed:
        return malformed[0]
    if evidence.digest is None:
        return "no plan was shown"
    for check in evidence.checks:
        if not check.passed:
            seen = f"expected {check.expected}, seen {check.seen}"
            return f"check {check.name!r} failed on {check.where}: {seen}"
    if required is None:
        return ""
    passed = {check.name for check in evidence.checks}
    missing = [f"check {name!r} left no evidence" for name in required if name not in passed]
    if not missing and evidence.verdict is None:
        missing = ["the notebook gave no verdict"]
    return "; ".join(missing)


def exit_status(results: Results) -> ExitStatus:
    """Return the exit status that the steps' results amount to, interruptions apart."""
    broken = first_broken(results)
    if broken is not None:
        codes = [error.exit_code for error in broken.errors]
        known = [code for code in codes if code in tuple(ExitStatus) and code != ExitStatus.DONE]
        code = ExitStatus(known[0]) if known else ExitStatus.FAILED
        # Whoever refuses speaks for itself; that nothing was changed is said of the whole run.
        touched = code is ExitStatus.REFUSED and what_was_touched(results)
        return ExitStatus.FAILED if touched else code
    if results.mode == "plan" and any(step.changes for step in results.steps):
        return ExitStatus.DIFFERENCES
    return ExitStatus.DONE


def what_was_touched(results: Results) -> str:
    """Return how many changes of a run were made, or may have been; empty where none was."""
    outcomes = [outcome for step in results.steps for outcome in step.outcomes]
    made = sum(outcome.outcome != "refused" for outcome in outcomes)
    return f" ({made} change{'s' if made > 1 else ''} had been begun before)" if made else ""


def first_broken(results: Results) -> StepResults | None:
    """Return the step that failed first, or ``None``."""
    broken = [step for step in results.steps if step.status not in ENDED_WELL | NOT_RUN]
    return min(broken, key=lambda step: step.finished or "~", default=None)


def _cut_off(own: Sequence[Entry], ended: Container[object]) -> Iterator[events.ChangeEnded]:
    """Yield the changes that were begun and of whose end nothing was heard."""
    for _, begun in told(own, events.ChangeBegun):
        if begun.key not in ended:
            yield events.ChangeEnded(*begun.key, "unknown", "the run ended while it was made")


def _split(words: Iterable[bool]) -> tuple[int, int]:
    """Return how many are true, and how many are not."""
    counted = list(words)
    return counted.count(True), counted.count(False)


def _cells(own: Sequence[Entry]) -> tuple[journal.Cell, ...]:
    ended = _last(own, journal.NotebookEnded)
    if ended is not None:
        return ended.cells
    broken_off = (entry for entry in own if isinstance(entry, journal.CellEnded))
    return tuple(journal.Cell(e.cell, e.index, e.status, e.duration_ms) for e in broken_off)


def _last(entries: Iterable[Entry], kind: type[E]) -> E | None:
    return next((entry for entry in reversed(list(entries)) if isinstance(entry, kind)), None)
