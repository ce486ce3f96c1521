"""A site whose hosts and engine answer with what the real programs said, recorded once.

A test hands over a function from a command to its output; :class:`Recordings` is the usual one.
The engine is the docker SDK's own client with an HTTP adapter in place of the socket.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import requests
from requests.adapters import BaseAdapter

from runbook.changes import Change
from runbook.context import RunContext
from runbook.hosts.docker.api import Engine
from runbook.hosts.docker.socket import EngineAdapter
from runbook.hosts.fleet import Fleet
from runbook.hosts.live import Live
from runbook.hosts.ssh.command import CommandFailed, Result
from runbook.site import Site, SiteFile, load

TOP = Path(__file__).parents[1]
RECORDED = TOP / "tests" / "data" / "recorded"
STARTED = datetime(2026, 11, 23, 12, 59, 50, tzinfo=UTC)  # when the recordings were made
API = "1.41"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it reached a host; ``address`` where a login was to another than its own."""

    host: str
    argv: tuple[str, ...]
    stdin: str
    sudo: bool
    address: str | None = None


Answer = Callable[[Command], "str | subprocess.CompletedProcess[str]"]
"""Says what a command prints, as text or with a status; raises what the connection would."""


class Clock:
    """A clock that moves only when somebody sleeps; stands in for the ``time`` module."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now_s += seconds


def silent(_command: Command) -> str:
    """Answer every command with nothing and status 0."""
    return ""


def local(folder: Path) -> Answer:
    """Run commands here, in a folder that stands for the operator's home."""

    def run(command: Command) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.argv,
            input=command.stdin,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )

    return run


class Recordings:
    """Answers the snippets of ``Live.gather`` by host and name, and all else with nothing.

    Args:
        hosts: For each host, texts by the name of the snippet.
    """

    def __init__(self, hosts: Mapping[str, Mapping[str, str]]) -> None:
        self.hosts = hosts

    def __call__(self, command: Command) -> str:
        """Print what the script would have printed: a fence and a text for each snippet."""
        if command.argv != ("sh", "-s"):
            return ""
        fences = re.findall(r"^printf '\\n(\w+) %s\\n' (\S+)$", command.stdin, re.M)
        said = "".join(f"\n{fence} {name}\n{self._text(command, name)}" for fence, name in fences)
        return f"{said}\n{fences[0][0]} end\n"

    def _text(self, command: Command, name: str) -> str:
        return self.hosts[command.host][name]


class FakeConnection:
    """A connection to one host; every command goes to the answer."""

    def __init__(self, fleet: FakeFleet, host: str, address: str | None = None) -> None:
        self.host = host
        self._fleet = fleet
        self._address = address

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        sudo: bool = False,
        timeout_s: float = 60,
        check: bool = True,
    ) -> Result:
        """Have one command answered, and judge its status as a connection does."""
        command = Command(self.host, tuple(argv), stdin, sudo, self._address)
        self._fleet.commands.append(command)
        said = self._fleet.answer(command)
        if isinstance(said, str):
            said = subprocess.CompletedProcess(argv, 0, said, "")
        result = Result(
            self.host, command.argv, sudo, said.returncode, said.stdout, said.stderr, STARTED, 1
        )
        if check and result.status != 0:
            raise CommandFailed(result)
        return result


class FakeFleet:
    """Connections to any host; ``commands`` has what was run, in order."""

    def __init__(self, answer: Answer = silent) -> None:
        self.answer = answer
        self.commands: list[Command] = []

    def __getitem__(self, host: str) -> FakeConnection:
        """Return a connection to a host."""
        return FakeConnection(self, host)

    @property
    def host_keys(self) -> dict[str, str]:
        """Return a fingerprint for each host that was asked something."""
        return {command.host: f"SHA256:{command.host}" for command in self.commands}

    def each(
        self,
        hosts: Iterable[str],
        work: Callable[[FakeConnection], T],
        *,
        progress: Callable[[str], None] | None = None,
    ) -> dict[str, T]:
        """Do the same on every host, one after another."""
        done = {}
        for host in hosts:
            done[host] = work(self[host])
            if progress:
                progress(host)
        return done

    @contextmanager
    def fresh(self, host: str, address: str | None = None) -> Iterator[FakeConnection]:
        """Log in anew."""
        yield FakeConnection(self, host, address or host)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that the engine answers with: a status and its message."""

    status: int
    message: str = "the engine says no"


class Keeping:
    """A body that keeps the queries and the bodies it was asked with."""

    def __init__(self, body: Any) -> None:
        self.queries: list[dict[str, str]] = []
        self.sent: list[Any] = []
        self._body = body

    def __call__(self, query: dict[str, str], sent: Any) -> Any:
        """Answer one request."""
        self.queries.append(query)
        self.sent.append(sent)
        return self._body


class FakeEngine(BaseAdapter):
    """An engine's HTTP side.

    Args:
        answers: Bodies by request, such as ``{"GET /nodes": [...]}``; a body may be a
            :class:`Failure`, or a function of the request's query and JSON.
        sudo: Whether root opens the engine's socket.
    """

    def __init__(self, answers: Mapping[str, Any], *, sudo: bool = False) -> None:
        super().__init__()
        self.answers = answers
        self.sudo = sudo
        self.requests: list[str] = []

    def answer(self, asked: str, query: dict[str, str], body: Any) -> Any:
        """Return the body that answers one request."""
        found = {"GET /version": {"ApiVersion": API}, **self.answers}.get(asked, Failure(404))
        return found(query, body) if callable(found) else found

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Answer one request."""
        url = urlsplit(str(request.url))
        asked = f"{request.method} {url.path.removeprefix(f'/v{API}')}"
        self.requests += [asked] if asked != "GET /version" else []
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.answer(asked, query, json.loads(request.body or "null"))
        response = requests.Response()
        response.status_code = body.status if isinstance(body, Failure) else 200
        if isinstance(body, Failure):
            body = {"message": body.message}
        response._content = json.dumps(body).encode()
        response.request, response.url = request, str(request.url)
        return response

    def close(self) -> None:
        """Close nothing."""

    @property
    def client(self) -> Engine:
        """Return a client of this engine, as it is on the first manager."""
        return Engine("docker01", cast(EngineAdapter, self))


def live(
    site_file: SiteFile,
    answer: Answer | FakeFleet = silent,
    engine: Mapping[str, Any] | FakeEngine | None = None,
    run_id: str = "",
) -> Live:
    """Return a site together with hosts and an engine that are not there."""
    fleet = answer if isinstance(answer, FakeFleet) else FakeFleet(answer)
    made = Live(site_file, cast(Fleet, fleet), context=RunContext(run_id))
    adapter = engine if isinstance(engine, FakeEngine) else FakeEngine(engine or {})
    vars(made)["engine"] = adapter.client  # where functools.cached_property looks first
    return made


class ConfigStore(FakeEngine):
    """The Swarm's config objects, in which the lock is kept; safe in threads.

    Attributes:
        held: The objects by id, as the engine lists them.
        before_list: Called before they are listed: what others do meanwhile.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        super().__init__(answers or {})
        self.held: dict[str, dict[str, Any]] = {}
        self.before_list: Callable[[], object] = lambda: None
        self._index = 100

    def put(self, name: str, identifier: str = "", **labels: str) -> dict[str, Any]:
        """Store an object, and return it."""
        self._index += 1
        made: dict[str, Any] = {
            "ID": identifier or f"config{self._index}",
            "Version": {"Index": self._index},
            "Spec": {"Name": name, "Data": "aGVsZAo=", "Labels": labels},
        }
        self.held[made["ID"]] = made
        return made

    def answer(self, asked: str, query: dict[str, str], body: Any) -> Any:
        """Answer ConfigCreate, ConfigList, ConfigUpdate and ConfigDelete."""
        method, _, path = asked.partition(" ")
        if not path.startswith("/configs"):
            return super().answer(asked, query, body)
        if asked == "POST /configs/create":
            return self._create(body)
        if asked == "GET /configs":
            return self.before_list() or list(self.held.values())
        held = self.held.get(path.split("/")[2])
        if held is None:
            return Failure(404, "config not found")
        return self._delete(held) if method == "DELETE" else self._update(held, query, body)

    def _create(self, body: Any) -> Any:
        if body["Name"] in [held["Spec"]["Name"] for held in self.held.values()]:
            return Failure(409, f"config {body['Name']} already exists")
        return {"ID": self.put(body["Name"], **body["Labels"])["ID"]}

    def _delete(self, held: dict[str, Any]) -> None:
        del self.held[held["ID"]]

    def _update(self, held: dict[str, Any], query: dict[str, str], body: Any) -> Any:
        if query["version"] != str(held["Version"]["Index"]):
            return Failure(500, "rpc error: update out of sequence")
        self._index += 1
        held |= {"Version": {"Index": self._index}, "Spec": body}
        return None


def converged(**texts: Mapping[str, str]) -> Recordings:
    """Return every host of the lab as it was after all steps, some of them with other texts."""
    hosts: dict[str, Mapping[str, str]] = {}
    for host in parameters("lab").site.hosts:
        hosts[host] = {}
        for file in sorted(RECORDED.glob(f"*-{host}.txt")):  # one a step
            hosts[host] = {**hosts[host], **recorded(file.stem)}
        hosts[host] = {**hosts[host], **texts.get(host, {})}
    return Recordings(hosts)


def swarm() -> dict[str, Any]:
    """Return the engine's answers after all steps."""
    answers = {f"GET /{name}": recorded_json(name) for name in ("nodes", "networks", "services")}
    return answers | {"GET /tasks": recorded_json("tasks"), "GET /secrets": []}


@cache
def recorded(name: str) -> dict[str, str]:
    """Return a recording: what each snippet printed, by its name."""
    parts = re.split(r"^==> (\S+) <==\n", (RECORDED / f"{name}.txt").read_text(), flags=re.M)
    return {key: text[:-1] for key, text in zip(parts[1::2], parts[2::2], strict=True)}


def recorded_json(name: str) -> Any:
    """Return a recorded answer of the Engine API, anew each time."""
    return json.loads((RECORDED / f"{name}.json").read_text())


@cache
def parameters(name: str) -> SiteFile:
    """Return one of the sites that the project brings."""
    return load(TOP / "parameters" / f"{name}.yml")


def declared(name: str = "article", **changes: Any) -> SiteFile:
    """Return a site of the project with some of its settings changed.

    Args:
        name: The site.
        changes: Settings by their section; a mapping goes into the section it changes.
    """
    site_file = parameters(name)
    values = _merged(site_file.site.model_dump(mode="json"), changes)
    return replace(site_file, site=Site.model_validate(values))


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**base} | {
        key: _merged(base[key], value)
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        else value
        for key, value in changes.items()
    }


def done(changes: Iterable[Change]) -> list[tuple[int, str, str, str]]:
    """Return the gist of changes: stage, host, action and resource."""
    return [(c.stage, c.host, c.action, c.resource) for c in changes]
