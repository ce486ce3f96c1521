"""What the preflight makes of each host's engine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runbook.changes import Finding, fine, forbids, warns
from runbook.site import Site
from runbook.steps.preflight.facts import EngineFacts, HostFacts

# By LocalNodeState; source: Docker Engine API, LocalNodeState.
_JOIN = "join the host: docker swarm join-token, on a manager, prints the command"
NO_SWARM = {
    "inactive": ("the engine is in no Swarm", _JOIN),
    "pending": (
        "the engine is still joining the Swarm",
        "see that it reaches the managers' port 2377, and journalctl -u docker",
    ),
    "error": (
        "the engine could not come back into its Swarm",
        "see journalctl -u docker; where it was removed: docker swarm leave, and join it again",
    ),
    "locked": ("the Swarm is locked on this host", "docker swarm unlock, on this host"),
}


def engine(site: Site, host: str, seen: HostFacts) -> Iterator[Finding]:
    """Every node's engine answers and is in the Swarm; a manager's speaks an API Traefik knows."""
    facts = seen.engine
    if facts is None:
        return
    if facts.error:
        yield forbids(
            host,
            "engine",
            f"the Docker Engine does not answer: {facts.error}",
            "a manager without its engine is one failure nearer to a Swarm without quorum"
            if host in site.managers
            else "the site declares it as a node of the Swarm",
            _engine_todo(host, facts),
        )
        return
    if facts.unit in ("masked", "disabled"):
        yield warns(
            host,
            "engine",
            f"the unit docker is {facts.unit}, though the engine runs",
            "after the next boot the node would be missing",
            f"on {host}: sudo systemctl unmask docker; sudo systemctl enable docker",
        )
    if facts.swarm != "active":
        what, todo = NO_SWARM.get(facts.swarm, NO_SWARM["inactive"])
        yield forbids(
            host,
            "swarm",
            f"{what}: {facts.swarm_error}" if facts.swarm_error else what,
            "the edge runs on the Swarm that exists; the runbook makes none",
            todo,
        )
    elif host == site.first_manager and not facts.controls:
        yield forbids(
            host,
            "swarm",
            "the Swarm has it as a worker, declared a manager",
            "the Swarm is asked and changed through the first declared manager",
            f"on another manager: docker node promote {facts.node_id}; or declare it a worker",
        )
    elif host in site.managers and too_old(site.traefik.image, facts.min_api):
        yield forbids(
            host,
            "engine",
            f"{site.traefik.image} asks for API 1.24, the engine wants {facts.min_api} or newer",
            "Traefik would run, answer /ping and have no routes",
            "declare Traefik 3.6.1 or 2.11.31, or newer",
        )
    else:
        yield fine(host, "engine", f"{facts.version}, API {facts.api}, in the Swarm")


def _engine_todo(host: str, facts: EngineFacts) -> str:
    if re.search(r"curl: (command )?not found", facts.error):
        return f"on {host}: sudo apt-get install curl, with which the engine is asked"
    unmask = "sudo systemctl unmask docker; " if facts.unit == "masked" else ""
    return f"on {host}: {unmask}sudo systemctl start docker; then journalctl -u docker"


def too_old(image: str, min_api: str) -> bool:
    """Return whether a Traefik image cannot speak to an engine with this least API version.

    Source: Traefik issue 12253: before 2.11.31 and 3.6.1 the client is fixed to API 1.24.
    """
    match = re.search(r":v?(\d+)\.(\d+)(?:\.(\d+))?", image.rpartition("/")[2])
    if match is None or _numbers(min_api) <= (1, 24):
        return False
    # A tag without a patch number stands for the newest patch of its line.
    version = tuple(int(part) if part else 999 for part in match.groups())
    return version < (2, 11, 31) or (3,) <= version < (3, 6, 1)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
