"""One step's part of a sealed plan, held against the one that was approved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import Refused
from runbook.steps import Row
from runbook.steps.approved import moved, refuse_moved, state

SEEN = {"docker01": {"network frontend": {"driver": "overlay", "scope": "swarm"}}}
FILES = {"docker01": {"/etc/f": "a\n"}, "docker02": {"/etc/f": "a\n"}}
PART: dict[str, Any] = {"digest": "0" * 64, "observed": SEEN, "files": FILES, "changes": []}


@pytest.fixture
def approved(tmp_path: Path) -> Callable[..., str]:
    """Approve a plan: ``approved(network=PART)`` returns its file."""

    def approve(**steps: Any) -> str:
        path = tmp_path / "plan.json"
        path.write_text(json.dumps({"schema": 1, "site": {}, "image": None, "steps": steps}))
        return str(path)

    return approve


class TestState:
    """Observations as a record has them."""

    def test_by_host_resource_and_field(self) -> None:
        """Each row of a table is one value."""
        rows = [
            Row("docker01", "network frontend", "driver", "overlay"),
            Row("docker01", "network frontend", "scope", "swarm"),
            Row("docker02", "file /etc/f", "mode", "0644"),
        ]

        assert state(rows) == SEEN | {"docker02": {"file /etc/f": {"mode": "0644"}}}

    def test_bytes_that_are_no_text(self) -> None:
        """What a host said in another encoding is text that every reader can have."""
        raw = b"caf\xe9".decode("utf-8", "surrogateescape")

        assert state([Row("h", "r", "f", raw)]) == {"h": {"r": {"f": "caf\ufffd"}}}


class TestMoved:
    """What is no longer as it was approved."""

    def test_equal(self, approved: Callable[..., str]) -> None:
        """The same part is let through, whatever else was approved."""
        plan = approved(network=PART, traefik={})

        assert moved("network", PART, plan) == []
        refuse_moved("network", PART, plan)

    def test_no_approval_asked(self) -> None:
        """Without an approved plan nothing has to be as it was."""
        assert moved("network", PART, "") == []

    def test_fact(self, approved: Callable[..., str]) -> None:
        """A fact that moved is named with what was there and what is."""
        now = {"docker01": {"network frontend": {"driver": "overlay", "scope": "local"}}}
        plan = approved(network=PART)

        assert moved("network", PART | {"observed": now}, plan) == [
            "docker01/network frontend/scope: swarm → local"
        ]

    def test_fact_that_came_or_went(self, approved: Callable[..., str]) -> None:
        """What one of the two does not have is absent there."""
        now = {"docker02": {"network frontend": {"driver": "overlay"}}}
        plan = approved(network=PART)

        assert moved("network", PART | {"observed": now}, plan) == [
            "docker01/network frontend/driver: overlay → absent",
            "docker01/network frontend/scope: swarm → absent",
            "docker02/network frontend/driver: absent → overlay",
        ]

    @pytest.mark.parametrize(
        ("written", "places"),
        [
            ({"docker01": {"/etc/f": "a\n"}, "docker02": {"/etc/f": "b\n"}}, ["docker02"]),
            ({"docker01": {"/etc/f": "a\n"}}, ["docker02"]),
            ({**FILES, "docker03": {"/etc/f": "a\n"}}, ["docker03"]),
        ],
    )
    def test_file(
        self, approved: Callable[..., str], written: dict[str, Any], places: list[str]
    ) -> None:
        """A file that would be written otherwise is named without its content."""
        plan = approved(network=PART)

        assert moved("network", PART | {"files": written}, plan) == [
            f"{place}//etc/f: would be written otherwise" for place in places
        ]

    @pytest.mark.parametrize("part", [{"changes": [{"host": "docker01"}]}, {"digest": "1" * 64}])
    def test_changes(self, approved: Callable[..., str], part: dict[str, Any]) -> None:
        """Other changes to the same facts and files are not what was approved either."""
        plan = approved(network=PART)

        assert moved("network", PART | part, plan) == [
            "the changes are not those that were approved"
        ]

    def test_step_that_was_not_approved(self, approved: Callable[..., str]) -> None:
        """A step of which the approved plan says nothing is not applied."""
        plan = approved(network=PART)

        assert moved("traefik", PART, plan) == ["what was approved has no plan of this step"]

    def test_refusal(self, approved: Callable[..., str]) -> None:
        """It names the step, all that moved, and what to do."""
        plan = approved(network=PART)
        with pytest.raises(Refused) as refused:
            refuse_moved("network", PART | {"observed": {}, "files": {}}, plan)

        assert refused.value.step == "network"
        assert refused.value.message.splitlines() == [
            "the world has moved since the plan was approved:",
            "  docker01/network frontend/driver: overlay → absent",
            "  docker01/network frontend/scope: swarm → absent",
            "  docker01//etc/f: would be written otherwise",
            "  docker02//etc/f: would be written otherwise",
        ]
        assert refused.value.todo == "plan it as it is now (--plan), and have that approved"
