"""Where a packet for a published port goes in a firewall: to the VIP, or where else, and why.

A rule takes the port only where it is certain to match a new connection from an ordinary outside
address. What depends on more (a list of addresses, a limit, a time of day) restricts the port and
does not take it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network

from runbook.site import Forward, Site
from runbook.steps.shorewall.beside import Base
from runbook.steps.shorewall.ruleset import Ruleset

# What ends a packet's way through a table. Everything else that is no chain (LOG, MARK, …) goes on.
_ENDS = {"ACCEPT", "DROP", "REJECT", "DNAT", "REDIRECT", "NFQUEUE", "QUEUE", "TPROXY", "NOTRACK"}
_ENDS |= {"NETMAP", "TARPIT"}
_KILLS = {"DROP", "REJECT", "TPROXY", "NOTRACK", "CT", "TARPIT"}
_TRANSLATES = {"DNAT", "REDIRECT", "NETMAP"}
_PORTS = ("--dport", "--dports", "--ports")
_ANY = "0.0.0.0/0"
_SYN_FLAGS = {"ALL": "FIN,SYN,RST,PSH,ACK,URG", "NONE": ""}


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection from outside; empty is not known."""

    port: int
    published: int
    sources: tuple[str, ...]
    destination: str
    came_to: str
    interface: str
    towards: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a chain: what it asks and where it sends what matches."""

    table: str
    chain: str
    line: str
    matches: tuple[tuple[str, str, bool], ...]  # option, its value, whether it is negated
    target: str
    to: str = ""
    goto: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A published port that another rule takes, or that no rule at all leads to the VIP."""

    port: int
    rule: Rule | None


def taken(
    site: Site, rules: Ruleset, addresses: dict[str, list[str]], towards: str
) -> Iterator[Taken]:
    """Return the published ports that do not lead to the VIP, with the rule that takes each.

    Args:
        site: The declared site.
        rules: The whole firewall.
        addresses: The gateway's addresses by interface.
        towards: The interface through which the VIP is reached.
    """
    vip = str(site.keepalived.vip)
    for forward in site.shorewall.forward:
        port = forward.to_port or forward.port
        packets = _packets(site, forward, rules, addresses, towards)
        if not packets:
            yield Taken(forward.port, None)
        found = [_taker(rules, packet, vip, port) for packet in packets]
        # Another address of the gateway may well lead elsewhere.
        if found and all(found):
            yield Taken(forward.port, found[0])


def taken_beside(
    site: Site, rules: Ruleset, beside: list[Base], addresses: dict[str, list[str]], towards: str
) -> Iterator[tuple[Base, Taken]]:
    """Return the published ports that a firewall beside Shorewall's takes, and where.

    Args:
        site: The declared site.
        rules: Shorewall's whole firewall, which says where the packets come from.
        beside: The base chains of the others.
        addresses: The gateway's addresses by interface.
        towards: The interface through which the VIP is reached.
    """
    for forward in site.shorewall.forward:
        packets = _packets(site, forward, rules, addresses, towards)
        for base in beside:
            found = [_taker_beside(base, packet, site, forward) for packet in packets]
            if found and all(found):
                yield base, Taken(forward.port, found[0])


def _packets(
    site: Site, forward: Forward, rules: Ruleset, addresses: dict[str, list[str]], towards: str
) -> list[Packet]:
    """Return the packets that our DNAT rule for a port is for, as they come in."""
    public, port = site.gateway.public_address, forward.port
    sources = tuple(str(network) for network in forward.source)
    return [
        Packet(port, port, sources, address, address, interface, towards)
        for interface in sorted(_interfaces(rules, forward, str(site.keepalived.vip)))
        for address in ([str(public)] if public else addresses.get(interface, [""]))
    ]


def _taker_beside(base: Base, packet: Packet, site: Site, forward: Forward) -> Rule | None:
    vip, port = str(site.keepalived.vip), forward.to_port or forward.port
    if not base.before:
        packet = replace(packet, port=port, destination=vip)
    rule = _verdict(base.rules, base.table, base.chain, packet)
    policy = base.rules[base.table, base.chain][0]
    if rule is None and policy.split()[1] in _KILLS:
        return Rule(base.table, base.chain, f"policy {policy.split()[1]}", (), "DROP")
    # What is accepted in one goes on to the next.
    taking = (
        rule is not None and rule.target in _KILLS | _TRANSLATES and not _leads(rule, vip, port)
    )
    return rule if taking else None


def _taker(rules: Ruleset, packet: Packet, vip: str, port: int) -> Rule | None:
    for table in ("raw", "mangle", "nat"):
        rule = _verdict(rules, table, "PREROUTING", packet)
        if rule and (rule.target in _KILLS or table == "nat") and not _leads(rule, vip, port):
            return rule
    packet = replace(packet, port=port, destination=vip)
    for table in ("mangle", "filter"):
        rule = _verdict(rules, table, "FORWARD", packet)
        if rule and rule.target in _KILLS:
            return rule
    return None


def _leads(rule: Rule, vip: str, port: int) -> bool:
    return rule.target == "DNAT" and rule.to in (vip, f"{vip}:{port}")


def _interfaces(rules: Ruleset, forward: Forward, vip: str) -> set[str]:
    """Return through which interfaces packets come that our DNAT rule is for."""
    goal = [
        (chain, rule)
        for chain in rules
        if chain[0] == "nat"
        for rule in _rules(rules, *chain)
        if _leads(rule, vip, forward.to_port or forward.port) and _for_port(rule, forward.port)
    ]
    found: set[str] = set()
    for (_, name), rule in goal:
        found |= set(_incoming(rules, name, _asked(rule, "-i"), frozenset()))
    return found


def _incoming(rules: Ruleset, name: str, known: str, seen: frozenset[str]) -> Iterator[str]:
    if name == "PREROUTING" or known:
        yield known
        return
    for table, chain in rules:
        if table == "nat" and chain not in seen:
            for rule in _rules(rules, table, chain):
                if rule.target == name:
                    yield from _incoming(rules, chain, _asked(rule, "-i"), seen | {name})


def _asked(rule: Rule, option: str) -> str:
    return next((value for o, value, not_ in rule.matches if o == option and not not_), "")


def _for_port(rule: Rule, port: int) -> bool:
    asked = [(o, value, not_) for o, value, not_ in rule.matches if o in _PORTS]
    return bool(asked) and all(_has_port(value, port) != not_ for _, value, not_ in asked)


def _verdict(rules: Ruleset, table: str, chain: str, packet: Packet, depth: int = 0) -> Rule | None:
    """Return the rule that surely ends the packet's way through a table, if there is one."""
    for rule in _rules(rules, table, chain) if depth < 50 else ():
        if not all(_certain(packet, *match) for match in rule.matches):
            continue
        if rule.target in _ENDS:
            return rule
        if rule.target == "RETURN":
            return None
        if rule.target == "CT" and "--notrack" in rule.line:
            return rule
        if (table, rule.target) in rules:
            found = _verdict(rules, table, rule.target, packet, depth + 1)
            if found and any(option in _PORTS for option, _, _ in rule.matches):
                # The rule that asked for the port is the one to name, not the end of a log chain.
                return replace(found, chain=chain, line=rule.line)
            if found or rule.goto:
                return found
    return None


def _rules(rules: Ruleset, table: str, chain: str) -> Iterator[Rule]:
    for line in rules.get((table, chain), [])[1:]:
        yield _rule(table, chain, line)


def _rule(table: str, chain: str, line: str) -> Rule:
    words = shlex.split(line)[2:]
    matches: list[tuple[str, str, bool]] = []
    target, to, goto, negated = "", "", False, False
    while words:
        word = words.pop(0)
        if word == "!":
            negated = True
            continue
        if word == "--comment":  # what somebody says may look like an option
            words.pop(0)
            continue
        values = []
        while words and not words[0].startswith("-") and words[0] != "!":
            values.append(words.pop(0))
        value = " ".join(values)
        if word in ("-j", "-g"):
            target, goto = value, word == "-g"
        elif target:  # from here on these are the target's own options
            to = value if word == "--to-destination" else to
        elif word != "-m" or (value != "tcp" and words[:1] in (["-j"], ["-g"], ["-m"])):
            # A module that has no option asks something by itself (`-m socket`), but for tcp.
            matches.append((word, value, negated))
        negated = False
    return Rule(table, chain, line, tuple(matches), target, to, goto)


def _certain(packet: Packet, option: str, value: str, negated: bool) -> bool:
    """Return whether the packet certainly matches; what is not known here never does."""
    if option in ("-s", "-d"):
        known = packet.sources if option == "-s" else (packet.destination,)
        return _from(known, value, negated)
    if option in ("-i", "-o"):
        name = packet.interface if option == "-i" else packet.towards
        same = any(
            name.startswith(one[:-1]) if one.endswith("+") else name == one
            for one in value.split(",")
        )
        return bool(name) and same != negated
    if option == "--tcp-flags":
        mask, _, wanted = (_SYN_FLAGS.get(part, part) for part in value.partition(" "))
        return ({"SYN"} & set(mask.split(",")) == set(filter(None, wanted.split(",")))) != negated
    if option in _PORTS:
        return _has_port(value, packet.port) != negated
    if option == "--ctorigdstport":
        return _has_port(value, packet.published) != negated
    kind = "LOCAL" if packet.destination == packet.came_to else "UNICAST"
    answers: dict[str, bool] = {
        "-p": not {"tcp", "all"}.isdisjoint(value.split(",")),
        "--nfproto": not {"ipv4", "ip"}.isdisjoint(value.split(",")),
        "--ctorigdst": packet.came_to == value.removesuffix("/32"),
        "--ctstate": not {"NEW", "DNAT"}.isdisjoint(value.split(",")),
        "--state": "NEW" in value.split(","),
        "--ctstatus": "DNAT" in value.split(","),
        "--dst-type": kind in value.split(","),
        "--syn": True,
        "--dir": True,
        "--pol": value == "none",
    }
    return option in answers and answers[option] != negated


def _from(known: tuple[str, ...], value: str, negated: bool) -> bool:
    try:
        asked = [ip_network(part, strict=False) for part in value.split(",")]
    except ValueError:
        return False
    if not any(known):
        # An ordinary address is none that a rule singles out.
        return (negated and all(net.prefixlen == 32 for net in asked)) or value == _ANY
    inside = [
        any(ip_network(one).subnet_of(net) for net in asked)  # type: ignore[arg-type]
        for one in known
    ]
    apart = [not any(ip_network(one).overlaps(net) for net in asked) for one in known]
    return all(apart) if negated else all(inside)


def _has_port(value: str, port: int) -> bool:
    for part in value.split(","):
        low, colon, high = part.partition(":")
        if int(low or 0) <= port <= int((high or 65535) if colon else low):
            return True
    return False
