"""What must hold after a cut, after the clean run that follows, and of what the cut run says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Seen = Mapping[str, str]

ENDS = {
    "killed runner": {-9},
    "interrupt": {0, 130},
}
"""With which statuses a run may end by its fault; of the others any that is not 3 or 0 at once."""

RECORDED = {"killed runner": "killed", "interrupt": "interrupted", "killed kernel": "kernel died"}
# The lock of a killed run stays, and goes stale. Stamps also move by themselves.
_NOT_CHANGED_BY_STEPS = (" configs", " stamp ")
_SETTLED = (" content ", " firewall", " addresses", " configs", " saved firewalls", " package ")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one cut.

    Attributes:
        fault: What was done to the run.
        status: What the run ended with.
        said: What it printed.
        results: What its record amounts to, once closed.
        edge: The witnesses of the lab as it is to be.
        before: Those before the run.
        after: Those after it.
        end: Those after the clean run.
        foreign_edge: What is others' on the lab as it is to be.
        foreign_after: The same after the run.
        foreign_end: The same after the clean run.
        clean: The status of each clean run.
        planned: What the first clean run found to change.
        remains: What lies about on the hosts and at the operator's.
    """

    fault: str
    status: int
    said: str
    results: Mapping[str, Any]
    edge: Seen
    before: Seen
    after: Seen
    end: Seen
    foreign_edge: Seen
    foreign_after: Seen
    foreign_end: Seen
    clean: Sequence[int]
    planned: Sequence[Mapping[str, Any]]
    remains: Sequence[str] = field(default=())


def violations(seen: Evidence) -> list[str]:
    """Return what does not hold; empty where all is well."""
    return [*_lost(seen), *_half_written(seen), *_untrue(seen), *_not_converged(seen)]


def harm(seen: Evidence) -> list[str]:
    """Return what the next cut must not begin with."""
    lost = changed(seen.foreign_edge, seen.foreign_end)
    return lost + _not_converged(seen)


def changed(one: Seen, other: Seen, *kinds: str) -> list[str]:
    """Return the names of the witnesses that differ, of some kinds or of all."""
    names = sorted(name for name in {**one, **other} if one.get(name) != other.get(name))
    return [name for name in names if not kinds or any(kind in name for kind in kinds)]


def _lost(seen: Evidence) -> list[str]:
    at_once = changed(seen.foreign_edge, seen.foreign_after, " file ")
    return [f"foreign, after the cut: {name}" for name in at_once] + [
        f"foreign, in the end: {name}" for name in changed(seen.foreign_edge, seen.foreign_end)
    ]


def _half_written(seen: Evidence) -> list[str]:
    contents = [name for name in {**seen.edge, **seen.after} if " content " in name]
    half = [
        f"neither the old nor the new file: {name}"
        for name in sorted(contents)
        if seen.after.get(name) not in (seen.before.get(name), seen.edge.get(name))
    ]
    return half + [f"left behind: {thing}" for thing in seen.remains]


def _untrue(seen: Evidence) -> list[str]:
    found = []
    if seen.status not in ENDS.get(seen.fault, {seen.status}):
        found.append(f"ended with {seen.status}")
    if seen.status == 0 and seen.planned:
        found.append("ended with 0 and was not done")
    if seen.status == 3 and (moved := _moved(seen)):
        found.append(f"refused, and changed {', '.join(moved)}")
    if "Traceback" in seen.said:
        found.append("ended in a traceback")
    word = seen.results.get("status", "no record")
    expected = "completed" if seen.status == 0 else RECORDED.get(seen.fault, "failed")
    # What is killed while it tells the managers' journals of its record had closed that before.
    was_closed = seen.status < 0 and word == "completed" and not seen.planned
    if word != expected and not was_closed:
        found.append(f"recorded as {word}, not {expected}")
    if seen.status >= 0 and seen.results.get("exit_status") != seen.status:
        found.append(f"recorded with {seen.results.get('exit_status')}, ended with {seen.status}")
    return found + _claims(seen)


def _moved(seen: Evidence) -> list[str]:
    names = changed(seen.before, seen.after)
    return [name for name in names if not any(kind in name for kind in _NOT_CHANGED_BY_STEPS)]


def _claims(seen: Evidence) -> list[str]:
    outcomes = [o for step in seen.results.get("steps", ()) for o in step["outcomes"]]
    done = {_what(outcome) for outcome in outcomes if outcome["outcome"] == "done"}
    if any(o["action"] == "reload" and o["outcome"] != "done" for o in outcomes):
        # The gateway takes back by itself what nobody confirmed: the rules and their file.
        done = {what for what in done if what[2] != "file /etc/shorewall/rules"}
    again = {_what(change) for change in seen.planned}
    found = [
        f"reported as done, and to do again: {' '.join(what)}" for what in sorted(done & again)
    ]
    if seen.fault.startswith("killed"):
        return found  # who is dead reports nothing
    told = {f"{outcome['host']} content {outcome['resource']}" for outcome in outcomes}
    return found + [
        f"done, and not reported: {name}"
        for name in changed(seen.before, seen.after, " content ")
        if not any(_same_file(name, other) for other in told)
    ]


def _same_file(witness: str, told: str) -> bool:
    """Whether a witness is of the file that an outcome tells of, whose path may begin with ~."""
    host, _, path = witness.partition(" content ")
    other, _, resource = told.partition(" content ")
    end = resource.removeprefix("file ").removeprefix("~")
    return host == other and resource.startswith("file ") and path.endswith(end)


def _what(change: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(change["host"]), str(change["action"]), str(change["resource"])


def _not_converged(seen: Evidence) -> list[str]:
    found = []
    if seen.clean[0] != 0:
        found.append(f"the clean run ended with {', then '.join(map(str, seen.clean))}")
    return found + [f"not as it was: {n}" for n in changed(seen.edge, seen.end, *_SETTLED)]
