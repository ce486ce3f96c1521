"""What a walk through a step tells the runner."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fakes import TOP, ConfigStore, parameters
from walking import Pretended, stepping

from runbook.errors import BadInput, ChangeFailed, CheckFailed
from runbook.events import MIME, Message, emit
from runbook.notebook.walk import Walk, open_step
from runbook.steps import CONVERGED

ARTICLE = str(TOP / "parameters" / "article.yml")


class TestEvents:
    """What the runner is told."""

    def test_without_a_runner(
        self, walk: Callable[..., Walk], shown: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A notebook that a person runs holds tables only."""
        for value in (None, "", "0", "true"):
            monkeypatch.delenv("RUNBOOK_EVENTS", raising=False)
            if value is not None:
                monkeypatch.setenv("RUNBOOK_EVENTS", value)
            step = walk("apply")
            step.apply()
            step.verify()

        assert shown == []

    def test_of_a_run(
        self, walk: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """What was seen, plan, outcomes, what is seen now, checks and verdict, in that order."""
        step = walk("apply")
        step.apply()
        step.verify()

        assert [event["event"] for event in events()] == [
            "hosts",
            "state",
            "plan",
            "begun",
            "outcome",
            "begun",
            "outcome",
            "state",
            "hosts",  # those that only the checks reached
            "check",
            "check",
            "verdict",
        ]
        assert {event["step"] for event in events()} == {"pretended"}

    def test_content(
        self, walk: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """Each carries the fields that the record keeps, as plain JSON."""
        step = walk("apply")
        step.apply()
        step.verify()
        told = {event["event"]: event for event in events()}

        assert json.loads(json.dumps(told)) == told
        assert len(told["plan"]["digest"]) == 64
        assert set(told["plan"]["changes"][0]) == {
            "host", "resource", "action", "summary", "before", "after", "diff", "undo",
        }  # fmt: skip
        outcome = told["outcome"] | {"duration_ms": 0}
        assert outcome == {
            "event": "outcome",
            "step": "pretended",
            "host": "docker01",
            "resource": "b",
            "action": "create",
            "outcome": "done",
            "duration_ms": 0,
            "message": "",
        }
        assert told["check"]["name"] == CONVERGED
        assert set(told["plan"]["sealed"]) == {"digest", "observed", "files", "changes"}
        assert told["plan"]["sealed"]["digest"] == told["plan"]["digest"]
        assert told["verdict"] == {
            "event": "verdict",
            "step": "pretended",
            "mode": "apply",
            "changes": 2,
            "checks_passed": 2,
            "checks_failed": 0,
        }

    def test_states(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        events: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """What was there before and after is told by host, resource and field."""
        module.stays = True
        step = walk("apply")
        step.apply()
        module.missing.remove("a")
        with pytest.raises(CheckFailed):
            step.verify()
        seen = {name: {"is": "missing"} for name in ("a", "b")}

        assert [(e["moment"], e["seen"]) for e in events() if e["event"] == "state"] == [
            ("before", {"docker01": seen}),
            ("after", {"docker01": {"b": seen["b"]}}),
        ]

    def test_step_without_a_state(
        self, module: Pretended, store: ConfigStore, events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """A step that only proves tells of no state, and nothing of it is sealed."""
        step = stepping(module.step(), "plan", store, parameters("article"))
        step.observe()
        step.plan()

        assert [event["event"] for event in events()] == ["hosts", "plan"]
        assert "sealed" not in events()[-1]

    def test_host_keys(
        self, preflight: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """The keys that the hosts proved to have are told once they were read."""
        preflight("plan").observe()
        (told,) = (event for event in events() if event["event"] == "hosts")

        assert told["keys"] == {h: f"SHA256:{h}" for h in parameters("lab").site.hosts}

    def test_of_a_failure(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        events: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """The change that failed and the error that stops the notebook are told."""
        module.broken["a"] = ChangeFailed("disk full", host="docker01")
        with pytest.raises(ChangeFailed):
            walk("apply").apply()
        outcome, error = events()[-2:]

        assert [event["event"] for event in events()[:-2]] == ["hosts", "state", "plan", "begun"]
        assert (outcome["outcome"], outcome["message"]) == ("failed", "docker01: disk full")
        assert (error["event"], error["kind"], error["exit_code"]) == ("error", "ChangeFailed", 1)
        assert "disk full" in error["message"]

    def test_of_a_failed_check(
        self,
        walk: Callable[..., Walk],
        module: Pretended,
        events: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """The verdict counts it before the error comes."""
        module.missing.clear()
        module.answer = "no"
        with pytest.raises(CheckFailed):
            walk("apply").verify()
        told = {event["event"]: event for event in events()}

        assert (told["verdict"]["checks_passed"], told["verdict"]["checks_failed"]) == (1, 1)
        assert told["error"]["kind"] == "CheckFailed"

    def test_of_bad_input(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        """An error of the first cell is told as well."""
        with pytest.raises(BadInput):
            open_step("traefik", ARTICLE, "destroy")

        assert [(event["event"], event["exit_code"]) for event in events()] == [("error", 2)]

    def test_of_the_plan_mode(
        self, walk: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """The verdict has the count of changes and no checks."""
        step = walk("plan")
        step.apply()
        step.verify()

        assert events()[-1] == {
            "event": "verdict",
            "step": "pretended",
            "mode": "plan",
            "changes": 2,
        }

    def test_findings(
        self, preflight: Callable[..., Walk], events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """The preflight tells each finding, and each host that it has read."""
        preflight("plan").observe()
        kinds = [event["event"] for event in events()]
        levels = {event["level"] for event in events() if event["event"] == "finding"}

        assert kinds.count("progress") == len(parameters("lab").site.hosts)
        assert levels == {"warning", "fine"}

    def test_mime(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        """One event is one message of the type that the runner takes out."""
        emit("x", Message(None, "waiting"))

        assert MIME == "application/vnd.runbook.event+json"
        assert events() == [
            {"event": "progress", "step": "x", "host": None, "message": "waiting"}
        ]  # fmt: skip
