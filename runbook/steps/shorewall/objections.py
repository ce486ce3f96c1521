"""What the preflight has read that speaks against adding rules to the gateway's firewall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from runbook.changes import Finding, Level, fine, forbids, warns
from runbook.site import SiteFile

if TYPE_CHECKING:
    from runbook.steps.preflight.facts import HostFacts
    from runbook.steps.preflight.swarm_facts import SwarmFacts


def objections(
    site_file: SiteFile, hosts: Mapping[str, HostFacts], _swarm: SwarmFacts | None
) -> Iterator[Finding]:
    """Shorewall is there, knows the zones, runs, forwards, and leaves a way in when it stops."""
    site, host = site_file.site, site_file.site.gateway.name
    facts = hosts[host].gateway
    if facts is None:
        return
    missing = {site.shorewall.net_zone, site.shorewall.lan_zone} - set(facts.zones)
    if not facts.started:
        yield forbids(
            host,
            "shorewall",
            "Shorewall is not started",
            "rules would be added to a firewall that does not run",
            f"on {host}: sudo shorewall check && sudo systemctl start shorewall",
        )
    elif missing:
        yield forbids(
            host,
            "shorewall",
            "neither /etc/shorewall/zones nor the running firewall has zone "
            + ", ".join(sorted(missing)),
            "the DNAT rules name zones",
            "declare shorewall.net_zone and shorewall.lan_zone as `shorewall show zones` has them",
        )
    else:
        yield fine(host, "shorewall", f"{facts.version}, zones {' '.join(facts.zones)}, started")
    if not facts.ip_forward or facts.forwarding.lower() not in ("on", "yes"):
        yield Finding(
            Level.WARNING if facts.ip_forward else Level.BLOCKING,
            host,
            "forwarding",
            f"IP_FORWARDING={facts.forwarding or 'Keep'} and the kernel "
            f"{'forwards' if facts.ip_forward else 'does not forward'}",
            "DNAT counts packets and none arrives; with Keep, nothing forwards after a boot",
            "set IP_FORWARDING=On in /etc/shorewall/shorewall.conf and run shorewall reload",
        )
    if not facts.stopped_rules:
        yield warns(
            host,
            "shorewall",
            "/etc/shorewall/stoppedrules is empty",
            "a stopped Shorewall lets no new SSH session in",
            "put `ACCEPT <interface>:<your network> $FW tcp 22` in it",
        )
