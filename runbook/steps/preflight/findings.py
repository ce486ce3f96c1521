"""What the preflight makes of what it read. Every rule is pure: site and facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runbook.changes import Finding, Level, fine
from runbook.site import Site, SiteFile, unaccepted_risks
from runbook.site.names import same_host
from runbook.steps.preflight.engine_findings import engine
from runbook.steps.preflight.facts import HostFacts
from runbook.steps.preflight.swarm_facts import SwarmFacts
from runbook.steps.preflight.swarm_findings import judge_swarm

Hosts = Mapping[str, HostFacts]
CLOCK_WARN_S, CLOCK_BLOCK_S = 2, 60
# A configuration and a package fit into the one, Traefik's image into the other.
SPACE_BLOCK_KIB, SPACE_WARN_KIB = 20 * 1024, 300 * 1024


def judge(site: Site, hosts: Hosts, swarm: SwarmFacts | None) -> Iterator[Finding]:
    """Return every finding, in the order in which an operator would look."""
    yield from risks(site)
    for host, seen in hosts.items():
        yield from identity(site, host, seen)
        yield from clock(host, seen)
        yield from space(host, seen)
        yield from engine(site, host, seen)
    yield from gateway(site, hosts)
    for host in site.managers:
        yield from routes(site, hosts, host)
        yield from ports(site, host, hosts[host])
    yield from lan(site, hosts)
    if swarm is not None:
        yield from judge_swarm(site, hosts, swarm)


def declared(site_file: SiteFile) -> Iterator[Finding]:
    """What the site's own rules warn of, such as an even number of managers."""
    for problem in site_file.warnings:
        yield Finding(Level.WARNING, "site", "site", str(problem))


def risks(site: Site) -> Iterator[Finding]:
    """Unsafe settings are wanted by nobody until the site says by whom and why."""
    for risk in unaccepted_risks(site):
        yield Finding(Level.BLOCKING, "site", "risk", risk.what, risk.why, risk.todo)
    for accepted in site.accepted_risks:
        yield Finding(
            Level.WARNING, "site", "risk", f"{accepted.risk} is accepted", accepted.reason
        )


def identity(site: Site, host: str, seen: HostFacts) -> Iterator[Finding]:
    """A host is the one declared when its name and its LAN address are."""
    declared = str(site.hosts[host].address)
    if not same_host(seen.hostname, host):
        yield Finding(
            Level.BLOCKING,
            host,
            "identity",
            f"the host says it is {seen.hostname!r}",
            "changes would be made to another machine than the one named",
            "correct the address in the site, HostName for SSH, or the host's own name",
        )
    elif declared not in seen.addresses:
        yield Finding(
            Level.BLOCKING,
            host,
            "identity",
            f"no interface has the declared address {declared}",
            "the VIP's interface is found by this address",
            f"declare one of: {', '.join(seen.addresses) or 'none was read'}",
        )
    elif not seen.apt:
        yield Finding(
            Level.BLOCKING,
            host,
            "system",
            f"{seen.system or 'the system'} has no apt-get",
            "packages are installed with apt",
            "use Debian or Ubuntu on this host",
        )
    else:
        yield fine(host, "identity", f"{host} at {declared}, {seen.system}")


def clock(host: str, seen: HostFacts) -> Iterator[Finding]:
    """Swarm's certificates and every record depend on clocks that agree."""
    why = "Swarm's certificates are judged by it, and times in the record would not agree"
    if seen.clock_offset_s is None:
        todo = f"see on {host} what `date +%s` prints, and that its clock is right"
        yield Finding(Level.WARNING, host, "clock", "its clock could not be read", why, todo)
        return
    offset = abs(seen.clock_offset_s)
    if offset < CLOCK_WARN_S:
        return
    yield Finding(
        Level.BLOCKING if offset > CLOCK_BLOCK_S else Level.WARNING,
        host,
        "clock",
        f"its clock is {seen.clock_offset_s:+.0f} s off this machine's",
        why,
        "have it synchronised: timedatectl set-ntp true; or this machine's, where all differ",
    )


def space(host: str, seen: HostFacts) -> Iterator[Finding]:
    """What is written to has room, and can be written to."""
    for folder in seen.read_only:
        yield Finding(
            Level.BLOCKING,
            host,
            "disk",
            f"{folder} is read-only",
            "no package, configuration or recipe could be written",
            f"see on {host}: findmnt -T {folder}; dmesg says why, where an error made it so",
        )
    for mount, free in seen.free_kib.items():
        if free < SPACE_WARN_KIB:
            yield Finding(
                Level.BLOCKING if free < SPACE_BLOCK_KIB else Level.WARNING,
                host,
                "disk",
                f"the disk is full: {max(free, 0) // 1024} MiB are free on {mount}",
                "packages, images and configurations are written there",
                f"make room: on {host}, sudo du -xh -d 2 {mount} | sort -h | tail",
            )


def gateway(site: Site, hosts: Hosts) -> Iterator[Finding]:
    """Shorewall is there, knows the zones, runs, forwards, and leaves a way in when it stops."""
    host = site.gateway.name
    facts = hosts[host].gateway
    if facts is None:
        return
    missing = {site.shorewall.net_zone, site.shorewall.lan_zone} - set(facts.zones)
    if not facts.started:
        yield Finding(
            Level.BLOCKING,
            host,
            "shorewall",
            "Shorewall is not started",
            "rules would be added to a firewall that does not run",
            f"on {host}: sudo shorewall check && sudo systemctl start shorewall",
        )
    elif missing:
        yield Finding(
            Level.BLOCKING,
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
        yield Finding(
            Level.WARNING,
            host,
            "shorewall",
            "/etc/shorewall/stoppedrules is empty",
            "a stopped Shorewall lets no new SSH session in",
            "put `ACCEPT <interface>:<your network> $FW tcp 22` in it",
        )


def routes(site: Site, hosts: Hosts, host: str) -> Iterator[Finding]:
    """Replies to forwarded packets must go back through the gateway, by any of its addresses."""
    seen, gateway_address = hosts[host], str(site.gateway.address)
    if seen.default_via in (gateway_address, *hosts[site.gateway.name].addresses):
        yield fine(host, "route", f"default route via {seen.default_via}")
        return
    yield Finding(
        Level.BLOCKING,
        host,
        "route",
        f"the default route is via {seen.default_via or 'nothing'}, not {gateway_address}",
        "answers to forwarded requests would not pass the gateway and be lost",
        f"make {gateway_address} the default gateway of {host}",
    )


def ports(site: Site, host: str, seen: HostFacts) -> Iterator[Finding]:
    """Traefik's ports are free or already Traefik's."""
    ours = f"service {site.traefik.stack}_traefik"
    wanted = [site.traefik.web_port, site.traefik.dashboard.port]
    if seen.listeners is None:
        yield Finding(
            Level.WARNING,
            host,
            "port",
            "ss could not tell who listens, so taken ports are known for containers only",
            "Traefik publishes its ports in host mode and needs them free",
            f"on {host}: sudo apt-get install iproute2, then sudo ss -Hltnp",
        )
    for port in wanted:
        holder = (seen.listeners or {}).get(port) if port is not None else None
        if holder is None or holder == ours:
            continue
        yield Finding(
            Level.BLOCKING,
            host,
            "port",
            f"port {port} is taken by {holder}",
            "Traefik publishes it in host mode and could not start on this manager",
            f"stop {holder}, or declare another port",
        )


def lan(site: Site, hosts: Hosts) -> Iterator[Finding]:
    """The VIP is nobody's, and no stranger uses its VRID."""
    listener = site.first_manager
    facts = hosts[listener].lan
    if facts is None:
        return
    if facts.vip_macs is None or facts.adverts is None:
        tool = "arping" if facts.vip_macs is None else "tcpdump"
        yield Finding(
            Level.WARNING,
            listener,
            "lan",
            f"{tool} is not installed, so strangers on the LAN were not looked for",
            "a second owner of the VIP or of the VRID makes it come and go",
            f"sudo apt-get install {'iputils-arping' if tool == 'arping' else tool}",
        )
    ours = {mac for host in site.managers for mac in hosts[host].macs}
    strangers = [mac for mac in facts.vip_macs or () if mac not in ours]
    if strangers:
        yield Finding(
            Level.BLOCKING,
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
            yield Finding(
                Level.BLOCKING,
                listener,
                "vrid",
                f"{advert.source} already sends VRRP adverts with VRID {vrid}",
                "two groups with one VRID fight over their addresses",
                "declare another keepalived.virtual_router_id",
            )
