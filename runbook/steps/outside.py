"""From outside the edge: who asks there, by which name and port, and until when."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping

from runbook.errors import CheckFailed
from runbook.hosts.live import Live
from runbook.site import Forward, Site
from runbook.waiting import until


def client_of(site: Site) -> str:
    """Return who asks, for a table."""
    return site.acceptance.client or "this machine"


def url_host(site: Site) -> str:
    """Return the gateway's name or address as the outside client knows it."""
    gateway = site.gateway
    return site.acceptance.url_host or str(gateway.public_address or gateway.address)


def from_outside(live: Live, snippets: Mapping[str, str]) -> dict[str, str]:
    """Run snippets on the outside client, or on this machine where none is declared.

    Raises:
        CheckFailed: This machine could not run them.
    """
    client = live.site.acceptance.client
    if client is not None:
        return dict(live.gather({client: snippets}, sudo=False)[client])
    seen = {}
    for name, snippet in snippets.items():
        try:
            done = subprocess.run(
                ["sh", "-s"], input=snippet.encode(), capture_output=True, timeout=30, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CheckFailed(f"asking from this machine took over {error.timeout} s") from error
        # An application writes as it likes, and of a long page only the beginning was taken.
        seen[name] = done.stdout.decode("utf-8", "replace")
    return seen


def when_known(
    live: Live, host: str, snippets: Mapping[str, str], holds: Callable[[dict[str, str]], bool]
) -> dict[str, str]:
    """Ask from outside until Traefik knows a virtual host, and return the last answers.

    Traefik asks the Swarm for services only every so often.
    """
    live.say(live.site.acceptance.client, f"waiting until Traefik knows {host}")
    return until(
        lambda: from_outside(live, snippets),
        holds=holds,
        timeout_s=2 * (live.site.traefik.refresh_seconds or 15) + 30,
    )


def way_to(site: Site, port: int | None) -> Forward | None:
    """Return what is forwarded to a port and admits the client, or may, where nobody knows it."""
    ways = [f for f in site.shorewall.forward if port is not None and (f.to_port or f.port) == port]
    address = site.acceptance.client_address
    possible = ways if address is None else []
    return next((way for way in ways if way.admits(address)), next(iter(possible), None))


def is_open(site: Site, way: Forward | None) -> bool:
    """Return whether a way certainly admits the client."""
    return way is not None and way.admits(site.acceptance.client_address)
