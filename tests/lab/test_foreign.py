"""What other people wrote into the same files stays theirs, or the run refuses and says why."""

from __future__ import annotations

import pytest
from conftest import OWN_LAB, Break, Operator, SiteWriter
from witnesses import RELOAD, holders, must, read, snapshot, touched, writing

from runbook.lab import Lab

VIP = str(OWN_LAB.vip)
OTHERS_VIP = OWN_LAB.lan_address(50)
RULES = "/etc/shorewall/rules"
CONFIGURATION = "/etc/keepalived/keepalived.conf"
BEGIN, END = "# BEGIN runbook", "# END runbook\n"

# Tabs, a comment, trailing blanks, an umlaut in Latin-1 and no line feed at the end: every byte
# of it is somebody's. The first rule is one of ours in another spelling.
FOREIGN_RULES = (
    "?SECTION NEW\n"
    "ACCEPT net fw tcp 22\n"
    "DNS(ACCEPT) loc fw\n"
    "Ping(ACCEPT)\tloc\tfw   \n"
    f"DNAT\tnet   loc:{VIP}\ttcp\t80\t# the web, by hand\n"
    f"DNAT net loc:{OWN_LAB.lan_address(14)}:443 tcp 443 # f\\374r uns"
)
FOREIGN_INSTANCE = f"""! written by somebody else
vrrp_instance OTHERS {{
    interface enp0s3
    priority 90
    virtual_router_id 62
    virtual_ipaddress {{
        {OTHERS_VIP}
    }}
}}
"""
RIVAL_INSTANCE = FOREIGN_INSTANCE.replace("virtual_router_id 62", "virtual_router_id 51")


def outside_block(content: str) -> str:
    """Return a file without the runbook's block."""
    head, _, rest = content.partition(BEGIN)
    return head + rest.partition(END)[2]


class TestRules:
    """Rules of somebody else in /etc/shorewall/rules."""

    def test_stay_byte_for_byte_and_are_not_doubled(self, bare: Lab, operator: Operator) -> None:
        """The block comes after them; the rule that is already there is not stated again."""
        must(bare, "gateway", f"printf '%b' '{FOREIGN_RULES}' > {RULES}; {RELOAD}")
        before = must(bare, "gateway", f"base64 -w 0 {RULES}")
        shown = operator.plan("shorewall")
        assert shown.status == 4, shown.text
        assert f"+DNAT net loc:{VIP}:8080 tcp 8080" in shown.text
        done = operator.apply("shorewall")
        assert done.status == 0, done.text
        size = must(bare, "gateway", f"printf '%b' '{FOREIGN_RULES}' | wc -c").strip()
        kept = must(bare, "gateway", f"head -c {size} {RULES} | base64 -w 0")
        assert kept == before
        added = must(bare, "gateway", f"tail -c +$(({size} + 1)) {RULES}").strip().splitlines()
        assert added[0].startswith(BEGIN)
        assert added[1:] == [f"DNAT net loc:{VIP}:8080 tcp 8080", END.strip()]
        live = must(bare, "gateway", "iptables-save -t nat | grep -e '-j DNAT'")
        ports = [line.partition("--dport ")[2].split()[0] for line in live.splitlines()]
        assert sorted(ports) == ["443", "80", "8080"]
        assert operator.plan("shorewall").status == 0

    def test_are_backed_up_before_the_file_is_written(self, bare: Lab, operator: Operator) -> None:
        """The file as it was is in /var/backups/runbook."""
        before = read(bare, "gateway", RULES)
        assert operator.apply("shorewall").status == 0
        assert read(bare, "gateway", "/var/backups/runbook/rules.*") == before


class TestKeepalived:
    """A keepalived.conf of somebody else."""

    def test_other_instance_stays_byte_for_byte(self, bare: Lab, operator: Operator) -> None:
        """With another VRID and another address it lives on beside ours."""
        must(bare, "docker02", writing(CONFIGURATION, FOREIGN_INSTANCE))
        done = operator.apply("keepalived")
        assert done.status == 0, done.text
        content = read(bare, "docker02", CONFIGURATION)
        assert content.startswith(FOREIGN_INSTANCE)
        assert outside_block(content) == FOREIGN_INSTANCE
        assert holders(bare, OTHERS_VIP) == ["docker02"]
        assert holders(bare, VIP) == ["docker01"]
        assert operator.plan("keepalived").status == 0

    @pytest.mark.leaves("bare")
    def test_same_vrid_is_refused(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """Two instances that would fight are named with host and file, and nothing is changed."""
        broken("docker01", writing(CONFIGURATION, RIVAL_INSTANCE), "rm -r /etc/keepalived")
        before = snapshot(bare)
        done = operator.apply("keepalived")
        assert done.status == 3
        assert f"docker01, keepalived: {CONFIGURATION}, which somebody else wrote" in done.text
        assert "already has virtual_router_id 51" in done.text
        assert "keepalived.replace_unmanaged: true" in done.text
        assert touched(before, snapshot(bare)) == set()

    def test_is_replaced_after_a_backup_where_the_site_says_so(
        self, bare: Lab, operator: Operator, write_site: SiteWriter
    ) -> None:
        """``replace_unmanaged: true`` hands the file over, and the old one is kept."""
        must(bare, "docker01", writing(CONFIGURATION, RIVAL_INSTANCE))
        site = write_site({"keepalived": {"replace_unmanaged": True}})
        shown = operator.plan("keepalived", site)
        ours = next(c for c in shown.changes if c["host"] == "docker01" and "file" in c["resource"])
        assert "-vrrp_instance OTHERS {" in ours["diff"]
        done = operator.apply("keepalived", site)
        assert done.status == 0, done.text
        content = read(bare, "docker01", CONFIGURATION)
        assert content.startswith(BEGIN)
        assert content.endswith(END)
        assert read(bare, "docker01", "/var/backups/runbook/keepalived.conf.*") == RIVAL_INSTANCE
