"""Firewalls beside Shorewall's: what the other iptables has, and native tables of nftables.

The kernel leads each packet through the base chains of all of them, and what one drops or sends
elsewhere is lost to the others. Rules of nftables are read as far as iptables(8) can say the same;
what it cannot is an option that no packet is certain to match.

Source: libnftables-json(5); nft(8), "CHAINS".
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook.steps.shorewall.ruleset import Ruleset, parsed

# Prints what is there beside the rules of "$iptables", and in which of its own tables others have
# native chains, which go with its next restore. Asked of tables that are not there, iptables-legacy
# would load their modules. The tables of iptables-nft are in nftables, too, in capitals; of the
# native ones only those are read through which a forwarded packet comes.
PROBE = r"""
case $("$iptables" --version 2>/dev/null) in
  *nf_tables*) other=iptables-legacy; grep -qs . /proc/net/ip_tables_names || other= ;;
  *) other=iptables-nft ;;
esac
echo "== beside"; echo "$other"; [ -z "$other" ] || "$other-save" 2>/dev/null | PLAIN
echo "== mixed"
"$iptables-save" 2>/dev/null | sed -nE "s/^# Table .(\w+). .*incompatible.*/\1/p"
echo "== nftables"
nft list chains 2>/dev/null | awk '$1 == "table" { t = $2 " " $3 } $1 == "chain" { c = $2 }
    / hook (prerouting|forward) / && t ~ /^(ip|inet) / &&
    !(t ~ /^ip (raw|mangle|nat|filter|security)$/ && c ~ /^(PREROUTING|FORWARD)$/) { print t }' |
  sort -u | while read -r family table; do nft -j list table "$family" "$table"; done
"""

DNAT_PRIORITY = -100
_HOOKS = (
    ("raw", "PREROUTING", -300),
    ("mangle", "PREROUTING", -150),
    ("nat", "PREROUTING", DNAT_PRIORITY),
    ("mangle", "FORWARD", -150),
    ("filter", "FORWARD", 0),
    ("security", "FORWARD", 50),
)

_OPTIONS = {
    "payload tcp dport": "--dport",
    "payload th dport": "--dport",
    "payload ip saddr": "-s",
    "payload ip daddr": "-d",
    "payload ip protocol": "-p",
    "meta l4proto": "-p",
    "meta nfproto": "--nfproto",
    "meta protocol": "--nfproto",
    "meta iif": "-i",
    "meta iifname": "-i",
    "meta oif": "-o",
    "meta oifname": "-o",
    "ct state": "--ctstate",
    "ct status": "--ctstatus",
    "fib type daddr": "--dst-type",
}
_IN_CAPITALS = ("--ctstate", "--ctstatus", "--dst-type")
_TARGETS = ("accept", "drop", "return", "reject", "redirect", "dnat", "tproxy", "notrack")
_PASSED = ("counter", "log", "mangle", "comment")
_UNKNOWN = " --unknown"

Named = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Base:
    """A base chain that a packet for a published port comes through beside Shorewall's rules.

    Attributes:
        place: What it is called, with its backend.
        rules: The rules of its backend or table.
        table: Its table in them.
        chain: Its name.
        before: Whether packets come there before our DNAT.
    """

    place: str
    rules: Ruleset
    table: str
    chain: str
    before: bool


def of_iptables(text: str) -> list[Base]:
    """Return the base chains of the other iptables, which is named in the first line."""
    name, _, saved = text.partition("\n")
    rules = parsed(saved)
    return [
        Base(f"{name}, table {table}, chain {chain}", rules, table, chain, _before(chain, priority))
        for table, chain, priority in _HOOKS
        if (table, chain) in rules
    ]


def _before(hook: str, priority: int) -> bool:
    return hook.lower() == "prerouting" and priority <= DNAT_PRIORITY


def of_nftables(text: str) -> list[Base]:
    """Return the base chains of native tables, from one JSON object a table."""
    return [
        base
        for line in text.splitlines()
        if line.startswith("{")
        for base in _bases([(*each.items(),)[0] for each in json.loads(line)["nftables"]])
    ]


def _bases(objects: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Base]:
    """Return the base chains of one table."""
    chains = [what for kind, what in objects if kind == "chain"]
    named = {
        f"@{what['name']}": what.get("elem", []) for kind, what in objects if kind in ("set", "map")
    }
    table = f"{chains[0]['family']} {chains[0]['table']}" if chains else ""
    rules: Ruleset = {
        (table, what["name"]): [f":{what['name']} {what.get('policy', '-').upper()}"]
        for what in chains
    }
    for kind, what in objects:
        if kind == "rule":
            rules[table, what["chain"]] += _lines(what["chain"], what["expr"], named)
    for what in chains:
        hook, name = what.get("hook"), what["name"]
        if hook not in ("prerouting", "forward") or _is_of_iptables(table, name):
            continue
        # Of two that translate an address the first does.
        if what["type"] != "nat" or what["prio"] <= DNAT_PRIORITY:
            place = f"nftables, table {table}, chain {name}"
            yield Base(place, rules, table, name, _before(hook, what["prio"]))


def _is_of_iptables(table: str, chain: str) -> bool:
    return any((table, chain) == (f"ip {of}", name) for of, name, _ in _HOOKS)


def _lines(chain: str, expr: Sequence[dict[str, Any]], named: Named) -> Iterator[str]:
    """Return a rule as iptables-save(8) would print it; one with a map, for each element."""
    for statements in _without_maps(expr, named):
        line = f"-A {chain}"
        for statement in statements:
            kind, what = next(iter(statement.items()))
            if kind == "match":
                line += _option(what, named)
            elif kind in ("jump", "goto"):
                line += f" -{kind[0]} {what['target']}"
            elif kind in _TARGETS:
                line += f" -j {kind.upper()}{_to(what) if kind == 'dnat' else ''}"
                break  # tproxy and notrack have a verdict behind them
            elif kind not in _PASSED:
                line += _UNKNOWN
        yield line


def _without_maps(
    expr: Sequence[dict[str, Any]], named: Named
) -> Iterator[Sequence[dict[str, Any]]]:
    for at, statement in enumerate(expr):
        kind, what = next(iter(statement.items()))
        address = what.get("addr") if kind == "dnat" else None
        found = (
            what if kind == "vmap" else address.get("map") if isinstance(address, dict) else None
        )
        if found:
            for key, value in _elements(found["data"], named):
                match = {"match": {"op": "==", "left": found["key"], "right": key}}
                end = value if kind == "vmap" else {kind: what | {"addr": value}}
                yield [*expr[:at], match, end]
            return
    yield expr


def _elements(data: Any, named: Named) -> Sequence[Any]:
    """Return the elements of a set or a map, whether it is written out or has a name."""
    if isinstance(data, str) and data.startswith("@"):
        return named.get(data, [])
    if isinstance(data, dict) and "set" in data:
        return data["set"]  # type: ignore[no-any-return]
    return data if isinstance(data, list) else [data]


def _option(match: Mapping[str, Any], named: Named) -> str:
    (kind, what), *_ = match["left"].items()
    words = what.values() if isinstance(what, dict) else []
    left = " ".join([kind, *(w if isinstance(w, str) else " ".join(map(str, w)) for w in words)])
    option = _OPTIONS.get(left, "")
    values = [_value(each) for each in _elements(match["right"], named)]
    if option == "--dport" and not all(v.replace(":", "").isdigit() for v in values):
        option = ""
    if not option or not all(values) or not values or match["op"] not in ("==", "!=", "in"):
        return _UNKNOWN
    text = ",".join(values)
    text = text.upper() if option in _IN_CAPITALS else text
    return f"{' !' if match['op'] == '!=' else ''} {option} {shlex.quote(text)}"


def _value(element: Any) -> str:
    """Return a value as iptables has it; empty where it has none such."""
    if isinstance(element, dict):
        (kind, what), *_ = element.items()
        if kind == "elem":
            return _value(what["val"])
        if kind == "range":
            return ":".join(map(str, what))
        return f"{what['addr']}/{what['len']}" if kind == "prefix" else ""
    text = str(element)
    return f"{text[:-1]}+" if text.endswith("*") else text


def _to(what: Mapping[str, Any]) -> str:
    port = f":{what['port']}" if "port" in what else ""
    return f" --to-destination {shlex.quote(str(what.get('addr', '')) + port)}"
