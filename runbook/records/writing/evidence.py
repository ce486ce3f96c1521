"""What a record says besides its notebooks: made from the journal, and from nothing else.

before.json, after.json    what the steps saw, by host, resource and field
changes.diff               the differences that were made, or only planned
plan.json                  the sealed plan: settings, image, and each step's part
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from runbook.events import HostKeys, Observed, Part, Planned, SealedPlan, State, to_json
from runbook.records.journal.entries import Entry, RunOpened, told
from runbook.records.journal.results import Results


def states(entries: Sequence[Entry]) -> tuple[State, State]:
    """Return what the steps saw before and after; a step that broke off has no after.

    Args:
        entries: The run's journal.
    """
    before: State = {}
    after: State = {}
    begun: set[str] = set()
    for step, event in told(entries, Observed):
        if event.moment == "after":
            _add(after, event.seen)
        elif step not in begun:  # a cell that was run again tells of a later moment
            begun.add(step)
            _add(before, event.seen)
    return before, after


def plan(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return what would be done: the effective settings and the part of each step that has one.

    Args:
        entries: The run's journal.
    """
    opened = entries[0]
    assert isinstance(opened, RunOpened)
    steps: dict[str, Part] = {}
    for step, event in told(entries, Planned):
        if event.sealed:
            steps.setdefault(step, event.sealed)
    image = opened.settings.get("traefik.image")
    sealed: dict[str, Any] = to_json(SealedPlan(opened.settings, image, steps))
    return sealed


def changes_diff(results: Results) -> str:
    """Return the differences as a patch with comments: those made, or in a plan all of them."""
    return "".join(_differences(results))


def host_keys(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the fingerprint of every key that a host proved to have."""
    return {host: key for _, event in told(entries, HostKeys) for host, key in event.keys.items()}


def _add(state: State, seen: State) -> None:
    for host, resources in seen.items():
        state.setdefault(host, {}).update(resources)


def _differences(results: Results) -> Iterator[str]:
    for step in results.steps:
        done = {made.key for made in step.outcomes if made.outcome == "done"}
        for change in step.changes:
            if results.mode == "plan" or change.key in done:
                yield f"# {step.step}: {change.host}: {change.summary}\n"
                yield f"{change.diff}\n" if change.diff else ""
