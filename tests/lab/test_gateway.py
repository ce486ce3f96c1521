"""A gateway as real sites have them: others keep live rules, first match wins, disks fill up."""

from __future__ import annotations

import re
import signal
import time

import pytest
from conftest import Break, Operator, finished, until
from witnesses import RELOAD, Snapshot, must, read, snapshot, touched

from runbook.lab import Lab
from runbook.resources.file import BACKUPS
from runbook.steps.shorewall import ROLLBACK_S, RULES

SLACK_S = 20  # for the way back itself, on a busy machine
OTHERS = {
    "fail2ban": (
        "iptables -N f2b-web; iptables -A f2b-web -s 203.0.113.199 -j REJECT;"
        "iptables -A f2b-web -j RETURN; iptables -I INPUT -p tcp --dport 2222 -j f2b-web",
        "iptables -D INPUT -p tcp --dport 2222 -j f2b-web;"
        "iptables -F f2b-web; iptables -X f2b-web; true",
    ),
    "VPN": (
        "iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -o net0 -j MASQUERADE;"
        "iptables -I FORWARD -i wg1 -j ACCEPT",
        "iptables -t nat -D POSTROUTING -s 10.9.0.0/24 -o net0 -j MASQUERADE;"
        "iptables -D FORWARD -i wg1 -j ACCEPT",
    ),
    "Docker": (
        "iptables -t nat -N DOCKER; iptables -t nat -A DOCKER -i docker0 -j RETURN;"
        "iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER;"
        "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN;"
        "iptables -I FORWARD -j DOCKER-USER",
        "iptables -D FORWARD -j DOCKER-USER; iptables -F DOCKER-USER; iptables -X DOCKER-USER;"
        "iptables -t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER;"
        "iptables -t nat -F DOCKER; iptables -t nat -X DOCKER",
    ),
    "in a chain of Shorewall's": (
        "iptables -I net-fw 3 -p udp --dport 51820 -m comment --comment 'a \"VPN\"' -j ACCEPT",
        "iptables -D net-fw -p udp --dport 51820 -m comment --comment 'a \"VPN\"' -j ACCEPT",
    ),
}
LOSE_OURS = "iptables -t nat -F net_dnat"


def foreign(lab: Lab, before: Snapshot) -> list[str]:
    """Return the lines that the firewall has and had not before."""
    return [line for line in firewall(lab) if line not in before["gateway firewall"].split("|")]


def firewall(lab: Lab) -> list[str]:
    """Return the lines of the live firewall."""
    return snapshot(lab)["gateway firewall"].split("|")


class TestOthers:
    """What other programs keep in the kernel."""

    @pytest.mark.parametrize("others", OTHERS, ids=list(OTHERS))
    def test_no_drift(self, edge: Lab, operator: Operator, broken: Break, others: str) -> None:
        """Their rules are no difference."""
        broken("gateway", *OTHERS[others])

        done = operator.plan("shorewall")

        assert done.status == 0, done.text

    def test_kept_across_a_reload(self, edge: Lab, operator: Operator, broken: Break) -> None:
        """The plan names them, the run needs a reload, and each is back in its place."""
        mend = "; ".join(mend for _, mend in OTHERS.values())
        broken("gateway", ";".join(make for make, _ in OTHERS.values()), mend)
        before = snapshot(edge)
        must(edge, "gateway", LOSE_OURS)

        plan = operator.plan("shorewall")
        done = operator.apply("shorewall")

        assert plan.status == 4, plan.text
        for name in ("filter chain f2b-web", "nat POSTROUTING -s 10.9.0.0/24", "nat chain DOCKER"):
            assert f"kept across the reload: {name}" in plan.text
        assert done.status == 0, done.text
        assert snapshot(edge)["gateway firewall"] == before["gateway firewall"]

    def test_first_run(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """The first run, which brings new chains, keeps them as well."""
        for make, mend in OTHERS.values():
            broken("gateway", make, mend)
        before = set(firewall(bare))

        done = operator.apply("shorewall")

        assert done.status == 0, done.text
        assert before - set(firewall(bare)) == set()

    @pytest.mark.parametrize(
        "how",
        [
            "iptables -t nat -F net_dnat",
            "iptables -D FORWARD -i net0 -j net_frwd",
            "iptables -P INPUT ACCEPT",
            "iptables -t nat -F POSTROUTING",
        ],
    )
    def test_own_rule_that_is_gone(
        self, edge: Lab, operator: Operator, broken: Break, how: str
    ) -> None:
        """Beside rules of others, what is missing of Shorewall's own is still seen."""
        broken("gateway", *OTHERS["fail2ban"])
        broken("gateway", how, RELOAD)  # which also takes the chain along

        assert operator.plan("shorewall").status == 4

    @pytest.mark.parametrize(
        "rule",
        [
            "PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 3128",
            "net_dnat -p tcp -m multiport --dports 80,443 -j DNAT --to-destination 192.0.2.9",
        ],
    )
    def test_that_takes_our_port(
        self, edge: Lab, operator: Operator, broken: Break, rule: str
    ) -> None:
        """A live rule of somebody else's above ours is named; checks do not pass over it."""
        broken("gateway", f"iptables -t nat -I {rule}", f"iptables -t nat -D {rule}")

        done = operator.apply("shorewall")

        assert done.status == 3, done.text
        assert "a live rule that is not Shorewall's takes tcp port 80" in done.text

    def test_drop_in_front_of_the_forwarding(
        self, edge: Lab, operator: Operator, broken: Break
    ) -> None:
        """So is a drop after our DNAT."""
        rule = "FORWARD -p tcp --dport 8080 -j DROP"
        broken("gateway", f"iptables -I {rule}", f"iptables -D {rule}")

        assert "takes tcp port 8080" in operator.plan("shorewall").text


@pytest.mark.leaves("bare")
class TestFirstMatch:
    """A rule in the files that stands before ours."""

    @pytest.mark.parametrize(
        "line",
        [
            "DNAT net loc:192.0.2.14 tcp 80,443",
            "Web(DNAT) net loc:192.0.2.14",
            "DNAT net loc:192.0.2.14 tcp 79:81",
            "DNAT all loc:192.0.2.14:81 tcp http",
            "REDIRECT net 3128 tcp www",
            "DROP net all tcp 80",
            "REJECT net loc tcp 1:1024",
            "NONAT net all tcp 80",
            "ACCEPT+ net fw tcp 80",
            "DNAT net loc:192.0.2.14 tcp 80 - &net0",
            "DNAT- net 192.0.2.14 tcp 80",
        ],
    )
    def test_is_refused(self, bare: Lab, operator: Operator, broken: Break, line: str) -> None:
        """Before the first change, naming the line, in whatever spelling."""
        mend = f"sed -i '1d' {RULES}"
        broken("gateway", f"sed -i '1i {line}' {RULES}", mend)
        before = snapshot(bare)

        done = operator.apply("shorewall")

        assert done.status == 3, done.text
        assert f"{RULES} line 1: {line} takes tcp port 80" in done.text
        assert touched(before, snapshot(bare)) == set()

    def test_included_file(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """A file that the rules include is named by itself."""
        other = "/etc/shorewall/web.rules"
        broken("gateway", f"echo 'DNAT net loc:192.0.2.14 tcp 80' > {other}", f"rm {other}")
        broken("gateway", f"sed -i '1i ?INCLUDE web.rules' {RULES}", f"sed -i '1d' {RULES}")

        done = operator.plan("shorewall")

        assert f"{other}:1 takes tcp port 80" in done.text

    @pytest.mark.parametrize(
        "line",
        [
            "DROP net:198.51.100.0/24 all",
            "DNAT net:198.51.100.0/24 loc:192.0.2.14 tcp 80",
            "DNAT net loc:192.0.2.14 udp 80",
            "DNAT net loc:192.0.2.14 tcp 80 - 198.51.100.7",
            "ACCEPT net:&net0 fw tcp 1234",
            "ACCEPT net fw tcp 2222 - - s:1/min:3",
            "ACCEPT:info net fw tcp 2223 ; helper=ftp",
        ],
    )
    def test_that_takes_nothing(
        self, bare: Lab, operator: Operator, broken: Break, line: str
    ) -> None:
        """What only restricts the port, or asks for what is found at run time, can be planned."""
        broken("gateway", f"sed -i '1i {line}' {RULES}", f"sed -i '1d' {RULES}")

        done = operator.plan("shorewall")

        assert done.status == 4, done.text

    def test_what_shorewall_says_comes_first(
        self, bare: Lab, operator: Operator, broken: Break
    ) -> None:
        """Its error, with file and line, begins the message."""
        broken("gateway", f"sed -i '1i ACCEPT nowhere fw' {RULES}", f"sed -i '1d' {RULES}")

        done = operator.plan("shorewall")

        assert re.search(rf"gateway, shorewall: ERROR: .*nowhere.* {RULES} \(line 1\)", done.text)


@pytest.mark.leaves("unknown")
class TestSets:
    """Rules that name sets."""

    @pytest.mark.parametrize(
        "kind", ["hash:net", "hash:ip timeout 600", "list:set", "bitmap:port range 0-1024"]
    )
    def test_rule_of_a_set(self, bare: Lab, operator: Operator, broken: Break, kind: str) -> None:
        """A gateway with such a rule is planned and run as any other."""
        line = "DROP net:+listed all" if "port" not in kind else "DROP net fw:+listed[dst] tcp"
        mend = f"sed -i '/+listed/d' {RULES}; {RELOAD}; ipset destroy listed"
        broken("gateway", f"ipset create listed {kind}; sed -i '1i {line}' {RULES}", mend)

        done = operator.apply("shorewall")

        assert done.status == 0, done.text
        assert operator.plan("shorewall").status == 0


FULL = "mount -t tmpfs -o size=4k tmpfs {0} && head -c 4096 /dev/zero > {0}/full"


@pytest.mark.leaves("bare")
class TestFullDisk:
    """Places that cannot be written."""

    @pytest.mark.parametrize(
        "how",
        ["mount -o remount,ro /tmp", FULL.format("/tmp")],  # noqa: S108
        ids=["read-only", "full"],
    )
    def test_tmp(self, bare: Lab, operator: Operator, broken: Break, how: str) -> None:
        """A plan does not need /tmp, and writes nowhere else."""
        mend = "umount /tmp" if "tmpfs" in how else "mount -o remount,rw /tmp"
        broken("gateway", how, mend)

        done = operator.plan("shorewall")

        assert done.status == 4, done.text
        left = must(
            bare, "gateway", "ls -d /rules /said /restore /run/runbook* 2>/dev/null || true"
        )
        assert left == ""

    def test_var(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """Where nothing can be kept to go back to, the rules file is not written."""
        full = (
            "cp -a /var/lib/shorewall /run/kept; mount -t tmpfs -o size=160k tmpfs {0};"
            "cp -a /run/kept/. {0}; rm -r /run/kept; cat /dev/zero > {0}/full || true"
        ).format("/var/lib/shorewall")
        broken("gateway", full, "umount /var/lib/shorewall")
        before = read(bare, "gateway", RULES)

        done = operator.apply("shorewall")

        assert "No space left on device" in done.text
        assert done.status != 0
        assert read(bare, "gateway", RULES) == before


def ours(lab: Lab) -> bool:
    """Return whether our DNAT is live."""
    return any(f"--to-destination {lab.topology.vip}" in line for line in firewall(lab))


def gone_back(lab: Lab) -> Snapshot:
    """Wait until the gateway has taken back what nobody confirmed."""
    end = time.monotonic() + ROLLBACK_S + SLACK_S
    while (now := snapshot(lab))["gateway units runbook"] or now["gateway saved firewalls"]:
        assert time.monotonic() < end, now
        time.sleep(0.5)
    return now


SCRIPT = "/etc/shorewall/start"
FAILING = 'if [ $COMMAND = reload ]; then fatal_error "the provider is away"; fi'


@pytest.mark.leaves("unknown")
class TestWayBack:
    """What the gateway restores is exactly what was there."""

    def test_lock_out(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """File, owner, permissions and the live rules of everybody, whatever backups lie about."""
        broken("gateway", OTHERS["fail2ban"][0], OTHERS["fail2ban"][1])
        must(bare, "gateway", f"chmod 640 {RULES}; chgrp adm {RULES}; mkdir -p {BACKUPS}")
        # A backup that is not it, and newer by its time stamp than any.
        other = f"{BACKUPS}/rules.20300101T000000Z"
        must(bare, "gateway", f"echo nonsense > {other}; touch -d 2030-01-01 {other}")
        mend = f"sed -i '1d' {RULES}; {RELOAD}"
        broken("gateway", f"sed -i '1i DROP net fw tcp 22' {RULES}", mend)
        stat = f"stat -c '%a %U:%G %Y' {RULES}; cat {RULES}; iptables-save | grep '^-A'"
        before = must(bare, "gateway", stat)

        done = operator.apply("shorewall")

        assert done.status == 1, done.text
        assert "no new SSH connection came through" in done.text
        gone_back(bare)
        assert must(bare, "gateway", stat) == before

    def test_reload_that_fails(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """It is taken back at once, the timer is gone, and the message begins with the cause."""
        # The extension script runs in the reload only; its failure is Shorewall's.
        broken("gateway", f"echo '{FAILING}' > {SCRIPT}", f"rm {SCRIPT}")
        before = read(bare, "gateway", RULES)

        done = operator.apply("shorewall")
        now = snapshot(bare)

        assert done.status == 1, done.text
        assert "gateway, shorewall: ERROR: the provider is away" in done.text
        assert "has gone back" in done.text
        assert (now["gateway units runbook"], now["gateway saved firewalls"]) == ("", "")
        assert read(bare, "gateway", RULES) == before
        assert not ours(bare)

    def test_killed_between_file_and_reload(
        self, bare: Lab, operator: Operator, broken: Break
    ) -> None:
        """The next run that is locked out restores the file from before the killed one's."""
        before = read(bare, "gateway", RULES)
        process = operator.start("run", "--only", "shorewall")
        until(operator, process, lambda entry: entry.get("event", {}).get("event") == "outcome")
        process.kill()
        assert finished(process).status == -signal.SIGKILL
        assert not ours(bare)
        broken("gateway", f"echo '{FAILING}' > {SCRIPT}", f"rm {SCRIPT}")

        done = operator.apply("shorewall")

        assert done.status == 1, done.text
        assert read(bare, "gateway", RULES) == before
