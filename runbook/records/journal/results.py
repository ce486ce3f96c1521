"""What a run's journal amounts to: the results of its steps, and whether they are proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runbook.records.journal.journal import Entry
from runbook.records.journal.status import ENDED_WELL, NOT_RUN, ExitStatus, Status

SCHEMA = 1
Results = dict[str, Any]

_LISTS = {"outcome": "outcomes", "check": "checks", "finding": "findings", "error": "errors"}


def collect(entries: Sequence[Entry]) -> Results:
    """Return the results of a run, as ``results.json`` holds them.

    Args:
        entries: The run's journal, whole or as far as it came.

    Returns:
        Plain values only. A key is always there; what did not happen is ``None`` or empty.
    """
    opened = entries[0]
    killed = _last(entries, "run killed")
    closed = _last(entries, "run closed") or killed or {}
    steps = [step_results(entries, declared, killed is not None) for declared in opened["steps"]]
    return {
        "schema": SCHEMA,
        "run_id": opened["run_id"],
        "site": opened["site"],
        "site_file": opened["site_file"],
        "mode": opened["mode"],
        "started": opened["time"],
        "finished": closed.get("time"),
        "duration_ms": closed.get("duration_ms"),
        "status": closed.get("status", Status.RUNNING.value),
        "reason": closed.get("reason", ""),
        "exit_status": closed.get("exit_status"),
        "steps": steps,
    }


def step_results(entries: Sequence[Entry], declared: Entry, killed: bool = False) -> Results:
    """Return what one step did and left as evidence."""
    own = [entry for entry in entries if entry.get("step") == declared["step"]]
    started, ended = _last(own, "step started"), _last(own, "step ended") or {}
    unfinished = Status.KILLED if killed else Status.RUNNING
    not_run = Status.SKIPPED if declared.get("skipped") else Status.NEVER_RAN
    status = unfinished if started else not_run
    return {
        "step": declared["step"],
        "notebook": declared["notebook"],
        "status": ended.get("status", status.value),
        "reason": ended.get("reason", ""),
        "started": started["time"] if started else None,
        "finished": ended.get("time"),
        "duration_ms": ended.get("duration_ms"),
        **_evidence(own, declared["step"]),
        "cells": _cells(own),
    }


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
    own = [entry for entry in entries if entry.get("step") == step]
    ended = _last(own, "notebook ended") or {"status": Status.FAILED, "reason": ""}
    status, reason = Status(ended["status"]), ended["reason"]
    if error is not None:
        broken = Status.FAILED if status in ENDED_WELL else status
        return broken, reason or f"{type(error).__name__}: {error}"
    if status not in ENDED_WELL:
        return status, reason
    reason = judge(_evidence(own, step), required)
    return (Status.FAILED if reason else status), reason


def judge(evidence: Results, required: Iterable[str] | None) -> str:
    """Return why the evidence of a step does not suffice; empty when the step is proven.

    Args:
        evidence: The step's digest, checks and verdict.
        required: Names of the checks that must have passed; ``None``: no proof is due.
    """
    if evidence["digest"] is None:
        return "no plan was shown"
    for check in evidence["checks"]:
        if check.get("passed") is not True:
            seen = f"expected {check.get('expected')}, seen {check.get('seen')}"
            return f"check {check['name']!r} failed on {check.get('where')}: {seen}"
    if required is None:
        return ""
    passed = {check["name"] for check in evidence["checks"]}
    missing = [f"check {name!r} left no evidence" for name in required if name not in passed]
    if not missing and evidence["verdict"] is None:
        missing = ["the notebook gave no verdict"]
    return "; ".join(missing)


def exit_status(results: Results) -> ExitStatus:
    """Return the exit status that the steps' results amount to, interruptions apart."""
    broken = first_broken(results)
    if broken is not None:
        codes = [error.get("exit_code") for error in broken["errors"]]
        known = [code for code in codes if code in tuple(ExitStatus) and code != ExitStatus.DONE]
        code = ExitStatus(known[0]) if known else ExitStatus.FAILED
        # Whoever refuses speaks for itself; that nothing was changed is said of the whole run.
        touched = code is ExitStatus.REFUSED and what_was_touched(results)
        return ExitStatus.FAILED if touched else code
    if results["mode"] == "plan" and any(step["changes"] for step in results["steps"]):
        return ExitStatus.DIFFERENCES
    return ExitStatus.DONE


def what_was_touched(results: Results) -> str:
    """Return how many changes of a run were made, or may have been; empty where none was."""
    outcomes = [outcome for step in results["steps"] for outcome in step["outcomes"]]
    made = sum(outcome.get("outcome") != "refused" for outcome in outcomes)
    return f" ({made} change{'s' if made > 1 else ''} had been begun before)" if made else ""


def first_broken(results: Results) -> Results | None:
    """Return the step that failed first, or ``None``."""
    broken = [step for step in results["steps"] if step["status"] not in ENDED_WELL | NOT_RUN]
    return min(broken, key=lambda step: step["finished"] or "~", default=None)


def _evidence(entries: Sequence[Entry], step: str) -> Results:
    found: Results = {"digest": None, "changes": [], "verdict": None}
    found |= {plural: [] for plural in _LISTS.values()}
    for event in (entry["event"] for entry in entries if entry["kind"] == "event"):
        if event.get("step") != step:  # evidence counts for the step that it names
            continue
        name, particulars = event["event"], _particulars(event)
        if name == "plan" and found["digest"] is None:
            found |= {"digest": event["digest"], "changes": event["changes"]}
        elif name == "verdict":
            found["verdict"] = particulars
        elif name in _LISTS:
            found[_LISTS[name]].append(particulars)
    found["outcomes"] += _cut_off(entries, step, found["outcomes"])
    return found | {"counts": _counts(found)}


def _cut_off(entries: Iterable[Entry], step: str, outcomes: Sequence[Results]) -> list[Results]:
    """Return the changes that were begun and of whose end nothing was heard."""
    names = ("host", "resource", "action")
    ended = [tuple(outcome.get(name) for name in names) for outcome in outcomes]
    told = [entry["event"] for entry in entries if entry["kind"] == "event"]
    begun = [e for e in told if e["event"] == "begun" and e.get("step") == step]
    message = "the run ended while it was made"
    return [
        {**{name: event.get(name) for name in names}, "outcome": "unknown", "message": message}
        for event in begun
        if tuple(event.get(name) for name in names) not in ended
    ]


def _counts(found: Results) -> dict[str, int]:
    done = [outcome.get("outcome") == "done" for outcome in found["outcomes"]]
    passed = [check.get("passed") is True for check in found["checks"]]
    return {
        "changes": len(found["changes"]),
        "done": done.count(True),
        "failed": done.count(False),
        "checks_passed": passed.count(True),
        "checks_failed": passed.count(False),
    }


def _particulars(event: Mapping[str, Any]) -> Results:
    return {name: value for name, value in event.items() if name not in ("event", "step")}


def _cells(entries: Iterable[Entry]) -> list[Results]:
    entries = list(entries)
    ended = _last(entries, "notebook ended")
    if ended is not None and "cells" in ended:
        return list(ended["cells"])
    names = ("cell", "index", "status", "duration_ms")
    return [{name: e[name] for name in names} for e in entries if e["kind"] == "cell ended"]


def _last(entries: Iterable[Entry], kind: str) -> Entry | None:
    return next((entry for entry in reversed(list(entries)) if entry["kind"] == kind), None)
