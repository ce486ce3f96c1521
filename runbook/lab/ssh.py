"""The files that let ssh in: for the operator outside, and for gerard on the gateway.

The operator knows one address, a port of 127.0.0.1 that leads to the gateway's sshd, and reaches
every other node through it. All host keys are pinned. Source: ssh_config(5), sshd(8).
"""

from runbook.lab.state import INNER, OPERATOR, SIGNING, State
from runbook.lab.topology import Node, Role, Topology

USER = "gerard"


def operator_config(topology: Topology, state: State) -> str:
    """Return the ssh_config of the operator, with absolute paths."""
    hosts = [_host(topology, node) for node in topology.nodes]
    common = f"""Host *
    User {USER}
    IdentityFile "{state.identity}"
    IdentitiesOnly yes
    UserKnownHostsFile "{state.known_hosts}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    HostKeyAlgorithms ssh-ed25519
    BatchMode yes
"""
    return "\n".join([*hosts, common])


def _host(topology: Topology, node: Node) -> str:
    if node.role is Role.GATEWAY:
        return f"Host {node.name}\n    HostName 127.0.0.1\n    Port {topology.ssh_port}\n"
    return f"Host {node.name}\n    HostName {node.address}\n    ProxyJump gateway\n"


def operator_known_hosts(topology: Topology, state: State) -> str:
    """Return one line a node: every name and address it may be asked for by, and its key."""
    lines = []
    for node in topology.nodes:
        names = [node.name, *(address for address in (node.lan, node.net) if address)]
        if node.role is Role.GATEWAY:
            names.append(f"[127.0.0.1]:{topology.ssh_port}")
        lines.append(_known(names, state.host_key(node.name)[1]))
    return "".join(lines)


def gateway_known_hosts(topology: Topology, state: State) -> str:
    """Return what gerard's ssh on the gateway knows: each node, and any manager as the VIP."""
    lines = []
    for node in topology.nodes:
        names = [node.name, node.address]
        if node.role is Role.MANAGER:
            names.append(str(topology.vip))  # whoever holds the address answers with its own key
        lines.append(_known(names, state.host_key(node.name)[1]))
    return "".join(lines)


def gateway_config() -> str:
    """Return gerard's own ssh configuration on the gateway."""
    return "Host *\n    StrictHostKeyChecking yes\n    HostKeyAlgorithms ssh-ed25519\n"


def authorized_keys(node: Node, state: State) -> str:
    """Return who may log in as gerard: the operator, and from the gateway gerard himself."""
    keys = state.key(OPERATOR)[1]
    return keys if node.role is Role.GATEWAY else keys + state.key(INNER)[1]


def make_keys(topology: Topology, state: State) -> None:
    """Make the keys the lab does not have yet, before several nodes ask for them at once."""
    for name in (OPERATOR, INNER):
        state.key(name)
    State(state.folder.parent).key(SIGNING)
    for node in topology.nodes:
        state.host_key(node.name)


def write_operator_files(topology: Topology, state: State) -> None:
    """Write key, known hosts and configuration; the configuration last, as the sign of a whole."""
    state.write(state.known_hosts, operator_known_hosts(topology, state))
    state.write(state.ssh_config, operator_config(topology, state))


def _known(names: list[str], public: str) -> str:
    algorithm, key, *_ = public.split()
    return f"{','.join(names)} {algorithm} {key}\n"
