"""The Engine API over SSH: a real sshd, the real SDK, and a little engine that answers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests
import urllib3
from docker.utils import socket as docker_socket
from fakes import Failure, FakeEngine
from servers import Client, Sshd

from runbook.errors import Lost, Refused, RunbookError, Unreachable
from runbook.hosts.connection import Connection
from runbook.hosts.docker import api
from runbook.hosts.docker.api import engine
from runbook.hosts.docker.errors import Absent, Conflict, EngineError, EngineTimeout
from runbook.hosts.fleet import Fleet
from runbook.hosts.transcript import Transcript

PROGRAM = Path(__file__).parents[1] / "fake_docker.py"


@dataclass(frozen=True, slots=True)
class EngineHost:
    """A server whose docker command is the fake one."""

    server: Sshd
    folder: Path

    def behave(self, state: str) -> None:
        """Set how its engine behaves from now on."""
        (self.folder / "state").write_text(state)
        (self.folder / "dialled").write_text("")

    @property
    def dialled(self) -> int:
        """How often its engine was connected to since."""
        return len((self.folder / "dialled").read_text().splitlines())


@pytest.fixture(scope="module")
def engine_host(
    start_sshd: Callable[..., Sshd], tmp_path_factory: pytest.TempPathFactory
) -> EngineHost:
    """A server with an engine."""
    folder = tmp_path_factory.mktemp("engine")
    programs = {
        "docker": f'exec {sys.executable} -IS {PROGRAM} {folder} "$@"',
        "sudo": 'shift 2; exec env FAKE_SUDO=1 "$@"',
    }
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return EngineHost(start_sshd(environment=f"PATH={folder}:/usr/bin:/bin"), folder)


@pytest.fixture
def connection(client: Client, engine_host: EngineHost) -> Iterator[Connection]:
    """A connection to it, as a user who is not root."""
    engine_host.behave("running")
    client.known_hosts.write_text(engine_host.server.known_as())
    site_file = client.site(f"Host docker01\n  Port {engine_host.server.port}\n")
    with Fleet(site_file, Transcript(None)) as fleet:
        real = fleet["docker01"]
        yield Connection("docker01", "gerard", lambda: real.transport, fleet.transcript)


class TestEngine:
    """A client of the engine."""

    def test_version(self, connection: Connection) -> None:
        """The client speaks the version that the engine speaks."""
        assert engine(connection).api_version == "1.41"

    def test_one_connection(self, connection: Connection, engine_host: EngineHost) -> None:
        """Many calls need one session of the one SSH connection."""
        client = engine(connection)
        names = {client.info()["Name"] for _ in range(5)}

        assert names == {"docker01"}
        assert engine_host.dialled == 1

    def test_threads(self, connection: Connection) -> None:
        """A client serves several threads."""
        client, names = engine(connection), []
        threads = [
            threading.Thread(target=lambda: names.append(client.info()["Name"])) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert names == ["docker01"] * 6

    def test_proxies_are_not_used(
        self, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy of the operator's machine has nothing to do with it."""
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")

        assert engine(connection).info()["Name"] == "docker01"

    def test_after_a_restart(self, connection: Connection, engine_host: EngineHost) -> None:
        """A client that outlives the engine's restart connects again."""
        client = engine(connection)
        with pytest.raises(Lost):
            client.inspect_container("dies")

        assert client.info()["Name"] == "docker01"
        assert engine_host.dialled == 2

    def test_that_ends_on_the_first_request(self, connection: Connection) -> None:
        """An engine that took a request and ends without a word may have done what it asked."""
        client = engine(connection)
        connection.transport.close()  # so that the next request is the first of its session
        with pytest.raises(Lost, match="took effect is not known"):
            client.inspect_container("dies")

    def test_after_a_lost_connection(self, connection: Connection) -> None:
        """A client that outlives its SSH connection opens it again."""
        client = engine(connection)
        connection.transport.close()

        assert client.info()["Name"] == "docker01"

    def test_closed(self, connection: Connection) -> None:
        """Closing the client ends its sessions and leaves the connection."""
        client = engine(connection)
        client.close()

        assert connection.run(["true"]).status == 0


class TestSocket:
    """Who may open the engine's socket."""

    def test_through_sudo(self, connection: Connection, engine_host: EngineHost) -> None:
        """Where the user may not, root does; that is found out once."""
        engine_host.behave("denied")
        client = engine(connection)

        assert client.info()["Name"] == "docker01"
        assert engine_host.dialled == 2

    def test_not_even_root(self, connection: Connection, engine_host: EngineHost) -> None:
        """Where root is logged in, there is nobody else to ask."""
        engine_host.behave("denied")
        root = Connection("docker01", "root", lambda: connection.transport, Transcript(None))
        with pytest.raises(Refused, match="permission denied"):
            engine(root)

    @pytest.mark.parametrize("state", ["down", "down-20"])
    def test_not_running(self, connection: Connection, engine_host: EngineHost, state: str) -> None:
        """An engine that does not run is told with how to start it."""
        engine_host.behave(state)
        with pytest.raises(Unreachable, match="systemctl start docker"):
            engine(connection)

    def test_that_answers_nobody(self, connection: Connection, engine_host: EngineHost) -> None:
        """An engine whose authorization plugin says no is told with its words."""
        engine_host.behave("forbidden")
        with pytest.raises(EngineError, match="authorization denied by plugin"):
            engine(connection)

    def test_no_docker(self, client: Client, start_sshd: Callable[..., Sshd]) -> None:
        """A host without docker."""
        (client.folder / "sh").symlink_to("/bin/sh")
        server = start_sshd(environment=f"PATH={client.folder}")
        client.known_hosts.write_text(server.known_as())
        site_file = client.site(f"Host docker01\n  Port {server.port}\n")
        with (
            Fleet(site_file, Transcript(None)) as fleet,
            pytest.raises(Refused, match="there is no docker command"),
        ):
            engine(fleet["docker01"])


class TestAnswers:
    """Answers that do not come, or not to their end."""

    def test_none(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        """An engine that does not answer is given up."""
        monkeypatch.setattr(api, "TIMEOUT_S", 2)
        client = engine(connection)
        with pytest.raises(EngineTimeout):
            client.inspect_container("stuck")

    def test_silence_is_bounded(
        self, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An answer that goes on with silence is given up, although nobody set a bound for it."""
        monkeypatch.setattr(api, "TIMEOUT_S", 1)
        client = engine(connection)
        before = time.monotonic()
        with pytest.raises(EngineTimeout):
            client.request("GET", f"{client.base_url}/v1.41/events")

        assert time.monotonic() - before < 5

    def test_lost_connection_is_no_end(self, connection: Connection) -> None:
        """An answer that ends because the connection was lost has not ended."""
        client = engine(connection)
        timer = threading.Timer(0.2, connection.transport.close)
        timer.start()
        with pytest.raises(Lost, match="connection was lost"):
            client.request("GET", f"{client.base_url}/v1.41/events")
        timer.join()


class TestErrors:
    """What errors become, whoever makes the request."""

    def test_absent(self, connection: Connection) -> None:
        """What is not there."""
        with pytest.raises(Absent) as caught:
            engine(connection).inspect_network("absent")

        assert caught.value.status == 404
        assert str(caught.value) == (
            "docker01: the Docker Engine answered 404: network absent not found"
        )

    def test_conflict(self, connection: Connection) -> None:
        """A name that is taken is told from other errors."""
        with pytest.raises(Conflict) as caught:
            engine(connection).create_network("frontend")

        assert (caught.value.status, caught.value.exit_code) == (409, 1)

    def test_quorum(self, connection: Connection) -> None:
        """A Swarm without quorum refuses the run, with what to do."""
        with pytest.raises(Refused, match="lost its quorum") as caught:
            engine(connection).nodes()

        assert caught.value.exit_code == 3
        assert caught.value.todo

    @pytest.mark.parametrize(
        ("status", "message", "kind"),
        [
            (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", Refused),
            (
                503,
                "Swarm is encrypted and needs to be unlocked before it can be used. "
                'Please use "docker swarm unlock" to unlock it.',
                Refused,
            ),
            (
                503,
                "This node is not a swarm manager. Worker nodes can't be used to view or modify "
                "cluster state.",
                Refused,
            ),
            (500, "rpc error: code = Unknown desc = update out of sequence", Conflict),
            (409, "rpc error: code = AlreadyExists desc = name conflicts", Conflict),
            (404, "No such image: traefik:v0", Absent),
            (400, "invalid reference format", EngineError),
            (500, "Get registry: net/http: context deadline exceeded", EngineError),
        ],
    )
    def test_answers(self, status: int, message: str, kind: type[RunbookError]) -> None:
        """The engine's own words decide where the status does not."""
        client = FakeEngine({"GET /services": Failure(status, message)}).client
        with pytest.raises(RunbookError) as caught:
            client.services()

        assert type(caught.value) is kind
        assert caught.value.host == "docker01"
        assert message in caught.value.message

    @pytest.mark.parametrize(("method", "kind"), [("GET", Refused), ("POST", Lost)])
    def test_quorum_lost_meanwhile(self, method: str, kind: type[RunbookError]) -> None:
        """What the managers did not agree on in time, they may still agree on."""
        said = "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
        client = FakeEngine({f"{method} /configs": Failure(500, said)}).client
        with pytest.raises(RunbookError, match="quorum") as caught:
            client.request(method, f"{client.base_url}/v{client.api_version}/configs")

        assert type(caught.value) is kind
        assert "docker node ls" in caught.value.todo

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (requests.ConnectionError("gone"), Lost),
            (requests.ReadTimeout("slow"), EngineTimeout),
            (urllib3.exceptions.ProtocolError("cut"), Lost),
            (urllib3.exceptions.ReadTimeoutError(None, "/", "slow"), EngineTimeout),  # type: ignore[arg-type]
            (TimeoutError(), EngineTimeout),
        ],
    )
    def test_transport(self, error: Exception, kind: type[RunbookError]) -> None:
        """Errors on the way are told from errors of the engine."""

        def fail(_query: object, _body: object) -> None:
            raise error

        client = FakeEngine({"GET /nodes": fail}).client
        with pytest.raises(RunbookError) as caught:
            client.nodes()

        assert type(caught.value) is kind

    @pytest.mark.parametrize(
        ("body", "told"),
        [(b"", "Bad Gateway"), (b"<html>", "<html>"), (b"[1]", "[1]"), (b'{"a": 1}', '{"a": 1}')],
    )
    def test_error_without_a_message(self, body: bytes, told: str) -> None:
        """An answer that is no message of the engine's is told as it came, or by its status."""
        with pytest.raises(EngineError) as caught:
            Proxied(502, body).client.nodes()

        assert caught.value.message == f"the Docker Engine answered 502: {told}"

    def test_answer_that_is_no_json(self) -> None:
        """What does not answer as an engine does is not taken for one."""
        with pytest.raises(Lost, match="the connection to the Docker Engine was lost"):
            Proxied(200, b"<html>").client.nodes()

    def test_mistakes_pass(self) -> None:
        """A mistake of the program is not dressed up."""
        with pytest.raises(ValueError, match="Resource ID"):
            FakeEngine({}).client.inspect_network(None)

    def test_old_engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An engine that cannot keep the lock is told at once, and no way to it is kept open."""
        closed: list[bool] = []
        old = FakeEngine({"GET /version": {"ApiVersion": "1.29"}})
        monkeypatch.setattr(old, "close", lambda: closed.append(True))
        with pytest.raises(EngineError, match=r"^docker01: .* speaks API 1\.29, older than 1\.30"):
            old.client  # noqa: B018

        assert closed == [True]

    def test_passwords_of_this_machine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What .netrc has for this machine is not sent to an engine elsewhere."""
        (tmp_path / "netrc").write_text("machine localhost login gerard password horse\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        client = FakeEngine({"GET /nodes": []}).client
        answer = client.get(f"{client.base_url}/v{client.api_version}/nodes")

        assert "Authorization" not in answer.request.headers

    def test_own_configuration(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The SDK reads the operator's own configuration of docker, which may be broken."""
        (tmp_path / "config.json").write_text('{"auths": {"registry.example": "x"}}')
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with pytest.raises(EngineError, match="the Docker SDK: Invalid configuration for registry"):
            FakeEngine({}).client  # noqa: B018


class Proxied(FakeEngine):
    """An engine behind something that answers in its place, once it is open."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__({})
        self.status, self.body = status, body

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Answer whatever is asked but the version."""
        response = super().send(request)
        if not str(request.url).endswith("/version"):
            response.status_code, response._content = self.status, self.body
            response.reason = "Bad Gateway"
        return response


class TestLibrary:
    """What is owed to the SDK."""

    def test_every_error_is_known(self) -> None:
        """An error that a new SDK brings, and that is none of its own kind, has to be looked at.

        The two are of streams within an answer, of which the runbook asks for none.
        """
        there = {
            thing
            for part in (docker.errors, docker_socket)
            for thing in vars(part).values()
            if isinstance(thing, type)
            and issubclass(thing, Exception)
            and thing.__module__.startswith("docker.")
        }
        odd = {docker.errors.StreamParseError, docker_socket.SocketError}

        assert {
            kind for kind in there if not issubclass(kind, docker.errors.DockerException)
        } == odd
