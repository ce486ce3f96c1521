"""What the preflight makes of gateway, ports and LAN: each rule finds a case, and a fine one."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from fakes import declared
from preflighted import (
    BLOCKING,
    FINE,
    MACS,
    SITE,
    WARNING,
    gate,
    gateway,
    gist,
    host,
    hosts,
    lan,
    only,
)

from runbook.changes import Level
from runbook.steps.preflight.facts import Advert, LanFacts
from runbook.steps.preflight.findings import routes
from runbook.steps.traefik.objections import ports

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
