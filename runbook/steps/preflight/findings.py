"""What the preflight makes of what it read. Every rule is pure: site and facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runbook.changes import Finding, Level, fine, forbids, warns
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
    for host in site.managers:
        yield from routes(site, hosts, host)
    if swarm is not None:
        yield from judge_swarm(site, hosts, swarm)


def declared(site_file: SiteFile) -> Iterator[Finding]:
    """What the site's own rules warn of, such as an even number of managers."""
    for problem in site_file.warnings:
        yield warns("site", "site", str(problem))


def risks(site: Site) -> Iterator[Finding]:
    """Unsafe settings are wanted by nobody until the site says by whom and why."""
    for risk in unaccepted_risks(site):
        yield forbids("site", "risk", risk.what, risk.why, risk.todo)
    for accepted in site.accepted_risks:
        yield warns("site", "risk", f"{accepted.risk} is accepted", accepted.reason)


def identity(site: Site, host: str, seen: HostFacts) -> Iterator[Finding]:
    """A host is the one declared when its name and its LAN address are."""
    declared = str(site.hosts[host].address)
    if not same_host(seen.hostname, host):
        yield forbids(
            host,
            "identity",
            f"the host says it is {seen.hostname!r}",
            "changes would be made to another machine than the one named",
            "correct the address in the site, HostName for SSH, or the host's own name",
        )
    elif declared not in seen.addresses:
        yield forbids(
            host,
            "identity",
            f"no interface has the declared address {declared}",
            "the VIP's interface is found by this address",
            f"declare one of: {', '.join(seen.addresses) or 'none was read'}",
        )
    elif not seen.apt:
        yield forbids(
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
        yield warns(host, "clock", "its clock could not be read", why, todo)
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
        yield forbids(
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


def routes(site: Site, hosts: Hosts, host: str) -> Iterator[Finding]:
    """Replies to forwarded packets must go back through the gateway, by any of its addresses."""
    seen, gateway_address = hosts[host], str(site.gateway.address)
    if seen.default_via in (gateway_address, *hosts[site.gateway.name].addresses):
        yield fine(host, "route", f"default route via {seen.default_via}")
        return
    yield forbids(
        host,
        "route",
        f"the default route is via {seen.default_via or 'nothing'}, not {gateway_address}",
        "answers to forwarded requests would not pass the gateway and be lost",
        f"make {gateway_address} the default gateway of {host}",
    )
