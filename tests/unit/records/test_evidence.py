"""What a record says besides its notebooks, made from nothing but the journal."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from headless import entry, made, plan

from runbook.records.journal.results import collect
from runbook.records.keeping import approve
from runbook.records.writing import evidence

OPENED = {
    "time": "T",
    "run_id": "r",
    "site": "lab",
    "site_file": "lab.yml",
    "settings": {"name": "lab", "traefik.image": "traefik:v3.7.1", "keepalived.vip": "10.0.0.2"},
    "steps": [{"step": step, "notebook": f"{step}.ipynb"} for step in ("network", "traefik")],
}


def entries(*events: dict[str, Any], mode: str = "apply") -> list[Any]:
    """Return a journal in which the steps told these events."""
    told = [entry("event", step=event["step"], event=event) for event in events]
    return [entry("run opened", **OPENED, mode=mode), *told]


def state(step: str, moment: str, **hosts: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return the event of what a step saw."""
    return {"event": "state", "step": step, "moment": moment, "seen": hosts}


def of(step: str, event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as one of a step."""
    return {"step": step, **event}


def objections(schema: str, document: Any) -> list[str]:
    """Return what a published schema says against a document."""
    text = files("runbook.records").joinpath(f"schemas/{schema}.json").read_text()
    validator = jsonschema.Draft7Validator(json.loads(text))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


ABSENT = {"network frontend": {"exists": "no"}}
THERE = {"network frontend": {"driver": "overlay"}}
FILE = {"file /etc/f": {"sha256": "5"}}


class TestStates:
    """What was there before and after."""

    def test_steps_come_together(self) -> None:
        """Hosts and resources of all steps are in one document each."""
        before, after = evidence.states(
            entries(
                state("network", "before", docker01=ABSENT),
                state("network", "after", docker01=THERE),
                state("traefik", "before", docker01=FILE, docker02=FILE),
                state("traefik", "after", docker01=FILE),
            )
        )

        assert before == {"docker01": ABSENT | FILE, "docker02": FILE}
        assert after == {"docker01": THERE | FILE}
        assert (objections("state", before), objections("state", after)) == ([], [])

    def test_step_that_broke_off(self) -> None:
        """It has seen what was there before, and nothing after."""
        before, after = evidence.states(entries(state("network", "before", docker01=ABSENT)))

        assert (before, after) == ({"docker01": ABSENT}, {})

    def test_cell_that_was_run_again(self) -> None:
        """What was seen first was there before the run, and what was seen last after it."""
        before, after = evidence.states(
            entries(
                state("network", "before", docker01=ABSENT),
                state("network", "after", docker01=ABSENT),
                state("network", "before", docker01=THERE),
                state("network", "after", docker01=THERE),
            )
        )

        assert (before, after) == ({"docker01": ABSENT}, {"docker01": THERE})

    def test_nothing_was_seen(self) -> None:
        """Without a state there are two empty documents."""
        assert evidence.states(entries(of("network", plan("docker01")))) == ({}, {})


PART = {"digest": "0" * 64, "observed": {"docker01": ABSENT}, "files": {}, "changes": []}


class TestPlan:
    """What is sealed, and what somebody approves."""

    def test_parts(self) -> None:
        """The settings, the image, and the part of each step that has one."""
        told = evidence.plan(
            entries(
                of("network", plan("docker01") | {"sealed": PART}),
                of("traefik", plan()),
            )
        )

        assert told == {
            "schema": 1,
            "site": OPENED["settings"],
            "image": "traefik:v3.7.1",
            "steps": {"network": PART},
        }
        assert objections("plan", json.loads(approve.seal(told))) == []

    def test_the_first_plan_counts(self) -> None:
        """What was shown is not replaced by a later plan."""
        later = plan() | {"sealed": PART | {"digest": "1" * 64}}
        first = of("network", plan() | {"sealed": PART})

        assert evidence.plan(entries(first, of("network", later)))["steps"] == {"network": PART}

    def test_order_of_the_steps(self) -> None:
        """Steps side by side come in any order, and their plan has the same bytes."""
        one = of("network", plan() | {"sealed": PART})
        other = of("traefik", plan() | {"sealed": PART})
        sealed = [approve.seal(evidence.plan(entries(*e))) for e in ((one, other), (other, one))]

        assert sealed[0] == sealed[1]

    def test_site_without_an_image(self) -> None:
        """A site that names none has none."""
        opened = replace(entries()[0], settings={"name": "lab"})

        assert evidence.plan([opened]) == {"schema": 1, "site": {"name": "lab"}, "image": None} | {
            "steps": {}
        }


class TestDifferences:
    """The patch."""

    CHANGE = "# network: docker01: update file /etc/f\n-a\n+b\n"

    def told(self, *events: dict[str, Any], mode: str = "apply") -> str:
        """Return the patch of a run in which the step network told these events."""
        own = [of("network", event) for event in events]
        return evidence.changes_diff(collect(entries(*own, mode=mode)))

    def test_planned(self) -> None:
        """A plan's has every change."""
        assert self.told(plan("docker01"), mode="plan") == self.CHANGE

    def test_made(self) -> None:
        """An applied plan's has those that were made, and not those that failed or never came."""
        three = plan("docker01", "docker02", "docker03")

        assert self.told(three, made("docker01"), made("docker02", "failed")) == self.CHANGE
        assert self.told(three) == ""

    @pytest.mark.parametrize("field", ["host", "resource", "action"])
    def test_which_was_made(self, field: str) -> None:
        """An outcome is of the change with its host, resource and action, and of no other."""
        assert self.told(plan("docker01"), made("docker01") | {field: "another"}) == ""

    def test_change_of_one_line(self) -> None:
        """One without a diff is its summary."""
        short = plan("docker01")
        short["changes"][0] |= {"diff": "", "summary": "start service x: stopped → running"}

        assert self.told(short, made("docker01")) == (
            "# network: docker01: start service x: stopped → running\n"
        )


class TestHostKeys:
    """Which machines answered."""

    def test_of_all_steps(self) -> None:
        """Each host's key is told once it was met."""
        told = [
            {"event": "hosts", "step": "network", "keys": {"docker01": "SHA256:a"}},
            {"event": "hosts", "step": "traefik", "keys": {"docker01": "SHA256:a"}},
            {"event": "hosts", "step": "traefik", "keys": {"docker02": "SHA256:b"}},
        ]

        assert evidence.host_keys(entries(*told)) == {
            "docker01": "SHA256:a",
            "docker02": "SHA256:b",
        }
        assert evidence.host_keys(entries()) == {}
