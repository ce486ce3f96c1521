"""The Shorewall step: the published rules, those of others, and a reload that can be taken back."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from typing import Any

import pytest
from fakes import Command, FakeFleet, Recordings, declared, done, live, parameters, recorded

from runbook.changes import Change
from runbook.errors import ChangeFailed, Refused, Unreachable
from runbook.resources.file import BEGIN, END
from runbook.site import Site
from runbook.steps import CONVERGED, shorewall
from runbook.steps.shorewall import (
    ACCEPTED,
    BOOT,
    LIVE,
    RULES,
    WAY,
    block,
    rule,
)
from runbook.steps.shorewall.comparison import read
from runbook.steps.shorewall.reload import _BACK
from runbook.steps.shorewall.ruleset import (
    insertions,
    names,
    parsed,
    shown,
    told_apart,
    with_foreign,
)

# article.md, /etc/shorewall/rules: the two lines that the step adds.
PUBLISHED = ("DNAT net loc:10.0.0.2:80 tcp 80", "DNAT net loc:10.0.0.2:8080 tcp 8080")
BLOCK = "".join(f"{line}\n" for line in PUBLISHED)
WITHOUT = recorded("shorewall-compared")["without"]
REFUSED = recorded("shorewall-compared")["refused"]
FILE = (0, "gateway", "update", f"file {RULES}")
RELOAD = (2, "gateway", "reload", "live firewall")


def rules(**changes: Any) -> list[str]:
    """Return the rules of the article's site with some settings changed."""
    site = declared("article", **changes).site
    return [rule(site, forward) for forward in site.shorewall.forward]


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


def gateway(**texts: str) -> Recordings:
    """Return the recorded gateway with other texts."""
    return Recordings({"gateway": recorded("shorewall-gateway") | texts})


def as_file(content: str) -> str:
    """Return what the probe prints of a rules file with this content."""
    return f"0644 root:root\n{base64.b64encode(content.encode()).decode()}"


def compared(text: str = "", **parts: str) -> str:
    """Return a recorded comparison with some of its parts replaced."""
    found = re.split(r"^== (\w+)\n", text or recorded("shorewall-gateway")["compare"], flags=re.M)
    said = dict(zip(found[1::2], found[2::2], strict=True)) | parts
    return "".join(f"== {name}\n{part}" for name, part in said.items())


def part(text: str, name: str) -> str:
    """Return one part of a comparison."""
    return text.partition(f"== {name}\n")[2].partition("\n== ")[0] + "\n"


CONVERGED_TEXT = recorded("shorewall-gateway")["compare"]
ON_TOP = "-A PREROUTING -i net0 -j net_dnat\n"
DEAD = "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128\n"
ALIEN = "-A POSTROUTING -s 10.8.0.0/24 -o net0 -j MASQUERADE\n"
MASQUERADE = "-A POSTROUTING -s 10.0.0.0/24 -o net0 -j MASQUERADE\n"


def swapped(text: str) -> str:
    """Return a comparison with planned rules and those loaded and live exchanged."""
    live = part(text, "live")
    planned = part(text, "planned")
    return compared(text, planned=live, origins="", loaded=planned, live=planned)


def planned(answer: Recordings) -> list[Change]:
    """Return what is planned for the article's site."""
    here = live(parameters("article"), answer)
    return shorewall.plan(here.site_file, shorewall.observe(here))


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


def with_masquerade(text: str) -> str:
    """Return rules with a VPN's line at the end of POSTROUTING."""
    return text.replace(MASQUERADE, MASQUERADE + ALIEN)


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


OWN = "-A INPUT -i net0 -j net-fw", "-A INPUT -i lan0 -j loc-fw", "-A INPUT -g reject"
JUMP = "-A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd"
BAN = "-A f2b-sshd -s 203.0.113.99/32 -j REJECT --reject-with icmp-port-unreachable"


def filter_table(*rules: str, chains: tuple[str, ...] = ()) -> str:
    """Return a filter table with INPUT and further chains."""
    names = "".join(f":{name} -\n" for name in chains)
    return f"*filter\n:INPUT DROP\n{names}" + "".join(f"{line}\n" for line in rules) + "COMMIT\n"


PLANNED = parsed(filter_table(*OWN))


class TestForeign:
    """Live rules that are not Shorewall's, and where they go back to."""

    @staticmethod
    def restored(text: str, planned: str, loaded: str = "") -> str:
        """Return the commands that put back what a reload has lost."""
        rules = parsed(planned)
        before = told_apart(parsed(text), rules, parsed(loaded) or rules)
        return insertions(rules, with_foreign(rules, rules, before))

    def test_chain_and_jump(self) -> None:
        """A chain that Shorewall does not have, and the line that leads there, are others'."""
        seen = told_apart(
            parsed(filter_table(JUMP, *OWN, BAN, chains=("f2b-sshd",))), PLANNED, PLANNED
        )

        assert seen.own == PLANNED
        assert names(seen.foreign, PLANNED) == [
            f"filter {JUMP.removeprefix('-A ')}",
            "filter chain f2b-sshd",
        ]

    @pytest.mark.parametrize(
        ("rules", "position"),
        [
            ((JUMP, *OWN), 1),
            ((OWN[0], JUMP, *OWN[1:]), 2),
            ((*OWN[:2], JUMP, OWN[2]), 3),
            ((*OWN, JUMP), 4),
        ],
        ids=["first", "second", "third", "last"],
    )
    def test_place(self, rules: tuple[str, ...], position: int) -> None:
        """A line goes back behind the line that it was behind."""
        commands = self.restored(filter_table(*rules), filter_table(*OWN))

        assert (
            commands
            == f"*filter\n{JUMP.replace('INPUT', f'INPUT {position}', 1)}\nCOMMIT\n".replace(
                "-A", "-I"
            )
        )

    def test_last_stays_last(self) -> None:
        """A line that stood behind all of Shorewall's stands behind the new ones as well."""
        new = "-A INPUT -i wg0 -j vpn-fw"
        commands = self.restored(
            filter_table(*OWN, JUMP), filter_table(*OWN, new), filter_table(*OWN)
        )

        assert "-I INPUT 5 " in commands

    def test_chain_comes_before_what_leads_there(self) -> None:
        """A chain is declared in the same transaction, with its rules in order."""
        text = filter_table(JUMP, *OWN, BAN, "-A f2b-sshd -j RETURN", chains=("f2b-sshd",))

        lines = self.restored(text, filter_table(*OWN)).splitlines()
        assert lines[1] == ":f2b-sshd - [0:0]"
        assert lines.index(BAN) + 1 == lines.index("-A f2b-sshd -j RETURN")

    def test_what_is_there_again_is_not_doubled(self) -> None:
        """What Shorewall's own extension scripts or fail2ban have put back is left as it is."""
        before = told_apart(parsed(filter_table(JUMP, *OWN)), PLANNED, PLANNED)
        there = parsed(filter_table(*OWN, JUMP))

        assert insertions(there, with_foreign(there, PLANNED, before)) == ""

    @pytest.mark.parametrize(
        "rules",
        [OWN[1:], OWN[:2], (OWN[1], OWN[0], OWN[2]), ()],
        ids=["first gone", "last gone", "moved", "flushed"],
    )
    def test_own_rules_that_are_gone(self, rules: tuple[str, ...]) -> None:
        """What somebody has taken from Shorewall's own rules, or moved, is a difference."""
        seen = told_apart(parsed(filter_table(*rules)), PLANNED, PLANNED)

        assert seen.own != PLANNED
        assert seen.foreign == {}

    def test_policy(self) -> None:
        """The policy of a chain of Shorewall's is Shorewall's."""
        text = filter_table(*OWN).replace("DROP", "ACCEPT")

        assert told_apart(parsed(text), PLANNED, PLANNED).own != PLANNED

    def test_double(self) -> None:
        """A second line like one of Shorewall's is somebody else's; the first one is not."""
        seen = told_apart(parsed(filter_table(*OWN, OWN[0])), PLANNED, PLANNED)

        assert seen.own == PLANNED
        assert seen.foreign == {("filter", "INPUT"): [OWN[0]]}

    def test_loaded_and_no_longer_planned(self) -> None:
        """A rule of Shorewall's that its files no longer have is not kept."""
        old = "-A INPUT -i old0 -j net-fw"
        text = filter_table(JUMP, *OWN, old)

        assert self.restored(text, filter_table(*OWN), filter_table(*OWN, old)).count("-I") == 1


def refusal(live_text: str = "", **parts: str) -> str:
    """Return why a plan is refused."""
    live_text = live_text or part(CONVERGED_TEXT, "live")
    with pytest.raises(Refused) as caught:
        planned(gateway(compare=compared(live=live_text, **parts)))
    return caught.value.message


def in_plan(before: str, added: str) -> str:
    """Return the refusal of a plan with a rule of Shorewall's own before another."""
    texts = {
        name: part(CONVERGED_TEXT, name).replace(before, added + before)
        for name in ("planned", "loaded", "live")
    }
    return refusal(texts["live"], planned=texts["planned"], loaded=texts["loaded"])


DNAT = "-A net_dnat -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80\n"
ACCEPT = (
    "-A net-loc -d 10.0.0.2/32 -p tcp -m tcp --dport 80 -m conntrack --ctorigdstport 80 -j ACCEPT\n"
)


class TestWay:
    """A rule before ours that takes a published port."""

    @pytest.mark.parametrize(
        "line",
        [
            "-A net_dnat -p tcp -m multiport --dports 80,443 -j DNAT --to-destination 10.0.0.14",
            "-A net_dnat -p tcp -m tcp --dport 79:81 -j DNAT --to-destination 10.0.0.14",
            "-A net_dnat -p tcp -m multiport --dports 22,79:81 -j REDIRECT --to-ports 3128",
            "-A net_dnat -d 203.0.113.2/32 -j DNAT --to-destination 10.0.0.14",
            "-A net_dnat -p tcp -m tcp --dport 80 -j ACCEPT",
            "-A net_dnat -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:81",
            "-A net_dnat -p tcp -m tcp ! --dport 443 -j DNAT --to-destination 10.0.0.14",
            "-A net_dnat ! -s 10.1.1.1/32 -p tcp -j DNAT --to-destination 10.0.0.14",
            "-A net_dnat -d 203.0.113.0/24 -j NETMAP --to 10.1.0.0/24",
            '-A net_dnat -p tcp -m comment --comment "-- web --" -j REDIRECT --to-ports 3128',
            "-A net_dnat -p tcp -m addrtype --dst-type LOCAL,BROADCAST -j REDIRECT --to-ports 1",
            "-A net_dnat -p tcp -m tcp -j REDIRECT --to-ports 3128",
            "-A net_dnat -p tcp -m socket -j RETURN\n-A net_dnat -p tcp -j REDIRECT --to-ports 1",
            "-A net_dnat -m rpfilter -m mark --mark 0x1 -j RETURN\n-A net_dnat -p tcp -j REDIRECT",
        ],
    )
    def test_nat(self, line: str) -> None:
        """First match wins: the packet never comes to our rule."""
        assert "takes tcp port 80, which does not come to 10.0.0.2" in in_plan(DNAT, f"{line}\n")

    @pytest.mark.parametrize(
        "line",
        [
            "-A net-loc -p tcp -m tcp --dport 80 -j DROP",
            "-A net-loc -d 10.0.0.0/24 -j reject",
            "-A net-loc -p tcp -m conntrack --ctstate NEW -g reject",
            "-A net-loc -p tcp -m multiport --ports 80,443 -j DROP",
            "-A net-loc -p tcp -m addrtype --dst-type UNICAST -j DROP",
        ],
    )
    def test_filter(self, line: str) -> None:
        """What is forwarded and then dropped does not come there either."""
        assert "takes tcp port 80" in in_plan(ACCEPT, f"{line}\n")

    @pytest.mark.parametrize(
        "line",
        [
            "-A net_dnat -s 203.0.113.0/24 -p tcp -m tcp --dport 80 -j REDIRECT",
            "-A net_dnat -p udp -m udp --dport 80 -j DNAT --to-destination 10.0.0.14",
            "-A net_dnat -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.0.0.14",
            "-A net_dnat -d 203.0.113.3/32 -p tcp -m tcp --dport 80 -j REDIRECT",
            "-A net_dnat -p tcp -m set --match-set blocked src -j DROP",
            '-A net_dnat -p tcp -m tcp --dport 80 -j LOG --log-prefix "a DROP "',
            "-A net_dnat -i wg0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.14",
            "-A net_dnat -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2",
            "-A net_dnat -p tcp -m limit --limit 1/sec -j DROP",
        ],
    )
    def test_rule_that_takes_nothing(self, line: str) -> None:
        """What is not certain to match an ordinary packet, or does no harm, is let be."""
        texts = {
            name: part(CONVERGED_TEXT, name).replace(DNAT, f"{line}\n{DNAT}")
            for name in ("planned", "loaded", "live")
        }
        assert planned(gateway(compare=compared(**texts))) == []

    @pytest.mark.parametrize(
        "line",
        [
            "-A net-loc -m addrtype ! --dst-type UNICAST -j DROP",
            "-A net-loc -m addrtype --dst-type LOCAL -j DROP",
            "-A net-loc -p tcp -m socket -j DROP",
            "-A net-loc -m ipv4options -g reject",
        ],
    )
    def test_filter_that_takes_nothing(self, line: str) -> None:
        """The VIP is an ordinary address, and none of the gateway's own."""
        texts = {
            name: part(CONVERGED_TEXT, name).replace(ACCEPT, f"{line}\n{ACCEPT}")
            for name in ("planned", "loaded", "live")
        }
        assert planned(gateway(compare=compared(**texts))) == []

    def test_live_rule_of_others(self) -> None:
        """Somebody's redirect above ours is seen and named, although the files are right."""
        text = part(CONVERGED_TEXT, "live").replace(ON_TOP, DEAD + ON_TOP)

        assert refusal(text).startswith("a live rule that is not Shorewall's takes tcp port 80")
        assert DEAD.strip() in refusal(text)

    def test_line_of_the_file(self) -> None:
        """The file's line is named where Shorewall says it."""
        line = "-A net_dnat -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.14\n"
        origins = part(CONVERGED_TEXT, "origins").replace(
            "# /etc/shorewall/rules:6\n",
            f"# /etc/shorewall/rules:2\n{line}# /etc/shorewall/rules:6\n",
        )
        texts = {
            name: part(CONVERGED_TEXT, name).replace(DNAT, line + DNAT)
            for name in ("planned", "loaded")
        }

        assert refusal(origins=origins, **texts).startswith(
            f"{RULES} line 2: ACCEPT net fw tcp 22 takes tcp port 80"
        )

    def test_rule_that_shorewall_passes_over(self) -> None:
        """A line of somebody's that states ours, and is in an ?IF, leads nothing anywhere."""
        theirs = f"?IF $WEB\n{PUBLISHED[0]}\n?ENDIF\n"
        texts = {name: part(CONVERGED_TEXT, name).replace(DNAT, "") for name in ("planned", "live")}

        with pytest.raises(Refused, match=r"^gateway, shorewall: no rule leads tcp port 80 to 10"):
            planned(gateway(file=as_file(theirs), compare=compared(loaded="", **texts)))

    def test_check_without_a_rule(self) -> None:
        """A port whose rule is not live does not lead to the VIP."""
        text = part(CONVERGED_TEXT, "live").replace(DNAT, "")
        here = live(parameters("article"), gateway(compare=compared(live=text)))

        (way,) = [check for check in shorewall.verify(here) if check.name == WAY]
        assert way.seen == "no rule leads tcp port 80 to 10.0.0.2: none is live"

    def test_check(self) -> None:
        """The live rules are judged again afterwards."""
        text = part(CONVERGED_TEXT, "live").replace(ON_TOP, DEAD + ON_TOP)
        here = live(parameters("article"), gateway(compare=compared(live=text)))
        failed = [check for check in shorewall.verify(here) if not check.passed]

        assert [check.name for check in failed] == [WAY]
        assert DEAD.strip() in failed[0].seen


class TestKept:
    """What the plan says of the rules of others."""

    def test_no_difference(self) -> None:
        """Rules of others are no drift."""
        text = with_masquerade(part(CONVERGED_TEXT, "live"))

        assert planned(gateway(compare=compared(live=text))) == []

    def test_named(self) -> None:
        """Where a reload is needed it says by name what it keeps."""
        text = with_masquerade(part(CONVERGED_TEXT, "live")).replace(DNAT, "")
        (change,) = planned(gateway(compare=compared(live=text)))

        assert (
            "+# kept across the reload: nat POSTROUTING -s 10.8.0.0/24 -o net0 -j MASQUERADE"
            in (change.diff.splitlines())
        )


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
