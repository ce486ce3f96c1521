"""What the preflight has read that speaks against deploying Traefik."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from runbook.changes import Finding, forbids, warns
from runbook.errors import BadInput
from runbook.site import Site, SiteFile
from runbook.steps.traefik.htpasswd import content

if TYPE_CHECKING:
    from runbook.steps.preflight.facts import HostFacts
    from runbook.steps.preflight.swarm_facts import SwarmFacts


def objections(
    site_file: SiteFile, hosts: Mapping[str, HostFacts], swarm: SwarmFacts | None
) -> Iterator[Finding]:
    """Return what stands in the way of its ports and of the dashboard's users."""
    site = site_file.site
    for host in site.managers:
        yield from ports(site, host, hosts[host])
    if swarm is not None:
        yield from ingress(site, swarm)
        yield from secret(site, swarm)
        yield from unreadable(site_file, swarm)


def ports(site: Site, host: str, seen: HostFacts) -> Iterator[Finding]:
    """Traefik's ports are free or already Traefik's."""
    ours = f"service {site.traefik.stack}_traefik"
    wanted = [site.traefik.web_port, site.traefik.dashboard.port]
    if seen.listeners is None:
        yield warns(
            host,
            "port",
            "ss could not tell who listens, so taken ports are known for containers only",
            "Traefik publishes its ports in host mode and needs them free",
            f"on {host}: sudo apt-get install iproute2, then sudo ss -Hltnp",
        )
    for port in wanted:
        holder = (seen.listeners or {}).get(port) if port is not None else None
        if holder is None or holder == ours:
            continue
        yield forbids(
            host,
            "port",
            f"port {port} is taken by {holder}",
            "Traefik publishes it in host mode and could not start on this manager",
            f"stop {holder}, or declare another port",
        )


def ingress(site: Site, swarm: SwarmFacts) -> Iterator[Finding]:
    """A port published through the routing mesh is taken on every node."""
    for port in (site.traefik.web_port, site.traefik.dashboard.port):
        service = swarm.ingress_ports.get(port) if port is not None else None
        if service is not None and service != f"{site.traefik.stack}_traefik":
            yield forbids(
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
        yield forbids(
            "swarm",
            "secret",
            f"the Swarm has no secret {name!r}",
            "without it the stack is not deployed",
            "declare traefik.dashboard.users, or on a manager: "
            f"htpasswd -nB admin | docker secret create {name} -",
        )


def unreadable(site_file: SiteFile, swarm: SwarmFacts) -> Iterator[Finding]:
    """Read the dashboard's users where a Docker secret will be made of them; say why one cannot."""
    name = site_file.site.traefik.dashboard.users_secret
    users = site_file.secret("traefik.dashboard.users")
    if users is None or name is None or name in swarm.secrets:
        return
    try:
        content(users)
    except BadInput as error:
        why = f"the Docker secret {name!r} is made of it, and Traefik needs that"
        todo = error.todo or f"put it there, or correct {users.name} in the site"
        yield forbids("site", "secret", error.message, why, todo)
