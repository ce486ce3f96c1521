"""The keepalived step: what the running keepalived says, and where the VIP is."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Clock, Command, FakeFleet, Recordings, declared, live, parameters, recorded
from keepalived_managers import (
    CHECKED,
    MANAGERS,
    as_file,
    instance,
    planned,
    seen,
    site,
    with_globals,
)

from runbook.errors import Refused
from runbook.steps import CONVERGED, keepalived
from runbook.steps.keepalived import ACCEPTED, HOLDER, RUNNING, daemon, expected_holder, holding


def started(*running: str, arguments: str = "", exec_start: str = "$DAEMON_ARGS") -> str:
    """Return what the snippet prints of a keepalived that is started so."""
    argv = f"argv[]=/usr/sbin/keepalived --dont-fork {exec_start} ; ignore_errors=no ; pid=0 }}"
    lines = [
        "docker02.example.org",
        f"ExecStart={{ path=/usr/sbin/keepalived ; {argv}",
        "Environment=A=1",
        f"variable=DAEMON_ARGS={arguments}",
        *(f"running={word}" for word in (("/usr/sbin/keepalived", *running) if running else ())),
    ]
    return "\n".join(lines)


class TestDaemon:
    """How keepalived is started."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (started(arguments='"-f /etc/keepalived/a.conf"'), "reads /etc/keepalived/a.conf inst"),
            (started(arguments="'-D --use-file=/a.conf'"), "reads /a.conf instead"),
            (started(exec_start="-Df /a.conf"), "reads /a.conf instead"),
            (started(exec_start="-f/a.conf"), "reads /a.conf instead"),
            (started("--use-file", "/a.conf"), "reads /a.conf instead"),
            (started("-s", "blue"), "runs in the network namespace blue"),
            (started(arguments="-C"), "runs without VRRP"),
        ],
    )
    def test_is_refused(self, text: str, said: str) -> None:
        """Where it would not read our instance, or not bring it to the LAN."""
        with pytest.raises(Refused, match=rf"^docker02, keepalived: keepalived there {said}"):
            planned(seen(docker02={"daemon": text}))

    @pytest.mark.parametrize(
        "text",
        [
            started(arguments='"-D -S 0 -f /etc/keepalived/keepalived.conf"'),
            started("--vrrp", "-C"),
            started(arguments='"--all'),
            started(exec_start="-p /run/f.pid -n"),
            started(),
            "docker02\nEnvironment=\n",
        ],
    )
    def test_is_well(self, text: str) -> None:
        """Other options do not stand in the way."""
        assert planned(seen(docker02={"daemon": text})) == []

    @pytest.mark.parametrize(
        ("text", "config_id"),
        [
            (started(), "docker02"),
            (started("-i", "blue"), "blue"),
            (started(arguments="--config-id=blue"), "blue"),
        ],
    )
    def test_config_id(self, text: str, config_id: str) -> None:
        """Without the option it is the host's name without its domain."""
        assert daemon.read(text).config_id == config_id


class TestJudged:
    """What keepalived says of the configuration that it is to have."""

    def test_objection(self) -> None:
        """It is the refusal's beginning, and known before anything is changed."""
        said = "(/etc/keepalived/keepalived.conf: Line 3) Unknown keyword 'foo'"
        answer = seen("docker02")
        answer.hosts["docker02"] |= recorded("keepalived-docker02") | {  # type: ignore[attr-defined]
            **as_file("! theirs\n"),
            "judged": f"{said}\n",
        }
        with pytest.raises(Refused) as caught:
            planned(answer)

        assert caught.value.message.startswith(said)
        assert "nothing" not in caught.value.message

    def test_only_what_is_new_is_judged(self) -> None:
        """Neither what is there already, nor where keepalived is not installed yet."""
        fleet = FakeFleet(seen("docker02"))
        here = live(parameters("article"), fleet)
        rows = keepalived.rows(keepalived.observe(here))
        told = {row.host: row.seen for row in rows if row.field == "accepted by keepalived"}

        assert told == {
            "docker01": "as it is",
            "docker02": "asked once it is installed",
            "docker03": "as it is",
        }
        assert len(fleet.commands) == len(MANAGERS)


class TestAddress:
    """A VIP that is there before keepalived gives it."""

    def test_of_the_host_itself(self) -> None:
        """It is refused with the command that takes it off."""
        vip = "589: enp0s8    inet 10.0.0.2/24 scope global enp0s8"
        with pytest.raises(
            Refused, match=r"keepalived: 10.0.0.2/24 on enp0s8 is an address"
        ) as caught:
            planned(seen("docker02", docker02={"vip": vip}))

        assert "ip address del 10.0.0.2/24 dev enp0s8" in caught.value.todo

    def test_of_the_host_itself_beside_a_longer_one(self) -> None:
        """An instance with an address that only begins like the VIP does not give the VIP."""
        vip = "589: enp0s8    inet 10.0.0.2/24 scope global enp0s8"
        texts = {"vip": vip, **as_file(instance(vip="10.0.0.20"))}

        with pytest.raises(Refused, match=r"10.0.0.2/24 on enp0s8 is an address of the host's"):
            planned(seen("docker02", docker02=texts))

    def test_of_a_keepalived_that_was_killed(self) -> None:
        """What its configuration gives it, it takes back when it is started."""
        service = recorded("keepalived-docker01")["service"].replace("=active", "=failed")
        changes = planned(seen(docker01={"service": service}))

        assert [change[2] for change in changes] == ["restart"]


class Moving(Recordings):
    """Managers of which another one holds the VIP at each look; the last one keeps it."""

    def __init__(self, *looks: tuple[str, ...]) -> None:
        silent = {"stopped": "", "filtered": "", "said": ""}
        hosts = {host: recorded(f"keepalived-{host}") | silent for host in MANAGERS}
        super().__init__(hosts)
        self._looks = list(looks)

    def __call__(self, command: Command) -> str:
        """Answer as the managers do at this look."""
        holds = command.host in self._looks[0]
        self.hosts[command.host]["vip"] = recorded("keepalived-docker01")["vip"] if holds else ""  # type: ignore[index]
        if command.host == MANAGERS[-1] and len(self._looks) > 1:
            self._looks.pop(0)
        return super().__call__(command)


class TestVerify:
    """What every manager says, and where the VIP is."""

    def test_recorded(self, clock: Clock) -> None:
        """All checks hold on the managers as they were recorded."""
        checks = keepalived.verify(live(parameters("article"), seen()))

        assert [(c.name, c.seen, c.passed) for c in checks] == [
            (ACCEPTED, "docker01 accepted, docker02 accepted, docker03 accepted", True),
            (
                RUNNING,
                "docker01 enabled active, docker02 enabled active, docker03 enabled active",
                True,
            ),
            (HOLDER, "docker01", True),
        ]

    def test_a_manager_without_keepalived(self, clock: Clock) -> None:
        """Each check tells which manager is not well."""
        accepted, running, _ = keepalived.verify(live(parameters("article"), seen("docker02")))

        assert accepted.seen == "docker01 accepted, docker02 , docker03 accepted"
        assert not accepted.passed
        assert "docker02 Failed to get unit file state" in running.seen
        assert not running.passed

    def test_waits_for_the_master(self, clock: Clock) -> None:
        """The VIP may be elsewhere, nowhere or twice for a moment."""
        answer = Moving((), ("docker02",), ("docker01", "docker02"), ("docker01",))
        check = keepalived.holder_check(live(parameters("article"), answer))

        assert (check.seen, check.passed) == ("docker01", True)

    @pytest.mark.parametrize("age", ["45612.58 45611580000", "45612.58 45608680000"])
    def test_split_that_comes_later(self, clock: Clock, age: str) -> None:
        """A manager that hears nobody takes the VIP up to 3.9 s after its start."""
        answer = Moving(("docker01",), ("docker01", "docker03"))
        answer.hosts["docker03"]["age"] = age  # type: ignore[index]
        check = keepalived.holder_check(live(parameters("article"), answer))

        assert check.seen.startswith("docker01, docker03: ")

    @pytest.mark.parametrize("age", ["45612.58 45608570000", "812.58 45608570000", "7.1 0"])
    def test_election_that_is_over(self, clock: Clock, age: str) -> None:
        """Where each had its time, or tells none of use, the first look is enough."""
        answer = Moving(("docker01",), ("docker01", "docker03"))
        answer.hosts["docker03"]["age"] = age  # type: ignore[index]
        check = keepalived.holder_check(live(parameters("article"), answer))

        assert (check.seen, clock.slept) == ("docker01", [])

    @pytest.mark.parametrize(
        ("holders", "said"),
        [
            ((), "nobody: no reason found"),
            (("docker02",), "docker02: no reason found"),
            (("docker01", "docker03"), "docker01, docker03: VRRP does not pass between them"),
        ],
    )
    def test_holder_that_stays_wrong(
        self, clock: Clock, holders: tuple[str, ...], said: str
    ) -> None:
        """Nobody, somebody else, or two of them: the check fails with what was seen last."""
        check = keepalived.holder_check(live(parameters("article"), Moving(holders)))

        assert (check.expected, check.passed) == ("docker01", False)
        assert check.seen.startswith(said)

    @pytest.mark.parametrize(
        ("settings", "at_least_s"),
        [({}, 13), ({"advert_int": 10}, 85), (CHECKED, 16), ({"version": 3, "advert_int": 0.2}, 6)],
    )
    def test_waits_as_long_as_vrrp_needs(
        self, clock: Clock, settings: dict[str, Any], at_least_s: int
    ) -> None:
        """The bound grows with the interval and with a health check's successes."""
        keepalived.holder_check(live(declared(keepalived=settings), Moving(())))

        assert at_least_s <= round(sum(clock.slept), 3) < at_least_s + 2

    @pytest.mark.parametrize(
        ("lines", "delay_s"),
        [
            (["vrrp_startup_delay 60"], 60),
            (["vrrp_startup_delay 5.5", "vrrp_garp_master_delay 30"], 5.5),
            (["vrrp_startup_delay 5", "vrrp_delay_after_boot 20"], 20),
            (["@docker02 vrrp_startup_delay 7", "@docker03 vrrp_startup_delay 90"], 7),
            (["# vrrp_startup_delay 60"], 0),
            (["vrrp_startup_delay soon"], 0),
            (["router_id edge1"], 0),
        ],
    )
    def test_waits_for_a_delayed_start(
        self, clock: Clock, lines: list[str], delay_s: float
    ) -> None:
        """Somebody else's global keeps VRRP from starting for a while on one manager."""
        moving = Moving(())
        moving.hosts["docker02"] |= as_file(with_globals(*lines))  # type: ignore[operator]
        checks = keepalived.verify(live(parameters("article"), moving))

        assert not checks[-1].passed
        assert 13 + delay_s <= round(sum(clock.slept), 3) < 15 + delay_s

    @pytest.mark.parametrize(
        ("host", "texts", "said"),
        [
            (
                "docker02",
                {"filtered": "the rule -A INPUT -p vrrp -j DROP\n"},
                "VRRP does not pass between them (IP protocol 112, to 224.0.0.18); "
                "docker02 has the rule -A INPUT -p vrrp -j DROP",
            ),
            (
                "docker02",
                {"stopped": "keepalived is not running\n"},
                "docker02 has 10.0.0.2/32 on enp0s3 although keepalived is not running there: "
                "take it off the interface",
            ),
            (
                "docker02",
                {"vip": "589: enp0s8    inet 10.0.0.2/24 scope global enp0s8"},
                "docker02 has 10.0.0.2/24 on enp0s8, which is not how keepalived gives it: "
                "a fixed address of the host",
            ),
        ],
        ids=["firewall", "left behind", "fixed address"],
    )
    def test_two_holders(self, host: str, texts: dict[str, str], said: str) -> None:
        """The likely reason is told: what keeps the adverts away, or an address of its own."""
        silent = {"stopped": "", "filtered": "", "said": ""}
        vip = {"vip": recorded("keepalived-docker01")["vip"]}
        hosts = {name: silent | {"vip": ""} for name in MANAGERS}
        hosts |= dict.fromkeys(MANAGERS[:2], silent | vip)
        hosts[host] = hosts[host] | texts

        assert holding.why_not(live(parameters("article"), Recordings(hosts))) == said

    def test_expected_holder_is_not_well(self) -> None:
        """What keeps the expected one from holding it is told."""
        silent = {"stopped": "", "filtered": "", "said": "", "vip": ""}
        hosts = dict.fromkeys(MANAGERS, silent)
        hosts["docker01"] = silent | {"said": "(VI_1) Entering FAULT STATE\n"}
        hosts["docker02"] = silent | {"vip": recorded("keepalived-docker01")["vip"]}

        why = holding.why_not(live(parameters("article"), Recordings(hosts)))
        assert why == "docker01: (VI_1) Entering FAULT STATE"

    def test_expected_holder(self) -> None:
        """It is the manager with the highest priority, wherever it is declared."""
        assert expected_holder(parameters("article").site) == "docker01"
        assert (
            expected_holder(declared(managers={"docker03": {"priority": 100}}).site) == "docker03"
        )

    def test_required_checks(self) -> None:
        """Nothing left, accepted, running and one holder: without these it is not proven."""
        assert keepalived.STEP.required_checks(site()) == (CONVERGED, ACCEPTED, RUNNING, HOLDER)
