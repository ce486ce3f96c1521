"""Names, memberships and the VIP as on real sites: full names, old entries, two holders."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from conftest import SITES, TOP, WAIT_S, Break, Done, Operator, SiteWriter
from witnesses import holders, must

from runbook.lab import Lab
from runbook.site import load
from runbook.waiting import until

# An engine that is stopped while it starts a task leaves the interfaces of its networks behind, and
# starts no task on them ever after; systemd starts it three times a minute at most.
RENAME = (
    "hostname {0}; echo {0} > /etc/hostname; systemctl stop docker; systemctl reset-failed docker;"
    "ls /sys/class/net | grep -e ^vx- -e ^ov- | xargs -rn 1 ip link del; systemctl start docker"
)


def nodes(lab: Lab) -> list[list[str]]:
    """Return ID, name and state of every entry of the Swarm, as soon as it has a leader."""
    ls = "docker node ls --format '{{.ID}} {{.Hostname}} {{.Status}}'"
    listed = must(lab, "docker01", f"until {ls} >/dev/null 2>&1; do sleep 0.2; done; {ls}")
    return [line.split() for line in listed.splitlines()]


def settled(lab: Lab, names: set[str]) -> bool:
    """Return whether these names are in the Swarm and every node but an old entry is ready."""

    def seen() -> set[str]:
        return {name for _, name, state in nodes(lab) if state == "Ready"}

    return until(seen, holds=lambda ready: names <= ready, timeout_s=WAIT_S) >= names


def serving(lab: Lab) -> bool:
    """Return whether every manager has its Traefik again."""
    ls = "docker service ls --filter name=traefik_traefik --format '{{.Replicas}}'"
    counted = until(
        lambda: must(lab, "docker01", f"{ls} 2>&1 || true").strip(),
        holds=lambda seen: seen == "3/3",
        timeout_s=WAIT_S,
    )
    return counted == "3/3"


def rejoin(lab: Lab, node: str, role: str) -> str:
    """Have a node leave the Swarm and join it again; return its old ID, which is down by then."""
    token = must(lab, "docker01", f"docker swarm join-token -q {role}").strip()
    leader = lab.topology.lan_address(11)
    (old,) = [found for found, name, _ in nodes(lab) if name == node]
    must(lab, node, "docker swarm leave --force")
    if role == "manager":  # or a fourth one would be waited for by two
        must(lab, "docker01", f"docker node demote {old}")
    must(lab, node, f"docker swarm join --token {token} {leader}:2377")
    assert settled(lab, {node})
    is_down = until(
        lambda: [old, node, "Down"] in nodes(lab), holds=lambda down: down, timeout_s=WAIT_S
    )
    assert is_down
    return old


def findings(done: Done, level: str) -> list[str]:
    """Return the preflight's findings of a level, each as host and sentence."""
    words = done.stderr.splitlines()
    mark = f": {level}: "
    return [line.removeprefix("preflight ") for line in words if mark in line]


@pytest.fixture
def rename(edge: Lab) -> Iterator[Callable[[str, str], None]]:
    """Give a node another name for the time of the test: ``rename(node, name)``."""
    own: dict[str, str] = {}

    def named(node: str, name: str) -> None:
        own.setdefault(node, edge.topology.node(node).hostname)
        must(edge, node, RENAME.format(name))
        assert settled(edge, {name})
        assert serving(edge)

    yield named
    for node, name in list(own.items()):
        named(node, name)


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("docker06", "docker06.example.org"),
        ("docker05", "DOCKER05"),
        ("docker02", "Docker02.Example.ORG"),
        ("docker01", "docker01.internal"),
    ],
)
def test_name_of_a_node(
    rename: Callable[[str, str], None], operator: Operator, node: str, name: str
) -> None:
    """A node that calls itself by its full name, or in capitals, is the declared one."""
    rename(node, name)
    done = operator("run" if node == "docker01" else "check")  # the one that acceptance asks

    assert done.status == 0, done.text
    assert findings(done, "blocking") == []
    assert "0 changes planned" in done.text


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("docker06", "DOCKER06"),
        ("docker02", "docker02.example.org"),
        ("docker01", "Docker01"),
        ("gateway", "gateway.example.org"),
    ],
)
def test_declared_name(
    edge: Lab, operator: Operator, write_site: SiteWriter, node: str, name: str
) -> None:
    """The site may declare the full name, or capitals, of a node that has the short one."""
    config = write_site.folder / "ssh_config"
    text = edge.state.ssh_config.read_text()
    config.write_text(text.replace(f"Host {node}\n", f"Host {node} {name}\n"))
    site = load(TOP / SITES["varied"]).site.model_dump(mode="json", exclude_unset=True)
    site["ssh"] = {"config": str(config)}
    del site["records"]
    if node == "gateway":
        site["gateway"]["name"] = name
    for role in ("managers", "workers"):
        site[role] = {name if host == node else host: of for host, of in site[role].items()}
    whole = node == "docker01"  # the one that acceptance asks
    done = operator("run" if whole else "check", site=write_site(site, extends=False))

    assert done.status == 0, done.text
    assert "0 changes planned" in done.text


@pytest.mark.leaves("unknown")
@pytest.mark.parametrize(("node", "role"), [("docker06", "worker"), ("docker03", "manager")])
def test_node_that_joined_again(edge: Lab, operator: Operator, node: str, role: str) -> None:
    """Its old entry is left over and down; that is said, and forbids nothing."""
    old = rejoin(edge, node, role)
    try:
        done = operator("check")

        assert done.status in (0, 4), done.text  # Traefik's task may still be starting there
        assert findings(done, "blocking") == []
        (said,) = [line for line in findings(done, "warning") if old in line]
        assert said.startswith(f"{node}: warning: an entry of it is left over in the Swarm")
        assert "4 of 3" not in done.text
    finally:
        edge.up()

    assert old not in must(edge, "docker01", "docker node ls -q")


@pytest.mark.parametrize(
    ("node", "how"),
    [("docker04", "drain"), ("docker02", "pause")],
)
def test_out_of_service(edge: Lab, operator: Operator, broken: Break, node: str, how: str) -> None:
    """A drained or paused node is said to be that, and a run is refused."""
    update = "docker node update --availability"
    called = edge.topology.node(node).hostname
    broken("docker01", f"{update} {how} {called}", f"{update} active {called}")
    done = operator("check")

    assert done.status == 3
    assert [line.split(":")[0] for line in findings(done, "blocking")] == [node]
    assert f"the node is {'drained' if how == 'drain' else 'paused'}" in done.text


@pytest.mark.parametrize(
    ("node", "rule"),
    [
        ("docker02", "INPUT -p vrrp -j DROP"),
        ("docker01", "OUTPUT -d 224.0.0.0/8 -j DROP"),
        ("docker02", "INPUT -p 112 -j REJECT"),
    ],
)
def test_two_holders(edge: Lab, operator: Operator, broken: Break, node: str, rule: str) -> None:
    """Two managers that hold the VIP are found before a run, with the rule that is the cause."""
    vip = str(edge.topology.vip)
    broken(node, f"iptables -I {rule}", f"iptables -D {rule}")
    held = until(lambda: holders(edge, vip), holds=lambda h: len(h) > 1, timeout_s=WAIT_S)
    assert len(held) > 1
    for words in (["check"], ["run"]) if "-p vrrp" in rule else (["check"],):
        done = operator(*words)

        assert done.status == 3, done.text
        (said,) = findings(done, "blocking")
        assert "hold the VIP" in said
        assert f"the firewall of {node} drops adverts" in said


def test_worker_with_the_vip(edge: Lab, operator: Operator, broken: Break) -> None:
    """A host that is no manager and has the VIP is named."""
    device = f"{edge.topology.vip}/32 dev {edge.topology.interface}"
    broken("docker05", f"ip addr add {device}", f"ip addr del {device}")
    done = operator("check")

    assert done.status == 3
    assert any("it has the VIP" in line for line in findings(done, "blocking")), done.text
