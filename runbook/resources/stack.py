"""A stack of one service, deployed from a recipe; judged on the live service, field by field."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from runbook.changes import Change
from runbook.live import Live

Fields = dict[str, tuple[str, ...]]
"""A service's fields by name, each as a tuple of texts that compares without regard to order."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack with one service.

    Source: docker stack deploy; Docker Engine API 1.41, ServiceInspect; Compose file version 3.

    Attributes:
        name: The stack's name.
        folder: The folder of the recipe on the manager, absolute or below the operator's home.
        recipe: The recipe's file name in it.
        compose: The recipe, parsed.
    """

    name: str
    folder: str
    recipe: str
    compose: Mapping[str, Any]

    @property
    def service(self) -> str:
        """Return the name of the stack's service in the Swarm."""
        return f"{self.name}_{next(iter(self.compose['services']))}"

    def observe(self, live: Live) -> Fields | None:
        """Return the live service's fields, or ``None`` where there is no such service."""
        found = inspect(live, self.service)
        if found is None:
            return None
        return live_fields(found["Spec"], network_names(live))

    def plan(self, facts: Fields | None, host: str, stage: int) -> list[Change]:
        """Return the deployment, or nothing where the live service is as the recipe says."""
        declared = declared_fields(self.compose)
        if facts is not None and "@" not in declared["image"][0]:
            facts = _without_digest(facts)
        if facts == declared:
            return []
        return [
            Change(
                host=host,
                resource=f"service {self.service}",
                action="create" if facts is None else "update",
                before="" if facts is None else as_text(facts),
                after=as_text(declared),
                undo=f"docker stack rm {self.name}"
                if facts is None
                else f"docker service rollback {self.service}",
                stage=stage,
                make=partial(_deploy, self),
            )
        ]


def inspect(live: Live, service: str) -> dict[str, Any] | None:
    """Return a service as the Engine API describes it, or ``None`` where there is none."""
    from runbook.swarm import translated

    with translated(live.manager):
        # The filter matches prefixes, so the exact name is looked for among its answers.
        for found in live.engine.services.list(filters={"name": service}):
            if found.name == service:
                return dict(found.attrs)
    return None


def network_names(live: Live) -> dict[str, str]:
    """Return the names of the Swarm's networks by id."""
    from runbook.swarm import translated

    with translated(live.manager):
        return {found["Id"]: found["Name"] for found in live.engine.api.networks()}


def declared_fields(compose: Mapping[str, Any]) -> Fields:
    """Return the fields that a recipe's one service declares, absent ones empty."""
    service = next(iter(compose["services"].values()))
    deploy = service.get("deploy", {})
    return {
        "image": (service["image"],),
        "args": tuple(shlex.split(service.get("command", ""))),
        "entrypoint": (),
        "user": (),
        "configs": (),
        "env": _sorted(service.get("environment", [])),
        "ports": _sorted(
            f"{p['published']}:{p['target']}/{p['protocol']} {p['mode']}" for p in service["ports"]
        ),
        "mounts": _sorted(service.get("volumes", [])),
        "networks": _sorted(_external_name(compose["networks"], n) for n in service["networks"]),
        "secrets": _sorted(service.get("secrets", [])),
        "mode": (deploy.get("mode", "replicated"),),
        "constraints": _sorted(deploy.get("placement", {}).get("constraints", [])),
        "labels": _sorted(deploy.get("labels", [])),
        # A host-mode port is free only once its holder has stopped; this is also Swarm's default.
        "update order": ("stop-first",),
    }


def _external_name(networks: Mapping[str, Any], key: str) -> str:
    return str((networks[key] or {}).get("name", key))


def live_fields(spec: Mapping[str, Any], networks: Mapping[str, str]) -> Fields:
    """Return the same fields of a live service.

    Args:
        spec: ``Spec`` of a service's inspection.
        networks: Names of networks by id.
    """
    task = spec["TaskTemplate"]
    container = task["ContainerSpec"]
    attached = task.get("Networks") or []
    return {
        "image": (container["Image"],),
        "args": tuple(container.get("Args") or []),
        "entrypoint": tuple(container.get("Command") or []),
        "user": tuple(user for user in [container.get("User")] if user),
        "configs": _sorted(c["ConfigName"] for c in container.get("Configs") or []),
        "env": _sorted(container.get("Env") or []),
        "ports": _sorted(
            f"{p.get('PublishedPort')}:{p['TargetPort']}/{p['Protocol']} {p['PublishMode']}"
            for p in (spec.get("EndpointSpec") or {}).get("Ports") or []
        ),
        "mounts": _sorted(_mount(mount) for mount in container.get("Mounts") or []),
        "networks": _sorted(networks.get(n["Target"], n["Target"]) for n in attached),
        "secrets": _sorted(s["SecretName"] for s in container.get("Secrets") or []),
        "mode": tuple(mode.lower() for mode in spec["Mode"]),
        "constraints": _sorted((task.get("Placement") or {}).get("Constraints") or []),
        "labels": _sorted(
            f"{key}={value}"
            for key, value in spec.get("Labels", {}).items()
            if not key.startswith("com.docker.stack.")
        ),
        "update order": ((spec.get("UpdateConfig") or {}).get("Order", "stop-first"),),
    }


def _mount(mount: Mapping[str, Any]) -> str:
    text = f"{mount.get('Source', '')}:{mount['Target']}"
    return f"{text}:ro" if mount.get("ReadOnly") else text


def _sorted(values: Any) -> tuple[str, ...]:
    return tuple(sorted(str(value) for value in values))


def _without_digest(facts: Fields) -> Fields:
    # `stack deploy` pins the digest that a registry answered to a tag; the tag is what is declared.
    return facts | {"image": tuple(image.partition("@")[0] for image in facts["image"])}


def as_text(fields: Fields) -> str:
    """Return fields as lines, one value a line, for a diff."""
    lines = [f"{name}:\n" + "".join(f"  {value}\n" for value in fields[name]) for name in fields]
    return "".join(lines)


def _deploy(stack: Stack, live: Live) -> None:
    folder = stack.folder.removeprefix("~/")
    # The folder is relative to the operator's home, where an SSH command starts.
    command = 'cd "$1" && exec docker stack deploy -c "$2" "$3"'
    live.fleet[live.manager].run(
        ["sh", "-c", command, "deploy", folder, stack.recipe, stack.name], timeout_s=120
    )
