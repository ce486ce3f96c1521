"""Taking a lab away: everything that carries its label, whether or not it ever worked."""

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network

from runbook.lab.labels import selector
from runbook.lab.parallel import for_each
from runbook.lab.waiting import wait_until

NETWORK_TIMEOUT_S = 15.0


def remove(client: docker.DockerClient, lab: str) -> list[str]:
    """Remove the containers, volumes and networks of a lab; return a sentence for each.

    Raises:
        LabError: The engine keeps one of them.
    """
    found = selector(lab)
    containers = client.containers.list(all=True, filters=found)
    for_each(containers, _remove_container)
    volumes = client.volumes.list(filters=found)
    for_each(volumes, lambda volume: volume.remove(force=True))
    networks = client.networks.list(filters=found)
    for_each(networks, _remove_network)
    return [
        *(f"removed container {container.name}" for container in containers),
        *(f"removed volume {volume.name}" for volume in volumes),
        *(f"removed network {network.name}" for network in networks),
    ]


def _remove_network(network: Network) -> None:
    wait_until(
        lambda: _network_gone(network),
        f"the engine to let go of network {network.name}",
        timeout_s=NETWORK_TIMEOUT_S,
    )


def _network_gone(network: Network) -> bool:
    """Try to remove a network; the engine refuses while an endpoint of it is still going."""
    try:
        network.remove()
    except NotFound:
        return True
    except APIError:
        return False
    return True


def _remove_container(container: Container) -> None:
    try:
        container.remove(force=True, v=True)
    except NotFound:  # somebody else was faster, which is as good
        return
