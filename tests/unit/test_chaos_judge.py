"""What is wrong after a cut is found, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chaos.judge import Evidence, harm, violations

RULES = "gateway content /etc/shorewall/rules"
EDGE = {RULES: "theirs and ours", "gateway firewall": "both", "docker01 configs": ""}
DRIFTED = EDGE | {RULES: "theirs", "gateway firewall": "theirs"}
FOREIGN = {"gateway file /etc/shorewall/rules": "theirs"}
FILE = {"host": "gateway", "action": "update", "resource": "file /etc/shorewall/rules"}


def results(status: str, exit_status: int | None, *outcomes: dict[str, str]) -> dict[str, object]:
    """Return the results of a run of one step."""
    return {"status": status, "exit_status": exit_status, "steps": [{"outcomes": list(outcomes)}]}


WELL = Evidence(
    fault="lost connection",
    status=1,
    said="gateway: the connection was lost",
    results=results("failed", 1),
    edge=EDGE,
    before=DRIFTED,
    after=DRIFTED,
    end=EDGE,
    foreign_edge=FOREIGN,
    foreign_after=FOREIGN,
    foreign_end=FOREIGN,
    clean=[0],
    planned=[FILE],
)
DONE = FILE | {"outcome": "done"}
UNKNOWN = FILE | {"outcome": "unknown"}
EMPTY = replace(WELL, results=results("failed", 1, UNKNOWN))
WRITTEN = DRIFTED | {RULES: EDGE[RULES]}
WROTE = replace(WELL, after=WRITTEN, planned=[])
AGAIN = "reported as done, and to do again: gateway update file /etc/shorewall/rules"


@pytest.mark.parametrize(
    "seen",
    [
        WELL,
        replace(WELL, status=3, results=results("failed", 3)),
        replace(WELL, fault="killed runner", status=-9, results=results("killed", None)),
        replace(
            WELL,
            fault="killed runner",
            status=-9,
            after=EDGE,
            planned=[],
            results=results("completed", 0, DONE),
        ),
        replace(WELL, fault="interrupt", status=130, results=results("interrupted", 130)),
        replace(WELL, after=WRITTEN, results=results("failed", 1, DONE), planned=[]),
        replace(WELL, after=WRITTEN, results=results("failed", 1, UNKNOWN), planned=[]),
        replace(WELL, status=0, after=EDGE, planned=[], results=results("completed", 0, DONE)),
    ],
)
def test_nothing_is_found_where_all_is_well(seen: Evidence) -> None:
    assert violations(seen) == []


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (f"neither the old nor the new file: {RULES}", replace(EMPTY, after=DRIFTED | {RULES: ""})),
        (
            "foreign, after the cut: gateway file /etc/shorewall/rules",
            replace(WELL, foreign_after={}),
        ),
        (
            "foreign, in the end: gateway rules",
            replace(WELL, foreign_end=FOREIGN | {"gateway rules": "x"}),
        ),
        ("left behind: gateway: unit x", replace(WELL, remains=["gateway: unit x"])),
        ("ended with 0 and was not done", replace(WELL, status=0, results=results("completed", 0))),
        ("ended with 1", replace(WELL, fault="interrupt", results=results("interrupted", 1))),
        ("ended in a traceback", replace(WELL, said="Traceback (most recent call last)")),
        (
            f"refused, and changed {RULES}",
            replace(WROTE, status=3, results=results("failed", 3, DONE)),
        ),
        ("recorded as completed, not failed", replace(WELL, results=results("completed", 1))),
        (
            "recorded as completed, not killed",
            replace(WELL, fault="killed runner", status=-9, results=results("completed", 0)),
        ),
        ("recorded with 3, ended with 1", replace(WELL, results=results("failed", 3))),
        (AGAIN, replace(WELL, results=results("failed", 1, DONE))),
        (f"done, and not reported: {RULES}", WROTE),
        ("the clean run ended with 3, then 0", replace(WELL, clean=[3, 0])),
        ("not as it was: gateway firewall", replace(WELL, end=EDGE | {"gateway firewall": ""})),
    ],
)
def test_what_is_wrong_is_found(found: str, seen: Evidence) -> None:
    assert violations(seen) == [found]


def test_only_what_stays_is_harm() -> None:
    assert harm(replace(WELL, remains=["gateway: /tmp/tmp.x"], status=3)) == []
    assert harm(replace(WELL, end=DRIFTED))
    assert harm(replace(WELL, foreign_end={}))
    assert harm(replace(WELL, clean=[1, 1, 1]))
