"""What the preflight makes of the Swarm: its members and its networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runbook.changes import Finding, Level, fine, forbids, warns
from runbook.site import Site
from runbook.site.names import same_host
from runbook.steps.preflight.facts import HostFacts
from runbook.steps.preflight.swarm_facts import Node, SwarmFacts


def judge_swarm(site: Site, hosts: Mapping[str, HostFacts], swarm: SwarmFacts) -> Iterator[Finding]:
    """Return every finding on the Swarm."""
    yield from membership(site, hosts, swarm)
    yield from overlaps(site, swarm)


def membership(site: Site, hosts: Mapping[str, HostFacts], swarm: SwarmFacts) -> Iterator[Finding]:
    """The Swarm's managers and workers are those declared, ready, reachable and in service.

    A host is the node whose ID its own engine names: what nodes are called, and how many entries
    have one name, does not matter.
    """
    nodes = {node.id: node for node in swarm.nodes}
    roles = dict.fromkeys(site.managers, "manager") | dict.fromkeys(site.workers, "worker")
    owners: dict[str, str] = {}
    for host, role in roles.items():
        engine = hosts[host].engine
        if engine is None or engine.error or engine.swarm != "active":
            continue  # the finding on its engine says so
        node = nodes.get(engine.node_id)
        if (owner := owners.setdefault(engine.node_id, host)) != host:
            yield _member(
                host,
                f"its engine is node {engine.node_id}, as that of {owner} is: one is a copy",
                "on the copy: docker swarm leave --force, and join it as a node of its own",
            )
        elif node is None:
            yield _member(
                host,
                f"its engine is node {engine.node_id}, which the Swarm of "
                f"{site.first_manager} does not have",
                "it is in another Swarm, or was removed from this one: on it, docker swarm leave, "
                "and join it to this one; or correct the site",
            )
        else:
            yield from _state(site, host, role, node)
    known = {e.node_id for host in roles if (e := hosts[host].engine) is not None}
    for node in swarm.nodes:
        if node.id not in known:
            yield from _other(site, hosts, node)
    managers = [node for node in swarm.nodes if node.role == "manager"]
    reached = [node for node in managers if node.reachability in ("leader", "reachable")]
    yield fine("swarm", "quorum", f"{len(reached)} of {len(managers)} managers reachable")


def _state(site: Site, host: str, role: str, node: Node) -> Iterator[Finding]:
    """Yield what keeps a declared host from being the node that it should be."""
    if node.role != role:
        how = "promote" if role == "manager" else "demote"
        yield _member(
            host,
            f"the Swarm has it as a {node.role}, declared a {role}",
            f"on a manager: docker node {how} {node.id}; or correct the site",
        )
    elif node.availability != "active":
        state = {"drain": "drained", "pause": "paused"}.get(node.availability, node.availability)
        yield _member(
            host,
            f"the node is {state}: it is given no tasks",
            f"on a manager: docker node update --availability active {node.id}; "
            "or take the host out of the site",
        )
    elif node.state != "ready":
        said = f" ({node.message})" if node.message else ""
        yield _member(
            host,
            f"its engine runs, and the Swarm has the node as {node.state or 'unknown'}{said}",
            "see that it reaches the managers' port 2377, and journalctl -u docker there",
        )
    elif role == "manager" and not node.reachability:
        yield _member(
            host,
            "it is to be a manager and has not become one",
            "see journalctl -u docker there; docker node demote and promote begins anew",
        )
    elif role == "manager" and node.reachability not in ("leader", "reachable"):
        yield _member(
            host,
            "the other managers cannot reach it",
            "see that port 2377 is open between them, and journalctl -u docker there",
        )
    elif node.address == str(site.keepalived.vip):
        yield _member(
            host,
            "it is in the Swarm with the VIP as its address",
            "leave and join again with --advertise-addr and its own address",
        )


def _other(site: Site, hosts: Mapping[str, HostFacts], node: Node) -> Iterator[Finding]:
    """Yield what there is to say of an entry that is no declared host's own.

    A node that left and joined again has a new ID; its old entry stays, and is down.
    """
    manages = node.role == "manager"
    gone = node.state == "down"
    removal = f"docker node demote {node.id}; " if manages else ""
    removal = f"on a manager: {removal}docker node rm {node.id}"
    named = f"{node.hostname or 'a node without a name'} ({node.id}, at {node.address or '?'})"
    host = next((one for one in hosts if _is_of(site, one, node)), None)
    engine = hosts[host].engine if host else None
    if host and engine is not None and (engine.error or engine.swarm != "active"):
        return  # most likely its own; the finding on its engine says what is wrong
    if host and gone:
        yield warns(
            host,
            "swarm",
            f"an entry of it is left over in the Swarm, {node.id}, which is down; the host is in "
            "it under another ID",
            "it counts for the quorum, which is smaller by one failure"
            if manages
            else "it has no effect but that `docker node ls` shows the host twice",
            removal,
        )
    elif manages and gone:
        yield warns(
            "swarm",
            "swarm",
            f"a manager that the site does not declare is down: {named}",
            "it counts for the quorum, which is smaller by one failure",
            f"{removal}; or bring it back and declare it",
        )
    elif manages:
        yield _member(
            node.hostname or "swarm",
            f"the Swarm has a manager that the site does not declare: {named}",
            "declare it: Traefik runs on every manager, so every one may hold the VIP",
        )


def _is_of(site: Site, host: str, node: Node) -> bool:
    return same_host(host, node.hostname) or node.address == str(site.hosts[host].address)


def _member(host: str, what: str, todo: str) -> Finding:
    why = "the edge is only as available as the managers that are there"
    return forbids(host, "swarm", what, why, todo)


def overlaps(site: Site, swarm: SwarmFacts) -> Iterator[Finding]:
    """Swarm takes overlay subnets from 10.0.0.0/8 unless told otherwise, without asking the LAN."""
    for name, subnets in swarm.overlays.items():
        for subnet in subnets:
            if not subnet.overlaps(site.lan):
                continue
            # Services on host-mode ports never join the ingress network, so the edge itself works.
            mine = name == site.network.name
            yield Finding(
                Level.BLOCKING if mine else Level.WARNING,
                "swarm",
                "overlay",
                f"overlay network {name} is {subnet}, over the LAN {site.lan}",
                "containers on it cannot reach hosts of the LAN"
                + ("" if mine else "; the edge publishes in host mode and is not on it"),
                "recreate it with a subnet of its own; for a new Swarm: docker swarm init "
                "--default-addr-pool",
            )
