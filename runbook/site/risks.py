"""The unsafe choices a site can make, which a run refuses until the site accepts them by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses

from runbook.site.model import Forward, Site

EVERYBODY = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class Risk:
    """One unsafe choice.

    Attributes:
        name: The word that accepts it under ``accepted_risks``.
        setting: The setting that takes it.
        what: What the site asks for.
        why: What can come of it.
        todo: What to do instead, or how to accept it.

    """

    name: str
    setting: str
    what: str
    why: str
    todo: str


def risks(site: Site) -> tuple[Risk, ...]:
    """Return every risk that this site takes, accepted or not."""
    return tuple(_risks(site))


def unaccepted_risks(site: Site) -> tuple[Risk, ...]:
    """Return the risks that this site takes and does not accept; a run must refuse them."""
    accepted = {accepted.risk for accepted in site.accepted_risks}
    return tuple(risk for risk in risks(site) if risk.name not in accepted)


def _risks(site: Site) -> Iterator[Risk]:
    dashboard = site.traefik.dashboard
    if dashboard.host is not None:
        yield Risk(
            name="plain-http-password",
            setting="traefik.dashboard.host",
            what=f"the dashboard's password goes to http://{dashboard.host} over plain HTTP",
            why="whoever is on the way reads it with every request, and the dashboard with it",
            todo="remove traefik.dashboard.host and users_secret, which keeps the dashboard off, "
            "or accept plain-http-password under accepted_risks with a reason",
        )
    if not dashboard.insecure:
        return
    yield Risk(
        name="insecure-dashboard",
        setting="traefik.dashboard.insecure",
        what=f"Traefik's API and dashboard answer on port {dashboard.port} without a password",
        why="whoever reaches a manager reads every router, service and address behind Traefik",
        todo="set insecure: false with host and users_secret, "
        "or accept insecure-dashboard under accepted_risks with a reason",
    )
    for number, forward in enumerate(site.shorewall.forward):
        if (forward.to_port or forward.port) == dashboard.port and _is_open(forward):
            yield Risk(
                name="public-dashboard",
                setting=f"shorewall.forward[{number}]",
                what=f"the gateway forwards port {forward.port} to that dashboard for everybody",
                why="the whole net reads it, and every flaw of the API is exposed with it",
                todo="remove the rule or give it a source, "
                "or accept public-dashboard under accepted_risks with a reason",
            )


def _is_open(forward: Forward) -> bool:
    return not forward.source or EVERYBODY in collapse_addresses(forward.source)
