"""The proof from outside: every manager, the VIP, the gateway, and an application behind them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runbook.changes import Change, Check
from runbook.errors import CheckFailed
from runbook.live import Live
from runbook.names import as_declared
from runbook.recipes import render
from runbook.site import Forward, Site
from runbook.steps import Row, host_rows
from runbook.steps.keepalived import expected_holder
from runbook.waiting import until

STACK = "runbook-demonstration"
VIP_SSH = "SSH to the VIP lands on the expected manager"
WEB = "the web port answers through the gateway"
DASHBOARD = "the dashboard is reached from outside only as declared"
GUARDED = "the dashboard asks for a password"
SHOWN = "an application on the overlay is reached through gateway, VIP and Traefik"
CLIENT = "the application sees the client's own address"
HIDDEN = "an application without traefik.enable stays hidden"
NOT_FOUND = "404 page not found"
REFUSED = "refused"
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Facts:
    """From where the checks will look, and what the demonstration will leave: nothing."""

    client: str
    url_host: str
    demonstration: str


def required_checks(site: Site) -> tuple[str, ...]:
    """Return the names of the checks without which the step is not proven."""
    names = [_loop_name(host) for host in (*site.managers, *site.workers)]
    names += [VIP_SSH, WEB, DASHBOARD] + ([GUARDED] if site.traefik.dashboard.host else [])
    if site.acceptance.demonstration:
        names += [SHOWN, HIDDEN] + ([CLIENT] if site.acceptance.client_address else [])
    return tuple(names)


def _loop_name(host: str) -> str:
    return f"http://{host}/ answers as its role says"


def observe(live: Live) -> Facts:
    """Return the vantage points; nothing needs to be read before the checks."""
    demonstration = live.site.acceptance.demonstration
    return Facts(
        _client(live.site), url_host(live.site), demonstration.image if demonstration else ""
    )


def _client(site: Site) -> str:
    return site.acceptance.client or "this machine"


def url_host(site: Site) -> str:
    """Return the gateway's name or address as the outside client knows it."""
    gateway = site.gateway
    return site.acceptance.url_host or str(gateway.public_address or gateway.address)


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    fields = [("asks", f"http://{facts.url_host}/"), ("deploys and removes", facts.demonstration)]
    return host_rows(facts.client, "outside client", [f for f in fields if f[1]])


def plan(live: Live, facts: Facts) -> list[Change]:
    """Return nothing: what is deployed for the proof is gone again when the step ends."""
    del live, facts
    return []


def files(live: Live, facts: Facts) -> dict[str, dict[str, str]]:
    """Return nothing: the demonstration is deployed from standard input."""
    del live, facts
    return {}


def verify(live: Live) -> list[Check]:
    """Look from a manager, from the gateway and from the outside client."""
    demonstration = live.site.acceptance.demonstration
    if demonstration is None:
        return [*loop(live), ssh_to_vip(live), *outside(live), *guarded(live)]
    # Traefik asks the Swarm for services every so often: the application is deployed first, and
    # the other checks are made while that time passes.
    try:
        deploy(live)
        before = [*loop(live), ssh_to_vip(live), *outside(live)]
        return [*before, *guarded(live), *demonstrated(live)]
    finally:
        remove(live)


def loop(live: Live) -> list[Check]:
    """Ask every node for its web port from one manager, as published.

    Source: ``article.md``: ``for domain in docker0{1,2,3,4,5,6}; do curl http://${domain}:80/``.
    """
    site, port = live.site, live.site.traefik.web_port
    nodes = {**site.managers, **site.workers}
    snippets = {name: _curl(f"http://{host.address}:{port}/") for name, host in nodes.items()}
    seen = live.gather({live.manager: snippets}, sudo=False)[live.manager]
    return [
        Check(
            _loop_name(name), live.manager, NOT_FOUND if name in site.managers else REFUSED, answer
        )
        for name, answer in ((name, seen[name].strip()) for name in nodes)
    ]


def _curl(url: str, *, show: str = "", host: str = "") -> str:
    """Return a snippet that prints a page's body, or why there is none.

    Args:
        url: What to ask for.
        show: What curl prints instead of the body (``--write-out``).
        host: The virtual host to name in the request.

    Source: curl(1), exit status 7: connection refused; 28: timed out.
    """
    # -q, --noproxy: neither ~/.curlrc nor a proxy of the client's may answer for the edge.
    words = ["curl", "-q", "--noproxy", "*", "-sS", "-m", "4", "--connect-timeout", "2", url]
    words += ["-o", "/dev/null", "-w", show] if show else []
    words += ["-H", f"Host: {host}"] if host else []
    command = shlex.join(words)
    return (
        f"{command} 2>/dev/null; rc=$?\n"
        f"case $rc in 0) ;; 7) echo {REFUSED} ;; 28) echo no answer ;; *) echo curl: $rc ;; esac"
    )


def ssh_to_vip(live: Live) -> Check:
    """Log in to the VIP and ask for the host's name: ``ssh 10.0.0.2 hostname`` of ``article.md``.

    The host key offered must be that of the expected manager, so no other host can answer.
    """
    expected, vip = expected_holder(live.site), live.site.keepalived.vip
    with live.fleet.fresh(expected, address=str(vip)) as connection:
        seen = as_declared(connection.run(["hostname"]).stdout.strip(), live.site.hosts)
    return Check(VIP_SSH, str(vip), expected, seen)


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
                ["sh", "-s"], input=snippet, capture_output=True, text=True, timeout=30, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CheckFailed(f"asking from this machine took over {error.timeout} s") from error
        seen[name] = done.stdout
    return seen


def outside(live: Live) -> list[Check]:
    """Ask for the web port and the dashboard through the gateway."""
    site = live.site
    web, board = _way(site, site.traefik.web_port), _way(site, site.traefik.dashboard.port)
    base, web_port = f"http://{url_host(site)}", web.port if web else site.traefik.web_port
    board_port = board.port if board else site.traefik.dashboard.port or 8080
    snippets = {
        "web": _curl(f"{base}:{web_port}/"),
        "dashboard": _curl(f"{base}:{board_port}/dashboard/", show="%{http_code}"),
    }
    seen = from_outside(live, snippets)
    client = _client(site)
    return [
        _outside_check(WEB, client, NOT_FOUND if web else CLOSED, seen["web"]),
        _outside_check(DASHBOARD, client, "200" if board else CLOSED, seen["dashboard"]),
    ]


def guarded(live: Live) -> list[Check]:
    """Ask for the dashboard by its virtual host, where it has one, without a password."""
    site, host = live.site, live.site.traefik.dashboard.host
    if host is None:
        return []
    web = _way(site, site.traefik.web_port)
    url = f"http://{url_host(site)}:{web.port if web else site.traefik.web_port}/dashboard/"
    ask = {"guarded": _curl(url, show="%{http_code}", host=host)}
    seen = when_known(live, host, ask, lambda seen: seen["guarded"].strip() != "404")
    expected = "401" if web else CLOSED
    return [_outside_check(GUARDED, _client(site), expected, seen["guarded"])]


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


def _outside_check(name: str, client: str, expected: str, answer: str) -> Check:
    plain = answer.strip().removeprefix("000").strip()  # curl writes 000 for no status
    # Shorewall's net policy drops what is not forwarded; another firewall may refuse it.
    closed = expected == CLOSED and plain in (REFUSED, "no answer")
    return Check(name, client, expected, CLOSED if closed else plain)


def _way(site: Site, port: int | None) -> Forward | None:
    """Return what is forwarded to a port and admits the client, if anything is."""
    ways = [f for f in site.shorewall.forward if port is not None and (f.to_port or f.port) == port]
    return next((way for way in ways if way.admits(site.acceptance.client_address)), None)


def deploy(live: Live) -> None:
    """Deploy the demonstration: one application with ``traefik.enable`` and one without."""
    acceptance = live.site.acceptance.demonstration
    assert acceptance is not None
    recipe = render(
        "demonstration.yml",
        image=acceptance.image,
        network=live.site.network.name,
        stack=STACK,
        host=acceptance.host,
        port=acceptance.port,
    )
    command = ["docker", "stack", "deploy", "--resolve-image", "never", "-c", "-", STACK]
    live.fleet[live.manager].run(command, stdin=recipe, timeout_s=60)


def remove(live: Live) -> None:
    """Remove the demonstration."""
    live.fleet[live.manager].run(["docker", "stack", "rm", STACK], timeout_s=60)


def demonstrated(live: Live) -> list[Check]:
    """Ask for the demonstration by its virtual host, from outside, until Traefik knows it."""
    site, demonstration = live.site, live.site.acceptance.demonstration
    assert demonstration is not None
    web = _way(site, site.traefik.web_port)
    assert web is not None  # a rule of the site
    url = f"http://{url_host(site)}:{web.port}/"
    ask = {"body": _curl(url, host=demonstration.host)}
    body = when_known(live, demonstration.host, ask, lambda seen: "Host:" in seen["body"])["body"]
    hidden = {"hidden": _curl(url, host=f"hidden.{demonstration.host}")}
    checks = [
        Check(
            SHOWN,
            _client(site),
            demonstration.host,
            header(body, "Host") or " ".join(body.split())[:200] or "nothing",
        ),
        Check(HIDDEN, _client(site), NOT_FOUND, from_outside(live, hidden)["hidden"].strip()),
    ]
    if site.acceptance.client_address is not None:
        seen = header(body, "X-Forwarded-For") or "no X-Forwarded-For"
        checks.append(Check(CLIENT, _client(site), str(site.acceptance.client_address), seen))
    return checks


def header(body: str, name: str) -> str:
    """Return a request header that an application printed as ``Name: value``; empty if absent."""
    for line in body.splitlines():
        key, separator, value = line.partition(":")
        if separator and key.strip().lower() == name.lower():
            return value.strip()
    return ""
