"""States of a lab from which a run has something to change, and that are reached in seconds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import witnesses

from runbook.lab import Lab, Role

RULES = "/etc/shorewall/rules"
KEEPALIVED = "/etc/keepalived/keepalived.conf"
BLOCK = "/^# BEGIN runbook/,/^# END runbook/"

_NO_RULES = f"sed -i '{BLOCK}d' {RULES}\n{witnesses.RELOAD}\n"
_OTHER_PRIORITY = f"sed -i -E '{BLOCK}s/priority [0-9]+/priority 7/' {KEEPALIVED}\n"
_NO_BLOCK = f"sed -i '{BLOCK}d' {KEEPALIVED}\n"
_NOT_AT_BOOT = "systemctl disable -q keepalived 2>&1\n"
# On the first manager, where nobody else keeps an instance.
_NO_PACKAGE = "apt-get purge -y -q keepalived >/dev/null 2>&1\n"
_EDITED = "for f in /home/*/traefik/traefik.yml; do echo '# edited' >> $f; done\n"
_NO_RECIPE = "rm -f /home/*/traefik/traefik.yml\n"
_OTHER_SERVICE = (
    "docker service update --detach -q --label-add edited=yes traefik_traefik >/dev/null\n"
)
# The engine frees a network some time after the last task on it has gone; one that others' services
# may be on is left alone.
_NO_STACK = """docker stack rm traefik >/dev/null 2>&1
timeout 60 sh -c 'while docker network inspect frontend >/dev/null 2>&1 &&
  ! docker service ls -q | grep -q . && ! docker network rm frontend >/dev/null 2>&1
do sleep 0.5; done'
"""
_NO_TASK = """timeout 60 sh -c 'while docker ps -q --filter name=traefik_traefik | grep -q .
do sleep 0.2; done'
"""


@dataclass(frozen=True, slots=True)
class State:
    """A state of the lab.

    Attributes:
        name: What it is called in reports.
        gateway: Shell commands that bring the gateway there from the edge.
        managers: Those for each manager, in their order.
        demonstration: Whether the runs from here also prove the demonstration.
        only: The step that runs from here are kept to, as whole ones take longer; empty: none.
    """

    name: str
    gateway: str
    managers: tuple[str, ...]
    demonstration: bool = False
    only: str = ""

    @property
    def options(self) -> list[str]:
        """The options of every run from here."""
        return ["--only", self.only] if self.only else []

    def make(self, lab: Lab) -> None:
        """Bring the lab from the edge to this state."""
        nodes = [node.name for node in lab.topology.swarm if node.role is Role.MANAGER]
        work = [(lab.topology.gateway.name, self.gateway), *zip(nodes, self.managers, strict=False)]
        with ThreadPoolExecutor(len(work)) as pool:
            for done in [pool.submit(witnesses.must, lab, *each, timeout_s=120) for each in work]:
                done.result()


RULES_DRIFTED = State("rules", _NO_RULES, (), only="shorewall")
FILE_DRIFTED = State("file", "", (_OTHER_PRIORITY,), only="keepalived")
PACKAGE_REMOVED = State("package", "", (_NO_PACKAGE,), only="keepalived")
SERVICE_DRIFTED = State("service", "", (_EDITED + _OTHER_SERVICE,), only="traefik")

# The one with the fastest runs first: what only observes is cut in the first that sends it.
STATES = (
    RULES_DRIFTED,
    FILE_DRIFTED,
    PACKAGE_REMOVED,
    SERVICE_DRIFTED,
    State(
        "drifted", _NO_RULES, (_OTHER_PRIORITY + _EDITED + _OTHER_SERVICE, _NO_BLOCK, _NOT_AT_BOOT)
    ),
    State(
        "removed",
        _NO_RULES,
        (
            _NO_PACKAGE + _NO_RECIPE + _NO_STACK + _NO_TASK,
            _NO_BLOCK + _NO_TASK,
            _NO_BLOCK + _NO_TASK,
        ),
    ),
    State("shown", "", (_EDITED,), demonstration=True),
)
