"""Commands on a node, given through the host's engine: no ssh, no firewall in between."""

import struct
from dataclasses import dataclass

import docker
import requests
from docker.errors import APIError, NotFound

from runbook.lab.errors import LabError
from runbook.lab.topology import Node, Topology

TIMED_OUT = 124  # timeout(1)
TAIL_LINES = 25
GRACE_S = 15.0  # beyond the command's own bound, for the engine to say that it was over
HEAD = struct.Struct(">BxxxL")


def demultiplex(stream: bytes) -> tuple[str, str]:
    """Return the output and the errors in a stream of the engine.

    Each frame has a head of eight bytes: the channel (1 output, 2 errors), three zeros, and the
    length, most significant byte first. Source: Docker Engine API, ContainerAttach.
    """
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    position = 0
    while position + HEAD.size <= len(stream):
        channel, length = HEAD.unpack_from(stream, position)
        position += HEAD.size
        parts.setdefault(channel, []).append(stream[position : position + length])
        position += length
    return b"".join(parts[1]).decode(errors="replace"), b"".join(parts[2]).decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Output:
    """What a command on a node gave back; equal when all three parts are."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Machine:
    """One node of a running lab and the way to its shell.

    Attributes:
        client: The host's engine.
        topology: The lab it belongs to.
        node: Which node.
    """

    client: docker.DockerClient
    topology: Topology
    node: Node

    def run(self, *argv: str, user: str = "root", timeout_s: int = 60) -> Output:
        """Run a command on the node and return its outcome, whatever its exit status.

        Raises:
            LabError: The node's container is missing, stopped or paused.
        """
        command = ["timeout", "--kill-after=5", str(timeout_s), *argv]
        api = self.client.api
        try:
            created = api.exec_create(self.topology.container(self.node), command, user=user)
            out, err = self._start(created["Id"], timeout_s + GRACE_S)
            code = api.exec_inspect(created["Id"])["ExitCode"]
        except NotFound as error:
            raise LabError("its container does not exist", host=self.node.name) from error
        except APIError as error:
            raise LabError(error.explanation or str(error), host=self.node.name) from error
        except requests.RequestException as error:
            raise LabError(f"the engine did not answer: {error}", host=self.node.name) from error
        return Output(-1 if code is None else code, out, err)

    def _start(self, exec_id: str, timeout_s: float) -> tuple[str, str]:
        """Run what was created and return its output and its errors.

        Not the SDK's ``exec_start``: it reads past what came in one piece with the HTTP headers,
        and so loses, about once in fifty times, the output of a command that is quickly done.
        Source: Docker Engine API, ExecStart.
        """
        api = self.client.api
        answer = api.post(
            f"{api.base_url}/v{api.api_version}/exec/{exec_id}/start",
            json={"Detach": False, "Tty": False},
            timeout=timeout_s,
        )
        if not answer.ok:
            raise APIError(answer.text, response=answer, explanation=answer.text)
        return demultiplex(answer.content)

    def must(self, *argv: str, timeout_s: int = 60) -> str:
        """Run a command on the node that has to succeed and return what it printed.

        Raises:
            LabError: It failed; carries what it said and the end of the node's journal.
        """
        return self.checked(" ".join(argv), self.run(*argv, timeout_s=timeout_s))

    def checked(self, command: str, output: Output) -> str:
        """Return what a command printed, if it succeeded.

        Raises:
            LabError: It failed; carries what it said and the end of the node's journal.
        """
        if output.code == 0:
            return output.stdout
        said = (output.stderr or output.stdout).strip()[-800:]
        what = "took too long" if output.code == TIMED_OUT else f"failed ({output.code})"
        raise LabError(f"{command} {what}: {said}\n{self.tail()}", host=self.node.name)

    def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the end of the node's journal, or of its console where it does not answer."""
        try:
            argv = ("journalctl", "--no-pager", "--lines", str(lines), "--output", "short")
            journal = self.run(*argv, timeout_s=10).stdout
        except LabError:
            journal = self._console(lines)
        return f"the end of {self.node.name}'s log:\n{journal}"

    def _console(self, lines: int) -> str:
        try:
            log = self.client.api.logs(self.topology.container(self.node), tail=lines)
        except APIError as error:
            return str(error.explanation)
        return bytes(log).decode(errors="replace")
