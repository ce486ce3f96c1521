"""From a container that runs to a machine that is up: systemd settled, its services answering."""

import socket

from runbook.lab.errors import LabError
from runbook.lab.machine import Machine, Output
from runbook.lab.topology import Node, Role
from runbook.lab.waiting import wait_until

BOOT_TIMEOUT_S = 60.0
BANNER_TIMEOUT_S = 10.0
UNITS = {
    Role.GATEWAY: ("ssh.service", "dnsmasq.service", "shorewall.service"),
    Role.CLIENT: ("ssh.service",),
    Role.MANAGER: ("ssh.service", "docker.socket", "docker.service"),
    Role.WORKER: ("ssh.service", "docker.socket", "docker.service"),
}
READY = "/usr/local/lib/lab/ready.sh"
NOT_YET = 75  # ready.sh, before systemd can be asked


def ensure(machine: Machine) -> list[str]:
    """Wait until the machine is up, put right what is not, and return a sentence for each repair.

    Raises:
        LabError: It does not come up in time, or a service it needs does not start.
    """
    name = machine.node.name
    seen: list[Output] = []
    wait_until(
        lambda: _answered(machine, seen),
        f"{name} to boot",
        timeout_s=BOOT_TIMEOUT_S,
        detail=machine.tail,
    )
    return [f"{name}: {line}" for line in machine.checked(READY, seen[-1]).splitlines()]


def await_operator(port: int) -> None:
    """Wait until the gateway's sshd answers where the operator will look for it.

    Args:
        port: Port of 127.0.0.1 that the engine forwards to the gateway.

    Raises:
        LabError: Nothing there introduces itself as an sshd in time.
    """
    wait_until(
        lambda: _introduces_itself(port),
        f"the gateway's sshd to answer at 127.0.0.1:{port}",
        timeout_s=BANNER_TIMEOUT_S,
        detail=lambda: "its firewall may keep everybody out; lab reset restores it",
    )


def _introduces_itself(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=BANNER_TIMEOUT_S) as probe:
            return probe.recv(4) == b"SSH-"  # RFC 4253, section 4.2
    except OSError:
        return False


def _units(node: Node) -> tuple[str, ...]:
    return (*UNITS[node.role], *(("keepalived.service",) if node.traits.vrid else ()))


def _answered(machine: Machine, seen: list[Output]) -> bool:
    try:
        seen.append(machine.run(READY, *_units(machine.node), timeout_s=int(BOOT_TIMEOUT_S)))
    except LabError:  # the container ended; the wait's own message shows its console
        return False
    return seen[-1].code != NOT_YET
