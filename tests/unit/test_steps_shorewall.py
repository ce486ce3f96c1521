"""The Shorewall step: the published rules, those of others, and a reload that can be taken back."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from fakes import Command, FakeFleet, Recordings, declared, done, live, local, parameters, recorded

from runbook.changes import Change
from runbook.errors import ChangeFailed, Refused, RunbookError, Unreachable
from runbook.live import Live
from runbook.resources.file import BEGIN, END
from runbook.site import Site
from runbook.steps import CONVERGED, shorewall
from runbook.steps.shorewall import (
    ACCEPTED,
    BOOT,
    LIVE,
    RULES,
    block,
    compared,
    required_checks,
    rule,
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
        """After an apply the planned rules and the live ones are one text."""
        refusal, planned, kernel = compared(recorded("shorewall-gateway")["compare"])

        assert refusal == ""
        assert planned == kernel
        assert planned.startswith("*mangle\n")
        assert planned.endswith("COMMIT\n")
        assert "-A net_dnat -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80" in kernel

    def test_without_the_block(self) -> None:
        """Rules that are live and not planned are told apart."""
        refusal, planned, kernel = compared(WITHOUT)

        assert refusal == ""
        assert "DNAT" not in planned
        assert kernel.count("-j DNAT") == 2

    def test_refused(self) -> None:
        """Shorewall's own words come back, and no rules."""
        refusal, planned, kernel = compared(REFUSED)

        assert refusal.startswith("ERROR: Invalid/Unknown tcp port/service (no-such-port)")
        assert (planned, kernel) == ("", "")

    @pytest.mark.parametrize("text", ["sh: 4: shorewall: not found\n", "refused\n", "mktemp: full"])
    def test_anything_else_is_a_refusal(self, text: str) -> None:
        """What was not understood is never taken for rules."""
        assert compared(text) == (text.strip(), "", "")

    def test_rule_that_ends_like_the_marker(self) -> None:
        """A chain of a zone named ``live`` does not end the planned rules."""
        tables = "*filter\n-A FORWARD -i net0 -j net-live\nCOMMIT\n"

        assert compared(f"planned\n{tables}live\n{tables}") == ("", tables, tables)


def gateway(**texts: str) -> Recordings:
    """Return the recorded gateway with other texts."""
    return Recordings({"gateway": recorded("shorewall-gateway") | texts})


def as_file(content: str) -> str:
    """Return what the probe prints of a rules file with this content."""
    return f"0644 root:root\n{base64.b64encode(content.encode()).decode()}"


def swapped(text: str) -> str:
    """Return a comparison with planned and live rules exchanged."""
    _, planned, kernel = compared(text)
    return f"planned\n{kernel}live\n{planned}"


def planned(answer: Recordings) -> list[Change]:
    """Return what is planned for the article's site."""
    here = live(parameters("article"), answer)
    return shorewall.plan(here, shorewall.observe(here))


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
        """A rule deleted or added with iptables is repaired by a reload; the file stays."""
        answer = gateway(compare=WITHOUT)

        assert done(planned(answer)) == [RELOAD]

    def test_not_enabled(self) -> None:
        """A firewall that does not start at boot is enabled; a file's time stamp is nothing."""
        service = recorded("shorewall-gateway")["service"].replace("=enabled", "=disabled")

        assert done(planned(gateway(service=service))) == [
            (1, "gateway", "enable", "service shorewall")
        ]

    def test_reload_that_nobody_confirmed(self) -> None:
        """Rules that are right but about to be taken back are loaded and confirmed again."""
        (change,) = planned(gateway(unconfirmed="yes\n"))

        assert done([change]) == [RELOAD]
        assert change.before == "as planned, and about to be taken back"

    def test_refused_by_shorewall(self) -> None:
        """Rules that Shorewall does not accept are not written; its words and file are named."""
        with pytest.raises(Refused, match=r"no-such-port.*rules \(line 7\)") as caught:
            planned(gateway(compare=REFUSED))
        assert (caught.value.host, caught.value.step) == ("gateway", "shorewall")

    def test_rules_that_cannot_be_compared(self) -> None:
        """What iptables-restore would not read is refused, with what it said."""
        text = "planned\niptables-restore: line 3 failed\nlive\n*filter\nCOMMIT\n"

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
        file = shorewall.plan(here, shorewall.observe(here))[0]

        assert base64.b64encode(file.after.encode()).decode() in fleet.commands[1].stdin

    def test_files(self) -> None:
        """The rules file is wanted whole: as recorded after an apply, and as the plan writes it."""
        here, before = live(parameters("article"), gateway()), live(parameters("article"), BEFORE)
        there = base64.b64decode(recorded("shorewall-gateway")["file"].split()[2]).decode()

        assert shorewall.files(here, shorewall.observe(here)) == {"gateway": {RULES: there}}
        assert shorewall.files(before, shorewall.observe(before)) == {
            "gateway": {RULES: f"{FOREIGN}{BEGIN}\n{BLOCK}{END}\n"}
        }

    def test_files_with_a_rule_of_others(self) -> None:
        """A rule that somebody else states is not wanted a second time."""
        theirs = f"{PUBLISHED[0]}\n"
        here = live(parameters("article"), gateway(file=as_file(theirs)))

        assert shorewall.files(here, shorewall.observe(here)) == {
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
    """A gateway that may not let anybody in after the reload."""

    def __init__(self, *, locked_out: bool = False) -> None:
        self.locked_out = locked_out

    def __call__(self, command: Command) -> str:
        """Answer commands; a fresh login comes through or does not."""
        if command.address and self.locked_out:
            raise Unreachable("port 22: timed out", host="gateway")
        return ""


def reload_of(fleet: FakeFleet, answer: Recordings = BEFORE) -> None:
    """Make the planned reload on this fleet."""
    planned(answer)[-1].make(live(parameters("article"), fleet))


class TestReload:
    """The reload that takes itself back."""

    def test_is_confirmed_by_a_new_login(self) -> None:
        """The rollback is armed with the reload and disarmed over another connection."""
        fleet = FakeFleet(Gateway())
        reload_of(fleet)

        assert [(c.host, c.address, c.sudo) for c in fleet.commands] == [
            ("gateway", None, True),
            ("gateway", "gateway", True),
        ]
        assert "systemctl stop runbook-rollback.timer" in fleet.commands[1].argv[2]

    def test_without_a_login_is_a_failure(self) -> None:
        """The rollback stays armed, and the operator is told to wait for it."""
        fleet = FakeFleet(Gateway(locked_out=True))

        with pytest.raises(ChangeFailed, match=r"no new SSH connection.*timed out") as caught:
            reload_of(fleet)
        assert "45 s" in caught.value.todo

    @pytest.mark.parametrize(
        ("answer", "word"), [(BEFORE, "yes"), (gateway(compare=WITHOUT), "no")]
    )
    def test_the_file_goes_back_where_it_was_written(self, answer: Recordings, word: str) -> None:
        """The old file is put back with the old rules, where this plan replaced it."""
        fleet = FakeFleet(Gateway())
        reload_of(fleet, answer)

        assert word == fleet.commands[0].argv[-1]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with stand-ins for systemd and Shorewall that write down how they were called."""
    for name in ("systemctl", "systemd-run", "shorewall"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> said\n! grep -qx "{name} $1" broken\n')
        program.chmod(0o755)
    (tmp_path / "broken").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


class TestArming:
    """The script of the reload, run by a real shell."""

    @staticmethod
    def made(programs: Path, answer: Recordings = BEFORE) -> list[str]:
        """Return how the programs were called when the reload was made."""
        here: Live = live(parameters("article"), local(programs))
        planned(answer)[-1].make(here)
        return (programs / "said").read_text().splitlines()

    def test_order(self, programs: Path) -> None:
        """An old rollback is stopped, rules are saved, the new one is armed, and then reloaded."""
        said = self.made(programs, gateway(compare=WITHOUT))

        assert [" ".join(line.split()[:2]) for line in said] == [
            "systemctl stop",
            "systemctl reset-failed",
            "shorewall save",
            "systemd-run --quiet",
            "shorewall reload",
            "systemctl stop",
        ]
        assert "--on-active=45" in said[3]
        assert "/bin/sh -c shorewall restore runbook-before" in said[3]

    def test_restores_the_file_too(self, programs: Path) -> None:
        """Where this plan wrote the file, the rollback copies the old one back first."""
        armed = self.made(programs)[3]

        copied, _, restored = armed.partition(f" {RULES}; ")

        assert "/bin/sh -c cp -p " in copied
        assert "shorewall restore runbook-before" in restored

    @pytest.mark.parametrize("broken", ["shorewall save", "systemd-run --quiet"])
    def test_never_reloads_without_a_way_back(self, programs: Path, broken: str) -> None:
        """Where the rules cannot be saved or the timer not be set, nothing is reloaded."""
        (programs / "broken").write_text(f"{broken}\n")

        with pytest.raises(RunbookError):
            self.made(programs)
        assert "shorewall reload" not in (programs / "said").read_text()


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
            BOOT: ("enabled, active", True),
        }

    def test_live_rules_differ(self) -> None:
        """The difference itself is what was seen."""
        seen, passed = self.checks(gateway(compare=WITHOUT))[LIVE]

        assert not passed
        assert "+-A net_dnat -p tcp -m tcp --dport 80 -j DNAT" in seen

    def test_about_to_be_taken_back(self) -> None:
        """Rules that nobody has confirmed prove nothing, however right they are now."""
        assert self.checks(gateway(unconfirmed="yes\n"))[LIVE] == (
            "equal, and about to be taken back",
            False,
        )

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

        assert required_checks(site) == (CONVERGED, ACCEPTED, LIVE, BOOT)
