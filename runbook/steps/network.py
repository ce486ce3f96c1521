"""The overlay network that joins Traefik and the applications."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.changes import Change, Check
from runbook.hosts.live import Live
from runbook.resources.network import Overlay, OverlayFacts
from runbook.site import Site, SiteFile
from runbook.steps.step import CONVERGED, Row, Step, host_rows

EXISTS = "the overlay network is as declared"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the Swarm says of the network."""

    host: str
    name: str
    overlay: OverlayFacts | None


def declared(site: Site) -> Overlay:
    """Return the network that the site declares."""
    network = site.network
    subnet = str(network.subnet) if network.subnet else None
    return Overlay(
        site.first_manager,
        network.name,
        subnet,
        network.attachable,
        network.encrypted,
        network.mtu,
    )


def observe(live: Live) -> Facts:
    """Read the network from the Engine API of one manager."""
    return Facts(live.manager, live.site.network.name, declared(live.site).observe(live))


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    resource = f"network {facts.name}"
    seen = facts.overlay
    if seen is None:
        return host_rows(facts.host, resource, [("exists", "no")])
    names = ("driver", "scope", "attachable", "encrypted", "subnet", "mtu")
    return host_rows(facts.host, resource, [(name, getattr(seen, name)) for name in names])


def plan(site_file: SiteFile, facts: Facts) -> list[Change]:
    """Return the creation of the network where it is absent."""
    return declared(site_file.site).plan(facts.overlay)


def verify(live: Live) -> list[Check]:
    """Ask the Swarm for the network again."""
    wanted = declared(live.site)
    seen = wanted.observe(live)
    differences = "absent" if seen is None else "; ".join(wanted.differences(seen))
    return [Check(EXISTS, live.manager, "as declared", differences or "as declared")]


STEP = Step(
    name="network",
    notebook="10_network.ipynb",
    needs=lambda _site: frozenset({"preflight"}),
    manages=True,
    observe=observe,
    rows=rows,
    plan=plan,
    verify=verify,
    required_checks=lambda _site: (CONVERGED, EXISTS),
)
