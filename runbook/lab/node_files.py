"""The files that make a node of an image: who it is, whom it knows, who may log in."""

from ipaddress import IPv4Network

from runbook.lab import neighbours, ssh, traits
from runbook.lab.state import INNER, State
from runbook.lab.tarball import Member
from runbook.lab.topology import Node, Role, Topology

GERARD = 1000
SECRET = 0o600


def members(topology: Topology, node: Node, state: State) -> list[Member]:
    """Return the files of one node, to be unpacked at its root before its first start."""
    private, public = state.host_key(node.name)
    files = [
        Member("etc/ssh/ssh_host_ed25519_key", private, SECRET),
        Member("etc/ssh/ssh_host_ed25519_key.pub", public.encode()),
        Member("etc/lab/interfaces", interfaces(topology, node).encode()),
        Member("etc/lab/route", route(topology, node).encode()),
        Member("etc/lab/hosts", hosts(topology, node).encode()),
        Member("etc/lab/resolv.conf", resolver(topology, node).encode()),
        # What reset.sh leaves alone, because it is somebody else's.
        Member("etc/lab/floating", f"{neighbours.floating(topology, node)}\n".encode()),
        Member("etc/lab/services", services(topology).encode()),
        _of_gerard("authorized_keys", ssh.authorized_keys(node, state)),
        *neighbours.members(topology, node),
    ]
    script = traits.script(node.traits)
    if script:
        files.append(Member("etc/lab/vary.sh", script.encode()))
    if node.role is Role.GATEWAY:
        files += [
            Member("etc/shorewall/snat", f"MASQUERADE {topology.lan} net0\n".encode()),
            _of_gerard("id_ed25519", state.key(INNER)[0].decode()),
            _of_gerard("config", ssh.gateway_config()),
            _of_gerard("known_hosts", ssh.gateway_known_hosts(topology, state)),
        ]
    return files


def interfaces(topology: Topology, node: Node) -> str:
    """Return one line an interface: its name and its address, as ``network.sh`` reads them."""
    inside = "lan0" if node.role is Role.GATEWAY else topology.interface
    lines = []
    if node.net:
        lines.append(f"net0 {node.net}/{IPv4Network(topology.net).prefixlen}\n")
    if node.lan:
        lines.append(f"{inside} {node.lan}/{IPv4Network(topology.lan).prefixlen}\n")
    return "".join(lines)


def route(topology: Topology, node: Node) -> str:
    """Return the address of the default route; nothing for a machine that knows only its networks.

    The gateway has none, so that nothing in the lab can leave it: what would is refused at once.
    """
    return f"{topology.gateway.lan}\n" if node.in_swarm else ""


def hosts(topology: Topology, node: Node) -> str:
    """Return the node's /etc/hosts: every name it can use, at the address it would use."""
    lines = ["127.0.0.1 localhost\n"]
    for other in topology.nodes:
        address = other.net if node.role is Role.CLIENT else other.lan or other.net
        if address:
            names = dict.fromkeys((other.hostname, other.name))
            lines.append(f"{address} {' '.join(names)}\n")
    return "".join(lines)


def services(topology: Topology) -> str:
    """Return the names of the services that are somebody else's, one a line."""
    return "".join(f"{name}\n" for name in neighbours.SERVICES) if topology.varied else ""


def resolver(topology: Topology, node: Node) -> str:
    """Return the node's resolv.conf: the gateway's dnsmasq, or nobody, who at least says no."""
    server = topology.gateway.lan if node.in_swarm else "127.0.0.1"
    return f"nameserver {server}\noptions timeout:2 attempts:1\n"


def _of_gerard(name: str, text: str) -> Member:
    return Member(f"home/{ssh.USER}/.ssh/{name}", text.encode(), SECRET, GERARD)
