"""The keepalived step: what somebody else wrote into the same file, or has on the same LAN."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import declared, live, parameters
from keepalived_managers import PUBLISHED, as_file, instance, planned, seen, site, with_globals

from runbook.errors import Refused
from runbook.resources.file import BEGIN, END
from runbook.steps import keepalived
from runbook.steps.keepalived import CONFIGURATION, foreign, reading


def conflict(content: str) -> str:
    """Return the refusal where docker02 has this configuration; empty where it is planned."""
    try:
        planned(seen(docker02=as_file(content)))
    except Refused as refusal:
        return f"{refusal.host}: {refusal.message}; {refusal.todo}"
    return ""


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


def others(text: str, path: str = CONFIGURATION) -> list[reading.Statement]:
    """Return the statements of a text."""
    lines = [reading.Line(path, n, line) for n, line in enumerate(text.splitlines(), start=1)]
    return reading.statements("docker02", lines, "docker02")


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
