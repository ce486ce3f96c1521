"""The Shorewall step: the published rules, those of others, and a reload that can be taken back."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from typing import Any

import pytest
from fakes import Command, FakeFleet, Recordings, done, live, parameters, recorded
from gateways import (
    ALIEN,
    CONVERGED_TEXT,
    MASQUERADE,
    PUBLISHED,
    as_file,
    compared,
    gateway,
    part,
    planned,
    rules,
    with_masquerade,
)

from runbook.errors import ChangeFailed, Refused, Unreachable
from runbook.resources.file import BEGIN, END
from runbook.site import Site
from runbook.steps import CONVERGED, shorewall
from runbook.steps.shorewall import ACCEPTED, BOOT, LIVE, RULES, WAY, block
from runbook.steps.shorewall.comparison import read
from runbook.steps.shorewall.reload import _BACK
from runbook.steps.shorewall.ruleset import shown

BLOCK = "".join(f"{line}\n" for line in PUBLISHED)
WITHOUT = recorded("shorewall-compared")["without"]
REFUSED = recorded("shorewall-compared")["refused"]
FILE = (0, "gateway", "update", f"file {RULES}")
RELOAD = (2, "gateway", "reload", "live firewall")


class TestRule:
    """One DNAT rule."""

    def test_is_the_published_one(self) -> None:
        """Word for word, one a port."""
        assert tuple(rules()) == PUBLISHED

    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            ({"forward": [{"port": 8000, "to_port": 80}]}, "DNAT net loc:10.0.0.2:80 tcp 8000"),
            (
                {"forward": [{"port": 80, "source": ["203.0.113.0/24"]}]},
                "DNAT net:203.0.113.0/24 loc:10.0.0.2:80 tcp 80",
            ),
            (
                {"forward": [{"port": 80, "source": ["203.0.113.0/24", "198.51.100.7/32"]}]},
                "DNAT net:203.0.113.0/24,198.51.100.7/32 loc:10.0.0.2:80 tcp 80",
            ),
            (
                {"net_zone": "inet", "lan_zone": "lan", "forward": [{"port": 80}]},
                "DNAT inet lan:10.0.0.2:80 tcp 80",
            ),
        ],
        ids=["to_port", "source", "sources", "zones"],
    )
    def test_settings(self, changes: dict[str, Any], line: str) -> None:
        """Each setting is in its column."""
        assert [line] == rules(shorewall=changes)

    def test_public_address(self) -> None:
        """It is the seventh column, ORIGDEST; the sixth, SPORT, stays empty."""
        lines = rules(gateway={"public_address": "198.51.100.10"})

        assert lines[0] == "DNAT net loc:10.0.0.2:80 tcp 80 - 198.51.100.10"


class TestBlock:
    """The declared rules that nobody else states."""

    def test_all_of_them(self) -> None:
        """Beside the article's other rules, both lines are ours to write."""
        present = "ACCEPT net fw tcp 22\nDNS(ACCEPT) loc fw\n"

        assert block(parameters("article").site, present) == BLOCK

    @pytest.mark.parametrize(
        "line",
        [
            "DNAT net loc:10.0.0.2:80 tcp 80",
            "DNAT\tnet   loc:10.0.0.2:80\ttcp\t80",
            "  DNAT net loc:10.0.0.2:80 tcp 80 ",
            "DNAT net loc:10.0.0.2:80 tcp 80  # the web",
            "DNAT net loc:10.0.0.2 tcp 80",
            "DNAT net loc:10.0.0.2:80 tcp 80 - -",
            "DNAT net loc:10.0.0.2:80 tcp 80\r",
        ],
        ids=["same", "tabs", "indented", "comment", "implied port", "empty columns", "CRLF"],
    )
    def test_rule_that_is_there(self, line: str) -> None:
        """What somebody else already states, in whatever spelling, is not said twice."""
        assert block(parameters("article").site, f"{line}\n") == f"{PUBLISHED[1]}\n"

    @pytest.mark.parametrize(
        "line",
        [
            "# DNAT net loc:10.0.0.2:80 tcp 80",
            "DNAT net loc:10.0.0.2:80 udp 80",
            "DNAT net loc:10.0.0.2:81 tcp 80",
            "DNAT net loc:10.0.0.20 tcp 80",
            "DNAT net:203.0.113.0/24 loc:10.0.0.2:80 tcp 80",
            "DNAT net loc:10.0.0.2:80 tcp 80 - 198.51.100.10",
            f"{BEGIN}\nDNAT net loc:10.0.0.2:80 tcp 80\n{END}",
        ],
        ids=["comment", "udp", "port", "address", "source", "destination", "our own block"],
    )
    def test_rule_that_says_something_else(self, line: str) -> None:
        """Anything narrower or other leaves the declared rule to be written."""
        assert block(parameters("article").site, f"{line}\n") == BLOCK

    def test_nothing_left_to_say(self) -> None:
        """Where somebody else states every rule there is no block at all."""
        assert block(parameters("article").site, BLOCK) == ""


class TestCompared:
    """What the comparison on the gateway printed."""

    def test_recorded(self) -> None:
        """After an apply planned and live rules are the same, and all are Shorewall's."""
        seen = read(recorded("shorewall-gateway")["compare"])

        assert (seen.refusal, seen.failure) == ("", "")
        assert seen.planned == seen.live.own
        assert seen.live.foreign == {}
        assert (
            "-A net_dnat -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80"
            in (seen.planned["nat", "net_dnat"])
        )
        assert seen.origins["nat", "net_dnat"] == [f"{RULES}:6", f"{RULES}:7"]
        assert seen.addresses["net0"] == ["203.0.113.2"]
        assert seen.towards_vip == "lan0"

    def test_without_the_block(self) -> None:
        """Rules that Shorewall has loaded and would no longer load are its own."""
        seen = read(WITHOUT)

        assert "DNAT" not in shown(seen.planned)
        assert shown(seen.live.own).count("-j DNAT") == 2
        assert seen.live.foreign == {}

    def test_refused(self) -> None:
        """Shorewall's own words come back, and no rules."""
        seen = read(REFUSED)

        assert seen.refusal.startswith("ERROR: Invalid/Unknown tcp port/service (no-such-port)")
        assert (seen.planned, seen.failure) == ({}, "")

    @pytest.mark.parametrize(
        "text", ["sh: 4: shorewall: not found\n", "mktemp: full", "== planned\n*nat\n== live\n"]
    )
    def test_anything_else_is_a_failure(self, text: str) -> None:
        """What was not understood is never taken for rules."""
        seen = read(text)

        assert seen.failure
        assert seen.planned == {}


def swapped(text: str) -> str:
    """Return a comparison with planned rules and those loaded and live exchanged."""
    live = part(text, "live")
    planned = part(text, "planned")
    return compared(text, planned=live, origins="", loaded=planned, live=planned)


FOREIGN = "ACCEPT net fw tcp 22\nDNS(ACCEPT) loc fw\n"
BEFORE = gateway(file=as_file(FOREIGN), compare=swapped(WITHOUT))


class TestPlan:
    """The file, the boot, the reload."""

    def test_converged(self) -> None:
        """What was recorded after an apply needs nothing."""
        assert planned(gateway()) == []

    def test_before_the_first_run(self) -> None:
        """The block is written and the firewall reloaded; both diffs show the DNAT rules."""
        file, reload = planned(BEFORE)

        assert done([file, reload]) == [FILE, RELOAD]
        assert file.after == f"{FOREIGN}{BEGIN}\n{BLOCK}{END}\n"
        assert "+-A net_dnat -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80" in (
            reload.diff.splitlines()
        )

    def test_drift_of_the_live_rules_alone(self) -> None:
        """A rule deleted with iptables is repaired by a reload; the file stays."""
        answer = gateway(compare=swapped(WITHOUT))

        assert done(planned(answer)) == [RELOAD]

    def test_not_enabled(self) -> None:
        """A firewall that does not start at boot is enabled; a file's time stamp is nothing."""
        service = recorded("shorewall-gateway")["service"].replace("=enabled", "=disabled")

        assert done(planned(gateway(service=service))) == [
            (1, "gateway", "enable", "service shorewall")
        ]

    def test_reload_that_nobody_confirmed(self) -> None:
        """What counts is what the gateway is once it is taken back: others' rules are in that."""

        def answer(command: Command) -> str:
            nonlocal seen
            if "while systemctl -q is-active runbook-rollback" in str(command.argv):
                seen = BEFORE
            return seen(command)

        seen = gateway(unconfirmed="yes\n")
        here = live(parameters("article"), FakeFleet(answer))

        assert done(shorewall.plan(here.site_file, shorewall.observe(here))) == [FILE, RELOAD]

    def test_reload_that_is_not_taken_back(self) -> None:
        """Nothing is compared with rules that may be gone the next moment."""

        def answer(command: Command) -> str | subprocess.CompletedProcess[str]:
            if "while systemctl" in str(command.argv):
                return subprocess.CompletedProcess(command.argv, 124, "", "")
            return gateway(unconfirmed="yes\n")(command)

        with pytest.raises(Refused, match="unconfirmed reload is still being taken back"):
            shorewall.observe(live(parameters("article"), FakeFleet(answer)))

    def test_refused_by_shorewall(self) -> None:
        """Rules that Shorewall does not accept are not written; its words and file are named."""
        with pytest.raises(Refused, match=r"no-such-port.*rules \(line 7\)") as caught:
            planned(gateway(compare=REFUSED))
        assert (caught.value.host, caught.value.step) == ("gateway", "shorewall")

    def test_rules_that_cannot_be_compared(self) -> None:
        """What iptables-restore would not read is refused, with what it said."""
        text = compared(planned="iptables-restore: line 3 failed\n")

        with pytest.raises(Refused, match="iptables-restore: line 3 failed"):
            planned(gateway(compare=text))

    def test_unreadable_file(self) -> None:
        """A rules file that cannot be read is an error, not an empty file."""
        with pytest.raises(Refused, match="cannot be read"):
            planned(gateway(file="stat: cannot statx: Input/output error\n"))

    def test_candidate_is_what_would_be_written(self) -> None:
        """Shorewall judges the very content that the plan shows."""
        fleet = FakeFleet(BEFORE)
        here = live(parameters("article"), fleet)
        file = shorewall.plan(here.site_file, shorewall.observe(here))[0]

        assert base64.b64encode(file.after.encode()).decode() in fleet.commands[1].stdin

    def test_files(self) -> None:
        """The rules file is wanted whole: as recorded after an apply, and as the plan writes it."""
        here, before = live(parameters("article"), gateway()), live(parameters("article"), BEFORE)
        there = base64.b64decode(recorded("shorewall-gateway")["file"].split()[2]).decode()

        assert shorewall.files(here.site_file, shorewall.observe(here)) == {
            "gateway": {RULES: there}
        }
        assert shorewall.files(before.site_file, shorewall.observe(before)) == {
            "gateway": {RULES: f"{FOREIGN}{BEGIN}\n{BLOCK}{END}\n"}
        }

    def test_files_with_a_rule_of_others(self) -> None:
        """A rule that somebody else states is not wanted a second time."""
        theirs = f"{PUBLISHED[0]}\n"
        here = live(parameters("article"), gateway(file=as_file(theirs)))

        assert shorewall.files(here.site_file, shorewall.observe(here)) == {
            "gateway": {RULES: f"{theirs}{BEGIN}\n{PUBLISHED[1]}\n{END}\n"}
        }

    def test_rows(self) -> None:
        """The table has the live DNAT rules, word for word."""
        here = live(parameters("article"), gateway())
        rows = {row.field: row.seen for row in shorewall.rows(shorewall.observe(here))}

        assert rows["rules file"].startswith("0644 root:root sha256:")
        assert rows["unit"] == "enabled, active"
        assert rows["live DNAT"].count("10.0.0.2") == 2


class Gateway:
    """A gateway that reloads, and may not let anybody in afterwards.

    Args:
        live: What is live when it reloads.
        reloaded: What it has after the reload.
        inserted: What it has when the lines of others are put back.
        locked_out: Whether a new login fails.
        lost: Whether the connection is lost in the reload.
    """

    def __init__(
        self,
        *,
        live: str = part(CONVERGED_TEXT, "live"),
        reloaded: str = part(CONVERGED_TEXT, "live"),
        inserted: str = "",
        locked_out: bool = False,
        lost: bool = False,
    ) -> None:
        self.texts = {"live": live, "reloaded": reloaded, "inserted": inserted}
        self.locked_out, self.lost = locked_out, lost
        self.recorded = Recordings({"gateway": {"compile": "", "compare": CONVERGED_TEXT}})

    def __call__(self, command: Command) -> str:
        """Answer commands; a fresh login comes through or does not."""
        if command.address and self.locked_out:
            raise Unreachable("port 22: timed out", host="gateway")
        script = "".join(command.argv[4:5])
        if script and self.lost:
            raise Unreachable("the connection was lost", host="gateway")
        if "shorewall reload" in script:
            return f"== live\n{self.texts['live']}== reloaded\n{self.texts['reloaded']}"
        return self.texts["inserted"] if script else self.recorded(command)


def reload_of(fleet: FakeFleet) -> None:
    """Make the planned reload on this fleet."""
    planned(BEFORE)[-1].make(live(parameters("article"), fleet))


class TestReload:
    """The reload that takes itself back, and keeps what others have."""

    def test_is_confirmed_by_a_new_login(self) -> None:
        """Nobody else has anything: nothing is put back, and another connection confirms."""
        fleet = FakeFleet(Gateway())
        reload_of(fleet)

        assert [c.address for c in fleet.commands] == [None, None, None, "gateway"]
        assert "systemctl stop runbook-rollback.timer" in fleet.commands[-1].argv[2]

    def test_without_a_login_is_a_failure(self) -> None:
        """The rollback stays armed, and the operator is told to wait for it."""
        fleet = FakeFleet(Gateway(locked_out=True))

        with pytest.raises(ChangeFailed, match=r"no new SSH connection.*timed out") as caught:
            reload_of(fleet)
        assert "45 s" in caught.value.todo

    def test_rules_of_others_are_put_back(self) -> None:
        """The line that the reload has lost is put back in its place before the new login."""
        text = with_masquerade(part(CONVERGED_TEXT, "live"))
        fleet = FakeFleet(Gateway(live=text, inserted=f"== inserted\n{text}"))
        reload_of(fleet)

        assert fleet.commands[-2].stdin == (
            "*nat\n-I POSTROUTING 2 -s 10.8.0.0/24 -o net0 -j MASQUERADE\nCOMMIT\n"
        )

    def test_odd_bytes_of_others_are_put_back(self) -> None:
        """A comment in Latin-1, or with what Python takes for the end of a line, is one line."""
        said = '-m comment --comment "f\udcfcr\u2028\x85\x0c"'
        before = part(CONVERGED_TEXT, "live")
        text = before.replace(MASQUERADE, MASQUERADE + ALIEN.replace("-j", f"{said} -j"))
        fleet = FakeFleet(Gateway(live=text, inserted=f"== inserted\n{text}"))
        reload_of(fleet)

        assert fleet.commands[-2].stdin == (
            f"*nat\n-I POSTROUTING 2 -s 10.8.0.0/24 -o net0 {said} -j MASQUERADE\nCOMMIT\n"
        )

    def test_rules_of_others_that_cannot_be_put_back(self) -> None:
        """The gateway goes back at once, and nothing is confirmed."""
        live_text = part(CONVERGED_TEXT, "live")
        fleet = FakeFleet(Gateway(live=with_masquerade(live_text), inserted=live_text))

        with pytest.raises(ChangeFailed, match=r"planned rules.*gone back"):
            reload_of(fleet)
        assert fleet.commands[-1].argv == ("sh", "-c", _BACK)

    def test_lost_connection_is_not_a_refusal(self) -> None:
        """Whether something was changed is not known, and that is what is said."""
        with pytest.raises(ChangeFailed, match=r"the connection was lost; .* not known"):
            reload_of(FakeFleet(Gateway(lost=True)))

    def test_the_old_file_is_kept_before_it_is_replaced(self) -> None:
        """What comes before the writing knows the digest of what will be written."""
        fleet = FakeFleet(Gateway())
        file = planned(BEFORE)[0]
        file.make(live(parameters("article"), fleet))

        digest = hashlib.sha256(file.after.encode()).hexdigest()
        assert fleet.commands[0].argv[-1] == digest
        assert len(fleet.commands) == 2


class TestVerify:
    """What the gateway says afterwards."""

    @staticmethod
    def checks(answer: Recordings) -> dict[str, tuple[str, bool]]:
        """Return what each check saw and whether it passed."""
        found = shorewall.verify(live(parameters("article"), answer))
        return {check.name: (check.seen, check.passed) for check in found}

    def test_recorded(self) -> None:
        """All checks hold on the gateway as it was recorded."""
        assert self.checks(gateway()) == {
            ACCEPTED: ("accepted", True),
            LIVE: ("equal", True),
            WAY: ("to the VIP", True),
            BOOT: ("enabled, active", True),
        }

    def test_live_rules_differ(self) -> None:
        """The difference itself is what was seen."""
        seen, passed = self.checks(gateway(compare=WITHOUT))[LIVE]

        assert not passed
        assert "+-A net_dnat -p tcp -m tcp --dport 80 -j DNAT" in seen

    def test_refused(self) -> None:
        """Rules that Shorewall refuses were compared with nothing, so nothing is proven."""
        checks = self.checks(gateway(compare=REFUSED))

        assert "no-such-port" in checks[ACCEPTED][0]
        assert [checks[name][1] for name in (ACCEPTED, LIVE)] == [False, False]

    def test_not_started(self) -> None:
        """A firewall that does not run, or not after a boot, fails its check."""
        service = "ActiveState=failed\nUnitFileState=disabled\nRead=0\nWritten=0\n"

        assert self.checks(gateway(service=service))[BOOT] == ("disabled, failed", False)

    def test_required_checks(self) -> None:
        """Nothing left, accepted, live and after a boot: without these it is not proven."""
        site: Site = parameters("article").site

        assert shorewall.STEP.required_checks(site) == (CONVERGED, ACCEPTED, LIVE, WAY, BOOT)
