"""The tasks of the Traefik service: where they run, and what keeps them from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook.errors import ChangeFailed
from runbook.hosts.live import Live
from runbook.resources.stack import inspect
from runbook.site import Site
from runbook.site.names import as_declared


class Watch:
    """Follows the tasks of a service from one look to the next."""

    def __init__(self, live: Live, service: str) -> None:
        self._live = live
        self._service = service
        self._old: frozenset[str] | None = None
        self.all_tell_ports = True

    def placement(self) -> str:
        """Return each wanted task's node and state, sorted, as one line."""
        engine = self._live.engine
        found = inspect(self._live, self._service)
        if found is None:
            return "no service"
        names = {node["ID"]: host_of(self._live.site, node) for node in engine.nodes()}
        tasks = engine.tasks({"service": self._service})
        current = [t for t in tasks if _is_current(t, found["Spec"])]
        running = [t for t in current if t["Status"]["State"] == "running"]
        self.all_tell_ports = all(_ports(t["Status"].get("PortStatus")) for t in running)
        self._stop_when_refused(current, names)
        self._stop_when_paused(found.get("UpdateStatus") or {}, current, tasks)
        states = [
            f"{names.get(t.get('NodeID', ''), 'no node')} "
            f"{_state(t) if t in current else 'on an old recipe'}"
            for t in tasks
            if t["DesiredState"] in ("running", "ready", "accepted")
        ]
        return ", ".join(sorted(states))

    def _stop_when_refused(self, tasks: list[dict[str, Any]], names: Mapping[str, str]) -> None:
        # Swarm tries for ever; a refusal twice on one node while we look will not mend itself.
        refused = [t for t in tasks if t["Status"]["State"] in ("rejected", "failed")]
        if self._old is None:
            self._old = frozenset(task["ID"] for task in refused)
        new = [task for task in refused if task["ID"] not in self._old]
        for node in {task.get("NodeID", "") for task in new}:
            errors = [t["Status"].get("Err", "") for t in new if t.get("NodeID", "") == node]
            if len(errors) > 1:
                raise ChangeFailed(
                    f"Traefik does not start: {errors[0]}",
                    host=names.get(node),
                    step="traefik",
                    todo="see that the image can be pulled or is present on this manager and that "
                    "its ports are free; the service stays as deployed and the next run looks",
                )

    def _stop_when_paused(
        self, update: Mapping[str, str], current: list[dict[str, Any]], tasks: list[dict[str, Any]]
    ) -> None:
        # One task that fails once pauses the update, and no run goes on with it: the service is as
        # declared by then. Source: swarmkit, manager/orchestrator/update/updater.go.
        waits = any(t["DesiredState"] == "running" and t not in current for t in tasks)
        if waits and update.get("State") == "paused":
            errors = [error for task in current if (error := task["Status"].get("Err"))]
            raise ChangeFailed(
                "; ".join(
                    [f"the Swarm has paused the update: {update.get('Message')}", *errors[:1]]
                ),
                host=self._live.manager,
                step="traefik",
                todo=f"docker service ps --no-trunc {self._service} says why the task failed; then "
                f"docker service update {self._service} goes on with it",
            )


def _state(task: Mapping[str, Any]) -> str:
    """Return a task's state, and what keeps it from running where the engine says so."""
    state: str = task["Status"]["State"]
    error = task["Status"].get("Err")
    return f"{state} ({error})" if error and state != "running" else state


def _is_current(task: Mapping[str, Any], service: Mapping[str, Any]) -> bool:
    # A task repeats its service's template, except for Runtime, which 20.10 leaves out. Where only
    # the placement changed and its node still fits, Swarm lets it run on with the old one.
    # Source: swarmkit, manager/orchestrator/task.go, IsTaskDirty.
    spec, template = task["Spec"], service["TaskTemplate"]
    if any(template.get(key) != spec[key] for key in spec.keys() - {"Placement"}):
        return False
    # The ports are the service's, not the template's; a task that runs tells those that it opened,
    # but for one that began while the Swarm changed its leader: it tells none as long as it runs.
    opened, wanted = _ports(task["Status"].get("PortStatus")), _ports(service.get("EndpointSpec"))
    return task["Status"]["State"] != "running" or not opened or opened == wanted


def _ports(said: Mapping[str, Any] | None) -> set[tuple[int, int]]:
    ports = (said or {}).get("Ports") or []
    return {(port.get("PublishedPort", 0), port["TargetPort"]) for port in ports}


def host_of(site: Site, node: Mapping[str, Any]) -> str:
    """Return the declared host that a node is, or what the node calls itself where it is none."""
    said: str = node["Description"].get("Hostname", "")  # absent until its engine was heard once
    if (name := as_declared(said, site.hosts)) in site.hosts:
        return name
    # An engine tells the name that its host had when it started.
    address = node["Status"].get("Addr")
    return next((name for name, host in site.hosts.items() if str(host.address) == address), said)
