"""The acceptance step: what is asked from where, and what the answers prove."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from edges import LOGIN, LOOP, MISSING, NODES, PAGE, Edge, Swarm, outside
from fakes import Clock, Command, FakeFleet, declared, parameters, recorded

from runbook.errors import Unreachable
from runbook.site import Site
from runbook.steps import acceptance
from runbook.steps.acceptance import DASHBOARD, VIP_SSH, WEB, required_checks
from runbook.steps.demonstration import CLIENT, HIDDEN, SHOWN
from runbook.steps.outside import url_host

TRAEFIKS = recorded("acceptance-docker01")["docker01"]
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
