"""The containers of the nodes: created, started, and made again where they are not as declared."""

import hashlib
import socket
from dataclasses import dataclass

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from runbook.lab import images, node_files
from runbook.lab.errors import LabError
from runbook.lab.labels import OWNER, SPEC, labels, selector
from runbook.lab.runtime import create
from runbook.lab.state import State
from runbook.lab.tarball import pack
from runbook.lab.topology import Node, Role, Topology

ENGINE_FOLDER = "/var/lib/docker"
STOP_SIGNAL = "SIGRTMIN+3"  # systemd(1): halt, in a container without the real poweroff
TMPFS = {"/run": "exec,mode=755", "/run/lock": "", "/tmp": "exec,mode=1777"}  # noqa: S108


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A node's container as it should be; equal when everything that makes it is.

    Attributes:
        topology: The lab.
        node: Which of its nodes.
        owner: The folder of the lab's keys.
        version: Digest of the images.
        files: What is unpacked over the image, as a tar archive.
    """

    topology: Topology
    node: Node
    owner: str
    version: str
    files: bytes

    @classmethod
    def of(cls, topology: Topology, node: Node, state: State, version: str) -> "Blueprint":
        """Return the blueprint of a node, with its keys from the lab's state."""
        files = pack(node_files.members(topology, node, state))
        return cls(topology, node, state.owner, version, files)

    @property
    def spec(self) -> str:
        """What tells apart two containers that would not be the same machine."""
        port = self.topology.ssh_port if self.node.role is Role.GATEWAY else 0
        head = f"{self.version}\0{self.node}\0{self.topology.lan}\0{self.topology.net}\0{port}\0"
        return hashlib.sha256(head.encode() + self.files).hexdigest()[:16]

    @property
    def sides(self) -> dict[str, str]:
        """The names of its networks, each with its address there; the outside first.

        The engine publishes a port on the network a container was created with.
        """
        both = (("net", self.node.net), ("lan", self.node.lan))
        return {self.topology.network(side): address for side, address in both if address}


def ensure(client: docker.DockerClient, blueprint: Blueprint) -> list[str]:
    """Have the node's container running as declared and return a sentence for each change."""
    name = blueprint.node.name
    container = find(client, blueprint.topology, blueprint.node)
    if container is None:
        _start(_create(client, blueprint))
        return [f"created {name}"]
    if container.labels.get(SPEC) != blueprint.spec:
        container.remove(force=True, v=True)
        _forget_volume(client, blueprint)
        _start(_create(client, blueprint))
        return [f"created {name} again, which was made otherwise"]
    return _revive(client, blueprint, container)


def require_own(client: docker.DockerClient, topology: Topology, state: State) -> None:
    """Refuse to go on where the lab of this name belongs to another folder, with other keys.

    Raises:
        LabError: It does; names the folder.
    """
    for entry in client.api.containers(all=True, filters=selector(topology.name)):
        owner = entry["Labels"].get(OWNER, state.owner)
        if owner != state.owner:
            raise LabError(
                f"lab {topology.name!r} belongs to {owner}",
                todo="choose another --name, --lan and --net, or take that lab down first",
            )


def find(client: docker.DockerClient, topology: Topology, node: Node) -> Container | None:
    """Return the node's container, or ``None``."""
    try:
        return client.containers.get(topology.container(node))
    except NotFound:
        return None


def is_free(port: int) -> bool:
    """Return whether nobody listens on this port of 127.0.0.1 at this moment."""
    with socket.socket() as probe:
        # As the engine's own proxy does: a connection that lingers in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _revive(client: docker.DockerClient, blueprint: Blueprint, container: Container) -> list[str]:
    name = blueprint.node.name
    if container.status == "paused":
        container.unpause()
        return [f"resumed {name}", *_reconnect(client, blueprint, container)]
    if container.status == "running":
        return _reconnect(client, blueprint, container)
    try:
        container.start()
    except APIError:  # its network was made again since, or the engine lost track of it
        container.remove(force=True, v=True)
        _start(_create(client, blueprint))
        return [f"created {name} again"]
    return [f"started {name}", *_reconnect(client, blueprint, container)]


def _create(client: docker.DockerClient, blueprint: Blueprint) -> Container:
    topology, node = blueprint.topology, blueprint.node
    (first, address), *others = blueprint.sides.items()
    host = {"tmpfs": TMPFS, "network_mode": first}
    if node.in_swarm:
        volume = client.volumes.create(topology.volume(node), labels=labels(topology.name))
        host["binds"] = [f"{volume.name}:{ENGINE_FOLDER}"]
    if node.role is Role.GATEWAY:
        host["port_bindings"] = {"22/tcp": ("127.0.0.1", topology.ssh_port)}
    endpoint = client.api.create_endpoint_config(ipv4_address=address)
    container = create(
        client,
        images.tag(_kind(node), blueprint.version),
        name=topology.container(node),
        host=host,
        hostname=node.hostname,
        labels=labels(topology.name, node=node.name, spec=blueprint.spec, owner=blueprint.owner),
        ports=[22] if node.role is Role.GATEWAY else None,
        stop_signal=STOP_SIGNAL,
        networking_config={"EndpointsConfig": {first: endpoint}},
    )
    for name, other in others:
        client.networks.get(name).connect(container, ipv4_address=other)
    container.put_archive("/", blueprint.files)
    return container


def _kind(node: Node) -> str:
    return images.node(node.traits.suite) if node.in_swarm else node.role.value


def _start(container: Container) -> None:
    try:
        container.start()
    except APIError as error:
        raise LabError(f"{container.name} does not start: {error.explanation}") from error


def _forget_volume(client: docker.DockerClient, blueprint: Blueprint) -> None:
    """Remove the node's engine with everything in it: another image brings other contents."""
    try:
        client.volumes.get(blueprint.topology.volume(blueprint.node)).remove(force=True)
    except NotFound:
        return


def _reconnect(
    client: docker.DockerClient, blueprint: Blueprint, container: Container
) -> list[str]:
    """Plug the node into the networks it was cut from, which takes a restart.

    The engine gave up a network without taking the interface away, because the node renamed it,
    and would not connect a running container to the same network twice.
    """
    plugged = container.attrs["NetworkSettings"]["Networks"]
    cut = {name: at for name, at in blueprint.sides.items() if name not in plugged}
    if not cut:
        return []
    container.kill()
    for name, address in cut.items():
        client.networks.get(name).connect(container, ipv4_address=address)
    _start(container)
    return [f"connected {blueprint.node.name} to {name}" for name in cut]
