"""What the preflight makes of who holds the VIP."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from fakes import Clock, converged, declared, live, parameters, swarm

from runbook.changes import Finding, Level
from runbook.steps.keepalived.objections import judge_vip, vip
from runbook.steps.preflight.facts import (
    Advert,
    HostFacts,
    LanFacts,
    VrrpFacts,
    observe_hosts,
)

SITE = parameters("lab").site
BLOCKING, WARNING, FINE = Level.BLOCKING, Level.WARNING, Level.FINE
WELL = observe_hosts(live(parameters("lab"), converged(), swarm()))
VIP = str(SITE.keepalived.vip)


def hosts(**others: dict[str, Any]) -> dict[str, HostFacts]:
    """Return the hosts of the lab after a run, some of which have other facts."""
    return {host: replace(seen, **others.get(host, {})) for host, seen in WELL.items()}


def judged(
    holding: list[str], planned: tuple[str, ...] = (), **others: dict[str, Any]
) -> list[Finding]:
    """Return the findings where these managers hold the VIP."""
    return list(vip(SITE, hosts(**others), holding, planned))


def walled(*lines: str) -> dict[str, Any]:
    """Return the facts of a manager with such lines in its firewall."""
    return {"vrrp": VrrpFacts(True, lines)}


IDLE = {"vrrp": VrrpFacts(False, ())}
BARE = dict.fromkeys(SITE.managers, IDLE)


class TestVip:
    """Who holds it."""

    def test_fine(self) -> None:
        """The one with the highest priority, alone."""
        (found,) = judged(["docker01"])

        assert (found.level, found.host) == (FINE, "docker01")

    def test_bare(self) -> None:
        """Before keepalived runs nobody holds it, and nothing is to be said."""
        assert judged([], **BARE) == []

    @pytest.mark.parametrize(
        ("holding", "planned", "level"),
        [
            (["docker01", "docker02"], (), BLOCKING),
            (["docker01", "docker02"], ("shorewall", "traefik"), BLOCKING),
            (["docker01", "docker02"], ("keepalived",), WARNING),
            (["docker02", "docker03"], (), BLOCKING),
            (["docker02"], (), BLOCKING),
            (["docker02"], ("shorewall",), BLOCKING),
            (["docker02"], ("traefik",), WARNING),
            ([], (), BLOCKING),
            ([], ("keepalived",), WARNING),
        ],
    )
    def test_levels(self, holding: list[str], planned: tuple[str, ...], level: Level) -> None:
        """A run that changes nothing there cannot mend it; one that does may."""
        (found,) = judged(holding, planned)

        assert (found.level, found.subject) == (level, "vip")
        assert VIP in found.what
        assert found.why
        assert found.todo

    def test_host_that_is_no_manager(self) -> None:
        """A worker or the gateway that has it forbids the run, whatever is planned."""
        found, _ = judged(["docker01"], ("keepalived",), docker05={"addresses": {VIP: "eth0"}})

        assert (found.level, found.host) == (BLOCKING, "docker05")

    def test_unexpected_holder_without_keepalived(self) -> None:
        """Where keepalived is down on the one that should hold it, that is the cause."""
        (found,) = judged(["docker02"], ("keepalived",), docker01=IDLE)

        assert found.what.endswith("should: keepalived does not run on docker01")


class TestCause:
    """Why two hold it."""

    @pytest.mark.parametrize(
        "rule",
        [
            "-A INPUT -p vrrp -j DROP",
            "-A INPUT -p 112 -j REJECT --reject-with icmp-port-unreachable",
            "-A OUTPUT -d 224.0.0.0/8 -j DROP",
            "ip protocol vrrp counter packets 5 bytes 200 drop",
            "ip daddr 224.0.0.18 drop",
        ],
    )
    def test_rule(self, rule: str) -> None:
        """A rule that drops adverts is named, with its host."""
        (found,) = judged(["docker01", "docker02"], docker02=walled(rule))

        assert found.what.endswith(f"the firewall of docker02 drops adverts ({rule})")

    @pytest.mark.parametrize(
        "lines",
        [
            (":INPUT DROP [0:0]",),
            ("type filter hook input priority filter; policy drop;",),
            (":INPUT DROP [0:0]", "-A ufw-before-input -d 224.0.0.251/32 -p udp -j ACCEPT"),
        ],
    )
    def test_policy(self, lines: tuple[str, ...]) -> None:
        """A policy that drops what no rule admits is named where none admits VRRP."""
        (found,) = judged(["docker01", "docker03"], docker03=walled(*lines))

        assert "the firewall of docker03 drops what no rule admits" in found.what

    @pytest.mark.parametrize(
        "lines",
        [(), (":INPUT DROP [0:0]", "-A INPUT -p vrrp -j ACCEPT")],
        ids=["no rule", "admitted"],
    )
    def test_unknown(self, lines: tuple[str, ...]) -> None:
        """Without a rule to blame, what is left is said."""
        (found,) = judged(["docker01", "docker02"], docker02=walled(*lines))

        assert found.what.endswith("VRRP version, VRID or interface differ between them")

    def test_other_vrid(self) -> None:
        """A manager that sends another VRID than the declared one is named."""
        heard = LanFacts(
            (Advert(IPv4Address("10.0.0.11"), 51), Advert(IPv4Address("10.0.0.12"), 52)), ()
        )
        (found,) = judged(["docker01", "docker02"], docker01={"lan": heard})

        assert "docker02 sends adverts with VRID 52, not 51" in found.what


class TestSecondLook:
    """An election is no split."""

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """Time that passes only while somebody waits."""
        clock = Clock()
        monkeypatch.setattr("runbook.waiting.time", clock)
        return clock

    def test_election(self, clock: Clock) -> None:
        """Who holds it is asked again; the recorded managers are one holder by then."""
        texts = {"vip": f"2: enp0s3    inet {VIP}/32 scope global enp0s3\n"}
        two = hosts(docker02={"addresses": {**WELL["docker02"].addresses, VIP: "enp0s3"}})
        site = parameters("lab")

        assert [f.level for f in judge_vip(live(site, converged()), two, ())] == [FINE]
        assert clock.slept == []
        split = list(judge_vip(live(site, converged(docker02=texts)), two, ()))
        assert [f.level for f in split] == [BLOCKING]
        assert 3 < sum(clock.slept) < 10

    def test_bare(self, clock: Clock) -> None:
        """Where keepalived does not run everywhere nothing is waited for."""
        quiet = hosts(**{host: facts | {"addresses": {}} for host, facts in BARE.items()})

        assert list(judge_vip(live(declared()), quiet, ())) == []
        assert clock.slept == []
