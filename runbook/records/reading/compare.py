"""Compare runs by their facts: what was there, what was done and with what, not by notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.differences import Difference, Facts, differences, flat
from runbook.errors import BadInput
from runbook.events import others, words
from runbook.records.archive.statement import PLAN, STATEMENT
from runbook.records.journal.results import StepResults, of_record
from runbook.records.journal.status import NOT_RUN
from runbook.records.reading import search
from runbook.records.reading.index import UNREADABLE, Run
from runbook.records.reading.search import Filter

BEFORE, AFTER = "before.json", "after.json"
_STATED = ("site", "mode", "outcome", "ticket", "reason", "targets", "counts", "parameters")
_MADE_WITH = ("git", "tool", "host_keys", "site_sha256", "plan_sha256")

_OF_STEP = ("change", "check")


@dataclass(frozen=True, slots=True)
class Drift:
    """A change that no run made: what a run found is not what the one before it left.

    Attributes:
        site: The site.
        left_by: The run that left another state.
        found_by: The next run, which found this one.
        differences: The facts; left is what was left, right what was found.
    """

    site: str | None
    left_by: str
    found_by: str
    differences: tuple[Difference, ...]


def facts(folder: Path) -> Facts:
    """Return the facts of a run by name, those of its results and snapshots included.

    Args:
        folder: The record.

    Raises:
        OSError: It has no statement.
        ValueError: A file in it is no JSON.
    """
    told = json.loads((folder / STATEMENT).read_text(encoding="utf-8"))["predicate"]
    found: Facts = {"operator": told["operator"]["principal"]}
    for name in (*_STATED, *_MADE_WITH):
        found |= flat(name, told[name])
    for step in _steps(folder):
        found |= dict(_of_step(step))
    # The settings tell priorities, image and rules as they were declared.
    found |= flat("settings", _read(folder / PLAN).get("site", {}))
    for name in (BEFORE, AFTER):
        found |= flat(name.removesuffix(".json"), _read(folder / name))
    return found


def diff(left: Path, right: Path) -> tuple[Difference, ...]:
    """Return the facts that differ between two runs, by name.

    Only what both looked at is compared: a run of one step knows nothing of the others.

    Args:
        left: The one record.
        right: The other.

    Raises:
        BadInput: One of them is not as a run writes it.
    """
    (seen, known), (also_seen, also_known) = _known_to(left), _known_to(right)
    apart = tuple(seen ^ also_seen)
    return tuple(d for d in differences(known, also_known) if not d.fact.startswith(apart))


def _known_to(folder: Path) -> tuple[set[str], Facts]:
    """Return what the facts that a run could know of begin with, and its facts."""
    try:
        return set(_seen_by(folder)), facts(folder)
    except UNREADABLE as error:
        said = " ".join(str(error).split())[:200]
        message = f"{folder.name} cannot be read: {type(error).__name__}: {said}"
        todo = f"see what was altered: runbook records verify {folder.name}"
        raise BadInput(message, todo=todo) from error


def _seen_by(folder: Path) -> Iterator[str]:
    """Yield what the facts that a run could know of begin with."""
    for name in (BEFORE, AFTER):
        for host, resources in _read(folder / name).items():
            yield from (f"{name.removesuffix('.json')}/{host}/{r}/" for r in resources)
    for step in _steps(folder):
        if step.status not in NOT_RUN:
            yield from (f"results/{step.step}/{what}" for what in _OF_STEP)


def drift(archive: Path, wanted: Filter | None = None) -> tuple[Drift, ...]:
    """Return what changed between the runs of a site, outside any of them.

    Only what both runs looked at is compared: a run of one step knows nothing of the others.

    Args:
        archive: The archive's folder.
        wanted: The later runs to look at.

    Raises:
        BadInput: It is no archive.
    """
    shown = {run.run_id for run in search.select(archive, wanted)}
    last: dict[str | None, tuple[Run, Facts]] = {}
    found = []
    for run in reversed(search.select(archive)):
        before, after = _snapshots(archive / run.folder)
        if run.site in last and before and run.run_id in shown:
            previous, state = last[run.site]
            if previous.state_after_sha256 != run.state_before_sha256:
                moved = _moved(state, before)
                found += [Drift(run.site, previous.run_id, run.run_id, moved)] if moved else []
        state = dict(last[run.site][1]) if run.site in last else {}
        for snapshot in (before, after):
            _learn(state, snapshot)
        last[run.site] = (run, state)
    return tuple(found)


def _snapshots(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a run saw; nothing where that was damaged, which verify says."""
    try:
        before, after = (_read(folder / name) for name in (BEFORE, AFTER))
        flat("", {BEFORE: before, AFTER: after})  # nor is what is nested too deep
    except UNREADABLE:
        return {}, {}
    return before, after


def _learn(state: Facts, snapshot: Mapping[str, Any]) -> None:
    """Add to what is known of each host and resource what a snapshot says of it."""
    for host, resources in snapshot.items():
        known = state[host] = dict(state.get(host, {}))
        known |= resources if isinstance(resources, dict) else {"": resources}


def _moved(state: Facts, before: Mapping[str, Any]) -> tuple[Difference, ...]:
    left: Facts = {}
    right: Facts = {}
    found: Facts = {}
    _learn(found, before)
    for host in state.keys() & found.keys():
        for resource in state[host].keys() & found[host].keys():
            left |= flat(f"{host}/{resource}", state[host][resource])
            right |= flat(f"{host}/{resource}", found[host][resource])
    return differences(left, right)


def _steps(folder: Path) -> tuple[StepResults, ...]:
    results = of_record(folder)
    return results.steps if results else ()


def _of_step(step: StepResults) -> Iterator[tuple[str, Any]]:
    name = f"results/{step.step}"
    yield f"{name}/status", step.status
    yield f"{name}/changes", [change.summary for change in step.changes]
    for made in step.outcomes:
        yield f"{name}/change {made.host}/{made.resource}", made.outcome
    for check in step.checks:
        yield f"{name}/check {check.name}/{check.where}", check.seen
    for number, (kind, one) in enumerate(others(step)):
        yield f"{name}/{kind} {number}", words(one)


def _read(path: Path) -> dict[str, Any]:
    """Return a document of a record; empty where the run left none."""
    if not path.is_file():
        return {}
    value: Any = json.loads(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {"": value}
