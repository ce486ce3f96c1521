"""What the step notebooks call: one step of one site, from observation to verdict.

step = open_step("traefik", site, mode)
step.observe(); step.plan(); step.apply(); step.verify()
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from runbook import events
from runbook.apply import Outcome, Reports, apply, stopped
from runbook.changes import Change, Check, Plan, blocking
from runbook.context import RunContext
from runbook.errors import BadInput, Refused, RunbookError
from runbook.events import emit, tell_secret
from runbook.hosts.fleet import Fleet
from runbook.hosts.live import Live
from runbook.hosts.transcript import Transcript
from runbook.lock import SwarmLock, site_lock
from runbook.masking.secret import KNOWN
from runbook.notebook import refusals
from runbook.notebook.tables import (
    Shown,
    checks_table,
    files_shown,
    findings_table,
    outcomes_table,
    plan_table,
    rows_table,
    settings_table,
    table,
)
from runbook.records.verify import witness
from runbook.site import SiteFile, load
from runbook.steps import CONVERGED, STEPS, Step, approved, find

MODES = ("plan", "apply")

KNOWN.listen(tell_secret)


def open_step(name: str, site: str, mode: str) -> Walk:
    """Load a site and return one step of it, ready to be walked through.

    Args:
        name: The step, for example ``traefik``.
        site: The site's file, relative to the current folder or to the one above it: a notebook's
            kernel starts in ``notebooks/``, papermill's where it is called.
        mode: ``plan`` to show what would change, ``apply`` to change it.

    Raises:
        BadInput: Unknown step or mode, or a site that is not valid.
    """
    with _reporting(name):
        if mode not in MODES:
            raise BadInput(f"mode is {mode!r}", step=name, todo=f"use one of: {', '.join(MODES)}")
        path = Path(str(site))  # papermill takes a name of digits for a number
        if not path.is_absolute() and not path.exists() and (Path("..") / path).exists():
            path = Path("..") / path
        site_file = load(path)
        context = RunContext.from_environ()
        fleet = _fleet(path, site_file.site.model_dump_json(), context.record)
        return Walk(find(name), site_file, mode, fleet, context)


# A kernel keeps its connections, so that a cell run again, and the next notebook in the same
# kernel, need not open them anew.
@lru_cache(maxsize=1)
def _fleet(path: Path, declared: str, record: str) -> Fleet:
    del declared  # part of the key: a site that was edited is another one
    return Fleet(load(path), Transcript(Path(record) / "transcript.jsonl" if record else None))


@contextmanager
def _reporting(step: str) -> Iterator[None]:
    """Tell the runner of an error before the notebook stops on it."""
    try:
        yield
    except RunbookError as error:
        emit(step, events.Failure(error.host, type(error).__name__, error.exit_code, str(error)))
        raise


class Walk:
    """One step of one site; the methods are the notebook's parts, in order."""

    def __init__(
        self, step: Step[Any], site_file: SiteFile, mode: str, fleet: Fleet, context: RunContext
    ) -> None:
        self._step = step
        self._mode = mode
        self._live = Live(site_file, fleet, self._say, context)
        self._facts: Any = None
        self._plan: Plan | None = None
        self._applied = False

    def _say(self, host: str | None, message: str) -> None:
        emit(self._step.name, events.Message(host, message))

    @property
    def live(self) -> Live:
        """Return the site and its connections, for tables of a step's own."""
        return self._live

    @property
    def site(self) -> Shown:
        """Return the declared site as a table."""
        return settings_table(self._live.site_file)

    def observe(self) -> Shown:
        """Read what is there now and return it as a table; nothing is changed."""
        start = time.monotonic()
        with _reporting(self._step.name):
            self._facts = self._read()
            found = rows_table(self._step.rows(self._facts), time.monotonic() - start)
        self._tell_hosts()
        self._tell_state("before", self._facts)
        for finding in self._step.findings(self._facts):
            emit(self._step.name, finding)
        return found

    def _read(self) -> Any:
        with self._reading():
            return self._step.observe(self._live)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except RunbookError as error:
            _raise(None if self._applied else refusals.unread(error))
            raise

    def _tell_hosts(self) -> None:
        emit(self._step.name, events.HostKeys(self._live.fleet.host_keys))

    def _tell_state(self, moment: Literal["before", "after"], facts: Any) -> None:
        if self._step.manages:
            seen = approved.state(self._step.rows(facts))
            emit(self._step.name, events.Observed(moment, seen))

    @property
    def recipe(self) -> Shown:
        """Return the files that the step installs, as they would be on the hosts of this site."""
        with _reporting(self._step.name):
            facts = self._observed()
            try:
                return files_shown(approved.files(self._step, self._live.site_file, facts))
            except Refused as error:  # the plan says so, too, and refuses the step
                return table(f"Not installed here: {error.message}", [], [])

    def findings(self) -> Shown:
        """Return what the step makes of what it has read, as a table."""
        return findings_table(self._step.findings(self._observed()))

    def _observed(self) -> Any:
        if self._facts is None:
            raise BadInput(
                "nothing was observed yet", step=self._step.name, todo="run the cell that observes"
            )
        return self._facts

    def plan(self) -> Shown:
        """Return what would change, with every diff; nothing is changed."""
        with _reporting(self._step.name):
            self._plan = self._planned(self._observed())
        changes = tuple(events.PlannedChange(**change.as_dict()) for change in self._plan.changes)
        sealed = events.Part(**self._part(self._plan)) if self._step.manages else None
        emit(self._step.name, events.Planned(self._plan.digest, changes, sealed))
        return plan_table(self._plan)

    def _part(self, plan: Plan) -> dict[str, Any]:
        return approved.part(self._step, self._live.site_file, self._facts, plan)

    def _planned(self, facts: Any) -> Plan:
        return Plan(self._step.name, tuple(self._step.plan(self._live.site_file, facts)))

    def apply(self) -> Shown:
        """Make the planned changes where the mode allows it, and return what became of them.

        Raises:
            Refused: The site is no longer what the plan was made for, or another run is at it.
            ChangeFailed: A change did not succeed; those after it were not tried.
        """
        plan = self._shown_plan()
        if self._mode != "apply":
            return table("Not applied: the mode is plan.", [], [])
        if not self._step.manages:
            return _nothing()
        with _reporting(self._step.name):
            if plan.changes:
                _raise(refusals.risky(self._live.site, self._step.name))
                approved.refuse_moved(
                    self._step.name, self._part(plan), self._live.context.approved
                )
            with site_lock(self._live, self._step.name) as lock:
                return self._make(plan, lock) if plan.changes else _nothing()

    def _make(self, plan: Plan, lock: SwarmLock) -> Shown:
        _raise(refusals.moved(plan, self._planned(self._read())))
        _tell_witnesses(self._live)
        self._applied = True
        outcomes = apply(self._live, plan, Reports(self._begun, self._report), lock.proceed)
        shown = outcomes_table(outcomes, len(plan.changes))
        error = refusals.broken(outcomes, plan)
        if error is not None:
            _show(shown)
            # A pause makes connections look lost: that another run came meanwhile is the cause.
            overtaken = lock.overtaken()
            raise stopped(overtaken) if overtaken else error
        return shown

    def _shown_plan(self) -> Plan:
        if self._plan is None:
            raise BadInput(
                "nothing was planned yet", step=self._step.name, todo="run the plan cell"
            )
        return self._plan

    def _begun(self, change: Change) -> None:
        emit(self._step.name, events.ChangeBegun(change.host, change.resource, change.action))

    def _report(self, outcome: Outcome) -> None:
        change, message = outcome.change, str(outcome.error or "")
        named = (change.host, change.resource, change.action)
        emit(
            self._step.name, events.ChangeEnded(*named, outcome.word, message, outcome.duration_ms)
        )

    def verify(self) -> Shown:
        """Read the running system afresh and return every check with what was seen.

        Raises:
            CheckFailed: A check did not hold; the table is shown first.
        """
        if self._mode != "apply" and not self._step.proves_when_planning:
            emit(self._step.name, events.Verdict(self._mode, len(self._shown_plan().changes)))
            return table("Not verified: the mode is plan.", [], [])
        with _reporting(self._step.name):
            checks = self._checks()
            self._tell_hosts()  # acceptance meets the client only now
            for check in checks:
                emit(self._step.name, check)
            failed = [check for check in checks if not check.passed]
            self._verdict(len(checks), len(failed))
            shown = checks_table(checks, "" if failed else _next(self._step))
            if failed:
                _show(shown)
                raise self._unproven(failed)
        return shown

    def _checks(self) -> list[Check]:
        if self._step.verdict is not None:
            return self._step.verdict(self._observed())
        with self._reading():
            checks = self._step.verify(self._live)
        if CONVERGED not in self._step.required_checks(self._live.site):
            return checks
        # A plan without changes, made from what was read in this notebook, is the second reading.
        facts = self._read() if self._applied else self._observed()
        self._tell_state("after", facts)
        again = self._planned(facts) if self._applied else self._shown_plan()
        left = "; ".join(f"{change.host}: {change.summary}" for change in again.changes)
        return [*checks, Check(CONVERGED, "every host", "0 changes", left or "0 changes")]

    def _verdict(self, checks: int, failed: int) -> None:
        changes = len(self._shown_plan().changes)
        emit(self._step.name, events.Verdict(self._mode, changes, checks - failed, failed))

    def _unproven(self, failed: list[Check]) -> RunbookError:
        if found := blocking(self._step.findings(self._observed())):
            return refusals.unfit(failed[0], found, self._step.name)
        return refusals.unproven(failed, self._step.name)


def _nothing() -> Shown:
    return table("0 changes to make.", [], [])


def _tell_witnesses(live: Live) -> None:
    """Have the managers know of the run before its first change, where a witness is wanted."""
    if live.context.witness:
        _write_witnesses(live.fleet, tuple(live.site.managers), live.context.witness)


@cache
def _write_witnesses(fleet: Fleet, managers: tuple[str, ...], text: str) -> None:
    fleet.each(managers, lambda connection: witness.write(connection, text))


def _raise(error: RunbookError | None) -> None:
    if error is not None:
        raise error


def _next(step: Step[Any]) -> str:
    following = [later.notebook for later in STEPS[STEPS.index(step) + 1 :]]
    return f"Next: {following[0]}." if following else "The edge is proven from outside."


def _show(shown: Shown) -> None:
    from IPython.display import display

    display(shown)  # type: ignore[no-untyped-call]
