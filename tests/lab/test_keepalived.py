"""keepalived on hosts as they are: other zones, other people's instances, packages half-way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Break, Done, Operator, SiteWriter
from witnesses import holders, must, read, snapshot, touched, writing

from runbook.lab import Lab

CONFIGURATION = "/etc/keepalived/keepalived.conf"
GONE = "rm -rf /etc/keepalived"
# After how many adverts that did not come our instance takes over, as keepalived itself says.
PATIENCE = """data=/tmp/keepalived.data; rm -f $data
kill -s "$(keepalived --signum=DATA)" "$(cat /run/keepalived.pid)"
said() { awk '/VRRP Instance/ { ours = $NF == "VI_1" } ours && /Down timer/ { print $NF }' $data; }
until said 2>/dev/null | grep .; do sleep 0.1; done
"""
ZONES = {"docker01": "Asia/Kolkata", "docker02": "America/Caracas", "docker03": "Europe/Madrid"}


def instance(lab: Lab, *lines: str, vrid: str = "70", last: int = 70) -> str:
    """Return somebody else's instance, with other lines in it."""
    text = "".join(f"    {line}\n" for line in lines)
    return (
        f"vrrp_instance OTHERS {{\n    interface {lab.topology.interface}\n"
        f"    virtual_router_id {vrid}\n    priority 90\n{text}"
        f"    virtual_ipaddress {{\n        {lab.topology.lan_address(last)}/24\n    }}\n}}\n"
    )


def with_globals(*lines: str) -> str:
    """Return somebody else's global definitions."""
    text = "".join(f"    {line}\n" for line in lines)
    return f"global_defs {{\n    router_id others\n{text}}}\n"


def converged(lab: Lab, operator: Operator) -> None:
    """Assert that a run ends well, that the next one has nothing to do, and who holds the VIP."""
    done = operator.apply("keepalived")
    assert done.status == 0, done.text
    again = operator.plan("keepalived")
    assert again.status == 0, again.text
    assert holders(lab, str(lab.topology.vip)) == ["docker01"]


def refused(done: Done, *telling: str) -> None:
    """Assert that nothing was to be done, and that the words tell why."""
    assert done.status == 3, done.text
    assert [words for words in telling if words not in done.text] == [], done.text


def everywhere(lab: Lab, scripts: dict[str, str]) -> None:
    """Run a script on each of some nodes, all at once."""
    with ThreadPoolExecutor(len(scripts)) as pool:
        list(pool.map(lambda node: must(lab, node, scripts[node]), scripts))


class TestTime:
    """No zone, clock or date of a file makes a run do something again."""

    @pytest.fixture
    def abroad(self, bare: Lab) -> Iterator[Lab]:
        """Have every manager in another time zone."""
        link = "ln -sfn /usr/share/zoneinfo/{} /etc/localtime"
        everywhere(bare, {node: link.format(zone) for node, zone in ZONES.items()})
        yield bare
        everywhere(bare, {node: link.format("Etc/UTC") for node in ZONES})

    def test_zones(self, abroad: Lab, operator: Operator) -> None:
        """East, half an hour off and west of UTC: the second run has nothing to do."""
        assert must(abroad, "docker01", "date +%z").strip() == "+0530"
        converged(abroad, operator)
        before = snapshot(abroad)
        assert operator.apply("keepalived").status == 0
        assert touched(before, snapshot(abroad)) == set()

    @pytest.mark.parametrize(
        "how",
        [
            "touch -d '+2 days' {0}",
            "cp -p {0} {0}.old && touch -d '2001-01-01' {0}",
            "cp -p {0} /run/kept && mv /run/kept {0}",
        ],
        ids=["dated in the future", "dated long ago", "restored"],
    )
    def test_dates_of_the_file(self, edge: Lab, operator: Operator, how: str) -> None:
        """Whatever its date says, one run is enough."""
        must(edge, "docker02", how.format(CONFIGURATION))
        assert operator.apply("keepalived").status == 0
        assert operator.plan("keepalived").status == 0
        must(edge, "docker02", f"rm -f {CONFIGURATION}.old")

    def test_an_old_file_put_back(self, edge: Lab, operator: Operator) -> None:
        """It is older than the last reload, and yet not what keepalived runs on."""
        must(
            edge,
            "docker02",
            f"cp -p {CONFIGURATION} /run/kept && sed -i 's/priority 2/priority 7/' {CONFIGURATION}"
            f" && systemctl reload keepalived && sleep 0.1 && cp -p /run/kept {CONFIGURATION}",
        )
        planned = operator.plan("keepalived")
        assert planned.status == 4, planned.text
        assert "reload service keepalived" in planned.text
        converged(edge, operator)


class TestJudged:
    """keepalived judges what it is to have while that is planned, and only what is new counts."""

    def test_warnings_of_others(self, bare: Lab, operator: Operator) -> None:
        """A password cut short, a word it does not know, a script without a user: all theirs."""
        theirs = {
            "docker01": instance(
                bare, "authentication {", "auth_type PASS", "auth_pass verylongpassword", "}"
            ),
            "docker02": instance(bare, "no_such_word 7"),
            "docker03": 'vrrp_script look {\n    script "/etc/hostname"\n    interval 60\n}\n'
            + instance(bare, "track_script {", "look weight 1", "}"),
        }
        everywhere(bare, {node: writing(CONFIGURATION, text) for node, text in theirs.items()})
        converged(bare, operator)
        for node, text in theirs.items():
            assert read(bare, node, CONFIGURATION).startswith(text)

    @pytest.mark.leaves("edge")
    def test_our_own_fault(self, edge: Lab, operator: Operator, write_site: SiteWriter) -> None:
        """It is the first word of the refusal, beside somebody else's, before the first change."""
        site = write_site({"managers": {"docker02": {"interface": "enp9s9"}}})
        before = snapshot(edge)
        refused(
            operator.apply("keepalived", site), "docker02, keepalived: ", "enp9s9", "keepalived -t"
        )
        assert touched(before, snapshot(edge)) == set()

    @pytest.mark.leaves("edge")
    def test_an_unclosed_block(self, edge: Lab, operator: Operator, broken: Break) -> None:
        """Our instance would be a part of it, so it is named with its line."""
        broken(
            "docker02",
            f"cp -p {CONFIGURATION} /run/kept; sed -i '1i vrrp_script a {{' {CONFIGURATION}",
            f"cp -p /run/kept {CONFIGURATION} && systemctl reload keepalived",
        )
        refused(operator.plan("keepalived"), f"{CONFIGURATION}, line 1: a block that has no end")


class TestIncluded:
    """What keepalived really reads, from whichever file."""

    @pytest.mark.leaves("bare")
    @pytest.mark.parametrize(
        ("main", "vrid"),
        [
            ("include /etc/keepalived/conf.d/*.conf", "51"),
            ("include conf.d/up/all", "51"),
            ("$ID=51\nincluder {none,conf.d}/w*.conf", "${ID}"),
            ("include conf.d/web.conf", "9\n@docker02 virtual_router_id 51"),
        ],
        ids=["pattern", "nested", "parameter", "for this host"],
    )
    def test_conflict(
        self, bare: Lab, operator: Operator, broken: Break, main: str, vrid: str
    ) -> None:
        """The file and the line are named, and nothing is changed."""
        web = "/etc/keepalived/conf.d/web.conf"
        files = {
            CONFIGURATION: f"{main}\n",
            "/etc/keepalived/conf.d/up/all": "include ../w*.conf\n",
            web: instance(bare, vrid=vrid),
        }
        broken("docker02", "\n".join(writing(*file) for file in files.items()), GONE)
        before = snapshot(bare)
        refused(
            operator.apply("keepalived"),
            f"docker02, keepalived: {web}, which somebody else wrote, already has",
            "virtual_router_id 51 (line ",
        )
        assert touched(before, snapshot(bare)) == set()

    def test_of_others(self, bare: Lab, operator: Operator) -> None:
        """A VRID on another interface or for another host, and relative names, live beside ours."""
        text = instance(bare, vrid="9\n@docker01 virtual_router_id 51")
        main = writing(CONFIGURATION, "include conf.d/*.conf\n")
        must(bare, "docker02", f"{main}\n{writing('/etc/keepalived/conf.d/web.conf', text)}")
        converged(bare, operator)
        assert holders(bare, bare.topology.lan_address(70)) == ["docker02"]

    @pytest.mark.leaves("edge")
    @pytest.mark.parametrize(
        "path",
        ["/etc/default/keepalived", "/etc/systemd/system/keepalived.service.d/other.conf"],
    )
    def test_another_file(self, edge: Lab, operator: Operator, broken: Break, path: str) -> None:
        """A keepalived that is started with another file never sees our instance."""
        text = 'DAEMON_ARGS="-D -f /etc/keepalived/other.conf"\n'
        if path.endswith(".conf"):
            text = "[Service]\nExecStart=\n"
            text += "ExecStart=/usr/sbin/keepalived -n --use-file /etc/keepalived/other.conf\n"
        broken(
            "docker03",
            f"cp -p {path} /run/kept 2>/dev/null; {writing(path, text)}\nsystemctl daemon-reload",
            f"rm {path}; [ ! -e /run/kept ] || mv /run/kept {path}; systemctl daemon-reload",
        )
        refused(
            operator.plan("keepalived"),
            "docker03, keepalived: keepalived there reads",
            "other.conf",
        )


class TestGlobals:
    """Somebody else's globals, which would be ours too."""

    def test_are_answered(self, bare: Lab, operator: Operator) -> None:
        """Another version, strictness and another patience, each on one manager: one holder."""
        theirs = {
            "docker01": with_globals("vrrp_down_timer_adverts 1"),
            "docker02": with_globals("vrrp_version 3"),
            "docker03": with_globals("vrrp_strict"),
        }
        everywhere(bare, {node: writing(CONFIGURATION, text) for node, text in theirs.items()})
        converged(bare, operator)
        assert must(bare, "docker01", PATIENCE).strip() == "3"
        vip = str(bare.topology.vip)
        for node, following in (("docker01", "docker02"), ("docker02", "docker03")):
            must(bare, node, "systemctl stop keepalived")
            must(bare, following, _until(f"ip -o -4 addr show to {vip}/32 | grep -q ."))
            assert holders(bare, vip) == [following]
        # A strict one drops what comes for the VIP.
        must(bare, "gateway", _until(f"ping -c 1 -W 1 {vip}"))
        for node, text in theirs.items():
            assert read(bare, node, CONFIGURATION).startswith(text)

    @pytest.mark.leaves("bare")
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (with_globals("vrrp_mcast_group4 224.0.0.77"), "vrrp_mcast_group4 224.0.0.77"),
            ("net_namespace blue\n", "net_namespace blue"),
            ("vrrp_sync_group G {\n  group {\n    VI_1\n  }\n}\n", "VI_1 in a vrrp_sync_group"),
        ],
        ids=["group", "namespace", "sync group"],
    )
    def test_that_cannot_be(
        self, bare: Lab, operator: Operator, broken: Break, text: str, said: str
    ) -> None:
        """They are refused with file and line."""
        broken("docker02", writing(CONFIGURATION, text), GONE)
        before = snapshot(bare)
        refused(
            operator.apply("keepalived"), "docker02, keepalived: ", said, CONFIGURATION, "line "
        )
        assert touched(before, snapshot(bare)) == set()


class TestPackage:
    """A host on which apt or systemd is not as it was installed."""

    def test_no_lists(self, bare: Lab, operator: Operator) -> None:
        """They are fetched, nobody is asked, and a foreign start policy and configuration stay."""
        must(bare, "docker01", "rm -rf /var/lib/apt/lists/*")
        must(bare, "docker02", writing("/etc/default/keepalived", 'DAEMON_ARGS="-D"\n'))
        policy = writing("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
        must(bare, "docker03", f"{policy}\nchmod +x /usr/sbin/policy-rc.d")
        shown = operator.plan("keepalived")
        assert "the version on offer, after apt-get update" in shown.text
        try:
            converged(bare, operator)
        finally:
            must(bare, "docker03", "rm /usr/sbin/policy-rc.d")
        assert read(bare, "docker02", "/etc/default/keepalived") == 'DAEMON_ARGS="-D"\n'

    @pytest.mark.leaves("bare")
    @pytest.mark.parametrize(
        "fault",
        [
            (
                "touch /var/lib/dpkg/updates/0001",
                "rm /var/lib/dpkg/updates/0001",
                "sudo dpkg --configure -a",
            ),
            (
                "cp -p /var/lib/dpkg/status /run/kept; sed -i '/^Package: curl$/,/^$/"
                "s/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status",
                "cp -p /run/kept /var/lib/dpkg/status",
                "dpkg was interrupted there (curl)",
            ),
            (
                "systemctl mask keepalived",
                "systemctl unmask keepalived",
                "sudo systemctl unmask keepalived",
            ),
            (
                "cp -p /etc/apt/sources.list /run/kept; : >/etc/apt/sources.list; apt-get update",
                "cp -p /run/kept /etc/apt/sources.list; apt-get update",
                "apt would not install 'keepalived'",
            ),
            (
                "apt-mark hold keepalived",
                "apt-mark unhold keepalived",
                "sudo apt-mark unhold keepalived",
            ),
        ],
        ids=["journal", "half-configured", "masked", "not on offer", "held"],
    )
    def test_is_foreseen(
        self, bare: Lab, operator: Operator, broken: Break, fault: tuple[str, str, str]
    ) -> None:
        """What would fail half-way is refused, with the line that mends it."""
        how, mend, said = fault
        broken("docker01", how, mend)  # the one that has no keepalived yet
        before = snapshot(bare)
        refused(operator.apply("keepalived"), "docker01", said)
        assert touched(before, snapshot(bare)) == set()


class TestHolder:
    """Who holds the VIP, and why not the one that should."""

    @pytest.mark.leaves("edge")
    def test_adverts_are_dropped(self, edge: Lab, operator: Operator, broken: Break) -> None:
        """Two managers hold it, and the rule that keeps them apart is named."""
        broken(
            "docker02",
            "iptables -I INPUT -p vrrp -j DROP; "
            + _until(f"ip -o -4 addr show to {edge.topology.vip}/32 | grep -q ."),
            "iptables -D INPUT -p vrrp -j DROP; "
            + _until(f"! ip -o -4 addr show to {edge.topology.vip}/32 | grep -q ."),
        )
        done = operator.apply("keepalived")
        assert done.status == 1, done.text
        assert "docker01, docker02: VRRP does not pass between them" in done.text
        # The protocol has no name where there is no /etc/protocols.
        assert re.search(r"docker02 has the rule -A INPUT -p (vrrp|112) -j DROP", done.text)

    @pytest.mark.leaves("edge")
    @pytest.mark.parametrize("prefix", [24, 32])
    def test_a_fixed_address(
        self, edge: Lab, operator: Operator, broken: Break, prefix: int
    ) -> None:
        """An address that keepalived did not give is told from one that it gave."""
        vip = f"{edge.topology.vip}/{prefix} dev {edge.topology.interface}"
        stop = "systemctl stop keepalived; " if prefix == 32 else ""
        start = f"; {stop.replace('stop', 'start')}" if stop else ""
        broken("docker03", f"{stop}ip addr add {vip}", f"ip addr del {vip}{start.rstrip('; ')}")
        done = operator.apply("keepalived")
        told = "which is not how keepalived gives it" if prefix == 24 else ""
        assert done.status == (1 if told else 0), done.text
        assert told in done.text

    @pytest.mark.leaves("bare")
    def test_an_address_before_keepalived(
        self, bare: Lab, operator: Operator, broken: Break
    ) -> None:
        """It is refused with the command that takes it off."""
        vip = f"{bare.topology.vip}/24 dev {bare.topology.interface}"
        broken("docker03", f"ip addr add {vip}", f"ip addr del {vip}")
        refused(
            operator.apply("keepalived"),
            "docker03, keepalived: ",
            "is an address of the host's own",
            vip,
        )


def _until(condition: str) -> str:
    """Return a script that waits for a condition."""
    return f"timeout 20 sh -c \"until sh -c '{condition}'; do sleep 0.1; done\""
