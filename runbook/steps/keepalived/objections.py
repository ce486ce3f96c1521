"""What speaks against the VIP: who has it, and who may not have it.

The preflight has read it; who holds the VIP is asked again where an election may be under way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from runbook.changes import Finding, Level, fine, forbids, warns
from runbook.hosts.live import Live
from runbook.site import Site, SiteFile
from runbook.steps.keepalived.holding import expected_holder, holders
from runbook.waiting import until

if TYPE_CHECKING:
    from runbook.steps.preflight.facts import HostFacts
    from runbook.steps.preflight.swarm_facts import SwarmFacts

    Hosts = Mapping[str, HostFacts]

# The multicast group of VRRP is 224.0.0.18 (RFC 5798, 5.1.1.2.1).
_ON_ADVERTS = re.compile(r"\b(vrrp|112)\b|\b224\.0\.0\.(0/|18\b)", re.IGNORECASE)
_DROPS = re.compile(r"\b(DROP|REJECT)\b", re.IGNORECASE)


def objections(site_file: SiteFile, hosts: Hosts, _swarm: SwarmFacts | None) -> Iterator[Finding]:
    """The VIP is nobody's, and no stranger uses its VRID."""
    site = site_file.site
    listener = site.first_manager
    facts = hosts[listener].lan
    if facts is None:
        return
    if facts.vip_macs is None or facts.adverts is None:
        tool = "arping" if facts.vip_macs is None else "tcpdump"
        yield warns(
            listener,
            "lan",
            f"{tool} is not installed, so strangers on the LAN were not looked for",
            "a second owner of the VIP or of the VRID makes it come and go",
            f"sudo apt-get install {'iputils-arping' if tool == 'arping' else tool}",
        )
    ours = {mac for host in site.managers for mac in hosts[host].macs}
    strangers = [mac for mac in facts.vip_macs or () if mac not in ours]
    if strangers:
        yield forbids(
            listener,
            "vip",
            f"{site.keepalived.vip} is answered by a stranger, {', '.join(strangers)}",
            "two hosts with one address are reached at random",
            "find the machine by its MAC address, or declare another VIP",
        )
    vrid = site.keepalived.virtual_router_id
    # An advert comes from the interface's first address, which need not be the declared one.
    own = {address for host in site.managers for address in hosts[host].addresses}
    for advert in facts.adverts or ():
        if advert.virtual_router_id == vrid and str(advert.source) not in own:
            yield forbids(
                listener,
                "vrid",
                f"{advert.source} already sends VRRP adverts with VRID {vrid}",
                "two groups with one VRID fight over their addresses",
                "declare another keepalived.virtual_router_id",
            )


def judge_vip(
    live: Live, hosts: Hosts, planned: Collection[str], delay_s: float = 0
) -> Iterator[Finding]:
    """Look who holds the VIP, again where an election may be under way, and judge it.

    Args:
        live: The site.
        hosts: What was read on each host.
        planned: The steps that would change something.
        delay_s: How long keepalived waits after its start, in seconds.
    """
    site, seen = live.site, _holding(live.site, hosts)
    if _all_run(site, hosts) and seen != [expected_holder(site)]:
        seen = _settled(live, delay_s)
    yield from vip(site, hosts, seen, planned)


def _settled(live: Live, delay_s: float) -> list[str]:
    """Return who holds it once an election had the time to end (RFC 5798, 6.1)."""
    keepalived, expected = live.site.keepalived, expected_holder(live.site)
    health = keepalived.health_check
    settle_s = 4 * keepalived.advert_int + 1 + (health.interval * health.rise if health else 0)
    settle_s += delay_s
    told = until(lambda: holders(live), holds=lambda text: text == expected, timeout_s=settle_s)
    return told.split(", ") if told else []


def vip(
    site: Site, hosts: Hosts, holding: Sequence[str], planned: Collection[str]
) -> Iterator[Finding]:
    """The VIP is at the manager with the highest priority alone, once keepalived runs.

    A run that changes nothing there would end at that check, so it is not begun; where it changes
    what may be the cause, it is.

    Args:
        site: The declared site.
        hosts: What was read on each host.
        holding: The managers that hold the VIP.
        planned: The steps that would change something.
    """
    address, expected = str(site.keepalived.vip), expected_holder(site)
    for host, seen in hosts.items():
        if host not in site.managers and address in seen.addresses:
            yield forbids(
                host,
                "vip",
                f"it has the VIP {address} on {seen.addresses[address]} and is no manager",
                "two hosts with one address are reached at random",
                f"take the address off {host}, or declare another VIP",
            )
    if list(holding) == [expected]:
        yield fine(expected, "vip", f"holds {address}, alone")
    elif len(holding) > 1:
        yield Finding(
            Level.WARNING if "keepalived" in planned else Level.BLOCKING,
            holding[0],
            "vip",
            f"{' and '.join(holding)} hold the VIP {address} at once: {cause(site, hosts)}",
            "connections end at one of them at random, and break when it changes",
            f"have adverts pass between the managers (IP protocol 112 to 224.0.0.18); on "
            f"{holding[-1]}: sudo tcpdump -nn ip proto 112, and journalctl -u keepalived",
        )
    elif holding or _all_run(site, hosts):
        held = f"{holding[0]} holds the VIP {address}" if holding else f"nobody has {address}"
        yield Finding(
            Level.WARNING if set(planned) - {"shorewall"} else Level.BLOCKING,
            expected,
            "vip",
            f"{held}, {expected} with the highest priority should: {_why_not(site, hosts)}",
            "the edge is at another host than the site says, or at none",
            f"on {expected}: journalctl -u keepalived, and what keepalived.conf says beside the "
            "runbook's block",
        )


def cause(site: Site, hosts: Hosts) -> str:
    """Return the likeliest reason why managers do not hear each other's adverts."""
    if found := [*_other_vrids(site, hosts), *_dropped(site, hosts)]:
        return "; ".join(found)
    return "adverts do not arrive, or VRRP version, VRID or interface differ between them"


def _why_not(site: Site, hosts: Hosts) -> str:
    expected = expected_holder(site)
    facts = hosts[expected].vrrp
    if facts is not None and not facts.running:
        return f"keepalived does not run on {expected}"
    if found := [*_other_vrids(site, hosts), *_dropped(site, hosts)]:
        return "; ".join(found)
    if site.keepalived.health_check:
        return "its health check fails, as while Traefik does not answer there, or adverts differ"
    return "keepalived is in another state there than its configuration says"


def _other_vrids(site: Site, hosts: Hosts) -> Iterator[str]:
    names = {manager.address: host for host, manager in site.managers.items()}
    declared = site.keepalived.virtual_router_id
    lan = hosts[site.first_manager].lan
    heard = lan.adverts if lan is not None and lan.adverts is not None else ()
    own = {a.source for a in heard if a.virtual_router_id == declared}
    for advert in heard:
        if advert.source in names and advert.source not in own:
            host = names[advert.source]
            yield f"{host} sends adverts with VRID {advert.virtual_router_id}, not {declared}"


def _dropped(site: Site, hosts: Hosts) -> Iterator[str]:
    for host in site.managers:
        facts = hosts[host].vrrp
        lines = facts.firewall if facts is not None else ()
        rules = [line for line in lines if _ON_ADVERTS.search(line)]
        dropping = [rule for rule in rules if _DROPS.search(rule)]
        if dropping:
            yield f"the firewall of {host} drops adverts ({dropping[0]})"
        elif not rules and any("INPUT" in line or "hook input" in line for line in lines):
            yield f"the firewall of {host} drops what no rule admits, and none admits VRRP"


def _holding(site: Site, hosts: Hosts) -> list[str]:
    return [host for host in site.managers if str(site.keepalived.vip) in hosts[host].addresses]


def _all_run(site: Site, hosts: Hosts) -> bool:
    facts = [hosts[host].vrrp for host in site.managers]
    return all(one is not None and one.running for one in facts)
