"""The article, value for value: from a bare lab to an edge, a second run, a check, an outsider."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rehearsal
from conftest import SITES, Done, Labs, Operator, make_bare
from witnesses import Snapshot, holders, must, snapshot, touched

from runbook.lab import Lab

MANAGERS = ("docker01", "docker02", "docker03")
WORKERS = ("docker04", "docker05", "docker06")
KEEPALIVED = "/etc/keepalived/keepalived.conf"
PLANNED = [
    ("docker01", "create", "network frontend"),
    ("docker01", "create", "file ~/traefik/traefik.yml"),
    ("docker01", "create", "service traefik_traefik"),
    *[
        (host, action, resource)
        for host in MANAGERS
        for action, resource in (
            ("install", "package keepalived"),
            ("create", f"file {KEEPALIVED}"),
            ("enable", "service keepalived"),
            ("restart", "service keepalived"),
        )
    ],
    ("gateway", "update", "file /etc/shorewall/rules"),
    ("gateway", "reload", "live firewall"),
]


@dataclass(frozen=True, slots=True)
class Story:
    """Plan, run, run and check on a bare lab, with the witnesses between them."""

    records: Path
    bare: Snapshot
    plan: Done
    planned: Snapshot
    run: Done
    edge: Snapshot
    again: Done
    still: Snapshot
    check: Done


@pytest.fixture(scope="module")
def story(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story, told once for all tests of this module."""
    lab, state = labs("lab"), labs.states["lab"]
    operator = Operator(tmp_path_factory.mktemp("story") / "records", SITES["lab"])
    make_bare(lab, state)
    state.known = "unknown"
    bare = snapshot(lab)
    plan, planned = operator("run", "--plan", "--json"), snapshot(lab)
    run, edge = operator("run", "--json"), snapshot(lab)
    again, still = operator("run", "--json"), snapshot(lab)
    check = operator("check")
    state.known = "edge" if check.status == 0 else "unknown"
    return Story(operator.records, bare, plan, planned, run, edge, again, still, check)


class TestPlan:
    """``run --plan`` on a bare lab."""

    def test_names_every_change(self, story: Story) -> None:
        """On a bare lab every change that a run will make is named, and no other."""
        assert story.plan.status == 4, story.plan.stderr
        named = [(c["host"], c["action"], c["resource"]) for c in story.plan.changes]
        assert named == PLANNED

    def test_shows_each_change_with_its_diff_and_undo(self, story: Story) -> None:
        """Files, stack and firewall come with a diff, everything with a way back."""
        assert all(change["undo"] for change in story.plan.changes)
        diffs = {(c["host"], c["resource"]): c["diff"] for c in story.plan.changes if c["diff"]}
        assert set(diffs) == {
            ("docker01", "file ~/traefik/traefik.yml"),
            ("docker01", "service traefik_traefik"),
            *[(host, f"file {KEEPALIVED}") for host in MANAGERS],
            ("gateway", "file /etc/shorewall/rules"),
            ("gateway", "live firewall"),
        }
        assert "+DNAT net loc:10.0.0.2:80 tcp 80" in diffs["gateway", "file /etc/shorewall/rules"]
        assert "+    priority 3" in diffs["docker01", f"file {KEEPALIVED}"]
        assert "+    image: traefik:3.7" in diffs["docker01", "file ~/traefik/traefik.yml"]

    def test_moves_nothing(self, story: Story) -> None:
        """No package, no file, no network, no service, no rule."""
        assert touched(story.bare, story.planned) == set()
        assert [story.planned[f"{host} package keepalived"] for host in MANAGERS] == ["", "", ""]
        assert [line.split()[0] for line in story.planned["docker01 networks"].split("|")] == [
            "ingress"
        ]
        assert "DNAT" not in story.planned["gateway firewall"]


class TestRun:
    """The first run."""

    def test_makes_every_planned_change(self, story: Story) -> None:
        """The changes made are those of the plan, and every check holds."""
        assert story.run.status == 0, story.run.stderr
        assert story.run.changes == story.plan.changes
        steps = story.run.results["steps"]
        made = ["changed"] * 4
        assert [step["status"] for step in steps] == ["verified", *made, "verified"]
        assert sum(step["counts"]["done"] for step in steps) == len(PLANNED)
        checks = [check for step in steps for check in step["checks"]]
        assert len(checks) > 20
        assert all(check["passed"] for check in checks)

    def test_is_what_the_machines_themselves_say(self, lab: Lab, story: Story) -> None:
        """One Traefik on each manager, keepalived at boot, the VIP on one host, two DNAT rules."""
        for host in MANAGERS:
            assert story.edge[f"{host} tasks"].count("traefik_traefik ") == 1
            assert story.edge[f"{host} package keepalived"].startswith("installed ")
            assert "ActiveState=active" in story.edge[f"{host} unit keepalived"]
            assert "UnitFileState=enabled" in story.edge[f"{host} unit keepalived"]
        assert [story.edge[f"{host} tasks"] for host in WORKERS] == ["", "", ""]
        assert holders(lab, "10.0.0.2") == ["docker01"]
        assert story.edge["gateway firewall"].count("-j DNAT --to-destination 10.0.0.2:") == 2

    def test_leaves_no_lock_and_no_rollback(self, story: Story) -> None:
        """What protected the run while it lasted is gone after it."""
        assert story.edge["docker01 configs"] == ""
        assert story.edge["gateway units runbook"] == ""
        assert story.edge["gateway saved firewalls"] == ""

    def test_record_holds_an_executed_notebook_for_each_step(self, story: Story) -> None:
        """The record has the six notebooks, and no traceback in any of them."""
        notebooks = sorted((story.records / story.run.results["run_id"]).glob("*.ipynb"))
        assert [path.name[:2] for path in notebooks] == ["00", "10", "20", "30", "40", "50"]
        assert not any("Traceback" in path.read_text() for path in notebooks)


class TestSecondRun:
    """The run after it, and ``check``."""

    def test_plans_nothing(self, story: Story) -> None:
        """Every step has 0 changes, and the checks hold again."""
        assert story.again.status == 0, story.again.stderr
        counts = {s["step"]: s["counts"]["changes"] for s in story.again.results["steps"]}
        assert counts == dict.fromkeys(counts, 0)
        assert [s["status"] for s in story.again.results["steps"]] == ["verified"] * 6
        assert all(c["passed"] for s in story.again.results["steps"] for c in s["checks"])

    def test_touches_nothing(self, story: Story) -> None:
        """The service's version, containers, inodes, start times and the VIP are as before."""
        assert "docker01 service traefik_traefik" in story.edge
        assert touched(story.edge, story.still) == set()

    def test_check_finds_nothing(self, story: Story) -> None:
        """``check`` ends with 0."""
        assert story.check.status == 0, story.check.text
        assert "0 changes planned" in story.check.text


class TestRehearsal:
    """The run that docs/ shows to visitors."""

    def test_is_what_a_run_does(self, story: Story, tmp_path: Path) -> None:
        """It planned and checked what a run plans and checks now; else ``make rehearsal``."""
        kept = json.loads((rehearsal.unpack(tmp_path) / "results.json").read_text())
        assert shown(kept) == shown(story.run.results)


def shown(results: dict[str, Any]) -> list[Any]:
    """Return what a run planned and checked, without what is of the moment."""
    return [
        (
            step["step"],
            step["status"],
            [
                (c["host"], c["action"], c["resource"], c["diff"], c["undo"])
                for c in step["changes"]
            ],
            [(c["name"], c["where"]) for c in step["checks"]],
        )
        for step in results["steps"]
    ]


class TestArticleByHand:
    """What the article checks by hand, typed in by hand."""

    def test_ssh_to_the_vip(self, edge: Lab) -> None:
        """``ssh 10.0.0.2 hostname`` on the gateway prints docker01."""
        status, said = edge.exec("gateway", ["ssh", "10.0.0.2", "hostname"], user="gerard")
        assert (status, said.strip()) == (0, "docker01")

    def test_the_loop_over_all_nodes(self, edge: Lab) -> None:
        """Managers answer 404, workers refuse the connection."""
        loop = (
            "for domain in docker01 docker02 docker03 docker04 docker05 docker06; do "
            'echo "${domain} -> $(curl -sS http://${domain}:80/ 2>&1)"; done'
        )
        lines = must(edge, "docker01", loop, user="gerard").splitlines()
        assert lines[:3] == [f"{host} -> 404 page not found" for host in MANAGERS]
        assert [line.partition(" port 80")[0] for line in lines[3:]] == [
            f"{host} -> curl: (7) Failed to connect to {host}" for host in WORKERS
        ]

    def test_from_outside(self, edge: Lab) -> None:
        """The client sees a 404 on port 80 of the gateway and the dashboard on port 8080."""
        assert must(edge, "client", "curl -s http://gateway/").strip() == "404 page not found"
        page = must(edge, "client", "curl -s http://gateway:8080/dashboard/")
        assert "<title>Traefik" in page
