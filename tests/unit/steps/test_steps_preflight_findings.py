"""What the preflight makes of what it read: each rule has a case that it finds and a fine one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from fakes import declared, parameters

from runbook.changes import Finding, Level
from runbook.site import Site
from runbook.steps import STEPS, keepalived, shorewall
from runbook.steps.preflight import findings
from runbook.steps.preflight.engine_findings import engine, too_old
from runbook.steps.preflight.facts import Advert, EngineFacts, GatewayFacts, HostFacts, LanFacts
from runbook.steps.preflight.findings import (
    clock,
    identity,
    judge,
    risks,
    routes,
    space,
)
from runbook.steps.preflight.swarm_facts import Node, SwarmFacts
from runbook.steps.preflight.swarm_findings import membership, overlaps
from runbook.steps.traefik.objections import ingress, ports, secret

SITE = parameters("article").site
BLOCKING, WARNING, FINE = Level.BLOCKING, Level.WARNING, Level.FINE
ENGINE = EngineFacts("28.5.2", "1.51", "1.24", "active", node_id="id-docker01", controls=True)
MACS = {host: f"02:42:0a:00:00:{n:02x}" for n, host in enumerate(SITE.hosts, 11)}


def host(name: str = "docker01", **facts: Any) -> HostFacts:
    """Return a host of the article that is well, or has other facts."""
    well = HostFacts(
        hostname=name,
        system="Debian GNU/Linux 12 (bookworm)",
        apt=True,
        clock_offset_s=0.3,
        addresses={"127.0.0.1": "lo", str(SITE.hosts[name].address): "enp0s3"},
        macs=(MACS[name],),
        default_via="10.0.0.1",
        listeners={22: "sshd"},
        engine=None if name == "gateway" else replace(ENGINE, node_id=f"id-{name}"),
        lan=LanFacts((), ()) if name == "docker01" else None,
        gateway=GatewayFacts(
            version="5.2.8",
            zones=("fw", "net", "loc"),
            started=True,
            forwarding="On",
            ip_forward=True,
            stopped_rules=True,
        )
        if name == "gateway"
        else None,
    )
    return replace(well, **facts)


def gate(**facts: Any) -> dict[str, HostFacts]:
    """Return the hosts of the article, whose gateway has other facts."""
    known = host("gateway").gateway
    assert known is not None
    return hosts(gateway=host("gateway", gateway=replace(known, **facts)))


def hosts(**others: HostFacts) -> dict[str, HostFacts]:
    """Return the hosts of the article, all well but these."""
    return {name: others.get(name, host(name)) for name in SITE.hosts}


def node(name: str, **facts: Any) -> Node:
    """Return a node that is in service, or has other facts."""
    manager = name in SITE.managers
    well = Node(
        id=f"id-{name}",
        hostname=name,
        role="manager" if manager else "worker",
        state="ready",
        availability="active",
        address=str(SITE.hosts[name].address) if name in SITE.hosts else "10.0.0.99",
        reachability={"docker01": "leader"}.get(name, "reachable" if manager else ""),
    )
    return replace(well, **facts)


def swarm(*nodes: Node, **facts: Any) -> SwarmFacts:
    """Return a Swarm of the article's nodes, these in the place of those with their IDs."""
    others = {one.id: one for one in nodes}
    ids = {f"id-{name}": name for name in (*SITE.managers, *SITE.workers)}
    well = SwarmFacts(
        nodes=tuple(others.get(i) or node(ids[i]) for i in dict.fromkeys([*ids, *others])),
        overlays={"ingress": (IPv4Network("10.11.0.0/24"),)},
        ingress_ports={},
        secrets=frozenset(),
    )
    return replace(well, **facts)


def gist(found: Iterator[Finding]) -> list[tuple[Level, str, str]]:
    """Return level, host and subject of each finding."""
    return [(finding.level, finding.host, finding.subject) for finding in found]


def gateway(seen: dict[str, HostFacts]) -> Iterator[Finding]:
    """Return what speaks against rules on the article's gateway."""
    return iter(shorewall.STEP.objections(parameters("article"), seen, None))


def lan(seen: dict[str, HostFacts]) -> Iterator[Finding]:
    """Return what speaks against the article's VIP."""
    return iter(keepalived.STEP.objections(parameters("article"), seen, None))


def everything(seen: dict[str, HostFacts], known: SwarmFacts | None) -> list[Finding]:
    """Return what every rule and every step make of the article."""
    site_file = parameters("article")
    objections = [found for step in STEPS for found in step.objections(site_file, seen, known)]
    return [*judge(SITE, seen, known), *objections]


def only(all_found: Iterator[Finding]) -> Finding:
    """Return the one finding that is not fine; it says why and what to do."""
    (found,) = [finding for finding in all_found if finding.level is not FINE]
    assert found.why
    assert found.todo
    return found


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


NO_ZONE = "neither /etc/shorewall/zones nor the running firewall has zone "


class TestGateway:
    """Shorewall and forwarding."""

    def test_fine(self) -> None:
        """Zones, state, forwarding and a way in are there."""
        assert gist(gateway(hosts())) == [(FINE, "gateway", "shorewall")]

    @pytest.mark.parametrize(
        ("facts", "level", "what"),
        [
            ({"zones": ("fw", "net")}, BLOCKING, NO_ZONE + "loc"),
            ({"zones": ()}, BLOCKING, NO_ZONE + "loc, net"),
            ({"started": False}, BLOCKING, "Shorewall is not started"),
            ({"started": False, "zones": ()}, BLOCKING, "Shorewall is not started"),
            (
                {"forwarding": "Keep"},
                WARNING,
                "IP_FORWARDING=Keep and the kernel forwards",
            ),
            (
                {"forwarding": "", "ip_forward": False},
                BLOCKING,
                "IP_FORWARDING=Keep and the kernel does not forward",
            ),
            (
                {"forwarding": "On", "ip_forward": False},
                BLOCKING,
                "IP_FORWARDING=On and the kernel does not forward",
            ),
            ({"stopped_rules": False}, WARNING, "/etc/shorewall/stoppedrules is empty"),
        ],
        ids=["a zone", "zones", "stopped", "no state", "keep", "off", "not now", "no way in"],
    )
    def test_found(self, facts: dict[str, Any], level: Level, what: str) -> None:
        """What the rules need is missing, or what keeps the way in and the packets through."""
        found = only(gateway(gate(**facts)))

        assert (found.level, found.host, found.what) == (level, "gateway", what)

    @pytest.mark.parametrize("word", ["On", "on", "Yes", "yes"])
    def test_words_for_on(self, word: str) -> None:
        """Shorewall takes either, in either case."""
        assert gist(gateway(gate(forwarding=word))) == [(FINE, "gateway", "shorewall")]


class TestRoutes:
    """The way back."""

    def test_fine(self) -> None:
        """The gateway is the default route."""
        assert gist(routes(SITE, hosts(), "docker01")) == [(FINE, "docker01", "route")]

    def test_other_address_of_the_gateway(self) -> None:
        """The gateway has a second address on the LAN, as one that floats between two gateways."""
        gate = host("gateway", addresses={"10.0.0.1": "lan0", "10.0.0.254": "lan0"})
        seen = hosts(docker01=host(default_via="10.0.0.254"), gateway=gate)

        assert gist(routes(SITE, seen, "docker01")) == [(FINE, "docker01", "route")]

    @pytest.mark.parametrize(("via", "said"), [("10.0.0.254", "10.0.0.254"), ("", "nothing")])
    def test_blocking(self, via: str, said: str) -> None:
        """Another way back loses the answers."""
        found = only(routes(SITE, hosts(docker01=host(default_via=via)), "docker01"))

        assert (found.level, found.what) == (
            BLOCKING,
            f"the default route is via {said}, not 10.0.0.1",
        )


class TestPorts:
    """The ports that Traefik publishes."""

    @pytest.mark.parametrize(
        "listeners",
        [{}, {22: "sshd", 443: "nginx"}, {80: "service traefik_traefik"}],
        ids=["free", "others", "ours"],
    )
    def test_fine(self, listeners: dict[int, str]) -> None:
        """They are free, or Traefik has them already."""
        assert list(ports(SITE, "docker01", host(listeners=listeners))) == []

    @pytest.mark.parametrize(
        ("listeners", "what"),
        [
            ({80: "nginx"}, "port 80 is taken by nginx"),
            ({8080: "service web_web"}, "port 8080 is taken by service web_web"),
        ],
    )
    def test_blocking(self, listeners: dict[int, str], what: str) -> None:
        """Web port and dashboard port of somebody else forbid the run."""
        found = only(ports(SITE, "docker01", host(listeners=listeners)))

        assert (found.level, found.what) == (BLOCKING, what)

    def test_port_that_is_not_published(self) -> None:
        """Without a dashboard port 8080 is anybody's."""
        taken = host("docker01", listeners={8080: "nginx"})
        site = declared(traefik={"dashboard": {"insecure": False, "port": None}}).site

        assert list(ports(site, "docker01", taken)) == []


class TestLan:
    """Strangers on the LAN."""

    @pytest.mark.parametrize(
        "heard",
        [
            LanFacts((), ()),
            LanFacts((Advert(IPv4Address("10.0.0.12"), 51),), (MACS["docker02"],)),
            LanFacts((Advert(IPv4Address("10.0.0.77"), 52),), ()),
        ],
        ids=["silence", "our own", "another VRID"],
    )
    def test_fine(self, heard: LanFacts) -> None:
        """Nobody, our own managers, or a group with another number."""
        assert list(lan(hosts(docker01=host(lan=heard)))) == []

    def test_vip_of_a_stranger(self) -> None:
        """Somebody answers for the VIP who is no manager."""
        heard = LanFacts((), ("02:00:00:00:00:99", MACS["docker03"]))
        found = only(lan(hosts(docker01=host(lan=heard))))

        assert (found.level, found.subject) == (BLOCKING, "vip")
        assert found.what == "10.0.0.2 is answered by a stranger, 02:00:00:00:00:99"

    def test_vip_of_the_gateway(self) -> None:
        """The gateway and the workers are strangers to the VIP, too."""
        found = only(lan(hosts(docker01=host(lan=LanFacts((), (MACS["gateway"],))))))

        assert found.subject == "vip"

    def test_vrid_of_a_stranger(self) -> None:
        """Somebody else's adverts have our VRID."""
        heard = LanFacts((Advert(IPv4Address("10.0.0.77"), 51),), ())
        found = only(lan(hosts(docker01=host(lan=heard))))

        assert (found.level, found.subject) == (BLOCKING, "vrid")
        assert found.what == "10.0.0.77 already sends VRRP adverts with VRID 51"

    def test_vrid_from_the_first_address_of_an_interface(self) -> None:
        """A manager's adverts are its own, whichever of its addresses they come from."""
        heard = LanFacts((Advert(IPv4Address("10.0.0.112"), 51),), ())
        both = host("docker02", addresses={"10.0.0.112": "eth0", "10.0.0.12": "eth0"})

        assert list(lan(hosts(docker01=host(lan=heard), docker02=both))) == []

    @pytest.mark.parametrize(
        ("heard", "package"),
        [(LanFacts((), None), "iputils-arping"), (LanFacts(None, ()), "tcpdump")],
    )
    def test_without_the_tool(self, heard: LanFacts, package: str) -> None:
        """What was not looked for is a warning, with the package that looks."""
        found = only(lan(hosts(docker01=host(lan=heard))))

        assert found.level is WARNING
        assert found.todo == f"sudo apt-get install {package}"

    def test_what_the_other_tool_heard_still_counts(self) -> None:
        """A missing arping does not hide a stranger's adverts."""
        heard = LanFacts((Advert(IPv4Address("10.0.0.77"), 51),), None)

        assert gist(lan(hosts(docker01=host(lan=heard)))) == [
            (WARNING, "docker01", "lan"),
            (BLOCKING, "docker01", "vrid"),
        ]


class TestMembership:
    """The Swarm's nodes against those declared."""

    def test_fine(self) -> None:
        """Every declared node is in service; workers nobody declared are nobody's business."""
        stranger = node("docker99", role="worker")

        assert gist(membership(SITE, hosts(), swarm(stranger))) == [(FINE, "swarm", "quorum")]

    @pytest.mark.parametrize(
        ("name", "facts", "what"),
        [
            ("docker04", {"role": "manager"}, "the Swarm has it as a manager, declared a worker"),
            ("docker02", {"role": "worker"}, "the Swarm has it as a worker, declared a manager"),
            (
                "docker02",
                {"state": "down", "message": "heartbeat failure"},
                "its engine runs, and the Swarm has the node as down (heartbeat failure)",
            ),
            ("docker04", {"state": ""}, "its engine runs, and the Swarm has the node as unknown"),
            ("docker05", {"availability": "drain"}, "the node is drained: it is given no tasks"),
            ("docker05", {"availability": "pause"}, "the node is paused: it is given no tasks"),
            ("docker03", {"reachability": "unreachable"}, "the other managers cannot reach it"),
            ("docker03", {"reachability": ""}, "it is to be a manager and has not become one"),
            ("docker01", {"address": "10.0.0.2"}, "it is in the Swarm with the VIP as its address"),
        ],
    )
    def test_blocking(self, name: str, facts: dict[str, Any], what: str) -> None:
        """A node with another role, out of service, cut off, or joined with the VIP."""
        found = only(membership(SITE, hosts(), swarm(node(name, **facts))))

        assert (found.level, found.host, found.what) == (BLOCKING, name, what)

    @pytest.mark.parametrize("called", ["docker04.example.org", "DOCKER04", "localhost", ""])
    def test_name_does_not_matter(self, called: str) -> None:
        """A node is its ID, whatever the Swarm calls it."""
        known = swarm(node("docker04", hostname=called))

        assert gist(membership(SITE, hosts(), known)) == [(FINE, "swarm", "quorum")]

    def test_missing_node(self) -> None:
        """A host whose engine is no node of this Swarm forbids the run."""
        known = swarm()
        without = replace(known, nodes=known.nodes[1:])
        found = only(membership(SITE, hosts(), without))

        assert found.host == "docker01"
        assert found.what.startswith("its engine is node id-docker01, which the Swarm of docker01")

    @pytest.mark.parametrize(
        "left",
        [
            {"hostname": "docker06", "address": "10.0.0.16"},
            {"hostname": "DOCKER06.example.org", "address": "10.0.0.99"},
            {"hostname": "before", "address": "10.0.0.16"},
        ],
        ids=["same name", "name in another form", "same address"],
    )
    def test_left_over(self, left: dict[str, str]) -> None:
        """The old entry of a host that joined again is said to be one, and forbids nothing."""
        old = node("docker06", id="old", state="down", **left)
        found = only(membership(SITE, hosts(), swarm(old)))

        assert (found.level, found.host) == (WARNING, "docker06")
        assert found.what.startswith("an entry of it is left over in the Swarm, old, which is down")
        assert found.todo == "on a manager: docker node rm old"

    def test_copied_machine(self) -> None:
        """Two hosts with one node ID are no two nodes: one was copied from the other."""
        copy = host("docker05", engine=replace(ENGINE, node_id="id-docker04"))
        known = swarm()
        known = replace(known, nodes=tuple(n for n in known.nodes if n.hostname != "docker05"))
        found = only(membership(SITE, hosts(docker05=copy), known))

        assert (found.level, found.host) == (BLOCKING, "docker05")
        assert found.what == "its engine is node id-docker04, as that of docker04 is: one is a copy"

    def test_left_over_of_a_manager(self) -> None:
        """It counts for the quorum until it is demoted, and is never one manager too many."""
        old = node("docker03", id="old", state="down", reachability="unreachable")
        found = list(membership(SITE, hosts(), swarm(old)))

        assert [f.level for f in found] == [WARNING, FINE]
        assert found[0].todo == "on a manager: docker node demote old; docker node rm old"
        assert found[1].what == "3 of 4 managers reachable"

    def test_without_an_engine(self) -> None:
        """An entry of a host whose engine does not answer is its own; the engine is at fault."""
        silent = hosts(docker03=host("docker03", engine=EngineFacts(error="x")))
        down = node("docker03", state="down", reachability="unreachable")

        assert gist(membership(SITE, silent, swarm(down))) == [(FINE, "swarm", "quorum")]

    def test_undeclared_managers(self) -> None:
        """Traefik would run there too, so they must be declared; all are named."""
        strangers = (node("docker98", role="manager"), node("docker97", role="manager"))
        found = [f for f in membership(SITE, hosts(), swarm(*strangers)) if f.level is BLOCKING]

        assert [f.host for f in found] == ["docker98", "docker97"]
        assert found[0].what.endswith("does not declare: docker98 (id-docker98, at 10.0.0.99)")

    def test_namesake(self) -> None:
        """Another machine of a declared name is an undeclared one, for it is up."""
        clone = node("docker02", id="clone", address="10.0.0.99")
        found = only(membership(SITE, hosts(), swarm(clone)))

        assert (found.level, "docker02 (clone, at 10.0.0.99)" in found.what) == (BLOCKING, True)

    def test_undeclared_manager_that_is_down(self) -> None:
        """Nobody would declare what is gone."""
        gone = node("docker99", role="manager", state="down", reachability="unreachable")
        found = only(membership(SITE, hosts(), swarm(gone)))

        assert (found.level, found.host) == (WARNING, "swarm")
        assert "docker node demote id-docker99; docker node rm id-docker99" in found.todo

    def test_quorum(self) -> None:
        """How many managers are reached is said."""
        lost = swarm(node("docker03", reachability="unreachable"))
        *_, found = membership(SITE, hosts(), lost)

        assert found.what == "2 of 3 managers reachable"


class TestOverlaps:
    """Overlay networks over the LAN."""

    def test_fine(self) -> None:
        """A network beside the LAN."""
        assert list(overlaps(SITE, swarm())) == []

    @pytest.mark.parametrize(
        ("name", "subnet", "level"),
        [
            ("ingress", "10.0.0.0/24", WARNING),
            ("backend", "10.0.0.128/25", WARNING),
            ("frontend", "10.0.0.0/16", BLOCKING),
        ],
    )
    def test_found(self, name: str, subnet: str, level: Level) -> None:
        """The site's own network forbids the run; the edge is not on the others."""
        overlays = {name: (IPv4Network(subnet),), "six": ()}
        found = only(overlaps(SITE, swarm(overlays=overlays)))

        assert found.level is level
        assert found.what == f"overlay network {name} is {subnet}, over the LAN 10.0.0.0/24"


class TestIngress:
    """Ports that the routing mesh takes on every node."""

    @pytest.mark.parametrize("taken", [{}, {443: "web_web"}, {80: "traefik_traefik"}])
    def test_fine(self, taken: dict[int, str]) -> None:
        """Other ports are others', and Traefik's own may move to host mode."""
        assert list(ingress(SITE, swarm(ingress_ports=taken))) == []

    @pytest.mark.parametrize("port", [80, 8080])
    def test_blocking(self, port: int) -> None:
        """Another service on a port of Traefik's forbids the run."""
        found = only(ingress(SITE, swarm(ingress_ports={port: "web_web"})))

        assert found.level is BLOCKING
        assert found.what.startswith(f"port {port} is published by service web_web")


class TestSecret:
    """The dashboard's users."""

    @staticmethod
    def guarded(**more: str) -> Site:
        """Return a site with a guarded dashboard."""
        dashboard = {"host": "traefik.test", "users_secret": "traefik_users", **more}
        return declared("production", traefik={"dashboard": dashboard}).site

    def test_fine(self) -> None:
        """It is there, or none is wanted."""
        there = swarm(secrets=frozenset({"traefik_users"}))

        assert list(secret(self.guarded(), there)) == []
        assert list(secret(SITE, swarm())) == []

    def test_blocking(self) -> None:
        """Without it the stack could not be deployed; the command that makes it is said."""
        found = only(secret(self.guarded(), swarm()))

        assert (found.level, found.what) == (BLOCKING, "the Swarm has no secret 'traefik_users'")
        assert "docker secret create traefik_users -" in found.todo
        assert "declare traefik.dashboard.users" in found.todo

    def test_that_will_be_made(self) -> None:
        """Where the site says of what, the run makes it."""
        assert list(secret(self.guarded(users="env:EDGE_USERS"), swarm())) == []


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
