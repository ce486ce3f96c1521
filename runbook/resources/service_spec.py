"""A service of the Swarm as fields: what a recipe implies, what runs, and what of it says nothing.

Everything of a live specification is a field, but for what says nothing. So what somebody added is
a difference, whatever it is, with the path under which ``docker service inspect`` shows it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

Fields = dict[str, tuple[str, ...]]
"""A service's fields by path, each as a tuple of texts that compares without regard to order."""

NAMESPACE = "com.docker.stack.namespace"
SITE = "runbook.site"
"""The label with which the runbook deploys a service: the name of the site."""

IMAGE = "TaskTemplate.ContainerSpec.Image"

_SECOND = 1_000_000_000  # durations are in nanoseconds
_ROLLOUT = {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5 * _SECOND}
# What the Swarm does where nothing is said; `docker service update` and `inspect` spell it out.
# Source: swarmkit, api/defaults/service.go; Docker Engine API 1.41 to 1.50, ServiceSpec.
_DEFAULTS: Mapping[str, object] = {
    "TaskTemplate.Runtime": "container",
    "TaskTemplate.ContainerSpec.Isolation": "default",
    "TaskTemplate.ContainerSpec.StopGracePeriod": 10 * _SECOND,
    "TaskTemplate.RestartPolicy.Condition": "any",
    "TaskTemplate.RestartPolicy.Delay": 5 * _SECOND,
    "EndpointSpec.Mode": "vip",
    **{
        f"{config}.{name}": value
        for config in ("UpdateConfig", "RollbackConfig")
        for name, value in (_ROLLOUT | {"Order": "stop-first"}).items()
    },
}
# Here alone zero and false are something else than nothing: no grace, no pause, all at once.
_ZERO_COUNTS = ("Init", "StopGracePeriod", "Delay", "Parallelism")
# How often the tasks were restarted by force is history; what `stack deploy` notes for itself; the
# id of a secret, whose name the Swarm holds against it.
_NOTES = ("TaskTemplate.ForceUpdate", "Labels.com.docker.stack.image", f"Labels.{SITE}", "SecretID")
_IN_ORDER = ("Args", "Command", "Test")
_OF_PAIRS = ("Labels", "Sysctls", "Options", "DriverOpts")


def implied(stack: str, compose: Mapping[str, Any]) -> Fields:
    """Return the fields of the service that ``docker stack deploy`` makes of a recipe.

    Args:
        stack: The stack's name.
        compose: The recipe, parsed; it has one service, and of it what ``traefik.yml`` has.

    Source: docker/cli, cli/compose/convert/service.go.
    """
    ((key, service),) = compose["services"].items()
    deploy = service.get("deploy", {})
    labels = dict(label.split("=", 1) for label in deploy.get("labels", []))
    networks = compose.get("networks") or {}
    mounts = (volume.split(":") for volume in service.get("volumes", []))
    spec = {
        "Labels": {NAMESPACE: stack} | labels,
        "Mode": {deploy.get("mode", "replicated").capitalize(): {}},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": _familiar(service["image"]),
                "Args": shlex.split(service.get("command", "")),
                "Labels": {NAMESPACE: stack},
                "Mounts": [
                    {"Type": "bind", "Source": source, "Target": target}
                    for source, target in mounts
                ],
                # Mode 0444, as docker-compose files have it where they say nothing.
                "Secrets": [
                    {
                        "SecretName": name,
                        "File": {"Name": name, "UID": "0", "GID": "0", "Mode": 0o444},
                    }
                    for name in service.get("secrets", [])
                ],
            },
            "Networks": [
                {"Target": (networks[name] or {}).get("name", name), "Aliases": [key]}
                for name in service.get("networks", [])
            ],
            "Placement": {"Constraints": deploy.get("placement", {}).get("constraints", [])},
        },
        "EndpointSpec": {
            "Ports": [
                {
                    "PublishedPort": port["published"],
                    "TargetPort": port["target"],
                    "Protocol": port["protocol"],
                    "PublishMode": port["mode"],
                }
                for port in service.get("ports", [])
            ]
        },
    }
    return fields_of(spec, {})


def _familiar(image: str) -> str:
    """Return an image as the client tells it to the Swarm: without what stands for Docker Hub.

    Source: moby, client/service_create.go; distribution/reference, FamiliarString.
    """
    name = image.removeprefix("index.docker.io/").removeprefix("docker.io/")
    of_library = name.removeprefix("library/")
    return name if "/" in of_library else of_library


def fields_of(spec: Mapping[str, Any], networks: Mapping[str, str]) -> Fields:
    """Return the fields of a specification.

    Args:
        spec: ``Spec`` or ``PreviousSpec`` of a service's inspection.
        networks: Names of networks by id.
    """
    modes = [name for name, settings in spec["Mode"].items() if settings is not None]
    said = {key: value for key, value in spec.items() if key != "Name"} | {"Mode": modes}
    found: dict[str, list[str]] = {}
    for path, text in _flat(said, "", networks):
        found.setdefault(path, []).append(text)
    if any("@" in image for image in found.get(IMAGE, ())):
        # With the digest the client notes the platforms that the registry has the image for.
        found.pop("TaskTemplate.Placement.Platforms", None)
    return {
        path: tuple(texts if path.endswith(_IN_ORDER) else sorted(texts))
        for path, texts in sorted(found.items())
    }


def _flat(value: object, path: str, networks: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield a path and a text for everything in a value that says something."""
    name = path.rpartition(".")[2]
    if isinstance(value, Mapping) and name in _OF_PAIRS:
        pairs = ((key, text) for key, text in value.items() if f"{path}.{key}" not in _NOTES)
        yield from ((path, f"{key}={text}") for key, text in pairs)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}".lstrip("."), networks)
    elif isinstance(value, list):
        for item in value:
            yield path, _item(item, networks)
    elif not _says_nothing(value, path, name):
        text = str(value)
        yield path, networks.get(text, text) if name == "Target" else text


def _item(item: object, networks: Mapping[str, str]) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    return " ".join(f"{path}={text}" for path, text in sorted(_flat(item, "", networks)))


def _says_nothing(value: object, path: str, name: str) -> bool:
    if path in _NOTES or value is None or value == "":
        return True
    if not value:  # zero or false
        return name not in _ZERO_COUNTS or path.endswith("Config.Delay")
    return _DEFAULTS.get(path) == value


def without_digest(fields: Fields) -> Fields:
    """Return fields with the image's tag alone.

    ``stack deploy`` pins the digest that a registry answered to a tag; the tag is what is declared.
    """
    return fields | {IMAGE: tuple(image.partition("@")[0] for image in fields.get(IMAGE, ()))}


def as_text(fields: Fields) -> str:
    """Return fields as lines, one value a line, for a diff."""
    return "".join(
        f"{path}:\n" + "".join(f"  {text}\n" for text in fields[path]) for path in fields
    )
