"""What the preflight reads: from the recorded output of the programs to facts."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest
from fakes import STARTED, Failure, FakeFleet, Keeping, live, parameters, recorded, recorded_json
from preflighted import HOSTS, lab

from runbook.errors import Refused
from runbook.steps.preflight.facts import (
    Advert,
    EngineFacts,
    GatewayFacts,
    HostFacts,
    LanFacts,
    VrrpFacts,
    clock_offset,
    lan_facts,
    observe_hosts,
)
from runbook.steps.preflight.swarm_facts import Node, observe_swarm


def seen(host: str, **texts: str) -> HostFacts:
    """Return the facts of one recorded host, some texts of which are others."""
    return observe_hosts(lab(**{host: texts}))[host]


class TestHost:
    """One host."""

    def test_manager(self) -> None:
        """Name, system, clock, addresses, route, ports and engine of the first manager."""
        facts = seen("docker01")

        assert (facts.hostname, facts.system) == ("docker01", "Debian GNU/Linux 12 (bookworm)")
        assert facts.apt is True
        assert facts.clock_offset_s == pytest.approx(0.27, abs=0.01)
        assert facts.addresses["10.0.0.11"] == "enp0s3"
        assert facts.addresses["10.0.0.2"] == "enp0s3"
        assert "02:42:0a:00:00:0b" in facts.macs
        assert "00:00:00:00:00:00" not in facts.macs
        assert facts.default_via == "10.0.0.1"
        assert facts.engine == EngineFacts(
            *("20.10.24+dfsg1", "1.41", "1.12", "active"),
            node_id="nef9vnqq4eu00168jno3dpfmq",
            controls=True,
            unit="enabled",
        )
        assert facts.vrrp == VrrpFacts(running=True, firewall=())
        assert facts.free_kib == {"/": 65681436, "/var/lib/docker": 65681436}
        assert facts.read_only == ()
        assert facts.gateway is None

    def test_worker(self) -> None:
        """A worker has an engine; its ports and the LAN are not asked for."""
        facts = seen("docker04")

        assert facts.engine is not None
        assert (facts.listeners, facts.lan, facts.gateway) == ({}, None, None)

    def test_lan_is_heard_by_the_first_manager_only(self) -> None:
        """One listener is enough."""
        facts = observe_hosts(lab())

        assert [host for host, found in facts.items() if found.lan is not None] == ["docker01"]

    @pytest.mark.parametrize(
        ("route", "via"),
        [
            ("default via 10.0.0.1 dev enp0s3 \n", "10.0.0.1"),
            ("default via 10.0.0.254 dev eth1 proto dhcp src 10.0.0.11 metric 100\n", "10.0.0.254"),
            ("default dev ppp0 scope link\n", ""),
            ("default dev wg0 scope link\ndefault via 10.0.0.1 dev eth0 metric 100\n", ""),
            (
                "default via 10.0.0.1 dev a metric 1\ndefault via 10.9.9.9 dev b metric 2\n",
                "10.0.0.1",
            ),
            ("default proto static\n\tnexthop via 10.0.0.1 dev a weight 1\n", "10.0.0.1"),
            ("default via inet6 fe80::1 dev eth0\n", ""),
            ("", ""),
        ],
    )
    def test_default_route(self, route: str, via: str) -> None:
        """The next hop, where there is one."""
        assert via == seen("docker02", route=route).default_via

    def test_clock_that_is_behind(self) -> None:
        """The offset has a sign."""
        assert seen("docker02", clock="1795438730.0\n").clock_offset_s == -60
        assert seen("docker02", clock="1795438730.%N\n").clock_offset_s == -59  # whole seconds

    @pytest.mark.parametrize(("read_s", "offset_s"), [(-1, -1), (0, 0), (9, 0), (12, 2)])
    def test_clock_over_a_slow_login(self, read_s: float, offset_s: float) -> None:
        """A login that took ten seconds is no clock that is off."""
        ended = STARTED + timedelta(seconds=10)
        said = f"{STARTED.timestamp() + read_s:.3f}\n"

        assert clock_offset(said, STARTED, ended) == offset_s

    @pytest.mark.parametrize("said", ["", "%s.%N\n", "sh: date: not found\n"])
    def test_clock_that_was_not_read(self, said: str) -> None:
        """What is no number is no time."""
        assert seen("docker02", clock=said).clock_offset_s is None

    def test_one_command_a_host(self) -> None:
        """Every host is asked once, as root; managers and workers come first."""
        fleet = FakeFleet(lab().fleet.answer)  # type: ignore[attr-defined]
        observe_hosts(live(parameters("lab"), fleet))

        assert [(c.host, c.sudo) for c in fleet.commands] == [(host, True) for host in HOSTS]

    def test_without_apt(self) -> None:
        """A host that has no apt-get says nothing to ``command -v``."""
        assert seen("docker02", apt="").apt is False


class TestListeners:
    """Who listens on which port."""

    def test_recorded(self) -> None:
        """A published port is its service's, others are their programs'."""
        ports = seen("docker01").listeners

        assert ports[80] == ports[8080] == "service traefik_traefik"
        assert ports[22] == "sshd"
        assert ports[2377] == "dockerd"

    def test_without_userland_proxy(self) -> None:
        """A published port without a socket is found all the same."""
        sockets = "".join(
            line for line in recorded("preflight-docker01")["sockets"].splitlines(keepends=True)
            if "docker-proxy" not in line
        )  # fmt: skip

        assert seen("docker01", sockets=sockets).listeners[80] == "service traefik_traefik"

    @pytest.mark.parametrize(
        ("line", "port", "program"),
        [
            ('LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=1,fd=6))', 80, "nginx"),
            ('LISTEN 0 511 [::]:80 [::]:* users:(("apache2",pid=1,fd=6))', 80, "apache2"),
            ('LISTEN 0 511 *:443 *:* users:(("caddy",pid=1,fd=6))', 443, "caddy"),
            ("LISTEN 0 64 0.0.0.0:2049 0.0.0.0:*", 2049, "a program"),
        ],
    )
    def test_program(self, line: str, port: int, program: str) -> None:
        """The name of the process, or that there is one: the kernel's own sockets have none."""
        facts = seen("docker01", sockets=f"{line}\n", containers="[]")

        assert {port: program} == facts.listeners

    def test_udp(self) -> None:
        """A UDP port leaves the TCP port of its number free."""
        containers = '[{"Ports": [{"PublicPort": 80, "Type": "udp"}]}]'

        assert seen("docker01", sockets="", containers=containers).listeners == {}

    def test_container_of_nobody(self) -> None:
        """A container outside the Swarm is said to be one."""
        containers = '[{"Labels": {}, "Ports": [{"PublicPort": 80}, {"PrivatePort": 81}]}]'

        assert seen("docker01", sockets="", containers=containers).listeners == {80: "a container"}


class TestEngine:
    """The engine of one host."""

    def test_that_does_not_answer(self) -> None:
        """What curl said is the error, and there are no other facts."""
        missing = recorded("missing")
        engine = seen("docker02", version=missing["version"], info=missing["info"]).engine

        assert engine is not None
        assert "Couldn't connect to server" in engine.error
        assert engine.version == ""

    @pytest.mark.parametrize("info", ["", '{"message": "the engine is restarting"}\n'])
    def test_that_answers_half(self, info: str) -> None:
        """An engine that answers one question and not the other does not answer."""
        engine = seen("docker02", info=info).engine

        assert engine is not None
        assert engine.error != ""


class TestLan:
    """Adverts and the VIP, as the first manager hears them."""

    def test_of_the_master(self) -> None:
        """It hears its own adverts, and nobody else answers for the VIP."""
        heard = lan_facts(recorded("preflight-docker01")["lan"])

        assert heard == LanFacts((Advert(IPv4Address("10.0.0.11"), 51),), ())

    def test_of_a_backup(self) -> None:
        """It hears the master's adverts, each once, and the master answers for the VIP."""
        heard = lan_facts(recorded("lan")["backup"])

        assert heard == LanFacts(
            (Advert(IPv4Address("10.0.0.11"), 51),), ("02:42:0a:00:00:0b",)
        )  # fmt: skip

    def test_without_arping(self) -> None:
        """That nobody was asked is not that nobody answered."""
        heard = lan_facts(recorded("lan")["no_arping"])

        assert heard.vip_macs is None
        assert heard.adverts is not None

    def test_without_tcpdump(self) -> None:
        """That nobody listened is not that nobody sent."""
        heard = lan_facts(recorded("lan")["no_tcpdump"])

        assert heard.adverts is None
        assert heard.vip_macs is not None

    def test_silence(self) -> None:
        """Both tools ran and there was nothing: that is known."""
        text = "ARPING 10.0.0.2 from 10.0.0.11 enp0s3\nlistening on enp0s3, link-type EN10MB\n"

        assert lan_facts(text) == LanFacts((), ())

    @pytest.mark.parametrize(
        ("line", "advert"),
        [
            (
                "12:59:52.2 IP 10.0.0.11 > 224.0.0.18: VRRPv2, Advertisement, vrid 51, prio 3",
                Advert(IPv4Address("10.0.0.11"), 51),
            ),
            (
                "12:59:52.2 IP 10.0.0.9 > 224.0.0.18: VRRPv3, Advertisement, vrid 87, prio 200,"
                " intvl 20cs, length 12",
                Advert(IPv4Address("10.0.0.9"), 87),
            ),
            (
                "12:59:52.2 IP 10.0.0.9 > 10.0.0.8: VRRPv2, Advertisement, vrid 7, prio 1",
                Advert(IPv4Address("10.0.0.9"), 7),
            ),
        ],
        ids=["version 2", "version 3", "unicast"],
    )
    def test_advert(self, line: str, advert: Advert) -> None:
        """Sender and VRID, in either version of VRRP and to any destination."""
        assert lan_facts(f"listening on x\n{line}\n").adverts == (advert,)


class TestGateway:
    """Shorewall and forwarding."""

    def test_recorded(self) -> None:
        """Version, zones, state, forwarding and the way in of the lab's gateway."""
        assert seen("gateway").gateway == GatewayFacts(
            version="5.2.8",
            zones=("fw", "net", "loc"),
            started=True,
            forwarding="On",
            ip_forward=True,
            stopped_rules=True,
        )

    @pytest.mark.parametrize(
        ("zones", "names"),
        [
            ("#ZONE TYPE\nfw firewall\nnet ipv4 # the outside\n\n", ("fw", "net")),
            ("loc:net ipv4\n", ("loc",)),
            ("", ()),
            ("fw firewall\nnet ipv4 net0:0.0.0.0/0\nfw firewall\nnet\n", ("fw", "net")),
            ("DMZ_1 ipv4\n$NET ipv4\nINCLUDE more\n?INCLUDE more\n?IF $X\n", ("DMZ_1",)),
        ],
        ids=["comments", "parent", "empty", "running", "INCLUDE"],
    )
    def test_zones(self, zones: str, names: tuple[str, ...]) -> None:
        """Zones that run, and those that the file names; a zone's parent is not its name."""
        facts = seen("gateway", zones=zones).gateway

        assert facts is not None
        assert names == facts.zones

    @pytest.mark.parametrize("text", ["", "no\n"])
    def test_not_started(self, text: str) -> None:
        """Anything but the word is not started."""
        facts = seen("gateway", started=text).gateway

        assert facts is not None
        assert facts.started is False


class TestSwarm:
    """The Swarm's own view."""

    def test_nodes(self) -> None:
        """Role, state and reachability by name; managers have the address they advertise."""
        nodes = observe_swarm(lab()).nodes

        assert [node.hostname for node in nodes] == list(HOSTS[:-1])
        assert nodes[0] == Node(
            "nef9vnqq4eu00168jno3dpfmq",
            *("docker01", "manager", "ready", "active", "10.0.0.11", "leader"),
        )
        assert nodes[1].reachability == "reachable"
        assert nodes[3] == Node(
            "q4jxh363bc5qu8v4tw4ctenre", *("docker04", "worker", "ready", "active", "10.0.0.14", "")
        )

    def test_overlays(self) -> None:
        """Each overlay network has its IPv4 subnets."""
        overlays = observe_swarm(lab()).overlays

        assert overlays["ingress"] == (IPv4Network("10.0.0.0/24"),)
        assert overlays["frontend"] == (IPv4Network("10.0.1.0/24"),)

    def test_overlay_without_ipv4(self) -> None:
        """Other pools are left out, and none is no error."""
        networks = [
            {"Name": "six", "IPAM": {"Config": [{"Subnet": "fd00::/64"}]}},
            {"Name": "none", "IPAM": {"Config": None}},
        ]

        assert observe_swarm(lab({"GET /networks": networks})).overlays == {"six": (), "none": ()}

    def test_asks_for_overlays_only(self) -> None:
        """The engine leaves bridges out."""
        asked = Keeping([])
        observe_swarm(lab({"GET /networks": asked}))

        assert [query["filters"] for query in asked.queries] == ['{"driver": ["overlay"]}']

    def test_ports(self) -> None:
        """Host-mode ports are no ingress ports; a port through the mesh is its service's."""
        (service,) = recorded_json("services")
        mesh = {"Protocol": "tcp", "PublishMode": "ingress", "PublishedPort": 80, "TargetPort": 80}
        service["Endpoint"]["Ports"] = [mesh]

        assert observe_swarm(lab()).ingress_ports == {}
        assert observe_swarm(lab({"GET /services": [service]})).ingress_ports == {
            80: "traefik_traefik"
        }

    def test_udp_port(self) -> None:
        """A UDP port neither takes nor hides the TCP port of its number."""
        tcp, udp = recorded_json("services")[0], recorded_json("services")[0]
        mesh = {"PublishMode": "ingress", "PublishedPort": 80}
        tcp["Endpoint"]["Ports"] = [mesh | {"Protocol": "tcp"}]
        udp["Endpoint"]["Ports"] = [mesh | {"Protocol": "udp"}]
        tcp["Spec"]["Name"], udp["Spec"]["Name"] = "web", "vpn"

        assert observe_swarm(lab({"GET /services": [udp]})).ingress_ports == {}
        assert observe_swarm(lab({"GET /services": [tcp, udp]})).ingress_ports == {80: "web"}

    def test_secrets(self) -> None:
        """By name; their content is never asked for."""
        secrets = [{"ID": "s1", "Spec": {"Name": "users"}}]

        assert observe_swarm(lab({"GET /secrets": secrets})).secrets == {"users"}

    def test_without_quorum(self) -> None:
        """A Swarm that lost its leader is refused."""
        message = "rpc error: code = Unknown desc = The swarm does not have a leader."

        with pytest.raises(Refused, match="lost its quorum") as caught:
            observe_swarm(lab({"GET /nodes": Failure(503, message)}))
        assert (caught.value.host, caught.value.step) == ("docker01", "preflight")
