"""A lab: the steps that bring it up, take it down and tell how it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import docker

from runbook.errors import BadInput
from runbook.lab import (
    boot,
    containers,
    engine,
    images,
    neighbours,
    networks,
    removal,
    report,
    ssh,
    swarm,
)
from runbook.lab.errors import LabError
from runbook.lab.machine import Machine
from runbook.lab.parallel import flat, for_each
from runbook.lab.progress import Progress, silent
from runbook.lab.reset import reset
from runbook.lab.state import State
from runbook.lab.topology import Node, Role, Topology


@dataclass(frozen=True, slots=True)
class Lab:
    """A site in containers, known by its name; equal when options and folder are.

    Attributes:
        topology: Its nodes and addresses.
        state: Its files below the current folder.
    """

    topology: Topology
    state: State

    @classmethod
    def load(cls, name: str = "lab", root: Path | None = None) -> "Lab":
        """Return the lab that ``up`` made in this folder.

        Args:
            name: The lab's name.
            root: The folder that has ``.lab``; the current one where it is ``None``.

        Raises:
            BadInput: There is none of that name.
        """
        state = State.of(name, root)
        topology = state.topology()
        if topology is None:
            raise BadInput(f"there is no lab {name!r} in {state.folder.parent}; run lab up first")
        return cls(topology, state)

    @classmethod
    def declare(cls, topology: Topology, root: Path | None = None) -> "Lab":
        """Return a lab of these options, which need not exist yet.

        Raises:
            BadInput: One of that name exists and has other options.
        """
        state = State.of(topology.name, root)
        existing = state.topology()
        if existing is None:
            return cls(replace(topology, ssh_port=containers.free_port()), state)
        if replace(existing, ssh_port=0) != replace(topology, ssh_port=0):
            raise BadInput(f"lab {topology.name!r} exists with other options; take it down first")
        return cls(existing, state)

    @classmethod
    def remains(cls, name: str, root: Path | None = None) -> "Lab":
        """Return the lab of this name, to be removed, even where its files are gone or broken."""
        try:
            return cls.load(name, root)
        except BadInput:
            return cls(Topology(name), State.of(name, root))

    def up(self, progress: Progress | None = None) -> list[str]:
        """Bring every part of the lab to its declared state; return a sentence for each change.

        Args:
            progress: Where the steps are shown; nowhere where it is ``None``.

        Raises:
            LabError: A part does not get there; carries the log of the node concerned.
        """
        with self.state.locked(), engine.translated():
            return self._up(progress or silent())

    def _up(self, progress: Progress) -> list[str]:
        with progress.step("engine"):
            client = engine.ensure()
        with progress.step("images"):
            version = images.ensure(client, {node.traits.suite for node in self.topology.swarm})
        containers.require_own(client, self.topology, self.state)
        lab = self._with_free_port(client)
        with progress.step("networks"):
            done = networks.ensure(client, lab.topology)
        lab.state.write(lab.state.description, lab.topology.to_json())
        ssh.make_keys(lab.topology, lab.state)
        with progress.step("containers"):
            done += lab._each(lambda node: lab._container(client, node, version))
        with progress.step("boot"):
            done += lab._each(lambda node: boot.ensure(lab._machine(client, node)))
        with progress.step("swarm"):
            done += swarm.ensure([lab._machine(client, node) for node in lab.topology.swarm])
        if lab.topology.varied:
            with progress.step("neighbours"):
                machines = [lab._machine(client, node) for node in lab.topology.swarm]
                done += neighbours.ensure(machines, lab._leader(client), lab.state)
        boot.await_operator(lab.topology.ssh_port)
        ssh.write_operator_files(lab.topology, lab.state)
        return done

    def reset(self, progress: Progress | None = None) -> list[str]:
        """Take the running lab back to how it was after up; return a sentence for each removal.

        Raises:
            LabError: A node does not run, or cannot be reset.
        """
        shown = progress or silent()
        with self.state.locked(), engine.translated():
            client = engine.connect()
            machines = [self._machine(client, node) for node in self.topology.nodes]
            with shown.step("reset"):
                leader = self._leader(client)
                done = reset(machines, leader, neighbours.intact(leader, self.state))
            with shown.step("check"):
                return done + self._up(silent())

    def exec(
        self, node: str, argv: list[str], *, user: str = "root", timeout_s: int = 60
    ) -> tuple[int, str]:
        """Run a command on a node through the host's engine, as a witness from outside.

        Returns:
            Exit status (124 when it took longer than ``timeout_s``) and standard output.

        Raises:
            BadInput: The lab has no such node.
            LabError: The node's container does not run.
        """
        machine = self._machine(engine.connect(), self.topology.node(node))
        output = machine.run(*argv, user=user, timeout_s=timeout_s)
        return output.code, output.stdout

    def status(self) -> list[report.NodeStatus]:
        """Return how every node is; changes nothing."""
        with engine.translated():
            return report.observe(engine.connect(), self.topology)

    def logs(self, node: str, lines: int = 100) -> str:
        """Return the end of a node's journal, or of its console where it does not run."""
        return self._machine(engine.connect(), self.topology.node(node)).tail(lines)

    def down(self, progress: Progress | None = None, *, images_too: bool = False) -> list[str]:
        """Remove everything the lab made, whatever is left of it; return a sentence for each.

        Args:
            progress: Where the steps are shown; nowhere where it is ``None``.
            images_too: Also remove the images, which all labs share.

        Raises:
            LabError: The engine of a lab that was made here does not answer, or keeps something.
        """
        shown = progress or silent()
        with self.state.locked(), engine.translated():
            if self.state.topology() is None and not engine.answers():
                return ["no engine answers, and no lab of this name was made here"]
            client = engine.connect()
            with shown.step("removal"):
                done = removal.remove(client, self.topology.name)
                if images_too:
                    done += [f"removed image {name}" for name in images.remove(client)]
            if self.state.remove():
                done.append(f"removed {self.state.folder}")
            return done

    def _with_free_port(self, client: docker.DockerClient) -> "Lab":
        """Return this lab, on another port where its own was taken while the gateway was down."""
        container = containers.find(client, self.topology, self.topology.gateway)
        if container is not None and container.status in ("running", "paused"):
            return self
        if containers.is_free(self.topology.ssh_port):
            return self
        return replace(self, topology=replace(self.topology, ssh_port=containers.free_port()))

    def _machine(self, client: docker.DockerClient, node: Node) -> Machine:
        return Machine(client, self.topology, node)

    def _container(self, client: docker.DockerClient, node: Node, version: str) -> list[str]:
        blueprint = containers.Blueprint.of(self.topology, node, self.state, version)
        return containers.ensure(client, blueprint)

    def _each(self, work: Callable[[Node], list[str]]) -> list[str]:
        return flat(for_each(self.topology.nodes, work))

    def _leader(self, client: docker.DockerClient) -> Machine:
        for node in self.topology.swarm:
            machine = self._machine(client, node)
            if node.role is Role.MANAGER and swarm.members(machine):
                return machine
        raise LabError("no manager of the Swarm answers", todo="run lab up, which mends it")
