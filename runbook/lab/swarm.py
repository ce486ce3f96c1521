"""The Swarm of the lab's nodes: formed, and mended where nodes fell out of it."""

import json
from dataclasses import dataclass

from runbook.lab.errors import LabError
from runbook.lab.machine import Machine
from runbook.lab.parallel import for_each
from runbook.lab.topology import Role
from runbook.lab.waiting import wait_until
from runbook.waiting import until

QUORUM_TIMEOUT_S = 25.0  # an election after a restart of every manager takes up to ten seconds
SESSIONS_TIMEOUT_S = 20.0  # an agent that lost the manager tries again after 8 s at the latest
READY_TIMEOUT_S = 40.0
JOIN_TIMEOUT_S = 90.0
SWARM_PORT = 2377
SOCKET = "/run/docker.sock"
INFO = "http://engine/info"


@dataclass(frozen=True, slots=True)
class Membership:
    """What an engine says of its own place in a Swarm; equal when state, id and right are.

    Attributes:
        state: The engine's LocalNodeState: inactive, pending, active, error, locked.
        node_id: Its identity in the Swarm; empty outside one.
        control: Whether it is a manager that can be asked about the others.
        address: The address it told the others.
    """

    state: str
    node_id: str
    control: bool
    address: str

    @classmethod
    def parse(cls, text: str) -> "Membership":
        """Return the membership in an engine's answer. Source: Docker Engine API, SystemInfo."""
        seen = json.loads(text)["Swarm"]
        return cls(
            state=seen.get("LocalNodeState", "inactive"),
            node_id=seen.get("NodeID", ""),
            control=bool(seen.get("ControlAvailable")),
            address=seen.get("NodeAddr", ""),
        )


@dataclass(frozen=True, slots=True)
class Member:
    """What a manager says of one node; equal when all of it is."""

    node_id: str
    hostname: str
    ready: bool
    active: bool
    manager: bool
    leader: bool

    @classmethod
    def parse(cls, line: str) -> "Member":
        """Return the node in one line of ``docker node ls --format '{{json .}}'``."""
        seen = json.loads(line)
        return cls(
            node_id=seen["ID"],
            hostname=seen["Hostname"],
            ready=seen["Status"] == "Ready",
            active=seen["Availability"] == "Active",
            manager=bool(seen["ManagerStatus"]),
            leader=seen["ManagerStatus"] == "Leader",
        )


def ensure(machines: list[Machine]) -> list[str]:
    """Have every machine in one Swarm, in its role and ready; return a sentence for each change.

    Args:
        machines: The Swarm's machines, managers first.

    Raises:
        LabError: The Swarm does not get ready in time.
    """
    seen = memberships(machines)
    if whole(machines, seen, members(spokesman(machines, seen))):
        return []
    done = _found(machines, seen)
    seen = memberships(machines)
    leader = spokesman(machines, seen)
    if leader is None:
        raise LabError("no manager of the Swarm answers", host=machines[0].node.name)
    done += _join_all(machines, seen, leader)
    done += _correct(machines, leader)
    return done + _await_ready(machines, leader)


def memberships(machines: list[Machine]) -> list[Membership]:
    """Return what each machine says of itself, in their order.

    With curl, because a start of the docker client costs more than the answer.
    """
    command = ("curl", "--silent", "--show-error", "--fail", "--unix-socket", SOCKET, INFO)
    return for_each(machines, lambda machine: Membership.parse(machine.must(*command)))


def members(leader: Machine | None) -> list[Member]:
    """Return what a manager says of all nodes; nothing where there is none or it cannot say."""
    if leader is None:
        return []
    output = leader.run("docker", "node", "ls", "--format", "{{json .}}", timeout_s=10)
    if output.code:
        return []
    return [Member.parse(line) for line in output.stdout.splitlines()]


def whole(machines: list[Machine], seen: list[Membership], known: list[Member]) -> bool:
    """Return whether the manager's list and the machines' own words describe the declared Swarm."""
    declared = {
        (own.node_id, machine.node.hostname, True, True, machine.node.role is Role.MANAGER)
        for machine, own in zip(machines, seen, strict=True)
        if own.state == "active"
    }
    listed = {(m.node_id, m.hostname, m.ready, m.active, m.manager) for m in known}
    return len(declared) == len(machines) and declared == listed


def majority_left(machines: list[Machine], seen: list[Membership]) -> bool:
    """Return whether enough managers still remember the Swarm to decide anything in it."""
    managers = [
        own
        for machine, own in zip(machines, seen, strict=True)
        if machine.node.role is Role.MANAGER
    ]
    return 2 * sum(own.state != "inactive" for own in managers) > len(managers)


def spokesman(machines: list[Machine], seen: list[Membership]) -> Machine | None:
    """Return the first manager that can speak for the Swarm, or ``None``."""
    for machine, own in zip(machines, seen, strict=True):
        if own.state == "active" and own.control:
            return machine
    return None


def _found(machines: list[Machine], seen: list[Membership]) -> list[str]:
    """Start a Swarm where there is none, or none that can still decide anything."""
    if majority_left(machines, seen) and _quorum_returns(machines):
        return []
    for_each(machines, lambda machine: machine.run("docker", "swarm", "leave", "--force"))
    first = machines[0]
    first.must("docker", "swarm", "init", "--advertise-addr", first.node.address)
    return [f"started a Swarm on {first.node.name}"]


def _quorum_returns(machines: list[Machine]) -> bool:
    def answers() -> bool:
        return bool(members(spokesman(machines, memberships(machines))))

    try:
        wait_until(answers, "a quorum", timeout_s=QUORUM_TIMEOUT_S, every_s=0.3)
    except LabError:
        return False
    return True


def _join_all(machines: list[Machine], seen: list[Membership], leader: Machine) -> list[str]:
    known = {member.node_id for member in members(leader)}
    outside = [
        machine
        for machine, own in zip(machines, seen, strict=True)
        if own.state in ("inactive", "error", "locked") or own.node_id not in known
    ]
    names = {machine.node.name for machine in outside}
    inside = [own for m, own in zip(machines, seen, strict=True) if m.node.name not in names]
    _forget({own.node_id for own in inside}, leader)
    tokens = {
        role: leader.must("docker", "swarm", "join-token", "-q", role.value).strip()
        for role in {machine.node.role for machine in outside}
    }
    managers = [machine for machine in outside if machine.node.role is Role.MANAGER]
    workers = [machine for machine in outside if machine.node.role is Role.WORKER]
    for_each(managers + workers, lambda m: _join(m, leader, tokens[m.node.role]))
    return [f"joined {machine.node.name} as {machine.node.role.value}" for machine in outside]


def _join(machine: Machine, leader: Machine, token: str) -> None:
    """Join a machine, again where the manager does not listen yet or has no majority just now."""
    refusals: list[str] = []

    def joined() -> bool:
        machine.run("docker", "swarm", "leave", "--force")
        command = ("docker", "swarm", "join", "--advertise-addr", machine.node.address)
        target = f"{leader.node.address}:{SWARM_PORT}"
        output = machine.run(*command, "--token", token, target, timeout_s=60)
        refusals.append(output.stderr)
        return output.code == 0

    wait_until(
        joined,
        f"{machine.node.name} to join the Swarm",
        timeout_s=JOIN_TIMEOUT_S,
        detail=lambda: refusals[-1] + machine.tail(),
    )


def _forget(inside: set[str], leader: Machine) -> None:
    """Take the former selves of nodes off the manager's list."""
    for member in members(leader):
        if member.node_id not in inside:
            leader.run("docker", "node", "demote", member.node_id)
            leader.run("docker", "node", "rm", "--force", member.node_id)


def _correct(machines: list[Machine], leader: Machine) -> list[str]:
    """Give every node its role and its availability back."""
    roles = {machine.node.hostname: machine.node.role for machine in machines}
    done = []
    for member in members(leader):
        role = roles.get(member.hostname)
        if role is None:
            continue
        if member.manager != (role is Role.MANAGER):
            leader.must("docker", "node", "update", "--role", role.value, member.node_id)
            done.append(f"made {member.hostname} a {role.value}")
        if not member.active:
            leader.must("docker", "node", "update", "--availability", "active", member.node_id)
            done.append(f"activated {member.hostname}")
    return done


def _await_ready(machines: list[Machine], leader: Machine) -> list[str]:
    """Wait for every node; restart the engines of those that do not come back by themselves.

    After an election an agent sometimes holds on to a session of which the new leader knows
    nothing (seen with Engine 20.10.24): its node stays down until its engine starts again.
    """

    def ready() -> bool:
        return whole(machines, memberships(machines), members(leader))

    def shown() -> str:
        return leader.run("docker", "node", "ls").stdout + leader.tail()

    if until(ready, holds=bool, timeout_s=SESSIONS_TIMEOUT_S):
        return []
    down = {member.hostname for member in members(leader) if not member.ready}
    lost = [machine for machine in machines if machine.node.hostname in down]
    for_each(lost, lambda machine: machine.must("systemctl", "restart", "docker", timeout_s=60))
    wait_until(
        ready,
        "every node of the Swarm to be ready",
        timeout_s=READY_TIMEOUT_S,
        every_s=0.2,
        detail=shown,
    )
    return [f"restarted the engine of {machine.node.name}" for machine in lost]
