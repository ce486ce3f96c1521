"""The edge of the lab as recorded, some answers of which are others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fakes import (
    Command,
    ConfigStore,
    FakeEngine,
    FakeFleet,
    Recordings,
    declared,
    live,
    recorded,
    swarm,
)

from runbook.errors import RunbookError
from runbook.hosts.live import Live
from runbook.steps import acceptance
from runbook.steps.demonstration import STACK

MARK = "0123456789abcdef"  # of the recording; what is answered has the mark that was deployed
LOGIN = 'HTTP/1.1 401 Unauthorized\nWww-Authenticate: Basic realm="{}"\n\n401 Unauthorized\n'


class Edge:
    """The recorded lab: nodes asked from the first manager, the gateway asked from the client.

    Args:
        nodes: Other answers of nodes.
        client: Other answers to the client.
        deploy: Raised when the demonstration is deployed.
    """

    def __init__(
        self,
        nodes: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        deploy: RunbookError | None = None,
    ) -> None:
        asked = recorded("acceptance-client") | recorded("acceptance-demonstration")
        self._answer = Recordings(
            {
                "docker01": {**recorded("acceptance-docker01"), **(nodes or {})},
                "client": {"guarded": LOGIN.format("traefik"), **asked, **(client or {})},
            }
        )
        self._deploy = deploy
        self._mark = MARK

    def __call__(self, command: Command) -> str:
        """Answer one command."""
        if command.argv == ("hostname",):
            return f"{command.host}\n"
        if "deploy" in command.argv:
            if self._deploy:
                raise self._deploy
            found = re.search(r"X-Runbook=(\w+)", command.stdin)
            assert found is not None
            self._mark = found[1]
        return self._answer(command).replace(MARK, self._mark)


class Swarm(ConfigStore):
    """The recorded Swarm with a lock to take, and the services of a stack that is asked for.

    Args:
        stack: Services of the demonstration's stack.
        task_on: Where a task of Traefik's runs.
    """

    def __init__(self, *stack: dict[str, Any], task_on: str = "docker01") -> None:
        super().__init__(swarm())
        self.stack = list(stack)
        ids = {node["Description"]["Hostname"]: node["ID"] for node in self.answers["GET /nodes"]}
        self.answers["GET /tasks"] = [{"NodeID": ids[task_on]}]
        services = self.answers["GET /services"]
        self.answers["GET /services"] = lambda query, _: (
            self.stack if STACK in query["filters"] else services
        )


def ours(name: str) -> dict[str, Any]:
    """Return a service of a demonstration, as a run leaves it that is killed."""
    labels = {f"traefik.http.routers.{STACK}.rule": "Host(`demo.test`)"}
    return {"Spec": {"Name": f"{STACK}_{name}", "Labels": labels}}


def outside(
    site: str = "lab",
    edge: Edge | FakeFleet | None = None,
    engine: FakeEngine | None = None,
    **changes: Any,
) -> Live:
    """Return a site whose client is the lab's."""
    asked = {"acceptance": {"client": "client"} | changes.pop("acceptance", {})}
    return live(declared(site, **asked, **changes), edge or Edge(), engine or Swarm(ours("shown")))


def results(site: Live) -> dict[str, tuple[str, bool]]:
    """Return what each check of the step saw, and whether it passed."""
    return {check.name: (check.seen, check.passed) for check in acceptance.verify(site)}


NODES = ("docker01", "docker02", "docker03", "docker04", "docker05", "docker06")
LOOP = tuple(f"http://{node}/ answers as its role says" for node in NODES)
MISSING = recorded("acceptance-demonstration")["hidden"]
PAGE = "HTTP/1.1 200 OK\n\nHost: demo.test\n"
