"""What the preflight reads of the Swarm, through one manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from runbook.errors import during
from runbook.hosts.live import Live
from runbook.steps.preflight.answers import part, text_at


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the Swarm sees it; a manager's ``reachability`` is empty until it is one."""

    id: str
    hostname: str
    role: str
    state: str
    availability: str
    address: str
    reachability: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class SwarmFacts:
    """The Swarm's nodes, overlay networks, TCP ports of the ingress network and secrets."""

    nodes: tuple[Node, ...]
    overlays: Mapping[str, tuple[IPv4Network, ...]]
    ingress_ports: Mapping[int, str]
    secrets: frozenset[str]


def observe_swarm(live: Live) -> SwarmFacts:
    """Read the Swarm's own view through the Engine API of one manager.

    Raises:
        Refused: The Swarm has no leader, so it has lost its quorum.
    """
    with during("preflight"):
        api = live.engine
        nodes = [_node(node) for node in api.nodes() or []]
        networks = api.networks(filters={"driver": "overlay"}) or []
        services = api.services() or []
        names = frozenset(text_at(secret, "Spec", "Name") for secret in api.secrets() or [])
    return SwarmFacts(
        nodes=tuple(sorted(nodes, key=lambda node: (node.hostname, node.id))),
        overlays={text_at(network, "Name"): _subnets(network) for network in networks},
        ingress_ports={
            port["PublishedPort"]: text_at(service, "Spec", "Name")
            for service in services
            for port in part(service, "Endpoint", "Ports") or []
            if part(port, "PublishMode") == "ingress" and part(port, "PublishedPort")
            if part(port, "Protocol") != "udp"  # what Traefik publishes is TCP
        },
        secrets=names,
    )


def _node(node: Mapping[str, Any]) -> Node:
    # A manager has its address from what it advertises; one that never came has none.
    advertised = text_at(node, "ManagerStatus", "Addr").rpartition(":")[0].strip("[]")
    leads = part(node, "ManagerStatus", "Leader") is True
    return Node(
        id=text_at(node, "ID"),
        hostname=text_at(node, "Description", "Hostname"),
        role=text_at(node, "Spec", "Role"),
        state=text_at(node, "Status", "State"),
        availability=text_at(node, "Spec", "Availability"),
        address=advertised or text_at(node, "Status", "Addr"),
        reachability="leader" if leads else text_at(node, "ManagerStatus", "Reachability"),
        message=text_at(node, "Status", "Message"),
    )


def _subnets(network: Mapping[str, Any]) -> tuple[IPv4Network, ...]:
    subnets = [text_at(pool, "Subnet") for pool in part(network, "IPAM", "Config") or []]
    return tuple(IPv4Network(s, strict=False) for s in subnets if s and ":" not in s)
