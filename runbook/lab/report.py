"""How a lab is: one line a node, as a value, a table or JSON."""

from dataclasses import asdict, dataclass
from typing import Any

import docker
from rich import box
from rich.table import Table

from runbook.lab.errors import LabError
from runbook.lab.labels import NODE, selector
from runbook.lab.machine import Machine
from runbook.lab.parallel import for_each
from runbook.lab.swarm import Member, Membership, members
from runbook.lab.topology import Node, Topology

ABSENT = "absent"
NONE = "-"
# One command a node: the state of the system, of its engine, and its place in the Swarm. curl and
# not the docker client, whose start alone costs a tenth of a second of each node's time.
QUESTION = """
systemctl is-system-running
if [ -S /run/docker.sock ]; then
    systemctl is-active docker.service
    curl -s -m 3 --unix-socket /run/docker.sock http://engine/info
fi
"""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How one node is; equal when every word of it is.

    Attributes:
        node: Its name.
        role: What it is for.
        address: Its address.
        container: State of the container on the host's engine, or "absent".
        system: State of its systemd; "-" where it was not to be asked.
        engine: State of its own engine's unit; "-" where it has none.
        swarm: Its place: leader, manager, worker, or what is wrong.
        well: Whether it is as it should be.
    """

    node: str
    role: str
    address: str
    container: str
    system: str
    engine: str
    swarm: str
    well: bool


def observe(client: docker.DockerClient, topology: Topology) -> list[NodeStatus]:
    """Return how every declared node is, in the topology's order; changes nothing."""
    listed = client.api.containers(all=True, filters=selector(topology.name))
    states = {entry["Labels"].get(NODE): entry["State"] for entry in listed}
    answers = for_each(topology.nodes, lambda node: _ask(client, topology, node, states))
    known = _known(client, topology, answers)
    return [
        judge(node, states.get(node.name, ABSENT), answer, known)
        for node, answer in zip(topology.nodes, answers, strict=True)
    ]


def table(name: str, seen: list[NodeStatus]) -> Table:
    """Return the states as a table for a person."""
    shown = Table(title=f"lab {name}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "role", "address", "container", "systemd", "engine", "swarm"):
        shown.add_column(heading, no_wrap=True)
    for one in seen:
        cells = (one.node, one.role, one.address, one.container, one.system, one.engine, one.swarm)
        shown.add_row(*cells, style=None if one.well else "red")
    return shown


def as_json(seen: list[NodeStatus]) -> list[dict[str, Any]]:
    """Return the states as plain values for a program."""
    return [asdict(one) for one in seen]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node says of itself; "-" where it could not be asked."""

    system: str = NONE
    engine: str = NONE
    membership: Membership | None = None


def _ask(
    client: docker.DockerClient, topology: Topology, node: Node, states: dict[str, str]
) -> Answer:
    if states.get(node.name) != "running":
        return Answer()
    try:
        output = Machine(client, topology, node).run("sh", "-c", QUESTION, timeout_s=5)
    except LabError:  # it stopped since the list was made
        return Answer()
    return parse(output.stdout)


def parse(text: str) -> Answer:
    """Return what a node answered to ``QUESTION``; what is missing or broken stays unknown."""
    system, _, rest = text.partition("\n")
    unit, _, info = rest.partition("\n")
    try:
        place = Membership.parse(info) if info else None
    except (ValueError, KeyError, TypeError):
        place = None
    return Answer(system or NONE, unit or NONE, place)


def _known(
    client: docker.DockerClient, topology: Topology, answers: list[Answer]
) -> dict[str, Member]:
    for node, answer in zip(topology.nodes, answers, strict=True):
        if answer.membership and answer.membership.control:
            listed = members(Machine(client, topology, node))
            if listed:
                return {member.node_id: member for member in listed}
    return {}


def judge(node: Node, container: str, answer: Answer, known: dict[str, Member]) -> NodeStatus:
    """Return how a node is, given its container's state, its answer, and the managers' list."""
    place, right = _place(node, answer.membership, known) if node.in_swarm else (NONE, True)
    engine = answer.engine if node.in_swarm else NONE
    well = right and container == "running" and answer.system == "running"
    well = well and (engine == "active" or not node.in_swarm)
    return NodeStatus(
        node.name, node.role.value, node.address, container, answer.system, engine, place, well
    )


def _place(node: Node, own: Membership | None, known: dict[str, Member]) -> tuple[str, bool]:
    """Return a node's place in the Swarm in words, and whether it is the declared one."""
    if own is None:
        return NONE, False
    if own.state != "active":
        return own.state, False
    member = known.get(own.node_id)
    if member is None:
        return "no quorum" if not known else "unknown to the managers", False
    if not member.ready:
        return "down", False
    if not member.active:
        return "not active", False
    role = "manager" if member.manager else "worker"
    return ("leader" if member.leader else role), role == node.role.value
