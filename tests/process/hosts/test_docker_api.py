"""The Engine API over SSH: a real sshd, the real SDK, and a little engine that answers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker.errors
import pytest
import requests
import urllib3
from docker.utils import socket as docker_socket
from servers import Client, Sshd

from runbook.errors import BadInput, Lost, Refused, RunbookError, Unreachable
from runbook.hosts import docker_api
from runbook.hosts.connection import Connection
from runbook.hosts.docker_api import (
    DOCKER_ERRORS,
    Absent,
    Conflict,
    EngineError,
    EngineTimeout,
    engine,
    translated,
)
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
        assert engine(connection).api.api_version == "1.41"

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
        with pytest.raises(Lost), translated("docker01"):
            client.containers.get("dies")

        assert client.info()["Name"] == "docker01"
        assert engine_host.dialled == 2

    def test_that_ends_on_the_first_request(self, connection: Connection) -> None:
        """An engine that took a request and ends without a word may have done what it asked."""
        client = engine(connection)
        connection.transport.close()  # so that the next request is the first of its session
        with pytest.raises(Lost, match="took effect is not known"), translated("docker01"):
            client.containers.get("dies")

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


class TestStreams:
    """Answers that go on."""

    def test_events(self, connection: Connection) -> None:
        """Events are given as they come."""
        events = engine(connection).events(decode=True)

        assert next(events)["Action"] == "create"
        events.close()

    def test_closed_by_another_thread(self, connection: Connection) -> None:
        """A stream that is closed ends, also where somebody waits for it."""
        events = engine(connection).events(decode=True)
        timer = threading.Timer(0.2, events.close)
        timer.start()

        assert [event["Action"] for event in events] == ["create"]
        timer.join()

    def test_silence_is_bounded(
        self, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stream that says nothing is given up, although the SDK would wait for ever."""
        monkeypatch.setattr(docker_api, "TIMEOUT_S", 1)
        events = engine(connection).events(decode=True)
        before = time.monotonic()
        with pytest.raises(EngineTimeout), translated("docker01"):
            list(events)

        assert time.monotonic() - before < 5

    def test_lost_connection_is_no_end(self, connection: Connection) -> None:
        """A stream that ends because the connection was lost has not ended."""
        events = engine(connection).events(decode=True)
        next(events)
        timer = threading.Timer(0.2, connection.transport.close)
        timer.start()
        with pytest.raises(Lost, match="connection was lost"), translated("docker01"):
            list(events)
        timer.join()

    def test_no_answer(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        """An engine that does not answer is given up."""
        monkeypatch.setattr(docker_api, "TIMEOUT_S", 2)
        client = engine(connection)
        with pytest.raises(EngineTimeout), translated("docker01"):
            client.containers.get("stuck")


class TestTranslated:
    """What errors become."""

    def test_absent(self, connection: Connection) -> None:
        """What is not there."""
        with pytest.raises(Absent) as caught, translated("docker01", "network"):
            engine(connection).networks.get("absent")

        assert caught.value.status == 404
        assert str(caught.value).startswith("docker01, network: ")
        assert "network absent not found" in str(caught.value)

    def test_conflict(self, connection: Connection) -> None:
        """A name that is taken is told from other errors."""
        with pytest.raises(Conflict) as caught, translated("docker01", "network"):
            engine(connection).networks.create("frontend")

        assert (caught.value.status, caught.value.exit_code) == (409, 1)

    def test_quorum(self, connection: Connection) -> None:
        """A Swarm without quorum refuses the run, with what to do."""
        with pytest.raises(Refused, match="lost its quorum") as caught, translated("docker01"):
            engine(connection).nodes.list()

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
        response = requests.Response()
        response.status_code = status
        error_kind = docker.errors.NotFound if status == 404 else docker.errors.APIError
        with pytest.raises(RunbookError) as caught, translated("docker01", "step"):
            raise error_kind("error", response=response, explanation=message)

        assert type(caught.value) is kind
        assert (caught.value.host, caught.value.step) == ("docker01", "step")
        assert message in caught.value.message

    @pytest.mark.parametrize(("method", "kind"), [("GET", Refused), ("POST", Lost)])
    def test_quorum_lost_meanwhile(self, method: str, kind: type[RunbookError]) -> None:
        """What the managers did not agree on in time, they may still agree on."""
        response = requests.Response()
        response.status_code = 500
        response.request = requests.Request(method, "http://localhost/").prepare()
        said = "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
        with pytest.raises(RunbookError, match="quorum") as caught, translated("docker01", "step"):
            raise docker.errors.APIError("error", response=response, explanation=said)

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
        with pytest.raises(RunbookError) as caught, translated("docker01"):
            raise error

        assert type(caught.value) is kind

    def test_own_errors_pass(self) -> None:
        """An error of the runbook passes, and learns the step."""
        with pytest.raises(BadInput) as caught, translated("docker01", "network"):
            raise BadInput("wrong")

        assert (caught.value.step, caught.value.host) == ("network", None)

    def test_mistakes_pass(self) -> None:
        """A mistake of the program is not dressed up."""
        with pytest.raises(KeyError), translated("docker01"):
            raise KeyError


class TestLibrary:
    """What is owed to the SDK."""

    def test_every_error_is_translated(self) -> None:
        """An error that a new SDK brings has to be translated here."""
        there = {
            thing
            for part in (docker.errors, docker_socket)
            for thing in vars(part).values()
            if isinstance(thing, type)
            and issubclass(thing, Exception)
            and thing.__module__.startswith("docker.")
        }

        assert there == DOCKER_ERRORS.keys()

    @pytest.mark.parametrize("kind", DOCKER_ERRORS)
    def test_each_becomes_an_error_of_the_runbook(self, kind: type[Exception]) -> None:
        """Whatever the SDK raises comes out translated."""
        error = kind.__new__(kind)
        error.__dict__.update(msg="", param="", name="", response=None, explanation="it said so")
        with pytest.raises(DOCKER_ERRORS[kind]), translated("docker01"):
            raise error
