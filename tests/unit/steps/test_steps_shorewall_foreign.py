"""The Shorewall step: live rules that are not Shorewall's, and those that come before ours."""

from __future__ import annotations

import pytest
from fakes import live, parameters
from gateways import (
    CONVERGED_TEXT,
    PUBLISHED,
    as_file,
    compared,
    gateway,
    part,
    planned,
    with_masquerade,
)

from runbook.errors import Refused
from runbook.steps import shorewall
from runbook.steps.shorewall import RULES, WAY
from runbook.steps.shorewall.ruleset import insertions, names, parsed, told_apart, with_foreign

ON_TOP = "-A PREROUTING -i net0 -j net_dnat\n"
DEAD = "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128\n"


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
