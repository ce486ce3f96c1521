"""The keepalived step: the published lines, the order of the plan, and other people's instances."""

from __future__ import annotations

import base64
import re
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
    daemon,
    expected_holder,
    foreign,
    holding,
    reading,
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
                "judged": "accepted\n",
                **texts.get(host, {}),
            }
            for host in MANAGERS
        }
    )


def as_file(content: str) -> dict[str, str]:
    """Return what the probes print of a configuration with this content that is accepted."""
    lines = enumerate(content.split("\n"), start=1)
    return {
        "file": f"0644 root:root\n{base64.b64encode(content.encode()).decode()}",
        "read": "".join(f"{CONFIGURATION}\t{n}\t{line}\n" for n, line in lines) + "read\n",
        "judged": "accepted\n",
    }


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


def planned(answer: Recordings, **settings: Any) -> list[tuple[int, str, str, str]]:
    """Return what is planned for the article's site, seen so, with other settings."""
    here = live(declared("article", **settings), answer)
    return done(keepalived.plan(here.site_file, keepalived.observe(here)))


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
        assert f"already has {named} (line " in conflict(content)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("virtual_router_id 60", "virtual_router_id ${_ENV VRID}"),
            ("interface enp0s3", "interface ${_ENV NIC}"),
            ("10.0.0.60", "10.0.0.${_RANDOM 2 9}"),
            ("VI_2", "${_INSTANCE}"),
        ],
    )
    def test_not_known_beforehand(self, old: str, new: str) -> None:
        """What keepalived only knows when it starts may be ours."""
        assert old in instance()
        assert f"{new} (" in conflict(instance().replace(old, new))

    def test_every_conflict_is_named(self) -> None:
        """One reading of the message is enough."""
        said = conflict(PUBLISHED)

        assert said.startswith(f"docker02: {CONFIGURATION}, which somebody else wrote, ")
        named = "has vrrp_instance VI_1 (line 1), virtual_router_id 51 (line 4), address 10.0.0.2"
        assert f"{named} (line 6);" in said
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
        (change, _) = keepalived.plan(here.site_file, keepalived.observe(here))
        ours = f"{BEGIN}\n{PUBLISHED}{END}\n".replace("priority 3", "priority 2")

        assert (change.before, change.after) == (foreign, f"{kept}{ours}")

    def test_is_replaced_where_the_site_says_so(self) -> None:
        """Then nothing of it is left, conflict or none."""
        site_file = declared(keepalived={"replace_unmanaged": True})
        here = live(site_file, seen(docker02=as_file(PUBLISHED)))
        (change, _) = keepalived.plan(here.site_file, keepalived.observe(here))

        assert change.after.count("vrrp_instance") == 1
        assert change.after.startswith(BEGIN)


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Waits that take no time."""
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def others(text: str, path: str = CONFIGURATION) -> list[reading.Statement]:
    """Return the statements of a text."""
    lines = [reading.Line(path, n, line) for n, line in enumerate(text.splitlines(), start=1)]
    return reading.statements("docker02", lines, "docker02")


def with_globals(*lines: str) -> str:
    """Return global definitions."""
    return "global_defs {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


class TestGlobals:
    """Somebody else's globals, which are ours too."""

    @pytest.mark.parametrize(
        ("line", "settings", "said"),
        [
            ("vrrp_version 3", {}, ["version 2"]),
            ("vrrp_version 2", {"version": 3}, []),
            ("vrrp_strict", {}, ["strict_mode off"]),
            ("vrrp_down_timer_adverts 1", {}, ["down_timer_adverts 3"]),
            ("vrrp_garp_master_refresh 10", {}, []),
            ("router_id edge1", {}, []),
        ],
    )
    def test_are_answered_outright(
        self, line: str, settings: dict[str, Any], said: list[str]
    ) -> None:
        """Where they would change our instance, it says itself what holds for it."""
        assert foreign.outright(site(**settings), others(with_globals(line))) == said

    def test_only_where_they_are(self) -> None:
        """The instance of every other manager stays the published one."""
        answer = seen(docker02=as_file(with_globals("vrrp_version 3")))
        here = live(parameters("article"), answer)
        files = keepalived.files(here.site_file, keepalived.observe(here))

        assert "    virtual_router_id 51\n    version 2\n" in files["docker02"][CONFIGURATION]
        assert "version" not in files["docker01"][CONFIGURATION]

    @pytest.mark.parametrize(
        ("line", "settings", "said"),
        [
            ("vrrp_mcast_group4 224.0.0.100", {}, "vrrp_mcast_group4 224.0.0.100"),
            ("v3_checksum_as_v2", {"version": 3}, "v3_checksum_as_v2 true"),
        ],
    )
    def test_that_split_the_group(self, line: str, settings: dict[str, Any], said: str) -> None:
        """They are refused with their file and line, unless every manager has them."""
        declared_site, there = site(**settings), others(with_globals(line))
        with pytest.raises(Refused) as caught:
            foreign.refuse_split(declared_site, {"docker01": [], "docker02": there})

        assert caught.value.host == "docker02"
        assert caught.value.message.startswith(f"{said} ({CONFIGURATION}, line 2) is ")
        foreign.refuse_split(declared_site, {"docker01": there, "docker02": there})
        foreign.refuse_split(declared_site, {"docker01": [], "docker02": []})

    @pytest.mark.parametrize("text", ["net_namespace blue\n", with_globals("net_namespace blue")])
    def test_another_namespace(self, text: str) -> None:
        """The VIP would be given to a network nobody sees."""
        assert "net_namespace blue" in conflict(text)
        assert "off the LAN" in conflict(text)


class TestClash:
    """What is somebody else's already, and what only looks like it."""

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("vrrp_sync_group G {\n group {\n  VI_1\n }\n}\n", "VI_1 in a vrrp_sync_group"),
            ("static_ipaddress {\n 10.0.0.2/24 dev enp0s3\n}\n", "address 10.0.0.2"),
            ("virtual_server 10.0.0.2 80 {\n}\n", "address 10.0.0.2"),
            (
                with_globals("default_interface enp0s3")
                + "vrrp_instance A {\n virtual_router_id 51\n}\n",
                "virtual_router_id 51",
            ),
        ],
    )
    def test_is_named(self, text: str, named: str) -> None:
        """With its line."""
        assert f"already has {named} (line " in conflict(text)

    @pytest.mark.parametrize(
        "text",
        [
            instance(vrid=51).replace("enp0s3", "enp0s8"),
            instance(vrid=51, vip="fe80::2"),
            "vrrp_instance A {\n virtual_router_id 51\n}\n",
            "vrrp_sync_group VI_1 {\n group {\n  VI_10\n }\n}\n",
        ],
        ids=["another interface", "IPv6", "eth0 by default", "another member"],
    )
    def test_is_none(self, text: str) -> None:
        """VRIDs are apart on each interface, and IPv4's from IPv6's."""
        assert conflict(text) == ""

    def test_every_file_is_named(self) -> None:
        """Where a file is included, that is the one to look into."""
        web = "/etc/keepalived/conf.d/web.conf"
        read = f"{web}\t1\tvrrp_instance WEB {{\n{web}\t2\tinterface enp0s3\n"
        read += f"{web}\t3\tvirtual_router_id 51\n{web}\t4\t}}\nread\n"
        with pytest.raises(Refused, match=rf"{web}, which .* virtual_router_id 51 \(line 3\)"):
            planned(seen(docker02={"read": read}))


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
