"""What the preflight makes of what it read: each rule has a case that it finds and a fine one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from fakes import declared, parameters
from preflighted import (
    BLOCKING,
    ENGINE,
    FINE,
    SITE,
    WARNING,
    everything,
    gate,
    gist,
    host,
    hosts,
    only,
    swarm,
)

from runbook.changes import Level
from runbook.steps.preflight import findings
from runbook.steps.preflight.engine_findings import engine, too_old
from runbook.steps.preflight.facts import EngineFacts, HostFacts, LanFacts
from runbook.steps.preflight.findings import clock, identity, risks, space


class TestRisks:
    """Unsafe settings."""

    def test_unaccepted(self) -> None:
        """A risk that nobody accepted forbids the run."""
        site = declared(accepted_risks=[]).site

        assert gist(risks(site)) == [(BLOCKING, "site", "risk")] * 2

    def test_accepted(self) -> None:
        """An accepted one is shown with its reason."""
        found = list(risks(SITE))

        assert gist(iter(found)) == [(WARNING, "site", "risk")] * 2
        assert found[0].why == SITE.accepted_risks[0].reason

    def test_none(self) -> None:
        """A hardened site takes none."""
        assert list(risks(parameters("production").site)) == []


class TestDeclared:
    """What the site's own rules warn of."""

    def test_warnings(self) -> None:
        """Each is a warning that names the setting; a hardened site has none."""
        found = list(findings.declared(parameters("article")))

        assert gist(iter(found)) == [(WARNING, "site", "site")] * len(
            parameters("article").warnings
        )
        assert any("priority" in finding.what for finding in found)
        assert list(findings.declared(parameters("production"))) == []


class TestIdentity:
    """Whether a host is the one declared."""

    @pytest.mark.parametrize("name", ["docker01", "docker01.example.org", "DOCKER01", "Docker01."])
    def test_fine(self, name: str) -> None:
        """Name and address are those declared; a domain may follow, in any case."""
        assert gist(identity(SITE, "docker01", host(hostname=name))) == [
            (FINE, "docker01", "identity")
        ]

    @pytest.mark.parametrize(
        ("facts", "subject", "what"),
        [
            ({"hostname": "docker02"}, "identity", "the host says it is 'docker02'"),
            ({"hostname": "docker011"}, "identity", "the host says it is 'docker011'"),
            ({"hostname": "x.docker01"}, "identity", "the host says it is 'x.docker01'"),
            ({"hostname": ""}, "identity", "the host says it is ''"),
            (
                {"addresses": {"10.0.0.77": "enp0s3"}},
                "identity",
                "no interface has the declared address 10.0.0.11",
            ),
            ({"apt": False, "system": "Fedora 42"}, "system", "Fedora 42 has no apt-get"),
        ],
    )
    def test_blocking(self, facts: dict[str, Any], subject: str, what: str) -> None:
        """Another machine, another address or another system forbids the run."""
        found = only(identity(SITE, "docker01", host(**facts)))

        assert (found.level, found.subject, found.what) == (BLOCKING, subject, what)


class TestClock:
    """Clocks that agree."""

    @pytest.mark.parametrize("offset_s", [0.0, 1.9, -1.9])
    def test_fine(self, offset_s: float) -> None:
        """A second or two is the way there and back."""
        assert list(clock("docker01", host(clock_offset_s=offset_s))) == []

    @pytest.mark.parametrize(
        ("offset_s", "level", "what"),
        [
            (2.0, WARNING, "its clock is +2 s off this machine's"),
            (-60.0, WARNING, "its clock is -60 s off this machine's"),
            (60.4, BLOCKING, "its clock is +60 s off this machine's"),
            (-86400.0, BLOCKING, "its clock is -86400 s off this machine's"),
        ],
    )
    def test_off(self, offset_s: float, level: Level, what: str) -> None:
        """More is a warning, and over a minute forbids the run, in either direction."""
        found = only(clock("docker01", host(clock_offset_s=offset_s)))

        assert (found.level, found.what) == (level, what)

    def test_unread(self) -> None:
        """A clock that was not read is not one that is right."""
        found = only(clock("docker01", host(clock_offset_s=None)))

        assert (found.level, found.what) == (WARNING, "its clock could not be read")


class TestSpace:
    """What is written to."""

    def test_fine(self) -> None:
        """There is room, and it can be written to."""
        assert list(space("docker01", host(free_kib={"/": 10**6, "/var": 400_000}))) == []

    @pytest.mark.parametrize(
        ("facts", "level", "what"),
        [
            ({"read_only": ("/etc",)}, BLOCKING, "/etc is read-only"),
            ({"free_kib": {"/": 0}}, BLOCKING, "the disk is full: 0 MiB are free on /"),
            ({"free_kib": {"/": -5}}, BLOCKING, "the disk is full: 0 MiB are free on /"),
            ({"free_kib": {"/var": 102400}}, WARNING, "the disk is full: 100 MiB are free on /var"),
        ],
    )
    def test_found(self, facts: dict[str, Any], level: Level, what: str) -> None:
        """A read-only or full filesystem forbids the run; little room is a warning."""
        found = only(space("docker01", host(**facts)))

        assert (found.level, found.subject, found.what) == (level, "disk", what)


class TestEngine:
    """The engine of each node."""

    def test_fine(self) -> None:
        """It answers and is in the Swarm; a gateway needs none."""
        assert gist(engine(SITE, "docker01", host())) == [(FINE, "docker01", "engine")]
        assert list(engine(SITE, "gateway", host("gateway"))) == []

    @pytest.mark.parametrize(
        ("facts", "subject", "what"),
        [
            (
                EngineFacts(error="curl: (7)"),
                "engine",
                "the Docker Engine does not answer: curl: (7)",
            ),
            (replace(ENGINE, swarm="inactive"), "swarm", "the engine is in no Swarm"),
            (replace(ENGINE, swarm="locked"), "swarm", "the Swarm is locked on this host"),
            (replace(ENGINE, swarm=""), "swarm", "the engine is in no Swarm"),
            (replace(ENGINE, swarm="pending"), "swarm", "the engine is still joining the Swarm"),
            (
                replace(ENGINE, swarm="error", swarm_error="x509: expired"),
                "swarm",
                "the engine could not come back into its Swarm: x509: expired",
            ),
            (
                replace(ENGINE, controls=False),
                "swarm",
                "the Swarm has it as a worker, declared a manager",
            ),
            (
                replace(ENGINE, min_api="1.44"),
                "engine",
                "traefik:2.0 asks for API 1.24, the engine wants 1.44 or newer",
            ),
        ],
        ids=["no answer", "no Swarm", "locked", "unknown", "joining", "error", "worker", "too new"],
    )
    def test_blocking(self, facts: EngineFacts, subject: str, what: str) -> None:
        """No engine, no Swarm, or one that this Traefik cannot speak to forbids the run."""
        found = only(engine(SITE, "docker01", host(engine=facts)))

        assert (found.level, found.subject, found.what) == (BLOCKING, subject, what)

    def test_new_engine_of_a_worker(self) -> None:
        """Traefik asks the engine of its manager, never a worker's."""
        site = declared(traefik={"image": "traefik:v3.5"}).site
        seen = host("docker04", engine=replace(ENGINE, min_api="1.44"))

        assert gist(engine(site, "docker04", seen)) == [(FINE, "docker04", "engine")]
        assert only(engine(site, "docker02", seen)).level is BLOCKING

    def test_masked(self) -> None:
        """A unit that will not start at the next boot is a warning while it runs."""
        found = [*engine(SITE, "docker02", host(engine=replace(ENGINE, unit="masked")))]

        assert [f.level for f in found] == [WARNING, FINE]

    @pytest.mark.parametrize(
        ("facts", "todo"),
        [
            (EngineFacts(error="sh: 1: curl: not found"), "apt-get install curl"),
            (EngineFacts(error="sh: curl: command not found"), "apt-get install curl"),
            (EngineFacts(error="curl: (7)", unit="masked"), "systemctl unmask docker; sudo"),
            (EngineFacts(error="curl: (7)", unit="enabled"), "sudo systemctl start docker"),
        ],
    )
    def test_what_to_do(self, facts: EngineFacts, todo: str) -> None:
        """What to do is that for the cause."""
        assert todo in only(engine(SITE, "docker01", host(engine=facts))).todo


class TestTooOld:
    """Traefik whose client is fixed to API 1.24, and engines that ask for more."""

    @pytest.mark.parametrize(
        ("image", "min_api", "old"),
        [
            ("traefik:2.0", "1.24", False),
            ("traefik:2.0", "1.12", False),
            ("traefik:2.0", "1.25", True),
            ("traefik:2.0", "1.44", True),
            ("traefik:v2.11", "1.44", False),
            ("traefik:v2.11.30", "1.44", True),
            ("traefik:v2.11.31", "1.44", False),
            ("traefik:2.12.0", "1.44", False),
            ("traefik:v3.0.4", "1.44", True),
            ("traefik:v3.5", "1.44", True),
            ("traefik:v3.6", "1.44", False),
            ("traefik:v3.6.0", "1.44", True),
            ("traefik:v3.6.1", "1.44", False),
            ("traefik:3.7.1-alpine", "1.44", False),
            ("traefik:v3.10.0", "1.44", False),
            ("traefik:3", "1.44", False),
            ("registry.test:5000/traefik:3.5", "1.44", True),
            (f"traefik:v3.5@sha256:{'a' * 64}", "1.44", True),
            ("traefik:latest", "1.44", False),
            ("traefik:3.5", "2.0", True),
        ],
    )
    def test_table(self, image: str, min_api: str, old: bool) -> None:
        """Versions are compared as numbers; a tag without a patch is its line's newest."""
        assert old is too_old(image, min_api)


class TestJudge:
    """All rules together."""

    def test_fine(self) -> None:
        """A site that is well has fine findings and the risks that it accepts."""
        found = everything(hosts(), swarm())

        assert {finding.level for finding in found if finding.subject != "risk"} == {FINE}

    def test_without_a_swarm(self) -> None:
        """What the Swarm would have told is left out, and the rest is judged."""
        subjects = {finding.subject for finding in everything(hosts(), None)}

        assert {"identity", "engine", "route", "shorewall"} <= subjects
        assert not {"quorum", "overlay", "secret"} & subjects

    @pytest.mark.parametrize(
        ("change", "subject"),
        [
            (lambda: {"docker06": host("docker06", hostname="x")}, "identity"),
            (lambda: {"gateway": host("gateway", clock_offset_s=99)}, "clock"),
            (lambda: {"docker05": host("docker05", engine=EngineFacts(error="x"))}, "engine"),
            (lambda: {"docker03": host("docker03", default_via="")}, "route"),
            (lambda: {"docker02": host("docker02", listeners={80: "nginx"})}, "port"),
            (lambda: {"docker01": host(lan=LanFacts((), ("02:00:00:00:00:99",)))}, "vip"),
            (lambda: gate(started=False), "shorewall"),
        ],
    )
    def test_asks_every_rule_of_every_host(
        self, change: Callable[[], dict[str, HostFacts]], subject: str
    ) -> None:
        """A fault on any host is found."""
        found = everything(hosts(**change()), swarm())

        assert {f.subject for f in found if f.level is BLOCKING} == {subject}

    @pytest.mark.parametrize(
        ("facts", "subject"),
        [
            ({"overlays": {"frontend": (IPv4Network("10.0.0.0/24"),)}}, "overlay"),
            ({"ingress_ports": {80: "web_web"}}, "port"),
            ({"nodes": ()}, "swarm"),
        ],
    )
    def test_asks_every_rule_of_the_swarm(self, facts: dict[str, Any], subject: str) -> None:
        """A fault of the Swarm is found."""
        found = everything(hosts(), swarm(**facts))

        assert {f.subject for f in found if f.level is BLOCKING} == {subject}

    def test_workers_need_no_route_through_the_gateway(self) -> None:
        """Only managers answer forwarded requests."""
        found = everything(hosts(docker04=host("docker04", default_via="10.0.0.254")), swarm())

        assert not [finding for finding in found if finding.level is BLOCKING]
