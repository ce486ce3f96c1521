"""What the preflight reads of the recorded lab, and what of an article's site that is well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

from fakes import converged, live, parameters
from fakes import swarm as recorded_swarm

from runbook.changes import Finding, Level
from runbook.hosts.live import Live
from runbook.steps import STEPS, keepalived, shorewall
from runbook.steps.preflight.facts import EngineFacts, GatewayFacts, HostFacts, LanFacts
from runbook.steps.preflight.findings import judge
from runbook.steps.preflight.swarm_facts import Node, SwarmFacts

SITE = parameters("article").site
BLOCKING, WARNING, FINE = Level.BLOCKING, Level.WARNING, Level.FINE
ENGINE = EngineFacts("28.5.2", "1.51", "1.24", "active", node_id="id-docker01", controls=True)
MACS = {host: f"02:42:0a:00:00:{n:02x}" for n, host in enumerate(SITE.hosts, 11)}


def host(name: str = "docker01", **facts: Any) -> HostFacts:
    """Return a host of the article that is well, or has other facts."""
    well = HostFacts(
        hostname=name,
        system="Debian GNU/Linux 12 (bookworm)",
        apt=True,
        clock_offset_s=0.3,
        addresses={"127.0.0.1": "lo", str(SITE.hosts[name].address): "enp0s3"},
        macs=(MACS[name],),
        default_via="10.0.0.1",
        listeners={22: "sshd"},
        engine=None if name == "gateway" else replace(ENGINE, node_id=f"id-{name}"),
        lan=LanFacts((), ()) if name == "docker01" else None,
        gateway=GatewayFacts(
            version="5.2.8",
            zones=("fw", "net", "loc"),
            started=True,
            forwarding="On",
            ip_forward=True,
            stopped_rules=True,
        )
        if name == "gateway"
        else None,
    )
    return replace(well, **facts)


def gate(**facts: Any) -> dict[str, HostFacts]:
    """Return the hosts of the article, whose gateway has other facts."""
    known = host("gateway").gateway
    assert known is not None
    return hosts(gateway=host("gateway", gateway=replace(known, **facts)))


def hosts(**others: HostFacts) -> dict[str, HostFacts]:
    """Return the hosts of the article, all well but these."""
    return {name: others.get(name, host(name)) for name in SITE.hosts}


def node(name: str, **facts: Any) -> Node:
    """Return a node that is in service, or has other facts."""
    manager = name in SITE.managers
    well = Node(
        id=f"id-{name}",
        hostname=name,
        role="manager" if manager else "worker",
        state="ready",
        availability="active",
        address=str(SITE.hosts[name].address) if name in SITE.hosts else "10.0.0.99",
        reachability={"docker01": "leader"}.get(name, "reachable" if manager else ""),
    )
    return replace(well, **facts)


def swarm(*nodes: Node, **facts: Any) -> SwarmFacts:
    """Return a Swarm of the article's nodes, these in the place of those with their IDs."""
    others = {one.id: one for one in nodes}
    ids = {f"id-{name}": name for name in (*SITE.managers, *SITE.workers)}
    well = SwarmFacts(
        nodes=tuple(others.get(i) or node(ids[i]) for i in dict.fromkeys([*ids, *others])),
        overlays={"ingress": (IPv4Network("10.11.0.0/24"),)},
        ingress_ports={},
        secrets=frozenset(),
    )
    return replace(well, **facts)


def gist(found: Iterator[Finding]) -> list[tuple[Level, str, str]]:
    """Return level, host and subject of each finding."""
    return [(finding.level, finding.host, finding.subject) for finding in found]


def gateway(seen: dict[str, HostFacts]) -> Iterator[Finding]:
    """Return what speaks against rules on the article's gateway."""
    return iter(shorewall.STEP.objections(parameters("article"), seen, None))


def lan(seen: dict[str, HostFacts]) -> Iterator[Finding]:
    """Return what speaks against the article's VIP."""
    return iter(keepalived.STEP.objections(parameters("article"), seen, None))


def everything(seen: dict[str, HostFacts], known: SwarmFacts | None) -> list[Finding]:
    """Return what every rule and every step make of the article."""
    site_file = parameters("article")
    objections = [found for step in STEPS for found in step.objections(site_file, seen, known)]
    return [*judge(SITE, seen, known), *objections]


def only(all_found: Iterator[Finding]) -> Finding:
    """Return the one finding that is not fine; it says why and what to do."""
    (found,) = [finding for finding in all_found if finding.level is not FINE]
    assert found.why
    assert found.todo
    return found


HOSTS = ("docker01", "docker02", "docker03", "docker04", "docker05", "docker06", "gateway")


def lab(engine: dict[str, Any] | None = None, **texts: dict[str, str]) -> Live:
    """Return the lab's site as recorded, with other texts of some hosts."""
    return live(parameters("lab"), converged(**texts), recorded_swarm() | (engine or {}))
