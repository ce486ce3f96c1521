"""Make a plan's changes: stage after stage, hosts in parallel, until the first failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass

from runbook.changes import Change, Plan
from runbook.errors import ChangeFailed, Lost, Refused, RunbookError
from runbook.hosts.live import Live


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change; ``error`` is ``None`` where it was made."""

    change: Change
    duration_ms: int
    error: RunbookError | None = None

    @property
    def word(self) -> str:
        """Return ``done``, ``refused`` (nothing was changed), ``failed`` or ``unknown``."""
        match self.error:
            case None:
                return "done"
            case Refused():
                return "refused"
            case Lost():
                return "unknown"
        return "failed"


@dataclass(frozen=True, slots=True)
class Reports:
    """Who is told of a change before it is begun, and what became of it after it."""

    begun: Callable[[Change], None]
    ended: Callable[[Outcome], None]


def apply(live: Live, plan: Plan, reports: Reports, proceed: Callable[[], None]) -> list[Outcome]:
    """Make every change of a plan, or stop after the stage in which one failed.

    Whatever ends it early (an interrupt, too), no further change is begun, and what is being made
    is waited for and told.

    Args:
        live: The site and its connections.
        plan: What to do, in stages.
        reports: Told of each change, in the caller's thread.
        proceed: Called before each change; raises where the run may not go on.

    Returns:
        The outcomes in the order in which they came. What was not tried is not among them.

    Raises:
        Refused: The run may not go on, and nothing was changed.
        ChangeFailed: The run may not go on, and something was changed.
    """
    outcomes: list[Outcome] = []
    for stage in plan.stages:
        try:
            outcomes += _Stage(live, stage, reports, proceed).run()
        except Refused as error:
            if not outcomes:
                raise
            raise stopped(error) from error
        if any(outcome.error for outcome in outcomes):
            break
    return outcomes


def stopped(error: Refused) -> ChangeFailed:
    """Return the error of a run that may not go on after it has changed something."""
    message = f"{error.message}; what was changed before that stays"
    return ChangeFailed(message, host=error.host, step=error.step, todo=error.todo)


class _Stage:
    """Changes that are made side by side on their hosts, and one after another on each of them."""

    def __init__(
        self, live: Live, changes: Sequence[Change], reports: Reports, proceed: Callable[[], None]
    ) -> None:
        self._live = live
        hosts = sorted({change.host for change in changes})
        self._waiting = {host: [c for c in changes if c.host == host] for host in hosts}
        self._reports = reports
        self._proceed = proceed
        self._running: set[Future[Outcome]] = set()
        self._outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        with ThreadPoolExecutor(max_workers=len(self._waiting)) as pool:
            try:
                for host in self._waiting:
                    self._begin(pool, host)
                while self._running:
                    done, _ = wait(self._running, return_when=FIRST_COMPLETED)
                    for outcome in self._ended(done):
                        if outcome.error is None:
                            self._begin(pool, outcome.change.host)
            except BaseException as error:
                list(self._ended(as_completed(list(self._running))))
                if isinstance(error, Refused) and self._outcomes:
                    raise stopped(error) from error
                raise
        return self._outcomes

    def _begin(self, pool: ThreadPoolExecutor, host: str) -> None:
        if self._waiting[host]:
            self._proceed()
            change = self._waiting[host].pop(0)
            self._reports.begun(change)
            self._running.add(pool.submit(_make, self._live, change))

    def _ended(self, futures: Iterable[Future[Outcome]]) -> Iterator[Outcome]:
        for future in futures:
            self._running.discard(future)  # first: a mistake in it must not hide the others
            outcome = future.result()
            self._outcomes.append(outcome)
            self._reports.ended(outcome)
            yield outcome


def _make(live: Live, change: Change) -> Outcome:
    start = time.monotonic()
    error = None
    try:
        change.make(live)
    except RunbookError as failure:
        error = failure
    return Outcome(change, round((time.monotonic() - start) * 1000), error)
