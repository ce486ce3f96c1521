"""The keepalived step: the published lines, the order of the plan, and other people's instances."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from fakes import Clock, Command, FakeFleet, Recordings, declared, done, live, parameters, recorded

from runbook import waiting
from runbook.errors import Refused
from runbook.resources.file import BEGIN, END
from runbook.site import Site
from runbook.steps import CONVERGED, keepalived
from runbook.steps.keepalived import (
    ACCEPTED,
    CONFIGURATION,
    HOLDER,
    RUNNING,
    configuration,
    expected_holder,
    required_checks,
)

# article.md, /etc/keepalived/keepalived.conf of docker01, without the comment on its priority.
PUBLISHED = """\
vrrp_instance VI_1 {
    interface enp0s3
    priority 3
    virtual_router_id 51
    virtual_ipaddress {
        10.0.0.2
    }
}
"""
MANAGERS = ("docker01", "docker02", "docker03")
CHECKED = {"health_check": {"interval": 1, "fall": 2, "rise": 3}}


def site(**settings: Any) -> Site:
    """Return the article's site with other settings of keepalived."""
    return declared("article", keepalived=settings).site


def seen(*absent: str, **texts: Mapping[str, str]) -> Recordings:
    """Return the recorded managers, some as they were before, some with other texts."""
    return Recordings(
        {
            host: {
                **recorded(f"keepalived-{host}"),
                **(recorded("keepalived-absent") if host in absent else {}),
                "interface": recorded(f"keepalived-{host}")["interface"],
                **texts.get(host, {}),
            }
            for host in MANAGERS
        }
    )


def as_file(content: str) -> dict[str, str]:
    """Return what the probe prints of a configuration with this content."""
    return {"file": f"0644 root:root\n{base64.b64encode(content.encode()).decode()}"}


class TestConfiguration:
    """One manager's vrrp_instance."""

    @pytest.mark.parametrize(("host", "priority"), [("docker01", 3), ("docker02", 2),
                                                    ("docker03", 1)])  # fmt: skip
    def test_is_the_published_one(self, host: str, priority: int) -> None:
        """Line for line; only the priority differs from host to host."""
        wanted = PUBLISHED.replace("priority 3", f"priority {priority}")

        assert wanted == configuration(parameters("article").site, host, "")

    @pytest.mark.parametrize(
        ("settings", "lines"),
        [
            ({"version": 3}, ["    version 3"]),
            ({"advert_int": 2.0}, ["    advert_int 2"]),
            ({"version": 3, "advert_int": 0.2}, ["    version 3", "    advert_int 0.2"]),
            ({"version": 2, "advert_int": 1}, []),
            ({"version": 3, "advert_int": 1.0}, ["    version 3"]),
        ],
    )
    def test_timing(self, settings: dict[str, Any], lines: list[str]) -> None:
        """Version and interval are written only where they are not keepalived's own."""
        text = configuration(site(**settings), "docker01", "")

        assert lines == [line for line in text.splitlines() if line not in PUBLISHED.splitlines()]
        assert text.count("\n") == PUBLISHED.count("\n") + len(lines)

    @pytest.mark.parametrize(
        ("settings", "line"),
        [
            ({"instance": "EDGE"}, "vrrp_instance EDGE {"),
            ({"virtual_router_id": 87}, "    virtual_router_id 87"),
            ({"vip": "10.0.0.9"}, "        10.0.0.9"),
        ],
    )
    def test_settings(self, settings: dict[str, Any], line: str) -> None:
        """Each setting is in its line and no other line changes."""
        lines = configuration(site(**settings), "docker01", "").splitlines()

        assert [line] == [text for text in lines if text not in PUBLISHED.splitlines()]

    def test_health_check(self) -> None:
        """The script asks this manager's own Traefik, as nobody, and the instance tracks it.

        Without ``enable_script_security`` keepalived complains of it and ``-t`` ends with 6.
        """
        text = configuration(
            declared(keepalived=CHECKED, traefik={"web_port": 81}).site, "docker02", ""
        )

        assert text == (
            "global_defs {\n    enable_script_security\n}\n"
            "vrrp_script VI_1_traefik {\n"
            '    script "/usr/bin/curl --silent --output /dev/null --max-time 1'
            ' http://10.0.0.12:81/"\n'
            "    interval 1\n"
            "    fall 2\n"
            "    rise 3\n"
            "    user nobody\n"
            "}\n"
            + PUBLISHED.replace("priority 3", "priority 2").removesuffix("}\n")
            + "    track_script {\n        VI_1_traefik\n    }\n}\n"
        )

    @pytest.mark.parametrize(
        ("common", "own", "interface"),
        [("enp0s3", None, "enp0s3"), ("enp0s3", "eth7", "eth7"), (None, None, "found0")],
    )
    def test_interface(self, common: str | None, own: str | None, interface: str) -> None:
        """A host's own comes before the common one, and without either it is the one found."""
        other = declared(
            keepalived={"interface": common}, managers={"docker02": {"interface": own}}
        ).site

        assert f"    interface {interface}\n" in configuration(other, "docker02", "found0")


class TestObserve:
    """From what each manager printed to facts."""

    def test_recorded(self) -> None:
        """Package, file, service, interface and VIP of a manager after an apply."""
        facts = keepalived.observe(live(parameters("article"), seen()))

        assert list(facts) == list(MANAGERS)
        assert [f.interface for f in facts.values()] == ["enp0s3"] * 3
        assert [f.holds_vip for f in facts.values()] == [True, False, False]
        assert facts["docker01"].packages["keepalived"].installed == "1:2.2.7-1+b2"
        assert facts["docker01"].file.content == f"{BEGIN}\n{PUBLISHED}{END}\n"
        assert facts["docker01"].service.active == "active"

    def test_one_command_a_host(self) -> None:
        """Everything about a host is read in one command, by root."""
        fleet = FakeFleet(seen())
        keepalived.observe(live(parameters("article"), fleet))

        assert [(c.host, c.sudo) for c in fleet.commands] == [(host, True) for host in MANAGERS]

    def test_address_is_on_no_interface(self) -> None:
        """A manager without its declared address is refused before anything is planned."""
        with pytest.raises(Refused, match=r"no interface has the declared address 10\.0\.0\.12"):
            keepalived.observe(live(parameters("article"), seen(docker02={"interface": ""})))

    def test_rows(self) -> None:
        """The table says of each manager what it has, and what it has not."""
        facts = keepalived.observe(live(parameters("article"), seen("docker03")))
        rows = {(row.host, row.field): row.seen for row in keepalived.rows(facts)}

        assert rows["docker01", "holds the VIP"] == "yes"
        assert rows["docker02", "holds the VIP"] == "no"
        assert rows["docker03", "package keepalived"] == "absent"
        assert rows["docker03", "configuration"] == "absent"
        assert rows["docker03", "active"] == "inactive"


def planned(answer: Recordings, **settings: Any) -> list[tuple[int, str, str, str]]:
    """Return what is planned for the article's site, seen so, with other settings."""
    here = live(declared("article", **settings), answer)
    return done(keepalived.plan(here, keepalived.observe(here)))


FILE = f"file {CONFIGURATION}"
SERVICE = "service keepalived"


class TestPlan:
    """What is planned, and in which order."""

    def test_converged(self) -> None:
        """What was recorded after an apply needs nothing."""
        assert planned(seen()) == []

    def test_absent(self) -> None:
        """Packages, then files, then the services: the lowest priority first, the master last."""
        assert sorted(planned(seen(*MANAGERS))) == [
            *((0, host, "install", "package keepalived") for host in MANAGERS),
            *((1, host, "create", FILE) for host in MANAGERS),
            (2, "docker03", "enable", SERVICE),
            (2, "docker03", "restart", SERVICE),
            (3, "docker02", "enable", SERVICE),
            (3, "docker02", "restart", SERVICE),
            (4, "docker01", "enable", SERVICE),
            (4, "docker01", "restart", SERVICE),
        ]

    def test_order_follows_the_priorities(self) -> None:
        """Not the order in which managers are declared."""
        priorities = {"docker01": 10, "docker02": 30, "docker03": 20}
        managers = {host: {"priority": number} for host, number in priorities.items()}
        stages = {
            host: stage
            for stage, host, _, resource in planned(seen(), managers=managers)
            if resource == SERVICE
        }

        assert stages == {"docker01": 2, "docker03": 3, "docker02": 4}

    def test_changed_setting(self) -> None:
        """Files are rewritten and what runs is reloaded, not restarted."""
        assert sorted(planned(seen(), keepalived={"virtual_router_id": 87})) == [
            *((1, host, "update", FILE) for host in MANAGERS),
            (2, "docker03", "reload", SERVICE),
            (3, "docker02", "reload", SERVICE),
            (4, "docker01", "reload", SERVICE),
        ]

    def test_one_host_alone(self) -> None:
        """A manager that was set up anew is the only one that is touched."""
        assert {change[1] for change in planned(seen("docker02"))} == {"docker02"}

    def test_health_check_needs_curl(self) -> None:
        """Its script's program is a package like keepalived itself."""
        curl = {"curl": "candidate 7.88.1\n"}
        answer = seen(**dict.fromkeys(MANAGERS, curl))
        packages = [c for c in planned(answer, keepalived=CHECKED) if c[2] == "install"]

        assert packages == [(0, host, "install", "package curl") for host in MANAGERS]


class TestFiles:
    """The configurations, whole."""

    @staticmethod
    def wanted(answer: Recordings, **settings: Any) -> dict[str, dict[str, str]]:
        """Return the files that the step wants on the recorded managers."""
        here = live(declared("article", keepalived=settings), answer)
        return keepalived.files(here, keepalived.observe(here))

    def test_converged(self) -> None:
        """They are what is there, byte for byte."""
        there = {
            host: base64.b64decode(recorded(f"keepalived-{host}")["file"].split()[2]).decode()
            for host in MANAGERS
        }

        assert self.wanted(seen()) == {
            host: {CONFIGURATION: content} for host, content in there.items()
        }

    def test_absent(self) -> None:
        """Without a file they are the block alone, each with its own priority."""
        files = self.wanted(seen(*MANAGERS))

        assert files["docker01"][CONFIGURATION] == f"{BEGIN}\n{PUBLISHED}{END}\n"
        assert "priority 1\n" in files["docker03"][CONFIGURATION]

    def test_lines_of_others(self) -> None:
        """They stay, and are part of what is wanted, unless the site gives the file to us."""
        answer = seen(docker02=as_file("! theirs\n"))

        assert self.wanted(answer)["docker02"][CONFIGURATION].startswith(f"! theirs\n{BEGIN}\n")
        assert self.wanted(answer, replace_unmanaged=True)["docker02"][CONFIGURATION].startswith(
            f"{BEGIN}\n"
        )

    def test_is_what_the_plan_writes(self) -> None:
        """The plan and the files are of one mind."""
        here = live(parameters("article"), seen("docker03"))
        facts = keepalived.observe(here)
        (change,) = [c for c in keepalived.plan(here, facts) if c.resource.startswith("file ")]

        assert change.after == keepalived.files(here, facts)["docker03"][CONFIGURATION]


def conflict(content: str) -> str:
    """Return the refusal where docker02 has this configuration; empty where it is planned."""
    try:
        planned(seen(docker02=as_file(content)))
    except Refused as refusal:
        return f"{refusal.host}: {refusal.message}; {refusal.todo}"
    return ""


def instance(name: str = "VI_2", vrid: int = 60, vip: str = "10.0.0.60") -> str:
    """Return somebody else's instance."""
    return PUBLISHED.replace("VI_1", name).replace(" 51", f" {vrid}").replace("10.0.0.2", vip)


class TestForeignInstance:
    """A vrrp_instance that somebody else wrote into the same file."""

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            (instance(name="VI_1"), "vrrp_instance VI_1"),
            (instance(vrid=51), "virtual_router_id 51"),
            (instance(vip="10.0.0.2"), "address 10.0.0.2"),
            (instance(vip="10.0.0.2/24 dev enp0s3"), "address 10.0.0.2"),
            (instance(name="VI_1").replace(" ", "\t"), "vrrp_instance VI_1"),
            (f"{BEGIN}\nold\n{END}\n{instance(vrid=51)}", "virtual_router_id 51"),
        ],
        ids=["name", "VRID", "VIP", "VIP with prefix", "tabs", "beside the block"],
    )
    def test_conflict(self, content: str, named: str) -> None:
        """Name, VRID or VIP that is also ours is refused, and said which."""
        assert f"already has {named};" in conflict(content)

    def test_every_conflict_is_named(self) -> None:
        """One reading of the message is enough."""
        said = conflict(PUBLISHED)

        assert said.startswith(f"docker02: {CONFIGURATION}, which somebody else wrote, ")
        assert "has vrrp_instance VI_1, virtual_router_id 51, address 10.0.0.2;" in said
        assert "set keepalived.replace_unmanaged: true" in said

    @pytest.mark.parametrize(
        "content",
        [
            instance(),
            instance(name="VI_10", vrid=151, vip="10.0.0.20"),
            instance(name="XVI_1X", vrid=5, vip="110.0.0.2"),
            "# vrrp_instance VI_1\n! virtual_router_id 51\nglobal_defs {\n} # 10.0.0.2\n",
            f"{BEGIN}\n{PUBLISHED}{END}\n",
            "",
        ],
        ids=["another", "longer", "shorter", "comments", "our own block", "empty"],
    )
    def test_no_conflict(self, content: str) -> None:
        """Other names and numbers, comments and our own block do not stand in the way."""
        assert conflict(content) == ""

    @pytest.mark.parametrize(
        ("foreign", "kept"),
        [
            (instance(), instance()),
            ("! kept\r\n", "! kept\r\n"),
            ("no newline at the end", "no newline at the end\n"),
        ],
    )
    def test_is_kept(self, foreign: str, kept: str) -> None:
        """Every byte of it is in the planned file, before our block."""
        here = live(parameters("article"), seen(docker02=as_file(foreign)))
        (change, _) = keepalived.plan(here, keepalived.observe(here))
        ours = f"{BEGIN}\n{PUBLISHED}{END}\n".replace("priority 3", "priority 2")

        assert (change.before, change.after) == (foreign, f"{kept}{ours}")

    def test_is_replaced_where_the_site_says_so(self) -> None:
        """Then nothing of it is left, conflict or none."""
        site_file = declared(keepalived={"replace_unmanaged": True})
        here = live(site_file, seen(docker02=as_file(PUBLISHED)))
        (change, _) = keepalived.plan(here, keepalived.observe(here))

        assert change.after.count("vrrp_instance") == 1
        assert change.after.startswith(BEGIN)


class TestMake:
    """What the change hands to the host."""

    def test_keepalived_judges_its_file(self) -> None:
        """The new file is checked by keepalived itself, and must not be empty."""
        fleet = FakeFleet(seen("docker02"))
        here = live(parameters("article"), fleet)
        change = keepalived.plan(here, keepalived.observe(here))[1]
        change.make(here)

        assert fleet.commands[-1].argv[-3] == keepalived.CHECK
        assert 'test -s "$1"' in keepalived.CHECK
        assert 'keepalived -t -f "$1"' in keepalived.CHECK

    def test_check_lives_through_a_track_script(self) -> None:
        """Version 2.2.7 ends ``-t`` with SIGTERM where it tracks a script and has a parent.

        Having looked at the script as its user it compares its parent with one it never noted;
        the first process of a PID namespace has none, and ends with the status of its findings.
        """
        assert 'unshare --fork --pid keepalived -t -f "$1"' in keepalived.CHECK


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Waits that take no time."""
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


class Moving(Recordings):
    """Managers of which another one holds the VIP at each look; the last one keeps it."""

    def __init__(self, *looks: tuple[str, ...]) -> None:
        super().__init__({host: dict(recorded(f"keepalived-{host}")) for host in MANAGERS})
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

    @pytest.mark.parametrize(
        ("holders", "said"),
        [((), "nobody"), (("docker02",), "docker02"), (("docker01", "docker03"),
                                                       "docker01, docker03")],
    )  # fmt: skip
    def test_holder_that_stays_wrong(
        self, clock: Clock, holders: tuple[str, ...], said: str
    ) -> None:
        """Nobody, somebody else, or two of them: the check fails with what was seen last."""
        check = keepalived.holder_check(live(parameters("article"), Moving(holders)))

        assert (check.expected, check.seen, check.passed) == ("docker01", said, False)

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

    def test_expected_holder(self) -> None:
        """It is the manager with the highest priority, wherever it is declared."""
        assert expected_holder(parameters("article").site) == "docker01"
        assert (
            expected_holder(declared(managers={"docker03": {"priority": 100}}).site) == "docker03"
        )

    def test_required_checks(self) -> None:
        """Nothing left, accepted, running and one holder: without these it is not proven."""
        assert required_checks(site()) == (CONVERGED, ACCEPTED, RUNNING, HOLDER)
