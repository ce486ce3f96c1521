"""The lab's two networks, inside and outside, as bridges of the host's engine.

Both without the engine's MASQUERADE: with br_netfilter on, it would rewrite what the gateway
forwards from one bridge to the other, and the replies would then pass the gateway by.
"""

import json
import subprocess
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from runbook.lab import engine, workstation
from runbook.lab.errors import LabError
from runbook.lab.labels import labels
from runbook.lab.topology import BRIDGE, Topology

SIDES = ("lan", "net")


def ensure(client: docker.DockerClient, topology: Topology) -> list[str]:
    """Create the networks that are missing and return a sentence for each change.

    Raises:
        LabError: A network of the engine or of the host is in the way.
    """
    done = [f"removed the stale bridge {bridge}" for bridge in _clear_kernel(client, topology)]
    missing = [side for side in SIDES if not _is_there(client, topology, side)]
    for side in missing:
        _create(client, topology, side)
    return [*done, *(f"created network {topology.network(side)}" for side in missing)]


def _is_there(client: docker.DockerClient, topology: Topology, side: str) -> bool:
    """Return whether the network exists as declared; one on another subnet is removed."""
    try:
        network = client.networks.get(topology.network(side))
    except NotFound:
        return False
    pools = (network.attrs.get("IPAM") or {}).get("Config") or []
    if [pool.get("Subnet") for pool in pools] == [_subnet(topology, side)]:
        return True
    network.remove()
    return False


def _subnet(topology: Topology, side: str) -> str:
    return topology.lan if side == "lan" else topology.net


def _create(client: docker.DockerClient, topology: Topology, side: str) -> None:
    subnet = _subnet(topology, side)
    address = str(IPv4Network(subnet)[BRIDGE])
    try:
        client.networks.create(
            topology.network(side),
            driver="bridge",
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet, gateway=address)]),
            options={
                "com.docker.network.bridge.name": topology.bridge(side),
                "com.docker.network.bridge.enable_ip_masquerade": "false",
            },
            labels=labels(topology.name),
        )
    except APIError as error:
        raise LabError(
            f"the engine refuses the network {subnet}: {error.explanation}",
            todo=f"take the other lab down, or choose another --{side}",
        ) from error


def _clear_kernel(client: docker.DockerClient, topology: Topology) -> list[str]:
    """Remove the bridges that a dead engine left on our subnets; packets would still go to them."""
    if not engine.is_local(client) or not workstation.has("ip"):
        return []
    known = _bridges_of(client)
    stale = []
    for interface, address in _addresses():
        if interface in known:
            continue
        for side in SIDES:
            subnet = _subnet(topology, side)
            if not address.network.overlaps(IPv4Network(subnet)):
                continue
            if not _is_dead_bridge(interface):
                raise LabError(
                    f"this machine itself has {address} on {interface}, which is in {subnet}",
                    todo=f"choose another --{side}",
                )
            workstation.as_root("ip", "link", "delete", interface)
            stale.append(interface)
    return stale


def _is_dead_bridge(interface: str) -> bool:
    """Return whether this is a bridge of some engine's with nothing plugged in any more."""
    ports = _ip("link", "show", "master", interface)
    return interface.startswith(("br-", "rb-")) and not ports


def _bridges_of(client: docker.DockerClient) -> set[str]:
    """Return the bridges the engine knows, as the engine names them by default or was told to."""
    known = set()
    for network in client.networks.list(filters={"driver": "bridge"}):
        options = network.attrs.get("Options") or {}
        known.add(options.get("com.docker.network.bridge.name", f"br-{str(network.id)[:12]}"))
    return known


def _addresses() -> list[tuple[str, IPv4Interface]]:
    return [
        (link["ifname"], IPv4Interface(f"{entry['local']}/{entry['prefixlen']}"))
        for link in _ip("-4", "address", "show")
        for entry in link.get("addr_info", [])
    ]


def _ip(*arguments: str) -> list[dict[str, Any]]:
    """Return what the host's kernel shows. Source: ip(8), -json."""
    command = ["ip", "-json", *arguments]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: list[dict[str, Any]] = json.loads(shown or "[]")
    return [link for link in found if link]
