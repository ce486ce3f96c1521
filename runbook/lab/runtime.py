"""How a container has to be run for systemd and an engine of its own to work in it."""

from typing import Any

import docker
from docker.models.containers import Container


def create(
    client: docker.DockerClient,
    image: str,
    *,
    name: str | None = None,
    host: dict[str, Any] | None = None,
    **options: Any,
) -> Container:
    """Create, but do not start, a container that may mount, make networks and run containers.

    Not ``privileged``: that asks for every capability, and is refused where CAP_SYS_RESOURCE is
    not to be had. All the others, no filters, and every device are enough, there and elsewhere.

    Args:
        client: The host's engine.
        image: Image name.
        name: Container name; the engine invents one where it is ``None``.
        host: Further options of the SDK's ``create_host_config``.
        options: Further options of the SDK's ``create_container``.

    Source: Docker Engine API, ContainerCreate.
    """
    host_config = client.api.create_host_config(
        cap_add=["ALL"],
        cap_drop=["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        device_cgroup_rules=["a *:* rwm"],
        **(host or {}),
    )
    # What the command line calls systempaths=unconfined and the SDK has no argument for.
    host_config |= {"MaskedPaths": [], "ReadonlyPaths": [], "CgroupnsMode": "private"}
    created = client.api.create_container(image, name=name, host_config=host_config, **options)
    return client.containers.get(created["Id"])
