"""The proof from outside: every manager, the VIP, the gateway, and an application behind them."""

from __future__ import annotations

from collections.abc import Mapping

from runbook.changes import Check
from runbook.errors import ChangeFailed, RunbookError
from runbook.hosts.live import Live
from runbook.lock import site_lock
from runbook.site import Site
from runbook.site.names import as_declared
from runbook.steps.demonstration import (
    CLIENT,
    HIDDEN,
    SHOWN,
    demonstrated,
    left_behind,
    remove,
    try_to_deploy,
)
from runbook.steps.keepalived import expected_holder
from runbook.steps.outside import (
    client_of,
    from_outside,
    is_open,
    url_host,
    way_to,
    when_known,
)
from runbook.steps.step import Row, Step, host_rows
from runbook.steps.traefik import hosts_of_tasks
from runbook.steps.web import REFUSED, SILENT, TRAEFIK, Answer, Asked, answered, ask, asked, fetch

VIP_SSH = "SSH to the VIP lands on the expected manager"
WEB = "the web port answers through the gateway"
DASHBOARD = "the dashboard is reached from outside only as declared"
GUARDED = "the dashboard asks for a password"
CLOSED = "closed"


def required_checks(site: Site) -> tuple[str, ...]:
    """Return the names of the checks without which the step is not proven."""
    names = [_loop_name(host) for host in (*site.managers, *site.workers)]
    names += [VIP_SSH, WEB, DASHBOARD] + ([GUARDED] if site.traefik.dashboard.host else [])
    if site.acceptance.demonstration:
        names += [SHOWN, HIDDEN] + ([CLIENT] if site.acceptance.client_address else [])
    return tuple(names)


def _loop_name(host: str) -> str:
    return f"http://{host}/ answers as its role says"


def rows(site: Site) -> list[Row]:
    """Return from where the checks will look; nothing needs to be read before them."""
    fields = [("asks", f"http://{url_host(site)}/")]
    if site.acceptance.demonstration:
        fields.append(("deploys and removes", site.acceptance.demonstration.image))
    return host_rows(client_of(site), "outside client", fields)


def verify(live: Live) -> list[Check]:
    """Look from a manager, from the gateway and from the outside client.

    Raises:
        Refused: Another run holds the site's lock; only a demonstration needs it.
        ChangeFailed: The demonstration could not be removed.
    """
    wanted = live.site.acceptance.demonstration is not None
    if not wanted and not left_behind(live):
        return [*looks(live), *guarded(live)]
    # Traefik asks the Swarm for services every so often: the application is deployed first, and
    # the other checks are made while that time passes.
    with site_lock(live, "acceptance") as lock:
        lock.proceed()
        try:
            mark, trouble = try_to_deploy(live) if wanted else ("", "")
            before = [*looks(live), *guarded(live)]
            return [*before, *(demonstrated(live, mark, trouble) if wanted else [])]
        finally:
            _remove(live)


def _remove(live: Live) -> None:
    try:
        remove(live)
    except RunbookError as error:  # before a change, it would say that nothing was changed
        raise ChangeFailed(
            f"{error.message}; the demonstration may be left there",
            host=error.host,
            step="acceptance",
            todo="run again once the host answers, which removes it",
        ) from error


def looks(live: Live) -> list[Check]:
    """Make the checks that need no virtual host."""
    return [*loop(live), ssh_to_vip(live), *outside(live)]


def loop(live: Live) -> list[Check]:
    """Ask every node for its web port from one manager, as published.

    Traefik answers on every manager. On a worker it does not; where something else publishes the
    port there, that is nothing to us.

    Source: ``article.md``: ``for domain in docker0{1,2,3,4,5,6}; do curl http://${domain}:80/``.
    """
    site, port = live.site, live.site.traefik.web_port
    nodes = {**site.managers, **site.workers}
    snippets = {name: ask(f"http://{host.address}:{port}/") for name, host in nodes.items()}
    seen = live.gather({live.manager: snippets}, sudo=False)[live.manager]
    found = {name: asked(seen[name]) for name in nodes}
    managers = [found[name].check(_loop_name(name), live.manager) for name in site.managers]
    return [*managers, *(_worker(live, name, found[name]) for name in site.workers)]


def _worker(live: Live, name: str, found: Asked) -> Check:
    # A server in Go answers as Traefik does, so the Swarm says whether it is ours.
    ours = found.by_traefik and name in hosts_of_tasks(live)
    seen = TRAEFIK if ours else found.seen
    return Check(_loop_name(name), live.manager, REFUSED if ours else seen, seen)


def ssh_to_vip(live: Live) -> Check:
    """Log in to the VIP and ask for the host's name: ``ssh 10.0.0.2 hostname`` of ``article.md``.

    The host key offered must be that of the expected manager, so no other host can answer.
    """
    expected, vip = expected_holder(live.site), live.site.keepalived.vip
    try:
        with live.fleet.fresh(expected, address=str(vip)) as connection:
            seen = as_declared(connection.run(["hostname"]).stdout.strip(), live.site.hosts)
    except RunbookError as error:  # nobody has the VIP, or another host
        seen = error.message
    return Check(VIP_SSH, str(vip), expected, seen)


def outside(live: Live) -> list[Check]:
    """Ask for the web port and the dashboard through the gateway."""
    site, client = live.site, client_of(live.site)
    web, board = way_to(site, site.traefik.web_port), way_to(site, site.traefik.dashboard.port)
    base, web_port = f"http://{url_host(site)}", web.port if web else site.traefik.web_port
    board_port = board.port if board else site.traefik.dashboard.port or 8080
    snippets = {
        "web": ask(f"{base}:{web_port}/"),
        "dashboard": fetch(f"{base}:{board_port}/dashboard/"),
        "version": fetch(f"{base}:{board_port}/api/version"),
    }
    seen = from_outside(live, snippets)
    web_seen = asked(seen["web"])
    through = web_seen.check(WEB, client)
    if not web or not (web_seen.by_traefik or is_open(site, web)):
        through = _not_ours(WEB, client, web_seen.answer, ours=web_seen.by_traefik)
    page, version = answered(seen["dashboard"]), answered(seen["version"])
    # Whatever else answers there, its version only Traefik's API tells.
    is_board = "Codename" in version.body
    if board and (is_board or is_open(site, board)):
        other = page.of_something_else if page.status else f"{page.body}, not Traefik's"
        shown = page.status if is_board else other
        return [through, Check(DASHBOARD, client, "200", shown)]
    return [through, _not_ours(DASHBOARD, client, page, ours=is_board)]


def _not_ours(name: str, client: str, answer: Answer, *, ours: bool) -> Check:
    """Return whether what is not forwarded is closed, or somebody else's."""
    # Shorewall's net policy drops what is not forwarded; another firewall may refuse it.
    if answer.body in (REFUSED, SILENT):
        return Check(name, client, CLOSED, CLOSED)
    if ours or not answer.status:
        return Check(name, client, CLOSED, _words(answer))
    return Check(name, client, answer.of_something_else, answer.of_something_else)


def _words(answer: Answer) -> str:
    return answer.status or answer.body


def guarded(live: Live) -> list[Check]:
    """Ask for the dashboard by its virtual host, where it has one, without a password."""
    site, host = live.site, live.site.traefik.dashboard.host
    if host is None:
        return []
    web = way_to(site, site.traefik.web_port)
    url = f"http://{url_host(site)}:{web.port if web else site.traefik.web_port}/dashboard/"

    def check(seen: Mapping[str, str]) -> Check:
        answer = answered(seen["guarded"])
        # An application may ask for a password as well; Traefik names itself in doing so.
        ours = '"traefik"' in answer.header("WWW-Authenticate")
        if not web or (not answer.status and not is_open(site, web)):
            return _not_ours(GUARDED, client_of(site), answer, ours=ours)
        shown = f"{answer.status} of an application" if answer.status == "401" and not ours else ""
        return Check(GUARDED, client_of(site), "401", shown or _words(answer))

    snippets = {"guarded": fetch(url, host=host)}
    return [check(when_known(live, host, snippets, lambda seen: check(seen).passed))]


STEP = Step(
    name="acceptance",
    notebook="50_acceptance.ipynb",
    needs=lambda _site: frozenset({"traefik", "keepalived", "shorewall"}),
    observe=lambda live: live.site,
    rows=rows,
    verify=verify,
    required_checks=required_checks,
)
