"""Make a plan's changes: stage after stage, hosts in parallel, until the first failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from runbook.changes import Change, Plan
from runbook.errors import RunbookError
from runbook.live import Live


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change; ``error`` is ``None`` where it was made."""

    change: Change
    duration_ms: int
    error: RunbookError | None = None

    @property
    def word(self) -> str:
        """Return the outcome in one word."""
        return "done" if self.error is None else "failed"


def apply(
    live: Live, plan: Plan, report: Callable[[Outcome], None], proceed: Callable[[], None]
) -> list[Outcome]:
    """Make every change of a plan, or stop after the stage in which one failed.

    Args:
        live: The site and its connections.
        plan: What to do, in stages.
        report: Called with each outcome as it comes.
        proceed: Called before each stage; raises where the run may not go on.

    Returns:
        The outcomes in the order in which they came. What was not tried is not among them.
    """
    outcomes: list[Outcome] = []
    for stage in plan.stages:
        proceed()
        made = _stage(live, stage, report)
        outcomes += made
        if any(outcome.error for outcome in made):
            break
    return outcomes


def _stage(
    live: Live, changes: Sequence[Change], report: Callable[[Outcome], None]
) -> list[Outcome]:
    hosts = sorted({change.host for change in changes})
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        running = [
            pool.submit(_host, live, [c for c in changes if c.host == host]) for host in hosts
        ]
        for finished in as_completed(running):
            for outcome in finished.result():
                report(outcome)
                outcomes.append(outcome)
    return outcomes


def _host(live: Live, changes: Sequence[Change]) -> list[Outcome]:
    outcomes = []
    for change in changes:
        start = time.monotonic()
        error = None
        try:
            change.make(live)
        except RunbookError as failure:
            error = failure
        outcomes.append(Outcome(change, round((time.monotonic() - start) * 1000), error))
        if error is not None:
            break
    return outcomes
