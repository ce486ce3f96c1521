"""The keepalived step: the published lines, the order of the plan, and other people's instances."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from fakes import FakeFleet, Recordings, declared, live, parameters, recorded
from keepalived_managers import CHECKED, MANAGERS, PUBLISHED, as_file, planned, seen, site

from runbook.errors import Refused
from runbook.resources.file import BEGIN, END
from runbook.steps import keepalived
from runbook.steps.keepalived import CONFIGURATION, configuration, daemon


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
        assert [f.vip for f in facts.values()] == ["10.0.0.2/32 on enp0s3", "", ""]
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

    def test_written_by_hand(self) -> None:
        """A configuration as it should be that was not read since it was written is."""
        said = recorded("keepalived-docker02")["service"]
        now = re.search(r"Now=(.*)", said)
        assert now is not None
        stale = re.sub(r"Changed=.*", f"Changed={now[1]}", said)

        assert planned(seen(docker02={"service": stale})) == [(3, "docker02", "reload", SERVICE)]

    def test_one_host_alone(self) -> None:
        """A manager that was set up anew is the only one that is touched."""
        assert {change[1] for change in planned(seen("docker02"))} == {"docker02"}

    def test_health_check_needs_curl(self) -> None:
        """Its script's program is a package like keepalived itself."""
        curl = {"curl": "installed \nInst curl (7.88.1 localhost [amd64])\n"}
        answer = seen(**dict.fromkeys(MANAGERS, curl))
        packages = [c for c in planned(answer, keepalived=CHECKED) if c[2] == "install"]

        assert packages == [(0, host, "install", "package curl") for host in MANAGERS]


class TestFiles:
    """The configurations, whole."""

    @staticmethod
    def wanted(answer: Recordings, **settings: Any) -> dict[str, dict[str, str]]:
        """Return the files that the step wants on the recorded managers."""
        here = live(declared("article", keepalived=settings), answer)
        return keepalived.files(here.site_file, keepalived.observe(here))

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
        (change,) = [
            c for c in keepalived.plan(here.site_file, facts) if c.resource.startswith("file ")
        ]

        assert change.after == keepalived.files(here.site_file, facts)["docker03"][CONFIGURATION]


class TestMake:
    """What the change hands to the host."""

    def test_keepalived_judges_its_file(self) -> None:
        """The new file is checked by keepalived itself, as the same file was when planning."""
        fleet = FakeFleet(seen("docker02"))
        here = live(parameters("article"), fleet)
        change = keepalived.plan(here.site_file, keepalived.observe(here))[1]
        change.make(here)

        assert fleet.commands[-1].argv[-3] == f'{daemon.judging("docker01")} <"$1"'
        assert "test -s" in daemon.judging("docker02")

    def test_check_lives_through_a_track_script(self) -> None:
        """Version 2.2.7 ends ``-t`` with SIGTERM where it tracks a script and has a parent.

        Having looked at the script as its user it compares its parent with one it never noted;
        the first process of a PID namespace has none, and ends with the status of its findings.
        """
        assert "unshare --fork --pid --kill-child keepalived" in daemon.judging("docker02")
