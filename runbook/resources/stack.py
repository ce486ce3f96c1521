"""A stack of one service, deployed from a recipe; judged on the live service, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from runbook.changes import Change
from runbook.errors import Refused
from runbook.hosts.docker.cli import deploy_stack
from runbook.hosts.live import Live
from runbook.resources import SwarmResource
from runbook.resources.service_spec import (
    IMAGE,
    NAMESPACE,
    SITE,
    Fields,
    as_text,
    fields_of,
    implied,
    without_digest,
)

Service = dict[str, Any]
"""A service as the Engine API describes it."""


@dataclass(frozen=True, slots=True)
class StackFacts:
    """What the Swarm has under the stack's name and its service's.

    Attributes:
        fields: The live service's; ``None`` where there is none.
        labels: Its labels.
        before: The fields of one without our label that its last update replaced, if any.
        others: The names of the stack's other services.
        written: What the runbook's recipe on the manager implies; ``None`` where none is there.
    """

    fields: Fields | None
    labels: Mapping[str, str]
    before: Fields | None
    others: tuple[str, ...]
    written: Fields | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack with one service.

    Source: docker stack deploy; Docker Engine API 1.41, ServiceInspect; Compose file version 3.

    Attributes:
        host: The manager that deploys it.
        name: The stack's name.
        path: The recipe on the manager, absolute or below the operator's home with ``~/``.
        compose: The recipe, parsed.
        site: The site's name, by which a service that the runbook deployed is known.
        replace_unmanaged: Whether a service that somebody else deployed may be replaced.
    """

    host: str
    name: str
    path: str
    compose: Mapping[str, Any]
    site: str
    replace_unmanaged: bool = False

    @property
    def service(self) -> str:
        """Return the name of the stack's service in the Swarm."""
        return f"{self.name}_{self._key}"

    @property
    def _key(self) -> str:
        return str(next(iter(self.compose["services"])))

    def observe(self, live: Live) -> StackFacts:
        """Return the live service and what else the stack has."""
        found = inspect(live, self.service)
        names = sorted(one["Spec"]["Name"] for one in stack_services(live, self.name))
        others = tuple(name for name in names if name != self.service)
        if found is None:
            return StackFacts(None, {}, None, others)
        networks, before = network_names(live), found.get("PreviousSpec")
        return StackFacts(
            fields_of(found["Spec"], networks),
            found["Spec"].get("Labels") or {},
            fields_of(before, networks)
            if before and SITE not in (before.get("Labels") or {})
            else None,
            others,
        )

    def plan(self, facts: StackFacts) -> list[Change]:
        """Return the deployment, or nothing where the live service is as the recipe says.

        Raises:
            Refused: Somebody else deployed the service or others in the stack, and the site does
                not hand it over.
        """
        declared = implied(self.name, self.compose)
        if facts.fields is not None and _same(facts.fields, declared):
            return []
        if facts.fields is None:
            self._refuse_stack(facts.others)
        else:
            self._refuse_service(facts, declared)
        return [
            Change(
                host=self.host,
                resource=f"service {self.service}",
                action="create" if facts.fields is None else "update",
                before="" if facts.fields is None else as_text(_tag_alone(facts.fields, declared)),
                after=as_text(declared),
                undo=self._undo(facts),
                make=partial(_deploy, self),
            )
        ]

    def _undo(self, facts: StackFacts) -> str:
        if facts.fields is not None:
            return f"docker service rollback {self.service}"
        return (
            f"docker service rm {self.service}" if facts.others else f"docker stack rm {self.name}"
        )

    def _refuse_stack(self, others: tuple[str, ...]) -> None:
        if others and not self.replace_unmanaged:
            raise Refused(
                f"stack {self.name} is somebody else's: it has {', '.join(others)}, and whoever "
                "removes or prunes it takes our service along",
                host=self.host,
                todo="declare another traefik.stack, or share this one with "
                "traefik.replace_unmanaged: true",
            )

    def _refuse_service(self, facts: StackFacts, declared: Fields) -> None:
        assert facts.fields is not None
        removal = f"remove it (`docker service rm {self.service}`)"
        other = f"{removal}, or declare another traefik.stack"
        if facts.labels.get(NAMESPACE) != self.name:
            raise Refused(
                f"service {self.service} is in no stack {self.name}: somebody else made it, and "
                "`docker stack deploy` does not take it over",
                host=self.host,
                todo=other,
            )
        if not self._is_ours(facts) and not self.replace_unmanaged:
            raise Refused(
                f"service {self.service} was not deployed by the runbook and is not replaced; "
                f"it would lose {_lost(facts.fields, declared)}",
                host=self.host,
                todo=f"{other}, or hand it over with traefik.replace_unmanaged: true: the plan "
                "then shows all that it loses",
            )
        if facts.fields.get("Mode") != declared["Mode"]:
            raise Refused(
                f"service {self.service} is {' '.join(facts.fields.get('Mode', ()))}, and the "
                "Swarm changes the mode of no service",
                host=self.host,
                todo=f"{removal}; the next run deploys it anew",
            )

    def _is_ours(self, facts: StackFacts) -> bool:
        """Return whether the runbook deployed the service, or somebody its recipe.

        A deployment of something else replaces all labels, ours too; an update by hand keeps them.
        One without the label was ours where it is as the runbook's recipe says that is on the
        manager, or was until its last update: earlier runs set no label, and by hand nobody does.
        """
        if SITE in facts.labels:
            return True
        seen = (fields for fields in (facts.fields, facts.before) if fields is not None)
        written = facts.written
        return written is not None and any(_same(fields, written) for fields in seen)


def _same(live: Fields, declared: Fields) -> bool:
    return _tag_alone(live, declared) == declared


def _tag_alone(live: Fields, declared: Fields) -> Fields:
    pinned = "@" in declared[IMAGE][0]
    return live if pinned else without_digest(live)


def _lost(live: Fields, declared: Fields) -> str:
    """Return what a service has and will not have, in one line."""
    gone = {path: set(texts) - set(declared.get(path, ())) for path, texts in live.items()}
    return "; ".join(f"{path} {', '.join(sorted(texts))}" for path, texts in gone.items() if texts)


def inspect(live: Live, service: str) -> Service | None:
    """Return a service as the Engine API describes it, or ``None`` where there is none."""
    # The filter matches prefixes, so the exact name is looked for among its answers.
    found = _services(live, {"name": service})
    return next((one for one in found if one["Spec"]["Name"] == service), None)


def stack_services(live: Live, stack: str) -> list[Service]:
    """Return a stack's services, as the Engine API describes them."""
    return _services(live, {"label": f"{NAMESPACE}={stack}"})


def _services(live: Live, filters: Mapping[str, str]) -> list[Service]:
    found: list[Service] = live.engine.services(filters=dict(filters))
    return found


def network_names(live: Live) -> dict[str, str]:
    """Return the names of the Swarm's networks by id."""
    return {found["Id"]: found["Name"] for found in live.engine.networks()}


def _deploy(stack: Stack, live: Live) -> None:
    # The recipe stays as published; whose the service is comes as a second one beside it.
    marked = {"deploy": {"labels": {SITE: stack.site}}}
    beside = {"version": stack.compose["version"], "services": {stack._key: marked}}
    # A path below the home is relative: an SSH command starts there.
    recipe = stack.path.removeprefix("~/")
    image = stack.compose["services"][stack._key]["image"]
    words = ("-c", recipe, "-c", "-", stack.name)
    deploy_stack(live, image, *words, stdin=json.dumps(beside), timeout_s=120)


_obeys: type[SwarmResource[StackFacts]] = Stack
