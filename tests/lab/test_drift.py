"""What was changed by hand is shown exactly, and the next run repairs it and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from conftest import OWN_LAB, Operator
from witnesses import RELOAD, holders, must, snapshot, touched

from runbook.lab import Lab

VIP = str(OWN_LAB.vip)
CONFIGURATION = "/etc/keepalived/keepalived.conf"
RULES = "/etc/shorewall/rules"
RECIPE = "/home/gerard/traefik/traefik.yml"
TASKS = {f"{host} tasks" for host in ("docker01", "docker02", "docker03")}


@dataclass(frozen=True, slots=True)
class Drift:
    """One act of another administrator, and what a run must make of it.

    Attributes:
        step: The step that finds it.
        node: Where it is done.
        act: The shell commands.
        changes: What the plan must name: host, action, resource.
        diff: The changed lines of all diffs together; no other line may differ.
        touched: The witnesses that may differ between before the act and after the repair.
    """

    step: str
    node: str
    act: str
    changes: tuple[tuple[str, str, str], ...]
    diff: tuple[str, ...]
    touched: frozenset[str] = frozenset()


DRIFTS = {
    "service": Drift(
        step="traefik",
        node="docker01",
        act="docker service update --quiet --detach --env-add WHO=someone --args '"
        "--api.insecure=true --providers.swarm --providers.swarm.exposedbydefault=true "
        "--providers.swarm.network=frontend' traefik_traefik",
        changes=(("docker01", "update", "service traefik_traefik"),),
        diff=(
            "-  --providers.swarm.exposedbydefault=true",
            "+  --providers.swarm.exposedbydefault=false",
            "-TaskTemplate.ContainerSpec.Env:",
            "-  WHO=someone",
        ),
        touched=frozenset({"docker01 service traefik_traefik", *TASKS}),
    ),
    "recipe": Drift(
        step="traefik",
        node="docker01",
        act=f"rm {RECIPE}",
        changes=(("docker01", "create", "file ~/traefik/traefik.yml"),),
        diff=(),  # the whole file
        touched=frozenset({f"docker01 file {RECIPE}"}),
    ),
    "keepalived.conf": Drift(
        step="keepalived",
        node="docker02",
        act=f"sed -i 's/priority 2/priority 200/' {CONFIGURATION}",
        changes=(
            ("docker02", "update", f"file {CONFIGURATION}"),
            ("docker02", "reload", "service keepalived"),
        ),
        diff=("-    priority 200", "+    priority 2"),
        touched=frozenset(
            {f"docker02 file {CONFIGURATION}", "docker02 stamp keepalived", "docker02 backups"}
        ),
    ),
    "keepalived stopped": Drift(
        step="keepalived",
        node="docker01",
        act="systemctl stop keepalived",
        changes=(("docker01", "restart", "service keepalived"),),
        diff=(),
        touched=frozenset({"docker01 unit keepalived", "docker01 stamp keepalived"}),
    ),
    "live DNAT rule": Drift(
        step="shorewall",
        node="gateway",
        act=f"iptables -t nat -D net_dnat -p tcp --dport 80 -j DNAT --to-destination {VIP}:80",
        changes=(("gateway", "reload", "live firewall"),),
        diff=(f"+-A net_dnat -p tcp -m tcp --dport 80 -j DNAT --to-destination {VIP}:80",),
    ),
    "rules block": Drift(
        step="shorewall",
        node="gateway",
        act=f"sed -i 's/^DNAT net loc:{VIP}:8080 tcp 8080$/DNAT net loc:{VIP}:9 tcp 9/' "
        f"{RULES} && {RELOAD}",
        changes=(("gateway", "update", f"file {RULES}"), ("gateway", "reload", "live firewall")),
        diff=(
            f"-DNAT net loc:{VIP}:9 tcp 9",
            f"+DNAT net loc:{VIP}:8080 tcp 8080",
            *(
                f"{sign}{rule.format(port)}"
                for rule in (
                    f"-A net-loc -d {VIP}/32 -p tcp -m tcp --dport {{0}} -m conntrack "
                    "--ctorigdstport {0} -j ACCEPT",
                    f"-A net_dnat -p tcp -m tcp --dport {{0}} -j DNAT --to-destination {VIP}:{{0}}",
                )
                for sign, port in (("-", 9), ("+", 8080))
            ),
        ),
        touched=frozenset({f"gateway file {RULES}", "gateway backups"}),
    ),
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
def test_drift_is_shown_and_repaired(edge: Lab, operator: Operator, drift: Drift) -> None:
    """The plan of the step names exactly what was done; a run of it leaves all else alone."""
    before = snapshot(edge)
    must(edge, drift.node, drift.act)
    shown = operator.plan(drift.step)
    assert shown.status == 4, shown.stderr
    assert named(shown.changes) == drift.changes
    if drift.diff:
        assert changed_lines(shown.changes) == sorted(drift.diff)
    repaired = operator.apply(drift.step)
    assert repaired.status == 0, repaired.stderr
    assert repaired.changes == shown.changes
    after = snapshot(edge)
    assert touched(before, after) - drift.touched == set()
    assert contents(before) == contents(after)


def test_all_at_once(edge: Lab, operator: Operator) -> None:
    """``check`` finds every drift in one go, a whole run repairs them, and ``check`` is content."""
    before = snapshot(edge)
    for drift in DRIFTS.values():
        must(edge, drift.node, drift.act)
    shown = operator("check", "--json")
    assert shown.status == 4, shown.stderr
    assert set(named(shown.changes)) == {c for drift in DRIFTS.values() for c in drift.changes}
    assert len(shown.changes) == len(set(named(shown.changes)))
    repaired = operator("run")
    assert repaired.status == 0, repaired.text
    after = snapshot(edge)
    expected = {name for drift in DRIFTS.values() for name in drift.touched}
    assert touched(before, after) - expected == set()
    assert contents(before) == contents(after)
    assert holders(edge, VIP) == ["docker01"]
    assert operator("check").status == 0


def test_plan_is_printed_for_people(edge: Lab, operator: Operator) -> None:
    """Without ``--json`` the plan shows host, file and both lines of the diff."""
    drift = DRIFTS["keepalived.conf"]
    must(edge, drift.node, drift.act)
    shown = operator("check")
    assert shown.status == 4
    lines = [line.strip() for line in shown.stdout.splitlines()]
    assert f"keepalived  docker02  update file {CONFIGURATION}" in lines
    assert "-    priority 200" in lines
    assert "+    priority 2" in lines
    assert "2 changes planned" in lines
    assert operator.apply("keepalived").status == 0


def named(changes: list[dict[str, str]]) -> tuple[tuple[str, str, str], ...]:
    return tuple((c["host"], c["action"], c["resource"]) for c in changes)


def changed_lines(changes: list[dict[str, str]]) -> list[str]:
    """Return the lines of all diffs that were added or removed, without the files' names."""
    lines = [line for change in changes for line in change["diff"].splitlines()]
    return sorted(
        line
        for line in lines
        # Others' rules are named where a reload keeps them; they are nothing that changes.
        if line[:1] in "+-" and not line.startswith(("--- ", "+++ ", "+# kept across the reload: "))
    )


def contents(seen: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in seen.items() if " content " in name}
