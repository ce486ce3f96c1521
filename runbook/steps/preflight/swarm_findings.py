"""What the preflight makes of the Swarm: its members, its networks, its ports and its secrets."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.changes import Finding, Level, fine
from runbook.site import Site
from runbook.steps.preflight.facts import SwarmFacts


def judge_swarm(site: Site, swarm: SwarmFacts) -> Iterator[Finding]:
    """Return every finding on the Swarm."""
    yield from membership(site, swarm)
    yield from overlaps(site, swarm)
    yield from ingress(site, swarm)
    yield from secret(site, swarm)


def membership(site: Site, swarm: SwarmFacts) -> Iterator[Finding]:
    """The Swarm's managers and workers are those declared, ready, reachable and in service."""
    nodes = {node.hostname: node for node in swarm.nodes}
    roles = dict.fromkeys(site.managers, "manager") | dict.fromkeys(site.workers, "worker")
    for host, role in roles.items():
        node = nodes.get(host)
        if node is None:
            yield _member(
                host, "the Swarm has no node of this name", "join it, or correct the site"
            )
        elif node.role != role:
            yield _member(
                host, f"the Swarm has it as a {node.role}, declared a {role}", "correct one"
            )
        elif node.state != "ready" or node.availability != "active":
            yield _member(
                host,
                f"the node is {node.state} and {node.availability}",
                "bring it back, or drain it and take it out of the site",
            )
        elif role == "manager" and node.reachability not in ("leader", "reachable"):
            yield _member(
                host, "the other managers cannot reach it", "see journalctl -u docker there"
            )
        elif node.address == str(site.keepalived.vip):
            yield _member(
                host,
                "it is in the Swarm with the VIP as its address",
                "leave and join again with --advertise-addr and its own address",
            )
    if strangers := sorted(
        node.hostname
        for node in swarm.nodes
        if node.role == "manager" and node.hostname not in roles
    ):
        yield _member(
            strangers[0],
            f"the Swarm has managers that the site does not declare: {', '.join(strangers)}",
            "declare them: Traefik runs on every manager, so every one may hold the VIP",
        )
    reached = [n for n in swarm.nodes if n.reachability in ("leader", "reachable")]
    yield fine("swarm", "quorum", f"{len(reached)} of {len(site.managers)} managers reachable")


def _member(host: str, what: str, todo: str) -> Finding:
    why = "the edge is only as available as the managers that are there"
    return Finding(Level.BLOCKING, host, "swarm", what, why, todo)


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


def ingress(site: Site, swarm: SwarmFacts) -> Iterator[Finding]:
    """A port published through the routing mesh is taken on every node."""
    for port in (site.traefik.web_port, site.traefik.dashboard.port):
        service = swarm.ingress_ports.get(port) if port is not None else None
        if service is not None and service != f"{site.traefik.stack}_traefik":
            yield Finding(
                Level.BLOCKING,
                "swarm",
                "port",
                f"port {port} is published by service {service} through the routing mesh",
                "Traefik could not publish it in host mode",
                f"remove or move service {service}, or declare another port",
            )


def secret(site: Site, swarm: SwarmFacts) -> Iterator[Finding]:
    """The users of the dashboard are in a Docker secret, or the site says of what to make it."""
    dashboard = site.traefik.dashboard
    name = dashboard.users_secret
    if name is not None and name not in swarm.secrets and dashboard.users is None:
        yield Finding(
            Level.BLOCKING,
            "swarm",
            "secret",
            f"the Swarm has no secret {name!r}",
            "without it the stack is not deployed",
            "declare traefik.dashboard.users, or on a manager: "
            f"htpasswd -nB admin | docker secret create {name} -",
        )
