"""Firewalls beside Shorewall's: what they take is told, and what they let through is theirs."""

from __future__ import annotations

import pytest
from fakes import Recordings, live, parameters, recorded

from runbook.errors import Refused
from runbook.steps import shorewall
from runbook.steps.shorewall import WAY

NATIVE = recorded("shorewall-beside")
TAKING = {
    "policy": "table inet filter, chain forward",
    "policy-narrow": "table ip x, chain forward",
    "drop-mangled": "table ip x, chain pre",
    "reject-after": "table inet x, chain pre",
    "notrack": "table ip x, chain raw",
    "redirect": "table ip nat, chain prerouting",
    "dnat-jump": "table inet x, chain pre",
    "dnat-map": "table ip x, chain pre",
    "vmap": "table ip x, chain forward",
    "named-set": "table inet x, chain forward",
    "tproxy": "table ip x, chain pre",
}
TABLES = {
    "nat": ("PREROUTING", "POSTROUTING", "DOCKER"),
    "filter": ("INPUT", "FORWARD", "DOCKER"),
    "mangle": ("PREROUTING", "FORWARD"),
}


def gateway(beside: str = "", nftables: str = "", mixed: str = "") -> Recordings:
    """Return the recorded gateway with something beside Shorewall's rules."""
    text = recorded("shorewall-gateway")["compare"]
    text = text.replace(
        "== beside\n\n== mixed\n== nftables\n",
        f"== beside\n{beside}\n== mixed\n{mixed}== nftables\n{nftables}\n",
    )
    return Recordings({"gateway": recorded("shorewall-gateway") | {"compare": text}})


def saved(name: str, table: str, *rules: str, policy: str = "ACCEPT") -> str:
    """Return what the other iptables saves of one table."""
    chains = [f":{c} {'-' if c == 'DOCKER' else policy}" for c in TABLES[table]]
    return "\n".join([name, f"*{table}", *chains, *rules, "COMMIT"])


def refusal(answer: Recordings) -> Refused | None:
    """Return the refusal of a plan, if it is refused."""
    here = live(parameters("article"), answer)
    facts = shorewall.observe(here)
    try:
        shorewall.plan(here.site_file, facts)
    except Refused as refused:
        return refused
    return None


class TestIptables:
    """The iptables that Shorewall does not use."""

    @pytest.mark.parametrize("name", ["iptables-legacy", "iptables-nft"])
    @pytest.mark.parametrize(
        ("table", "rule"),
        [
            ("nat", "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128"),
            ("nat", "-A PREROUTING -i net0 -p tcp -j DNAT --to-destination 10.0.0.9"),
            ("mangle", "-A PREROUTING -p tcp -m multiport --dports 80,443 -j DROP"),
            ("mangle", "-A FORWARD -d 10.0.0.2/32 -j DROP"),
            ("filter", "-A FORWARD -i net0 -o lan0 -j REJECT"),
        ],
    )
    def test_taken(self, name: str, table: str, rule: str) -> None:
        """The refusal begins with the backend, the table and the chain, and names the rule."""
        refused = refusal(gateway(saved(name, table, rule)))

        assert refused is not None
        assert refused.message.startswith(f"{name}, table {table}, chain {rule.split()[1]}, ")
        assert refused.message.endswith(
            f" takes tcp port 80, which does not come to 10.0.0.2 ({rule})"
        )

    def test_policy(self) -> None:
        """Docker's own, which nothing that it accepts is for."""
        rules = ("-A FORWARD -o docker0 -j ACCEPT", "-A FORWARD -j DOCKER")
        refused = refusal(gateway(saved("iptables-legacy", "filter", *rules, policy="DROP")))

        assert refused is not None
        assert refused.message.startswith("iptables-legacy, table filter, chain FORWARD, ")
        assert refused.message.endswith("(policy DROP)")

    @pytest.mark.parametrize(
        ("table", "policy", "rule"),
        [
            ("filter", "DROP", "-A FORWARD -i net0 -o lan0 -j ACCEPT"),
            ("filter", "DROP", "-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT"),
            ("filter", "DROP", "-A FORWARD -p tcp -m multiport --dports 80,8080 -j ACCEPT"),
            ("filter", "ACCEPT", "-A INPUT -p tcp -m tcp --dport 80 -j DROP"),
            ("filter", "ACCEPT", "-A FORWARD -s 9.9.9.9/32 -j DROP"),
            ("filter", "ACCEPT", "-A FORWARD -m set --match-set banned src -j DROP"),
            ("nat", "ACCEPT", "-A POSTROUTING -o net0 -j MASQUERADE"),
            ("nat", "ACCEPT", "-A PREROUTING -p tcp -m tcp --dport 80 -j ACCEPT"),
            ("nat", "ACCEPT", "-A PREROUTING -i lan0 -p tcp -j REDIRECT --to-ports 3128"),
            (
                "nat",
                "ACCEPT",
                "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
                "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 81 -j DNAT --to-destination 1.1.1.1",
            ),
        ],
    )
    def test_harmless(self, table: str, policy: str, rule: str) -> None:
        """What lets the published ports through is nobody's business."""
        assert refusal(gateway(saved("iptables-legacy", table, rule, policy=policy))) is None


class TestNftables:
    """Native tables, as nft lists them."""

    @pytest.mark.parametrize("name", TAKING)
    def test_taken(self, name: str) -> None:
        """The refusal begins with the table and the chain."""
        refused = refusal(gateway(nftables=NATIVE[name]))

        assert refused is not None
        assert refused.message.startswith(f"nftables, {TAKING[name]}, ")
        assert "takes tcp port 80, which does not come to 10.0.0.2" in refused.message

    @pytest.mark.parametrize("name", [name for name in NATIVE if name not in TAKING])
    def test_harmless(self, name: str) -> None:
        """What lets the ports through, or may not match, is nobody's business."""
        assert refusal(gateway(nftables=NATIVE[name])) is None

    def test_all_are_read(self) -> None:
        """Each table is a line of its own."""
        refused = refusal(gateway(nftables=NATIVE["counters"] + "\n" + NATIVE["vmap"]))

        assert refused is not None
        assert refused.message.startswith("nftables, table ip x, chain forward, ")

    def test_tables_of_iptables(self) -> None:
        """Chains in capitals in a table of iptables-nft are read from iptables-nft-save."""
        text = NATIVE["redirect"].replace('"prerouting", "handle"', '"PREROUTING", "handle"')
        text = text.replace('"chain": "prerouting"', '"chain": "PREROUTING"')

        assert refusal(gateway(nftables=text)) is None
        assert refusal(gateway(nftables=text.replace('"nat", ', '"web", '))) is not None

    def test_check(self) -> None:
        """The check of the way fails, too, with the same words."""
        here = live(parameters("article"), gateway(nftables=NATIVE["policy"]))
        check = next(check for check in shorewall.verify(here) if check.name == WAY)

        assert not check.passed
        assert check.seen.startswith("nftables, table inet filter, chain forward, ")


class TestMixed:
    """Native chains in tables that Shorewall loads, as a howto's masquerade in ``ip nat``."""

    @pytest.mark.parametrize(
        ("tables", "lost"),
        [
            ("nat\n", "those of nftables in table ip nat"),
            (
                "filter\nnat\n",
                "those of nftables in table ip filter; those of nftables in table ip nat",
            ),
        ],
    )
    def test_reload(self, tables: str, lost: str) -> None:
        """Where a reload is needed, it would take them away: no."""
        refused = refusal(with_drift(gateway(mixed=tables)))

        assert refused is not None
        assert refused.message == (
            f"a reload takes away the chains in which others have rules: {lost}"
        )

    def test_no_reload(self) -> None:
        """Where none is needed they are well."""
        assert refusal(gateway(mixed="nat\n")) is None

    @pytest.mark.parametrize("tables", ["", "security\n"])
    def test_other_tables(self, tables: str) -> None:
        """What Shorewall does not load is not lost."""
        assert refusal(with_drift(gateway(mixed=tables))) is None


def with_drift(answer: Recordings) -> Recordings:
    """Return a gateway on which one of Shorewall's live rules is gone."""
    texts = dict(answer.hosts["gateway"])
    before, live_rules = texts["compare"].split("== live\n")
    texts["compare"] = before + "== live\n" + live_rules.replace("-A net-fw -j DROP\n", "", 1)
    return Recordings({"gateway": texts})
