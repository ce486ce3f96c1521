"""The demonstration: an application that is deployed to prove the way to it, and removed again."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from runbook.changes import Check
from runbook.errors import Refused, RunbookError
from runbook.hosts.docker.cli import deploy_stack, run_docker
from runbook.hosts.live import Live
from runbook.recipes import render
from runbook.resources.stack import Service, stack_services
from runbook.steps.outside import client_of, url_host, way_to, when_known
from runbook.steps.traefik import PRIORITY
from runbook.steps.web import NOT_FOUND, Answer, Asked, answered, asked, fetch, header

STACK = "runbook-demonstration"
SHOWN = "an application on the overlay is reached through gateway, VIP and Traefik"
CLIENT = "the application sees the client's own address"
HIDDEN = "an application without traefik.enable stays hidden"
MARK = "X-Runbook"
"""The header that Traefik adds to what comes through the demonstration's routers."""


def left_behind(live: Live) -> bool:
    """Return whether a demonstration of the runbook's is there, from a run that was killed."""
    found = _services(live)
    return bool(found) and all(_is_ours(service) for service in found)


def _is_ours(service: Service) -> bool:
    labels = service["Spec"].get("Labels") or {}
    return any(label.startswith(f"traefik.http.routers.{STACK}") for label in labels)


def _services(live: Live) -> list[Service]:
    return stack_services(live, STACK)


def try_to_deploy(live: Live) -> tuple[str, str]:
    """Return the mark of the demonstration that was deployed, and why none was, if so."""
    mark = secrets.token_hex(8)
    try:
        deploy(live, mark)
    except RunbookError as error:
        return mark, f"not deployed: {error.message}"
    return mark, ""


def deploy(live: Live, mark: str) -> None:
    """Deploy the demonstration: one application with ``traefik.enable`` and one without.

    Args:
        live: The site and its connections.
        mark: What Traefik adds to their answers, and nobody else.

    Raises:
        Refused: A stack of that name is somebody else's.
        CommandFailed: Docker refused it.
    """
    demonstration = live.site.acceptance.demonstration
    assert demonstration is not None
    if _services(live) and not left_behind(live):
        raise Refused(f"stack {STACK} is somebody else's, and is not touched", host=live.manager)
    recipe = render(
        "demonstration.yml",
        image=demonstration.image,
        network=live.site.network.name,
        stack=STACK,
        host=demonstration.host,
        port=demonstration.port,
        mark=f"{MARK}={mark}",
        priority=PRIORITY,
    )
    words = ("--resolve-image", "never", "-c", "-", STACK)
    deploy_stack(live, demonstration.image, *words, stdin=recipe)


def remove(live: Live) -> None:
    """Remove the demonstration, of this run or of one that was killed."""
    if left_behind(live):
        run_docker(live, "stack", "rm", STACK)


def demonstrated(live: Live, mark: str, trouble: str) -> list[Check]:
    """Ask for the demonstration by its virtual host, from outside, until Traefik knows it.

    Args:
        live: The site and its connections.
        mark: What is in the answers that came through the demonstration's routers.
        trouble: Why it was not deployed; empty where it was.
    """
    site, demonstration, client = (
        live.site,
        live.site.acceptance.demonstration,
        client_of(live.site),
    )
    assert demonstration is not None
    web = way_to(site, site.traefik.web_port)
    assert web is not None  # a rule of the site
    url = f"http://{url_host(site)}:{web.port}/"
    snippets = {
        "body": fetch(url, host=demonstration.host),
        "hidden": fetch(url, host=f"hidden.{demonstration.host}"),
    }

    def is_shown(seen: Mapping[str, str]) -> bool:
        answer = answered(seen["body"])
        return answer.header(MARK) == mark and bool(header(answer.body, "Host"))

    seen = {"body": trouble, "hidden": trouble}
    if not trouble:
        seen = when_known(live, demonstration.host, snippets, is_shown)
    body, hidden = answered(seen["body"]), asked(seen["hidden"])
    shown = header(body.body, "Host") if is_shown(seen) else _instead(body)
    checks = [Check(SHOWN, client, demonstration.host, shown), _hidden(client, hidden, mark)]
    if site.acceptance.client_address is not None:
        address = header(body.body, "X-Forwarded-For") if is_shown(seen) else ""
        expected = str(site.acceptance.client_address)
        checks.append(Check(CLIENT, client, expected, address or "no X-Forwarded-For"))
    return checks


def _instead(answer: Answer) -> str:
    words = " ".join(answer.body.split())[:200] or "nothing"
    return f"{answer.of_something_else}: {words}" if answer.status else words


def _hidden(client: str, found: Asked, mark: str) -> Check:
    """Return whether anything but the hidden application answered: Traefik, or another one."""
    reached = found.answer.header(MARK) == mark
    if reached or not found.answer.status:
        return Check(HIDDEN, client, NOT_FOUND, "the hidden application" if reached else found.seen)
    return Check(HIDDEN, client, found.seen, found.seen)
