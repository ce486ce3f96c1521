"""Changes, plans, checks and findings as values."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from runbook.changes import (
    Change,
    Check,
    Finding,
    Level,
    Plan,
    blocking,
    in_stages,
    unified_diff,
)
from runbook.events import to_json
from runbook.hosts.live import Live


def make(_live: Live) -> None:
    """Make no change."""


UPDATE = Change(
    host="docker01",
    resource="file /etc/f",
    action="update",
    before="a\nb\n",
    after="a\nc\n",
    undo="copy it back",
    make=make,
)
INSTALL = replace(UPDATE, resource="package p", action="install", before="", after="1.2", stage=1)


class TestChange:
    """One change."""

    def test_diff_of_a_text(self) -> None:
        """Several lines are shown as a unified diff with the resource's name."""
        assert UPDATE.diff.splitlines() == [
            "--- file /etc/f (now)",
            "+++ file /etc/f (planned)",
            "@@ -1,2 +1,2 @@",
            " a",
            "-b",
            "+c",
        ]

    def test_diff_of_a_new_text(self) -> None:
        """What is created has every line added."""
        assert replace(UPDATE, before="").diff.splitlines()[3:] == ["+a", "+c"]

    def test_one_line_has_no_diff(self) -> None:
        """A value in one line is told in the summary alone."""
        assert INSTALL.diff == ""

    @pytest.mark.parametrize(
        ("change", "summary"),
        [
            (UPDATE, "update file /etc/f"),
            (INSTALL, "install package p: absent → 1.2"),
            (replace(INSTALL, before="1.1"), "install package p: 1.1 → 1.2"),
        ],
    )
    def test_summary(self, change: Change, summary: str) -> None:
        """One line says what is done to what, and the values where they fit."""
        assert summary == change.summary

    @pytest.mark.parametrize("after", ["a\nb", "a\r\nb\r\n"])
    def test_difference_in_line_ends_alone(self, after: str) -> None:
        """A change of line ends only is shown, and its summary is one line all the same."""
        change = replace(UPDATE, after=after)

        assert "\n" not in change.summary
        assert change.diff != ""

    def test_is_compared_by_what_it_says(self) -> None:
        """The function that makes it does not make two changes different."""
        assert replace(UPDATE, make=lambda _live: None) == UPDATE

    def test_as_plain_values(self) -> None:
        """The events carry texts only."""
        assert INSTALL.as_dict() == {
            "host": "docker01",
            "resource": "package p",
            "action": "install",
            "before": "",
            "after": "1.2",
            "undo": "copy it back",
            "summary": "install package p: absent → 1.2",
            "diff": "",
        }


class TestUnifiedDiff:
    """The diff of two texts."""

    def test_of_equal_texts(self) -> None:
        """There is none."""
        assert unified_diff("a\nb\n", "a\nb\n", "f") == ""

    def test_context(self) -> None:
        """Three lines around a difference are shown and no more."""
        before = "".join(f"{n}\n" for n in range(20))

        lines = unified_diff(before, before.replace("10\n", "ten\n"), "f").splitlines()

        assert lines[3:] == [" 7", " 8", " 9", "-10", "+ten", " 11", " 12", " 13"]


class TestDigest:
    """The name of exactly one plan."""

    def test_is_stable(self) -> None:
        """Equal plans have one digest, of 64 hexadecimal digits, in every process."""
        plan = Plan("traefik", (UPDATE, INSTALL))

        assert plan.digest == Plan("traefik", (replace(UPDATE), replace(INSTALL))).digest
        assert re.fullmatch("[0-9a-f]{64}", plan.digest)
        assert Plan("traefik", ()).digest == (
            "4d9ae517d54ce57e916d7b9d3e2457905dacd585f60b25c8a604a0b7fef97e0e"
        )

    @pytest.mark.parametrize(
        "difference",
        [
            {"host": "docker02"},
            {"resource": "file /etc/g"},
            {"action": "create"},
            {"before": "a\nx\n"},
            {"after": "a\nx\n"},
            {"undo": "rm it"},
        ],
    )
    def test_tells_every_field(self, difference: dict[str, Any]) -> None:
        """A plan with anything else in it has another digest."""
        changed = Plan("traefik", (replace(UPDATE, **difference),))

        assert changed.digest != Plan("traefik", (UPDATE,)).digest

    def test_tells_order_count_and_step(self) -> None:
        """So has one in another order, with one change more, or of another step."""
        digests = {
            Plan("traefik", (UPDATE, INSTALL)).digest,
            Plan("traefik", (INSTALL, UPDATE)).digest,
            Plan("traefik", (UPDATE,)).digest,
            Plan("traefik", ()).digest,
            Plan("network", ()).digest,
        }

        assert len(digests) == 5

    def test_tells_the_stage(self) -> None:
        """When a change is made is a part of the plan."""
        changed = Plan("traefik", (replace(UPDATE, stage=1),))

        assert changed.digest != Plan("traefik", (UPDATE,)).digest


class TestStages:
    """The order in which changes are made."""

    def test_are_sorted(self) -> None:
        """Stages follow their numbers; within one, changes stay in the plan's order."""
        early, also = replace(UPDATE, stage=1), replace(UPDATE, stage=1, host="docker02")
        late = replace(INSTALL, stage=8)

        assert Plan("x", (late, early, also)).stages == ((early, also), (late,))

    def test_are_those_of_the_step(self) -> None:
        """The step says what comes first; a stage in which nothing is made keeps its number."""
        changes = in_stages([UPDATE, replace(UPDATE, host="docker02")], [], iter([INSTALL]))

        assert [(c.stage, c.host, c.action) for c in changes] == [
            (0, "docker01", "update"),
            (0, "docker02", "update"),
            (2, "docker01", "install"),
        ]
        assert changes[0] == UPDATE

    def test_of_nothing(self) -> None:
        """A plan without changes has no stages."""
        assert Plan("x", ()).stages == ()


class TestCheck:
    """One statement about the running system."""

    @pytest.mark.parametrize(
        ("seen", "passed"),
        [("404", True), ("200", False), ("", False), ("404 page not found", False)],
    )
    def test_passes_on_what_was_expected(self, seen: str, passed: bool) -> None:
        """Nothing but the expected value passes."""
        check = Check("answers", "docker01", "404", seen)

        assert check.passed is passed
        assert to_json(check) == {
            "name": "answers",
            "where": "docker01",
            "expected": "404",
            "seen": seen,
            "passed": passed,
        }


class TestFinding:
    """One answer of the preflight."""

    def test_blocking(self) -> None:
        """Only blocking findings forbid a run."""
        findings = [Finding(level, "docker01", "clock", level) for level in Level]

        assert blocking(findings) == [findings[0]]

    def test_as_plain_values(self) -> None:
        """The events carry its level as a word."""
        assert to_json(Finding(Level.WARNING, "docker01", "clock", "off")) == {
            "level": "warning",
            "host": "docker01",
            "subject": "clock",
            "what": "off",
            "why": "",
            "todo": "",
        }
