"""What a lab consists of: its nodes, their addresses, and the names given to the engine's objects.

Everything here is a pure function of a few options, so that the same options always give the same
lab, and a lab can be found, healed and removed with nothing but its name.
"""

import json
import re
from dataclasses import asdict, dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from runbook.errors import BadInput
from runbook.lab.traits import PLAIN, VARIED, Traits

# Interface names have 15 characters at most (linux/if.h, IFNAMSIZ); "rb-" and "-lan" take seven.
NAME = re.compile(r"[a-z][a-z0-9]{0,7}")
INTERFACE = re.compile(r"[a-z][a-z0-9]{1,14}")
MAX_SWARM_NODES = 20
FIRST_NODE = 10  # docker01 is .11, docker02 is .12, and so on
BRIDGE = -2  # the engine's own address is the last but one, out of the site's way
SMALLEST = {"lan": 24, "net": 28}


class Role(Enum):
    """What a node is for."""

    GATEWAY = "gateway"
    MANAGER = "manager"
    WORKER = "worker"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the lab; equal when all of it is equal.

    Attributes:
        name: Its name, as the site file calls it.
        role: What the machine is for.
        lan: Its address inside, ``None`` for the outside client.
        net: Its address outside, ``None`` for the Swarm's nodes.
        traits: How it differs from the others.
    """

    name: str
    role: Role
    lan: str | None
    net: str | None
    traits: Traits = PLAIN

    @property
    def hostname(self) -> str:
        """What the machine calls itself, and the Swarm calls it."""
        return self.traits.hostname or self.name

    @property
    def in_swarm(self) -> bool:
        """Whether the node runs an engine that belongs to the Swarm."""
        return self.role in (Role.MANAGER, Role.WORKER)

    @property
    def address(self) -> str:
        """The address the gateway reaches it at; for the gateway itself, its outside one."""
        address = self.net if self.role is Role.GATEWAY else self.lan or self.net
        if address is None:  # no role is built without an address; keeps the type honest
            raise ValueError(f"{self.name} has no address")
        return address


@dataclass(frozen=True, slots=True)
class Topology:
    """The options of a lab, validated, and everything that follows from them.

    Attributes:
        name: The lab's name: 1 to 8 lower-case letters and digits, a letter first.
        managers: Number of Swarm managers.
        workers: Number of Swarm workers.
        lan: The inside network, a /24 or wider.
        net: The outside network, a /28 or wider. The host's own packets for these addresses go
            to the lab while it is up, so it is no wider than it has to be.
        interface: Name of the Swarm nodes' inside interface.
        ssh_port: Port of 127.0.0.1 where the gateway's sshd answers; 0 until one was chosen.
        varied: Whether its machines differ, and other people have things of their own on them.
    """

    name: str = "lab"
    managers: int = 3
    workers: int = 3
    lan: str = "10.0.0.0/24"
    net: str = "203.0.113.0/28"
    interface: str = "enp0s3"
    ssh_port: int = 0
    varied: bool = False

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise BadInput("the lab's options do not fit: " + "; ".join(problems))

    def _problems(self) -> list[str]:
        problems = []
        if not NAME.fullmatch(self.name):
            problems.append(f"name {self.name!r} is not 1 to 8 lower-case letters and digits")
        if not INTERFACE.fullmatch(self.interface) or self.interface in ("lo", "eth0"):
            problems.append(f"interface {self.interface!r} cannot be given to a node")
        if self.managers < 1 or self.workers < 0:
            problems.append("a lab has at least one manager")
        if self.managers + self.workers > MAX_SWARM_NODES:
            problems.append(f"a lab has at most {MAX_SWARM_NODES} Swarm nodes")
        networks = {}
        for option, text in (("lan", self.lan), ("net", self.net)):
            try:
                networks[option] = IPv4Network(text)
            except ValueError as error:
                problems.append(f"{option} {text!r} is not a network ({error})")
                continue
            if networks[option].prefixlen > SMALLEST[option]:
                problems.append(f"{option} {text} is smaller than a /{SMALLEST[option]}")
        if len(networks) == 2 and networks["lan"].overlaps(networks["net"]):
            problems.append(f"lan {self.lan} and net {self.net} overlap")
        return problems

    def lan_address(self, last: int) -> str:
        """Return the inside address that ends in this number."""
        return str(IPv4Network(self.lan)[last])

    def net_address(self, last: int) -> str:
        """Return the outside address that ends in this number."""
        return str(IPv4Network(self.net)[last])

    @property
    def vip(self) -> IPv4Address:
        """The address left free for keepalived."""
        return IPv4Address(self.lan_address(2))

    @property
    def gateway(self) -> Node:
        """The machine between the two networks."""
        return self._node("gateway", Role.GATEWAY, self.lan_address(1), self.net_address(2))

    @property
    def client(self) -> Node:
        """The machine outside."""
        return self._node("client", Role.CLIENT, None, self.net_address(10))

    @property
    def swarm(self) -> tuple[Node, ...]:
        """The Swarm's nodes: managers, then workers."""
        roles = [Role.MANAGER] * self.managers + [Role.WORKER] * self.workers
        return tuple(
            self._node(f"docker{number:02}", role, self.lan_address(FIRST_NODE + number), None)
            for number, role in enumerate(roles, start=1)
        )

    def _node(self, name: str, role: Role, lan: str | None, net: str | None) -> Node:
        return Node(name, role, lan, net, VARIED.get(name, PLAIN) if self.varied else PLAIN)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every machine, the gateway first: the others resolve names through it."""
        return (self.gateway, *self.swarm, self.client)

    def node(self, name: str) -> Node:
        """Return the node of this name.

        Raises:
            BadInput: The lab has no such node.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise BadInput(f"lab {self.name!r} has no node {name!r}; it has {names}")

    def container(self, node: Node) -> str:
        """Return the name of a node's container."""
        return f"edge-{self.name}-{node.name}"

    def volume(self, node: Node) -> str:
        """Return the name of the volume that holds a node's own engine."""
        return f"edge-{self.name}-{node.name}"

    def network(self, side: str) -> str:
        """Return the name of the engine's network for a side, "lan" or "net".

        The engine publishes a container's port on the first of its networks by name, and the
        gateway's sshd is to be reached from outside: hence "external" before "internal".
        """
        return f"edge-{self.name}-{'internal' if side == 'lan' else 'external'}"

    def bridge(self, side: str) -> str:
        """Return the fixed name of that network's bridge, so that a stale one is recognised."""
        return f"rb-{self.name}-{side}"

    def to_json(self) -> str:
        """Return the options, and for readers of the file the nodes, as JSON."""
        nodes = [
            {"name": n.name, "role": n.role.value, "lan": n.lan, "net": n.net} for n in self.nodes
        ]
        document = asdict(self) | {"vip": str(self.vip), "nodes": nodes}
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Topology":
        """Return the topology that ``to_json`` wrote.

        Raises:
            BadInput: The text is not such a document.
        """
        try:
            document: dict[str, Any] = {"varied": False} | json.loads(text)  # older ones lack it
            return cls(**{field: document[field] for field in cls.__slots__})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"not the topology of a lab: {error!r}") from error


VARIED_LAB = Topology("varied", lan="10.77.0.0/24", net="203.0.113.16/28", varied=True)
