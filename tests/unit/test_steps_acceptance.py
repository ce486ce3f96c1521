"""The acceptance step: what is asked from where, by a real curl, and what the answers prove."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fakes import (
    Clock,
    Command,
    FakeFleet,
    Recordings,
    declared,
    live,
    local,
    parameters,
    recorded,
)

from runbook import waiting
from runbook.errors import RunbookError, Unreachable
from runbook.live import Live
from runbook.site import Site
from runbook.steps import acceptance
from runbook.steps.acceptance import (
    CLIENT,
    DASHBOARD,
    HIDDEN,
    SHOWN,
    VIP_SSH,
    WEB,
    _curl,
    header,
    required_checks,
    url_host,
)

NODES = ("docker01", "docker02", "docker03", "docker04", "docker05", "docker06")
LOOP = tuple(f"http://{node}/ answers as its role says" for node in NODES)
BODY = recorded("acceptance-demonstration")["body"]
GUARDED = {"insecure": False, "port": None, "host": "traefik.test", "users_secret": "users"}


class TestHeader:
    """A request's header, as an application printed it."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Host", "demo.test"),
            ("host", "demo.test"),
            ("X-Forwarded-For", "203.0.113.10"),
            ("Peer", "[::ffff:10.0.1.3]"),
            ("Accept", "*/*"),
            ("Forwarded", ""),
            ("X-Forwarded", ""),
            ("", ""),
        ],
    )
    def test_recorded(self, name: str, value: str) -> None:
        """The whole name counts, in either case; a header that is not there is empty."""
        assert value == header(BODY, name)

    @pytest.mark.parametrize("body", ["", "404 page not found\n", "Host\n"])
    def test_no_header(self, body: str) -> None:
        """A page that is none has none."""
        assert header(body, "Host") == ""


class TestRequiredChecks:
    """What a site must be proven by."""

    @pytest.mark.parametrize(
        ("site", "names"),
        [
            (parameters("article").site, (*LOOP, VIP_SSH, WEB, DASHBOARD)),
            (parameters("lab").site, (*LOOP, VIP_SSH, WEB, DASHBOARD, SHOWN, HIDDEN, CLIENT)),
            (
                declared("lab", acceptance={"client_address": None}).site,
                (*LOOP, VIP_SSH, WEB, DASHBOARD, SHOWN, HIDDEN),
            ),
        ],
        ids=["article", "lab", "unknown client"],
    )
    def test_of_a_site(self, site: Site, names: tuple[str, ...]) -> None:
        """Every node, the VIP, both ports, and the demonstration where there is one."""
        assert names == required_checks(site)

    def test_are_the_checks_that_are_made(self) -> None:
        """A name that is required is the name of a check, and the other way round."""
        for site in ("article", "lab"):
            made = acceptance.verify(outside(site))

            assert sorted(required_checks(parameters(site).site)) == sorted(c.name for c in made)


class Web(BaseHTTPRequestHandler):
    """A page that shows the virtual host it was asked for, and one that never comes."""

    silence = threading.Event()

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/silent":
            self.silence.wait(5)
        status = 404 if self.path == "/missing" else 200
        body = f"Host: {self.headers['Host']}\nPath: {self.path}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A web server on loopback; its address with the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    Web.silence.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def said(snippet: str) -> str:
    """Return what a snippet prints when a real shell runs it."""
    done = subprocess.run(["sh", "-s"], input=snippet, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


class TestCurl:
    """The snippet that asks for a page, really run."""

    def test_body(self, web: str) -> None:
        """The page is printed as it came, an error's page too."""
        assert said(_curl(f"http://{web}/")) == f"Host: {web}\nPath: /\n"
        assert said(_curl(f"http://{web}/missing")) == f"Host: {web}\nPath: /missing\n"

    def test_virtual_host(self, web: str) -> None:
        """The request names it."""
        assert header(said(_curl(f"http://{web}/", host="demo.test")), "Host") == "demo.test"

    @pytest.mark.parametrize(("path", "code"), [("/", "200"), ("/missing", "404")])
    def test_status_alone(self, web: str, path: str, code: str) -> None:
        """With something else to show, the body is not."""
        assert said(_curl(f"http://{web}{path}", show="%{http_code}")) == code

    def test_refused(self, closed: str) -> None:
        """A port at which nobody listens is refused, in one word."""
        assert said(_curl(f"http://{closed}/")) == "refused\n"
        assert said(_curl(f"http://{closed}/", show="%{http_code}")) == "000refused\n"

    def test_no_answer(self, web: str) -> None:
        """A server that accepts and then is silent does not answer; the wait is bounded."""
        snippet = _curl(f"http://{web}/silent")
        assert " -m 4 " in snippet

        assert said(snippet.replace(" -m 4 ", " -m 0.2 ")) == "no answer\n"

    def test_anything_else(self) -> None:
        """Another failure is named by curl's exit status."""
        assert said(_curl("http://127.0.0.1:notaport/")) == "curl: 3\n"

    def test_one_word_each(self, web: str) -> None:
        """What a site declares cannot end the command and begin another."""
        assert header(said(_curl(f"http://{web}/", host="x'; echo y; '")), "Host").startswith("x'")


class Edge:
    """The recorded lab: nodes asked from the first manager, the gateway asked from the client.

    Args:
        nodes: Other answers of nodes.
        client: Other answers to the client.
        deploy: Raised when the demonstration is deployed.
    """

    def __init__(
        self,
        nodes: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        deploy: RunbookError | None = None,
    ) -> None:
        asked = recorded("acceptance-client") | recorded("acceptance-demonstration")
        self._answer = Recordings(
            {
                "docker01": {**recorded("acceptance-docker01"), **(nodes or {})},
                "client": {"guarded": "401\n", **asked, **(client or {})},
            }
        )
        self._deploy = deploy

    def __call__(self, command: Command) -> str:
        """Answer one command."""
        if command.argv == ("hostname",):
            return f"{command.host}\n"
        if self._deploy and command.argv[:3] == ("docker", "stack", "deploy"):
            raise self._deploy
        return self._answer(command)


def outside(site: str = "lab", edge: Edge | FakeFleet | None = None, **changes: Any) -> Live:
    """Return a site whose client is the lab's."""
    asked = {"acceptance": {"client": "client"} | changes.pop("acceptance", {})}
    return live(declared(site, **asked, **changes), edge or Edge())


def results(site: Live) -> dict[str, tuple[str, bool]]:
    """Return what each check of the step saw, and whether it passed."""
    return {check.name: (check.seen, check.passed) for check in acceptance.verify(site)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Waits that take no time."""
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


class TestLoop:
    """Every node, asked from one manager."""

    def test_recorded(self) -> None:
        """Managers say 404 and workers refuse, as published."""
        seen = {check.name: check.seen for check in acceptance.loop(outside())}

        assert seen == dict(zip(LOOP, 3 * ["404 page not found"] + 3 * ["refused"], strict=True))

    @pytest.mark.parametrize(
        ("node", "answer"),
        [
            ("docker02", "refused\n"),
            ("docker02", "no answer\n"),
            ("docker05", "404 page not found\n"),
            ("docker05", "no answer\n"),
        ],
    )
    def test_other_than_its_role(self, node: str, answer: str) -> None:
        """A manager that refuses or a worker that answers fails, and only that one."""
        checks = acceptance.loop(outside(edge=Edge(nodes={node: answer})))

        assert [c.name for c in checks if not c.passed] == [LOOP[NODES.index(node)]]

    def test_asks_addresses(self) -> None:
        """One command on the first manager, as the operator, with each node's own address."""
        fleet = FakeFleet(Edge())
        acceptance.loop(outside(edge=fleet))
        (command,) = fleet.commands

        assert (command.host, command.sudo) == ("docker01", False)
        for last in range(11, 17):
            assert f" http://10.0.0.{last}:80/" in command.stdin


class TestSshToVip:
    """``ssh 10.0.0.2 hostname``."""

    def test_lands_on_the_holder(self) -> None:
        """The login is to the VIP, with the host key of the expected manager."""
        fleet = FakeFleet(Edge())
        check = acceptance.ssh_to_vip(outside(edge=fleet))

        assert (check.where, check.seen, check.passed) == ("10.0.0.2", "docker01", True)
        assert [(c.host, c.address) for c in fleet.commands] == [("docker01", "10.0.0.2")]

    def test_lands_elsewhere(self) -> None:
        """Another name fails the check."""
        fleet = FakeFleet(lambda _command: "docker02\n")

        assert not acceptance.ssh_to_vip(outside(edge=fleet)).passed


class TestOutside:
    """Web port and dashboard, through the gateway."""

    @staticmethod
    def seen(edge: Edge | FakeFleet | None = None, **changes: Any) -> dict[str, tuple[str, bool]]:
        """Return what both checks saw."""
        checks = acceptance.outside(outside(edge=edge, **changes))
        return {check.name: (check.seen, check.passed) for check in checks}

    def test_recorded(self) -> None:
        """The web port says 404 and the published dashboard is there."""
        assert self.seen() == {WEB: ("404 page not found", True), DASHBOARD: ("200", True)}

    @pytest.mark.parametrize(
        ("answer", "seen"),
        [(recorded("acceptance-client")["closed"], "closed"), ("000refused\n", "closed")],
    )
    def test_dashboard_that_must_be_closed(self, answer: str, seen: str) -> None:
        """Where it is not forwarded, dropped or refused is as declared and a page is not."""
        hidden: dict[str, Any] = {"shorewall": {"forward": [{"port": 80}]}}

        assert self.seen(Edge(client={"dashboard": answer}), **hidden)[DASHBOARD] == (seen, True)
        assert self.seen(**hidden)[DASHBOARD] == ("200", False)

    def test_dashboard_that_must_be_open(self) -> None:
        """Where it is forwarded, closed fails."""
        assert self.seen(Edge(client={"dashboard": "000no answer\n"}))[DASHBOARD] == (
            "no answer",
            False,
        )

    def test_web_port_that_is_dead(self) -> None:
        """No answer is what was seen."""
        assert self.seen(Edge(client={"web": "no answer\n"}))[WEB] == ("no answer", False)

    def test_without_a_web_port(self) -> None:
        """What is not forwarded must be closed; an answer all the same fails."""
        changes: dict[str, Any] = {"shorewall": {"forward": [{"port": 8080}]}}
        silent = Edge(client={"web": "no answer\n"})

        assert self.seen(silent, **changes)[WEB] == ("closed", True)
        assert self.seen(**changes)[WEB] == ("404 page not found", False)

    @pytest.mark.parametrize(
        ("changes", "urls"),
        [
            ({}, ["http://gateway:80/", "http://gateway:8080/dashboard/"]),
            (
                {
                    "shorewall": {
                        "forward": [{"port": 81, "to_port": 80}, {"port": 82, "to_port": 8080}]
                    }
                },
                ["http://gateway:81/", "http://gateway:82/dashboard/"],
            ),
        ],
        ids=["published", "other ports"],
    )
    def test_urls(self, changes: dict[str, Any], urls: list[str]) -> None:
        """The gateway is asked at its own ports; the usual dashboard port is asked in any case."""
        fleet = FakeFleet(Edge())
        self.seen(fleet, **changes)
        words = fleet.commands[0].stdin.split()

        assert urls == [word for word in words if word.startswith("http://")]

    @pytest.mark.parametrize(
        ("name", "public", "host"),
        [
            ("www.example.org", "198.51.100.10", "www.example.org"),
            (None, "198.51.100.10", "198.51.100.10"),
            (None, None, "10.0.0.1"),
        ],
    )
    def test_url_host(self, name: str | None, public: str | None, host: str) -> None:
        """The name, or the public address, or the gateway's own."""
        site = declared(acceptance={"url_host": name}, gateway={"public_address": public}).site

        assert host == url_host(site)

    def test_from_this_machine(self, web: str) -> None:
        """Without a client this machine asks, in a shell of its own."""
        site = live(parameters("article"))
        seen = acceptance.from_outside(site, {"a": _curl(f"http://{web}/"), "b": "echo b"})

        assert seen == {"a": f"Host: {web}\nPath: /\n", "b": "b\n"}
        assert acceptance.observe(site).client == "this machine"


class TestGuarded:
    """The dashboard by its virtual host, behind a password."""

    CHANGES: ClassVar[dict[str, Any]] = {
        "traefik": {"dashboard": GUARDED, "refresh_seconds": 5},
        "shorewall": {"forward": [{"port": 80}]},
    }

    @pytest.mark.parametrize(("answer", "passed"), [("401", True), ("200", False)])
    def test_password(self, answer: str, passed: bool) -> None:
        """Whoever gives none is told 401."""
        (check,) = acceptance.guarded(
            outside(edge=Edge(client={"guarded": f"{answer}\n"}), **self.CHANGES)
        )

        assert (check.seen, check.passed) == (answer, passed)

    def test_url(self) -> None:
        """It is asked for at the web port of the gateway, by its name."""
        fleet = FakeFleet(Edge())
        acceptance.guarded(outside(edge=fleet, **self.CHANGES))
        (command,) = fleet.commands

        assert "http://gateway:80/dashboard/" in command.stdin.split()
        assert f"Host: {GUARDED['host']}" in command.stdin

    def test_not_yet_known(self, clock: Clock) -> None:
        """Traefik that does not know it says 404, and is asked again when it has looked."""
        answers = iter(["404\n", "404\n", "401\n"])

        def edge(command: Command) -> str:
            return Edge(client={"guarded": next(answers)})(command)

        (check,) = acceptance.guarded(outside(edge=FakeFleet(edge), **self.CHANGES))

        assert check.passed

    def test_never_known(self, clock: Clock) -> None:
        """After two looks and half a minute it fails as what it is."""
        (check,) = acceptance.guarded(
            outside(edge=Edge(client={"guarded": "404\n"}), **self.CHANGES)
        )

        assert (check.seen, check.passed) == ("404", False)
        assert sum(clock.slept) == pytest.approx(40, abs=0.5)

    def test_without(self) -> None:
        """A site whose dashboard has no host asks nothing."""
        assert acceptance.guarded(outside()) == []


class TestDemonstration:
    """An application behind everything."""

    def test_recorded(self, clock: Clock) -> None:
        """It is reached by its name, sees the client, and its hidden twin is not there."""
        seen = results(outside())

        assert seen[SHOWN] == ("demo.test", True)
        assert seen[CLIENT] == ("203.0.113.10", True)
        assert seen[HIDDEN] == ("404 page not found", True)
        assert all(passed for _, passed in seen.values())

    @pytest.mark.parametrize(
        ("name", "answer", "check", "seen"),
        [
            ("body", "404 page not found\n", SHOWN, "404 page not found"),
            ("body", "", SHOWN, "nothing"),
            ("body", BODY.replace("Host: demo", "Host: other"), SHOWN, "other.test"),
            ("body", BODY.replace("For: 203.0.113.10", "For: 10.0.0.1"), CLIENT, "10.0.0.1"),
            ("body", "Host: demo.test\n", CLIENT, "no X-Forwarded-For"),
            ("hidden", BODY, HIDDEN, BODY.strip()),
        ],
    )
    def test_fails(self, clock: Clock, name: str, answer: str, check: str, seen: str) -> None:
        """Whatever is seen instead fails its check and is shown."""
        found = results(outside(edge=Edge(client={name: answer})))

        assert found[check] == (seen, False)

    def test_waits_until_traefik_knows_it(self, clock: Clock) -> None:
        """Two refreshes and half a minute, no more."""
        edge = Edge(client={"body": "404 page not found\n"})
        acceptance.demonstrated(outside(edge=edge, traefik={"refresh_seconds": 5}))

        assert sum(clock.slept) == pytest.approx(40, abs=0.5)

    def test_is_deployed_first_and_removed_last(self, clock: Clock) -> None:
        """Checks are made between; nothing else is written."""
        fleet = FakeFleet(Edge())
        acceptance.verify(outside(edge=fleet))
        docker = [c for c in fleet.commands if c.argv[0] == "docker"]

        assert [(c.host, c.argv[2]) for c in docker] == [("docker01", "deploy"), ("docker01", "rm")]
        assert [fleet.commands[0], fleet.commands[-1]] == docker
        assert "image: demo:1" in docker[0].stdin

    def test_is_removed_whatever_happens(self, clock: Clock) -> None:
        """A VIP that nobody answers at does not leave it behind."""

        class Dead(Edge):
            def __call__(self, command: Command) -> str:
                if command.address:
                    raise Unreachable("timed out", host="docker01")
                return super().__call__(command)

        fleet = FakeFleet(Dead())

        with pytest.raises(Unreachable):
            acceptance.verify(outside(edge=fleet))
        assert fleet.commands[-1].argv == ("docker", "stack", "rm", "runbook-demonstration")

    def test_half_a_deployment_is_removed(self, clock: Clock) -> None:
        """Where the deployment itself fails, what it had begun is taken away."""
        fleet = FakeFleet(Edge(deploy=RunbookError("no such network")))

        with pytest.raises(RunbookError, match="no such network"):
            acceptance.verify(outside(edge=fleet))
        assert fleet.commands[-1].argv == ("docker", "stack", "rm", "runbook-demonstration")

    def test_site_without_it(self) -> None:
        """Nothing is deployed and nothing removed."""
        fleet = FakeFleet(Edge())
        acceptance.verify(outside("article", fleet))

        assert not [c for c in fleet.commands if c.argv[0] == "docker"]


class TestStep:
    """The rest of the step."""

    def test_plans_nothing(self) -> None:
        """What it deploys for a moment is no change."""
        site = outside()

        assert acceptance.plan(site, acceptance.observe(site)) == []

    @pytest.mark.parametrize(
        ("site", "fields"),
        [
            ("article", [("asks", "http://gateway/")]),
            ("lab", [("asks", "http://gateway/"), ("deploys and removes", "demo:1")]),
        ],
    )
    def test_rows(self, site: str, fields: list[tuple[str, str]]) -> None:
        """The table says what is asked, and what is deployed where anything is."""
        rows = acceptance.rows(acceptance.observe(outside(site)))

        assert fields == [(row.field, row.seen) for row in rows]
        assert {row.host for row in rows} == {"client"}

    def test_reads_nothing_beforehand(self, tmp_path: Path) -> None:
        """The vantage points are known from the site alone."""
        fleet = FakeFleet(local(tmp_path))
        acceptance.observe(live(parameters("lab"), fleet))

        assert fleet.commands == []
