"""The acceptance step: what is asked from where, and what the answers prove."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fakes import (
    Clock,
    Command,
    ConfigStore,
    FakeEngine,
    FakeFleet,
    Recordings,
    declared,
    live,
    local,
    parameters,
    recorded,
    swarm,
)

from runbook import waiting
from runbook.errors import ChangeFailed, Lost, Refused, RunbookError, Unreachable
from runbook.hosts.live import Live
from runbook.site import Site
from runbook.steps import acceptance, demonstration
from runbook.steps.acceptance import DASHBOARD, VIP_SSH, WEB, required_checks
from runbook.steps.demonstration import CLIENT, HIDDEN, SHOWN, STACK
from runbook.steps.outside import url_host

NODES = ("docker01", "docker02", "docker03", "docker04", "docker05", "docker06")
LOOP = tuple(f"http://{node}/ answers as its role says" for node in NODES)
BODY = recorded("acceptance-demonstration")["body"]
TRAEFIKS = recorded("acceptance-docker01")["docker01"]
MISSING = recorded("acceptance-demonstration")["hidden"]
PAGE = "HTTP/1.1 200 OK\n\nHost: demo.test\n"
MARK = "0123456789abcdef"  # of the recording; what is answered has the mark that was deployed
LOGIN = 'HTTP/1.1 401 Unauthorized\nWww-Authenticate: Basic realm="{}"\n\n401 Unauthorized\n'
GUARDED = {"insecure": False, "port": None, "host": "traefik.test", "users_secret": "users"}


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
                "client": {"guarded": LOGIN.format("traefik"), **asked, **(client or {})},
            }
        )
        self._deploy = deploy
        self._mark = MARK

    def __call__(self, command: Command) -> str:
        """Answer one command."""
        if command.argv == ("hostname",):
            return f"{command.host}\n"
        if "deploy" in command.argv:
            if self._deploy:
                raise self._deploy
            found = re.search(r"X-Runbook=(\w+)", command.stdin)
            assert found is not None
            self._mark = found[1]
        return self._answer(command).replace(MARK, self._mark)


class Swarm(ConfigStore):
    """The recorded Swarm with a lock to take, and the services of a stack that is asked for.

    Args:
        stack: Services of the demonstration's stack.
        task_on: Where a task of Traefik's runs.
    """

    def __init__(self, *stack: dict[str, Any], task_on: str = "docker01") -> None:
        super().__init__(swarm())
        self.stack = list(stack)
        ids = {node["Description"]["Hostname"]: node["ID"] for node in self.answers["GET /nodes"]}
        self.answers["GET /tasks"] = [{"NodeID": ids[task_on]}]
        services = self.answers["GET /services"]
        self.answers["GET /services"] = lambda query, _: (
            self.stack if STACK in query["filters"] else services
        )


def ours(name: str) -> dict[str, Any]:
    """Return a service of a demonstration, as a run leaves it that is killed."""
    labels = {f"traefik.http.routers.{STACK}.rule": "Host(`demo.test`)"}
    return {"Spec": {"Name": f"{STACK}_{name}", "Labels": labels}}


def outside(
    site: str = "lab",
    edge: Edge | FakeFleet | None = None,
    engine: FakeEngine | None = None,
    **changes: Any,
) -> Live:
    """Return a site whose client is the lab's."""
    asked = {"acceptance": {"client": "client"} | changes.pop("acceptance", {})}
    return live(declared(site, **asked, **changes), edge or Edge(), engine or Swarm(ours("shown")))


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
            ("docker02", PAGE),
            ("docker05", TRAEFIKS),
        ],
    )
    def test_other_than_its_role(self, node: str, answer: str) -> None:
        """A manager whose Traefik is not there, or a worker that has one, fails, and only that."""
        engine = Swarm(task_on="docker05")
        checks = acceptance.loop(outside(edge=Edge(nodes={node: answer}), engine=engine))

        assert [c.name for c in checks if not c.passed] == [LOOP[NODES.index(node)]]

    @pytest.mark.parametrize("answer", ["no answer\n", "curl: 52\n", PAGE, TRAEFIKS])
    def test_worker_with_a_port_of_its_own(self, answer: str) -> None:
        """What else a worker publishes there, or drops, is nothing to us."""
        checks = acceptance.loop(outside(edge=Edge(nodes={"docker05": answer})))

        assert all(check.passed for check in checks)

    def test_worker_with_a_long_name(self) -> None:
        """A worker that is declared by its full name in capitals is the node of the short one."""
        engine = Swarm(task_on="docker05")
        for node in engine.answers["GET /nodes"]:
            node["Status"]["Addr"] = "192.0.2.1"  # of another interface than the LAN's
            if node["Description"]["Hostname"] == "docker05":
                node["Description"]["Hostname"] = "edge05"
        name = "Edge05.example.org"
        edge = Edge(nodes={name: TRAEFIKS})
        checks = acceptance.loop(
            outside(edge=edge, engine=engine, workers={name: {"address": "10.0.0.17"}})
        )

        assert [c.name for c in checks if not c.passed] == [
            f"http://{name}/ answers as its role says"
        ]

    def test_application_that_takes_all(self) -> None:
        """A manager whose `/` an application answers has its Traefik all the same."""
        page = TRAEFIKS.replace("404 Not Found", "301 Moved").replace("404 page", "A page")
        nodes = dict.fromkeys(NODES[:3], page)
        checks = acceptance.loop(outside(edge=Edge(nodes=nodes)))

        assert [c.seen for c in checks if c.passed][:3] == 3 * ["301 of an application"]

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

    def test_nobody_has_it(self) -> None:
        """Where nobody answers at the VIP the check fails, and says so."""

        def nobody(_command: Command) -> str:
            raise Unreachable("connecting: 10.0.0.2 port 22 did not answer within 10 s")

        check = acceptance.ssh_to_vip(outside(edge=FakeFleet(nobody)))

        assert not check.passed
        assert check.seen.endswith("10.0.0.2 port 22 did not answer within 10 s")


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
        [
            (recorded("acceptance-client")["closed"], "closed"),
            ("refused\n", "closed"),
            (PAGE, "200 of something else"),
        ],
    )
    def test_dashboard_that_must_be_closed(self, answer: str, seen: str) -> None:
        """Where it is not forwarded, dropped, refused or another's is as declared; it is not."""
        hidden: dict[str, Any] = {"shorewall": {"forward": [{"port": 80}]}}
        edge = Edge(client={"dashboard": answer, "version": answer})

        assert self.seen(edge, **hidden)[DASHBOARD] == (seen, True)
        assert self.seen(**hidden)[DASHBOARD] == ("200", False)

    def test_something_else_at_the_dashboard(self) -> None:
        """A page of somebody else's on its port is not the dashboard."""
        edge = Edge(client={"dashboard": PAGE, "version": PAGE})

        assert self.seen(edge)[DASHBOARD] == ("200 of something else", False)

    def test_application_that_takes_all(self) -> None:
        """The web port answers, whoever it is that answers at `/`."""
        page = TRAEFIKS.replace("404 Not Found", "503 No").replace("404 page", "A page")

        assert self.seen(Edge(client={"web": page}))[WEB] == ("503 of an application", True)

    def test_dashboard_that_must_be_open(self) -> None:
        """Where it is forwarded, closed fails."""
        edge = Edge(client={"dashboard": "no answer\n", "version": "no answer\n"})

        assert self.seen(edge)[DASHBOARD] == ("no answer, not Traefik's", False)

    def test_web_port_that_is_dead(self) -> None:
        """No answer is what was seen."""
        assert self.seen(Edge(client={"web": "no answer\n"}))[WEB] == ("no answer", False)

    def test_without_a_web_port(self) -> None:
        """What is not forwarded must be closed; an answer all the same fails."""
        changes: dict[str, Any] = {"shorewall": {"forward": [{"port": 8080}]}}
        silent = Edge(client={"web": "no answer\n"})

        assert self.seen(silent, **changes)[WEB] == ("closed", True)
        assert self.seen(**changes)[WEB] == ("404", False)
        assert self.seen(Edge(client={"web": PAGE}), **changes)[WEB][1]

    @pytest.mark.parametrize("address", [None, "203.0.113.10"], ids=["unknown", "known"])
    def test_client_that_may_be_admitted(self, address: str | None) -> None:
        """Of a client that nobody knows, forwarding to a source does not say whether it is one."""
        forwards = [{"port": port, "source": ["203.0.113.8/29"]} for port in (80, 8080)]
        changes: dict[str, Any] = {
            "shorewall": {"forward": forwards},
            "acceptance": {"client_address": address},
        }
        dropped = Edge(client=dict.fromkeys(("web", "dashboard", "version"), "no answer\n"))
        closed = ("closed", True)

        assert self.seen(**changes) == {WEB: ("404 page not found", True), DASHBOARD: ("200", True)}
        assert (self.seen(dropped, **changes) == {WEB: closed, DASHBOARD: closed}) == (not address)

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
        words = re.findall(r"http://\S+/(?= |$)", fleet.commands[0].stdin.replace("2>", " "))

        assert urls == list(dict.fromkeys(word for word in words))

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


class TestGuarded:
    """The dashboard by its virtual host, behind a password."""

    CHANGES: ClassVar[dict[str, Any]] = {
        "traefik": {"dashboard": GUARDED, "refresh_seconds": 5},
        "shorewall": {"forward": [{"port": 80}]},
    }

    @pytest.mark.parametrize(
        ("answer", "seen", "passed"),
        [
            (LOGIN.format("traefik"), "401", True),
            (LOGIN.format("shop"), "401 of an application", False),
            (PAGE, "200", False),
        ],
    )
    def test_password(self, clock: Clock, answer: str, seen: str, passed: bool) -> None:
        """Whoever gives none is told 401, by Traefik and not by an application."""
        (check,) = acceptance.guarded(
            outside(edge=Edge(client={"guarded": answer}), **self.CHANGES)
        )

        assert (check.seen, check.passed) == (seen, passed)

    @pytest.mark.parametrize(
        ("answer", "passed"),
        [("no answer\n", True), (PAGE, False), (LOGIN.format("traefik"), True)],
    )
    def test_client_that_may_be_admitted(self, clock: Clock, answer: str, passed: bool) -> None:
        """Closed to a client that nobody knows, or guarded: nothing else."""
        forward = {"forward": [{"port": 80, "source": ["203.0.113.8/29"]}]}
        site = outside(
            edge=Edge(client={"guarded": answer}),
            acceptance={"client_address": None},
            **self.CHANGES | {"shorewall": forward},
        )

        assert [check.passed for check in acceptance.guarded(site)] == [passed]

    def test_url(self) -> None:
        """It is asked for at the web port of the gateway, by its name."""
        fleet = FakeFleet(Edge())
        acceptance.guarded(outside(edge=fleet, **self.CHANGES))
        (command,) = fleet.commands

        assert "http://gateway:80/dashboard/" in command.stdin.split()
        assert f"Host: {GUARDED['host']}" in command.stdin

    def test_not_yet_known(self, clock: Clock) -> None:
        """Traefik that does not know it says 404, and is asked again when it has looked."""
        answers = iter([MISSING, PAGE, LOGIN.format("traefik")])

        def edge(command: Command) -> str:
            return Edge(client={"guarded": next(answers)})(command)

        (check,) = acceptance.guarded(outside(edge=FakeFleet(edge), **self.CHANGES))

        assert check.passed

    def test_never_known(self, clock: Clock) -> None:
        """After two looks and half a minute it fails as what it is."""
        (check,) = acceptance.guarded(
            outside(edge=Edge(client={"guarded": MISSING}), **self.CHANGES)
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
            ("body", MISSING, SHOWN, "404 of something else: 404 page not found"),
            ("body", "", SHOWN, "nothing"),
            ("body", PAGE, SHOWN, "200 of something else: Host: demo.test"),
            ("body", BODY.replace(MARK, "of another run"), CLIENT, "no X-Forwarded-For"),
            ("body", BODY.replace("Host: demo", "Host: other"), SHOWN, "other.test"),
            ("body", BODY.replace("For: 203.0.113.10", "For: 10.0.0.1"), CLIENT, "10.0.0.1"),
            ("hidden", BODY, HIDDEN, "the hidden application"),
            ("hidden", "no answer\n", HIDDEN, "no answer"),
        ],
    )
    def test_fails(self, clock: Clock, name: str, answer: str, check: str, seen: str) -> None:
        """Whatever is seen instead fails its check and is shown."""
        found = results(outside(edge=Edge(client={name: answer})))

        assert found[check] == (seen, False)

    @pytest.mark.parametrize("status", ["200", "301", "401", "503"])
    def test_application_that_takes_all(self, clock: Clock, status: str) -> None:
        """Where it answers for the hidden one, that one has not answered."""
        page = PAGE.replace("200", status)

        assert results(outside(edge=Edge(client={"hidden": page})))[HIDDEN] == (
            f"{status} of an application",
            True,
        )

    def test_waits_until_traefik_knows_it(self, clock: Clock) -> None:
        """Two refreshes and half a minute, no more; a page of another's does not do."""
        edge = Edge(client={"body": PAGE})
        demonstration.demonstrated(outside(edge=edge, traefik={"refresh_seconds": 5}), MARK, "")

        assert sum(clock.slept) == pytest.approx(40, abs=0.5)

    def test_is_deployed_first_and_removed_last(self, clock: Clock) -> None:
        """Checks are made between, under the site's lock; nothing else is written."""
        fleet, engine = FakeFleet(Edge()), Swarm(ours("shown"))
        acceptance.verify(outside(edge=fleet, engine=engine))

        assert docker_words(fleet) == [
            ("stack", "deploy", "--resolve-image", "never", "-c", "-", STACK),
            ("stack", "rm", STACK),
        ]
        assert "docker" in fleet.commands[1].argv
        assert "docker" in fleet.commands[-1].argv
        assert "image: demo:1" in fleet.commands[1].stdin
        assert engine.requests.count("POST /configs/create") == 1
        assert engine.held == {}

    def test_is_removed_whatever_happens(self, clock: Clock) -> None:
        """A manager that is lost does not leave it behind."""

        class Dead(Edge):
            def __call__(self, command: Command) -> str:
                if command.argv == ("sh", "-s"):
                    raise Unreachable("timed out", host="docker01")
                return super().__call__(command)

        fleet = FakeFleet(Dead())

        with pytest.raises(Unreachable):
            acceptance.verify(outside(edge=fleet))
        assert docker_words(fleet)[-1] == ("stack", "rm", STACK)

    @pytest.mark.parametrize("kind", [Unreachable, Lost, RunbookError])
    def test_cannot_be_removed(self, clock: Clock, kind: type[RunbookError]) -> None:
        """A manager that stays lost has it still: that is not "nothing was changed"."""

        class Dead(Edge):
            def __call__(self, command: Command) -> str:
                if "deploy" not in command.argv:
                    raise kind("timed out", host="docker01")
                return super().__call__(command)

        with pytest.raises(ChangeFailed, match=r"timed out.*may be left") as caught:
            acceptance.verify(outside(edge=FakeFleet(Dead())))
        assert caught.value.exit_code == 1

    def test_half_a_deployment_is_removed(self, clock: Clock) -> None:
        """Where it cannot be deployed its checks fail and say why; what had begun is removed."""
        fleet = FakeFleet(Edge(deploy=RunbookError("network frontend is not there")))
        seen = results(outside(edge=fleet))

        assert seen[SHOWN] == ("not deployed: network frontend is not there", False)
        assert seen[HIDDEN] == ("not deployed: network frontend is not there", False)
        assert not seen[CLIENT][1]
        assert all(passed for name, (_, passed) in seen.items() if name in (*LOOP, WEB, DASHBOARD))
        assert docker_words(fleet)[-1] == ("stack", "rm", STACK)
        assert clock.slept == []

    def test_somebody_elses(self, clock: Clock) -> None:
        """A stack of that name that is not ours is neither deployed over nor removed."""
        foreign = {"Spec": {"Name": f"{STACK}_web", "Labels": {}}}
        fleet = FakeFleet(Edge())
        seen = results(outside(edge=fleet, engine=Swarm(ours("shown"), foreign)))

        assert "is somebody else's" in seen[SHOWN][0]
        assert docker_words(fleet) == []

    def test_site_without_it(self) -> None:
        """Nothing is deployed and nothing removed, and no lock is taken."""
        fleet, engine = FakeFleet(Edge()), Swarm()
        acceptance.verify(outside("article", fleet, engine))

        assert docker_words(fleet) == []
        assert "POST /configs/create" not in engine.requests

    def test_left_behind(self) -> None:
        """What a killed run has left the next one removes, also where the site wants none now."""
        fleet, engine = FakeFleet(Edge()), Swarm(ours("shown"), ours("hidden"))
        acceptance.verify(outside("article", fleet, engine))

        assert docker_words(fleet) == [("stack", "rm", STACK)]
        assert engine.requests.count("POST /configs/create") == 1

    def test_locked(self, clock: Clock) -> None:
        """While another run changes the site nothing is deployed."""
        engine, fleet = Swarm(), FakeFleet(Edge())
        other = engine.put("runbook-lock", "other", **{"runbook.run": "other"})
        engine.before_list = lambda: engine.held.update(
            other=other | {"Version": {"Index": clock.now_s}}
        )

        with pytest.raises(Refused, match="is changing this site"):
            acceptance.verify(outside(edge=fleet, engine=engine))
        assert fleet.commands == []


def docker_words(fleet: FakeFleet) -> list[tuple[str, ...]]:
    """Return the arguments of every docker command line that was run."""
    return [c.argv[c.argv.index("stack") :] for c in fleet.commands if "docker" in c.argv]


class TestStep:
    """The rest of the step."""

    def test_plans_nothing(self) -> None:
        """What it deploys for a moment is no change."""
        site = outside()

        assert acceptance.STEP.plan(site.site_file, acceptance.STEP.observe(site)) == []

    @pytest.mark.parametrize(
        ("site", "fields"),
        [
            ("article", [("asks", "http://gateway/")]),
            ("lab", [("asks", "http://gateway/"), ("deploys and removes", "demo:1")]),
        ],
    )
    def test_rows(self, site: str, fields: list[tuple[str, str]]) -> None:
        """The table says what is asked, and what is deployed where anything is."""
        rows = acceptance.rows(acceptance.STEP.observe(outside(site)))

        assert fields == [(row.field, row.seen) for row in rows]
        assert {row.host for row in rows} == {"client"}

    def test_reads_nothing_beforehand(self, tmp_path: Path) -> None:
        """The vantage points are known from the site alone."""
        fleet = FakeFleet(local(tmp_path))
        acceptance.STEP.observe(live(parameters("lab"), fleet))

        assert fleet.commands == []
