"""What a journal amounts to: when a step is proven, and what a run exits with."""

from __future__ import annotations

from typing import Any

import pytest
from headless import VERDICT, check, entry, made, plan

from runbook.events import to_json
from runbook.records.journal.results import Results, collect, exit_status, judge, outcome
from runbook.records.journal.status import ENDED_WELL, NOT_RUN, Status, together

HOLDER = "one holder of the VIP"


def entries(*events: dict[str, Any], status: str = "verified", mode: str = "apply") -> list[Any]:
    """Return the journal of a run with one step, up to the end of its notebook."""
    steps = [{"step": "keepalived", "notebook": "30_keepalived.ipynb"}]
    opened = {"time": "T0", "run_id": "r", "site": "lab", "site_file": "lab.yml", "mode": mode}
    step = {"step": "keepalived"}
    return [
        entry("run opened", **opened, steps=steps),
        entry("step started", **step, time="T1", notebook="30_keepalived.ipynb"),
        *(entry("event", **step, event={**step, **event}) for event in events),
        entry("notebook ended", **step, status=status, reason="why", cells=[]),
    ]


def ended(status: str, *events: dict[str, Any], mode: str = "apply") -> Results:
    """Return the results of a run whose one step ended so."""
    last = {"step": "keepalived", "time": "T2", "status": status, "reason": "", "duration_ms": 5}
    return collect([*entries(*events, mode=mode), entry("step ended", **last)])


def judged(*events: dict[str, Any], required: tuple[str, ...] | None = (HOLDER,)) -> str:
    """Return why a step with these events is not proven."""
    return judge(collect(entries(*events)).steps[0], required)


class TestJudge:
    """A step is green only with evidence."""

    def test_proven(self) -> None:
        """A plan, every required check and a verdict are enough."""
        assert judged(plan(), check(HOLDER), VERDICT) == ""

    def test_planning_needs_a_plan_only(self) -> None:
        """Where no proof is due, checks and verdict may be absent."""
        assert judged(plan("docker01"), required=None) == ""

    def test_no_plan(self) -> None:
        """Nothing is applied unseen."""
        assert judged(check(HOLDER), VERDICT) == "no plan was shown"

    def test_missing_check(self) -> None:
        """A required check that left no evidence is named."""
        assert judged(plan(), check("another"), VERDICT) == f"check {HOLDER!r} left no evidence"

    def test_failed_check(self) -> None:
        """A failed check fails the step, even if the same one also passed."""
        assert judged(plan(), check(HOLDER), check(HOLDER, passed=False), VERDICT) == (
            f"check {HOLDER!r} failed on docker01: expected one, seen two"
        )

    def test_failed_check_nobody_required(self) -> None:
        """A check that is not required, and none is due, still counts when it fails."""
        assert "failed" in judged(plan(), check("another", passed=False), required=None)

    def test_passed_must_be_true(self) -> None:
        """Anything but ``true`` is not a pass."""
        assert "malformed" in judged(plan(), check(HOLDER) | {"passed": "yes"}, VERDICT)

    @pytest.mark.parametrize(
        "told", [{"passed": None}, {"passed": "no"}, {"name": 7}, {"seen": ["one"]}]
    )
    def test_malformed(self, told: dict[str, Any]) -> None:
        """What is not as its kind should be is no evidence, and is not passed over either."""
        event = check("another") | told

        assert judged(plan(), check(HOLDER), event, VERDICT) == (
            "the notebook told a malformed event: check"
        )

    def test_unknown(self) -> None:
        """A kind that is not known is passed over, and so is what is told of an event besides."""
        event = {"event": "opinion", "words": "fine"}

        assert judged(plan() | {"more": 1}, check(HOLDER), event, VERDICT) == ""

    def test_no_verdict(self) -> None:
        """The notebook must have come to its verdict."""
        assert judged(plan(), check(HOLDER)) == "the notebook gave no verdict"

    def test_evidence_of_another_step(self) -> None:
        """An event counts for the step that it names."""
        foreign = check(HOLDER) | {"step": "traefik"}

        assert judged(plan(), foreign, VERDICT) == f"check {HOLDER!r} left no evidence"


class TestOutcome:
    """How a step ended."""

    def test_notebook_that_did_not_end_well(self) -> None:
        """The notebook's own end comes before any evidence."""
        journal = entries(plan(), check(HOLDER), VERDICT, status="timed out")

        assert outcome(journal, "keepalived", TimeoutError(), (HOLDER,)) == ("timed out", "why")

    def test_error_before_the_notebook(self) -> None:
        """Without a notebook, the error itself is the reason."""
        error = OSError("no space left on device")

        assert outcome(entries()[:2], "keepalived", error, ()) == (
            "failed",
            "OSError: no space left on device",
        )

    def test_error_after_the_notebook(self) -> None:
        """An error after the last cell fails the step all the same."""
        journal = entries(plan(), VERDICT)

        assert outcome(journal, "keepalived", OSError("x"), ())[0] == "failed"

    def test_unproven(self) -> None:
        """A notebook that came to its end without evidence fails, and says what is missing."""
        assert outcome(entries(plan()), "keepalived", None, (HOLDER,)) == (
            "failed",
            f"check {HOLDER!r} left no evidence",
        )

    @pytest.mark.parametrize("status", ["changed", "verified", "unchanged"])
    def test_proven(self, status: str) -> None:
        """With its evidence a step ends as its notebook did."""
        journal = entries(plan(), check(HOLDER), VERDICT, status=status)

        assert outcome(journal, "keepalived", None, (HOLDER,)) == (status, "")


class TestExitStatus:
    """The numbers that scripts rely on."""

    def test_nothing_to_do(self) -> None:
        """No difference and no failure is 0."""
        assert exit_status(ended("unchanged", plan(), mode="plan")) == 0

    def test_differences(self) -> None:
        """Mode plan with changes to make is 4."""
        assert exit_status(ended("unchanged", plan("docker01"), mode="plan")) == 4

    def test_applied(self) -> None:
        """Changes that were made are no difference."""
        assert exit_status(ended("unchanged", plan("docker01"))) == 0

    @pytest.mark.parametrize("status", ["failed", "timed out", "kernel died"])
    def test_failed(self, status: str) -> None:
        """A step that did not end well is 1."""
        assert exit_status(ended(status, plan())) == 1

    @pytest.mark.parametrize(("told", "expected"), [(3, 3), (2, 2), (0, 1), (99, 1)])
    def test_error_event(self, told: int, expected: int) -> None:
        """The error that a failed step told of decides, where it names a known failure."""
        error: dict[str, Any] = {
            "event": "error",
            "host": None,
            "kind": "Unreachable",
            "exit_code": told,
        }
        error["message"] = "m"

        assert exit_status(ended("failed", error)) == expected


class TestCollect:
    """The results of a run."""

    def test_counts(self) -> None:
        """Changes, outcomes and checks are counted and listed without their envelope."""
        outcomes = [made("a"), made("b", "failed")]
        (step,) = ended("failed", plan("a", "b"), *outcomes, check("c")).steps

        assert to_json(step.counts) == {
            "changes": 2,
            "done": 1,
            "failed": 1,
            "checks_passed": 1,
            "checks_failed": 0,
        }
        assert to_json(step.outcomes[0]) == {n: v for n, v in made("a").items() if n != "event"}
        assert [change.host for change in step.changes] == ["a", "b"]

    def test_the_first_plan_counts(self) -> None:
        """The plan that was shown is not replaced by a later one."""
        later = plan() | {"digest": "1" * 64}
        (step,) = ended("unchanged", plan("a"), later).steps

        assert (step.digest, len(step.changes)) == ("0" * 64, 1)

    def test_every_key_is_always_there(self) -> None:
        """A step that never ran has the same keys as one that did."""
        journal = entries()
        never, ran = (to_json(r)["steps"][0] for r in (collect(journal[:1]), ended("unchanged")))

        assert never.keys() == ran.keys()
        assert never["status"] == "never ran"

    @pytest.mark.parametrize(
        ("skipped", "status"), [(None, "never ran"), (False, "never ran"), (True, "skipped")]
    )
    def test_step_that_did_not_run(self, skipped: bool | None, status: str) -> None:
        """What was not asked for is told from what was not reached."""
        declared: dict[str, Any] = {"step": "keepalived", "notebook": "30_keepalived.ipynb"}
        if skipped is not None:
            declared["skipped"] = skipped
        about = {"run_id": "r", "site": "lab", "site_file": "lab.yml", "mode": "apply"}
        opened = entry("run opened", **about, steps=[declared])

        assert collect([opened]).steps[0].status == status
        assert exit_status(collect([opened])) == 0

    @pytest.mark.parametrize(
        ("last", "status"), [(None, "running"), ("run killed", "killed"), ("run closed", "running")]
    )
    def test_step_without_an_end(self, last: str | None, status: str) -> None:
        """A step that was begun and has no end was killed only where somebody found it so."""
        journal = entries(plan())
        if last is not None:
            journal.append(entry(last, time="T3", status="killed", reason="why"))

        assert collect(journal).steps[0].status == status


class TestTogether:
    """What cells, or steps, that ended well come to."""

    @pytest.mark.parametrize(
        ("parts", "whole"),
        [
            ([], "unchanged"),
            (["unchanged"], "unchanged"),
            (["unchanged", "verified"], "verified"),
            (["verified", "changed", "unchanged"], "changed"),
        ],
    )
    def test_the_most_counts(self, parts: list[str], whole: str) -> None:
        """A change counts more than a proof, and a proof more than nothing."""
        assert together([Status(part) for part in parts]) == whole

    def test_good_bad_and_neither(self) -> None:
        """Every word but the one for a run under way is good news, bad news or none."""
        bad = {"failed", "timed out", "kernel died", "interrupted", "killed"}

        assert {s.value for s in Status} - ENDED_WELL - NOT_RUN == bad | {"running"}
        assert not ENDED_WELL & NOT_RUN
