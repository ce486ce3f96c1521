"""DNAT on the gateway to the VIP: a marked block of rules, and a firewall that runs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from runbook.changes import Change, Check, in_stages, unified_diff
from runbook.errors import Refused
from runbook.hosts.live import Live
from runbook.resources.file import File, FileFacts, lines_of, outside_block
from runbook.resources.service import Service, ServiceFacts
from runbook.site import Forward, Site, SiteFile
from runbook.steps.shorewall import comparison
from runbook.steps.shorewall.comparison import Compared
from runbook.steps.shorewall.objections import objections
from runbook.steps.shorewall.reload import (
    ROLLBACK_S,
    RULES,
    UNCONFIRMED,
    await_taken_back,
    keeping_the_old,
    reload,
)
from runbook.steps.shorewall.ruleset import Ruleset, homeless, names, shown, with_foreign
from runbook.steps.shorewall.way import Rule, taken, taken_beside
from runbook.steps.step import CONVERGED, Row, Step, host_rows

__all__ = ["ROLLBACK_S", "RULES"]

ACCEPTED = "shorewall accepts its configuration"
LIVE = "the live rules are those of the files"
WAY = "the published ports lead to the VIP"
BOOT = "Shorewall is enabled and started"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen on the gateway.

    Attributes:
        host: The gateway.
        file: The rules file.
        service: What systemd says of the unit.
        compared: What the declared rules compile to, beside the live rules.
    """

    host: str
    file: FileFacts
    service: ServiceFacts
    compared: Compared


def rule(site: Site, forward: Forward) -> str:
    """Return one DNAT rule, as published: ``DNAT net loc:10.0.0.2:80 tcp 80``.

    Source: shorewall-rules(5); ``article.md``.
    """
    zones, public = site.shorewall, site.gateway.public_address
    source = ",".join(str(network) for network in forward.source)
    words = [
        "DNAT",
        f"{zones.net_zone}:{source}" if source else zones.net_zone,
        f"{zones.lan_zone}:{site.keepalived.vip}:{forward.to_port or forward.port}",
        "tcp",
        str(forward.port),
        # Columns SPORT and ORIGDEST: only packets to the public address are ours to forward.
        *(["-", str(public)] if public else []),
    ]
    return " ".join(words)


def block(site: Site, present: str) -> str:
    """Return the block's lines: the declared rules that nobody else's line already states."""
    foreign = {_normal(line) for line in lines_of(outside_block(present))}
    rules = [rule(site, forward) for forward in site.shorewall.forward]
    return "".join(f"{line}\n" for line in rules if _normal(line) not in foreign)


def _normal(line: str) -> tuple[str, ...]:
    """Return a rule's columns, without comment, trailing empty columns and an implied port."""
    words = line.partition("#")[0].split()
    while words and words[-1] == "-":
        words.pop()
    if len(words) >= 5 and words[2].count(":") == 1:
        words[2] = f"{words[2]}:{words[4]}"
    return tuple(words)


def _file(site: Site, present: str) -> File:
    return File(site.gateway.name, RULES, block(site, present), block=True)


def _service(site: Site) -> Service:
    return Service(site.gateway.name, "shorewall", RULES)


def observe(live: Live) -> Facts:
    """Read the rules file and the unit, then compile the declared rules and read the live ones."""
    site, host = live.site, live.site.gateway.name
    probes = {
        "unconfirmed": UNCONFIRMED,
        "file": _file(site, "").probe,
        "service": _service(site).probe,
    }
    seen = live.gather({host: probes}, said="observed")[host]
    if seen["unconfirmed"].strip():
        await_taken_back(host, live)
        return observe(live)
    file = _file(site, "").read(seen["file"])
    present = file.content or ""
    declared = _file(site, present).declared(present)
    compare = {"compare": comparison.probe(declared, str(site.keepalived.vip))}
    compared = comparison.read(live.gather({host: compare})[host]["compare"])
    return Facts(host, file, _service(site).read(seen["service"]), compared)


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    rules = [line for lines in facts.compared.everything.values() for line in lines[1:]]
    dnat = [line for line in rules if " -j DNAT " in line]
    others = names(facts.compared.live.foreign, facts.compared.planned)
    fields = [
        ("rules file", facts.file.identity),
        ("unit", f"{facts.service.enabled}, {facts.service.active}"),
        ("live rules", len(rules)),
        ("live DNAT", "\n".join(dnat) or None),
        ("live rules of others", "\n".join(others) or None),
    ]
    return host_rows(facts.host, "shorewall", fields)


def plan(site_file: SiteFile, facts: Facts) -> list[Change]:
    """Return the block to write and the reload that makes it live.

    Raises:
        Refused: Shorewall does not accept the rules, they cannot be compared with the live ones,
            another rule or firewall takes a port, or a reload would lose what others have.
    """
    site, compared = site_file.site, facts.compared
    if compared.refusal:
        raise _refused(
            facts,
            f"{compared.refusal}: Shorewall refuses the configuration with the declared rules",
            "mend the file that it names",
        )
    if compared.failure:
        raise _refused(
            facts,
            f"{compared.failure}: the rules cannot be compared with the live ones",
            "mend what it says",
        )
    result = with_foreign(compared.planned, compared.planned, compared.live)
    passed_over = f"Shorewall passes over the one in {RULES}, as in an ?IF that does not hold"
    for taking in _taken(site, facts, result, nothing=passed_over):
        raise _refused(facts, taking, "take that rule away, or narrow it")
    for taking in _taken_beside(site, facts, result):
        raise _refused(facts, taking, "take it away or narrow it, or accept the port there")
    present = facts.file.content or ""
    written = [keeping_the_old(c) for c in _file(site, present).plan(facts.file)]
    booted, loaded = _boot(site, facts), []
    if compared.live.own != compared.planned:
        lost = names(homeless(compared.planned, compared.live), compared.planned)
        if lost := lost + [f"those of nftables in table ip {table}" for table in compared.mixed]:
            raise _refused(
                facts,
                "a reload takes away the chains in which others have rules: " + "; ".join(lost),
                "move them to a chain of their own (nftables: a table), or reload by hand",
            )
        loaded.append(_reload(facts))
    return in_stages(written, booted, loaded)


def _refused(facts: Facts, message: str, todo: str) -> Refused:
    return Refused(message, host=facts.host, step="shorewall", todo=todo)


def _taken(site: Site, facts: Facts, rules: Ruleset, nothing: str) -> list[str]:
    """Return a sentence for each published port that does not lead to the VIP in these rules."""
    compared = facts.compared
    found = taken(site, rules, compared.addresses, compared.towards_vip)
    return [
        f"{_place(site, facts, port.rule)} takes tcp port {port.port}, "
        f"which does not come to {site.keepalived.vip} ({port.rule.line})"
        if port.rule
        else f"no rule leads tcp port {port.port} to {site.keepalived.vip}: {nothing}"
        for port in found
    ]


def _taken_beside(site: Site, facts: Facts, rules: Ruleset) -> list[str]:
    """Return a sentence for each published port that a firewall beside Shorewall's takes."""
    compared = facts.compared
    found = taken_beside(site, rules, compared.beside, compared.addresses, compared.towards_vip)
    return [
        f"{base.place}, a firewall beside Shorewall's, takes tcp port {port.port}, which does not "
        f"come to {site.keepalived.vip} ({port.rule.line})"
        for base, port in found
        if port.rule
    ]


def _place(site: Site, facts: Facts, rule: Rule) -> str:
    """Return where a rule stands, as far as Shorewall says it."""
    compared, chain = facts.compared, (rule.table, rule.chain)
    if rule.line in compared.live.foreign.get(chain, []):
        return "a live rule that is not Shorewall's"
    lines, places = compared.planned.get(chain, [])[1:], compared.origins.get(chain, [])
    if rule.line not in lines or len(lines) != len(places):
        return f"a rule of chain {rule.chain}"
    place = places[lines.index(rule.line)]
    present = facts.file.content or ""
    written = lines_of(_file(site, present).declared(present))
    # A macro or an action is where its file says, which is not where the site calls it.
    called = [
        number
        for number, line in enumerate(written, start=1)
        if rule.to and rule.to.partition(":")[0] in line.partition("#")[0]
    ]
    path, _, number = place.rpartition(":")
    if path != RULES and called and not path.startswith("/etc/shorewall/"):
        path, number = RULES, str(called[0])
    if path != RULES or not number.isdigit() or int(number) > len(written):
        return place or f"a rule of chain {rule.chain}"
    return f"{RULES} line {_number_on_disk(written, present, int(number))}: " + (
        " ".join(written[int(number) - 1].split())
    )


def _number_on_disk(written: list[str], present: str, number: int) -> int:
    # Behind our block a line has another number in the file as it is.
    lines = lines_of(present)
    same = written[:number] == lines[:number]
    return number if same else number + len(lines) - len(written)


def _boot(site: Site, facts: Facts) -> list[Change]:
    # Only whether it starts at boot: what it runs on is judged by the rules, not by a time stamp.
    current = ServiceFacts(facts.service.enabled, active="active", stale=False)
    return _service(site).plan(current)


def _reload(facts: Facts) -> Change:
    compared = facts.compared
    before, after = shown(compared.live.own), shown(compared.planned)
    kept = names(compared.live.foreign, compared.planned)
    after += "".join(f"# kept across the reload: {name}\n" for name in kept)
    return Change(
        host=facts.host,
        resource="live firewall",
        action="reload",
        before=before,
        after=after,
        undo="take the block out of the rules file and run sudo shorewall reload",
        make=partial(reload, facts.host),
    )


def files(site_file: SiteFile, facts: Facts) -> dict[str, dict[str, str]]:
    """Return the gateway's whole rules file as it must be, with the lines of others.

    Raises:
        Refused: Our block in the file has no end.
    """
    file = _file(site_file.site, facts.file.content or "")
    return {facts.host: {file.path: file.declared(facts.file.content)}}


def verify(live: Live) -> list[Check]:
    """Ask the gateway whether its files are accepted, live, and there after a boot."""
    facts = observe(live)
    compared = facts.compared
    difference = unified_diff(shown(compared.planned), shown(compared.live.own), "rules")
    compared_to = "equal" if compared.planned else compared.failure or "not compared"
    ways = "; ".join(
        _taken(live.site, facts, compared.everything, nothing="none is live")
        + _taken_beside(live.site, facts, compared.everything)
    )
    boot = f"{facts.service.enabled}, {facts.service.active}"
    return [
        Check(ACCEPTED, facts.host, "accepted", compared.refusal or "accepted"),
        Check(LIVE, facts.host, "equal", difference or compared_to),
        Check(WAY, facts.host, "to the VIP", ways or "to the VIP"),
        Check(BOOT, facts.host, "enabled, active", boot),
    ]


STEP = Step(
    name="shorewall",
    notebook="40_shorewall.ipynb",
    needs=lambda _site: frozenset({"preflight"}),
    manages=True,
    observe=observe,
    rows=rows,
    plan=plan,
    files=files,
    verify=verify,
    objections=objections,
    required_checks=lambda _site: (CONVERGED, ACCEPTED, LIVE, WAY, BOOT),
)
