"""What a record says besides its notebooks: made from the journal, and from nothing else.

before.json, after.json    what the steps saw, by host, resource and field
changes.diff               the differences that were made, or only planned
plan.json                  the sealed plan: settings, image, and each step's part
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from runbook.records.journal.journal import Entry
from runbook.records.journal.results import Results

State = dict[str, dict[str, dict[str, str]]]


def states(entries: Sequence[Entry]) -> tuple[State, State]:
    """Return what the steps saw before and after; a step that broke off has no after.

    Args:
        entries: The run's journal.
    """
    before: State = {}
    after: State = {}
    told: set[str] = set()
    for event in _events(entries, "state"):
        if event["moment"] == "after":
            _add(after, event["seen"])
        elif event["step"] not in told:  # a cell that was run again tells of a later moment
            told.add(event["step"])
            _add(before, event["seen"])
    return before, after


def plan(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return what would be done: the effective settings and the part of each step that has one.

    Args:
        entries: The run's journal.
    """
    settings = entries[0]["settings"]
    steps: dict[str, Any] = {}
    for event in _events(entries, "plan"):
        if event.get("sealed"):
            steps.setdefault(event["step"], event["sealed"])
    return {"site": settings, "image": settings.get("traefik.image"), "steps": steps}


def changes_diff(results: Results) -> str:
    """Return the differences as a patch with comments: those made, or in a plan all of them."""
    return "".join(_differences(results))


def host_keys(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the fingerprint of every key that a host proved to have."""
    return {host: key for event in _events(entries, "hosts") for host, key in event["keys"].items()}


def _events(entries: Sequence[Entry], kind: str) -> Iterator[Any]:
    for entry in entries:
        if entry["kind"] == "event" and entry["event"].get("event") == kind:
            yield entry["event"]


def _add(state: State, seen: State) -> None:
    for host, resources in seen.items():
        state.setdefault(host, {}).update(resources)


def _differences(results: Results) -> Iterator[str]:
    for step in results["steps"]:
        done = {
            (made.get("host"), made.get("resource"), made.get("action"))
            for made in step["outcomes"]
            if made.get("outcome") == "done"
        }
        for change in step["changes"]:
            names = ("host", "resource", "action")
            if results["mode"] == "plan" or tuple(change.get(n) for n in names) in done:
                yield f"# {step['step']}: {change.get('host')}: {change.get('summary')}\n"
                yield f"{change['diff']}\n" if change.get("diff") else ""
