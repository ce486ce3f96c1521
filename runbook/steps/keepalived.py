"""The floating IP: keepalived on every manager, and exactly one holder of the VIP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from runbook.changes import Change, Check
from runbook.errors import Refused
from runbook.live import Live
from runbook.recipes import render
from runbook.resources.file import File, FileFacts, outside_block
from runbook.resources.package import Package, PackageFacts
from runbook.resources.service import Service, ServiceFacts
from runbook.site import Site
from runbook.steps import CONVERGED, Row, host_rows
from runbook.waiting import until

CONFIGURATION = "/etc/keepalived/keepalived.conf"
ACCEPTED = "keepalived accepts its configuration on every manager"
RUNNING = "keepalived is enabled and running on every manager"
HOLDER = "exactly the manager with the highest priority holds the VIP"
# keepalived -t ends 0 for an empty file too, so that is asked separately (keepalived(8)). 2.2.7
# ends itself with SIGTERM while it checks a track script of another user, since it takes its caller
# for a parent that has gone; as the first process of a namespace it has none.
CHECK = 'test -s "$1" && unshare --fork --pid keepalived -t -f "$1"'


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What was seen on one manager."""

    interface: str
    holds_vip: bool
    packages: Mapping[str, PackageFacts]
    file: FileFacts
    service: ServiceFacts


Facts = dict[str, HostFacts]


def required_checks(site: Site) -> tuple[str, ...]:
    """Return the names of the checks without which the step is not proven."""
    del site
    return (CONVERGED, ACCEPTED, RUNNING, HOLDER)


def configuration(site: Site, host: str, interface: str) -> str:
    """Return one manager's vrrp_instance, as published.

    Args:
        site: The declared site.
        host: The manager.
        interface: Its LAN interface, used where the site declares none.

    Source: keepalived.conf(5); ``article.md``.
    """
    keepalived, manager = site.keepalived, site.managers[host]
    return render(
        "keepalived.conf",
        instance=keepalived.instance,
        interface=manager.interface or keepalived.interface or interface,
        priority=manager.priority,
        virtual_router_id=keepalived.virtual_router_id,
        version=keepalived.version,
        advert_int=keepalived.advert_int,
        vip=keepalived.vip,
        health_check=keepalived.health_check,
        address=manager.address,
        web_port=site.traefik.web_port,
    )


def _packages(site: Site, host: str) -> list[Package]:
    names = ["keepalived", "curl"] if site.keepalived.health_check else ["keepalived"]
    return [Package(host, name) for name in names]


def _file(site: Site, host: str, interface: str) -> File:
    return File(
        host,
        CONFIGURATION,
        configuration(site, host, interface),
        block=True,
        replace_unmanaged=site.keepalived.replace_unmanaged,
        check=CHECK,
    )


def _service(host: str) -> Service:
    return Service(host, "keepalived", CONFIGURATION)


def observe(live: Live) -> Facts:
    """Read interface, VIP, package, configuration and service of every manager, in one command."""
    site = live.site
    probes = {
        host: {
            "interface": f"ip -o -4 addr show to {manager.address}/32",
            "vip": f"ip -o -4 addr show to {site.keepalived.vip}/32",
            "file": _file(site, host, "").probe,
            "service": _service(host).probe,
            **{package.name: package.probe for package in _packages(site, host)},
        }
        for host, manager in site.managers.items()
    }
    seen = live.gather(probes, said="observed")
    return {host: _read(site, host, texts) for host, texts in seen.items()}


def _read(site: Site, host: str, texts: Mapping[str, str]) -> HostFacts:
    interface = texts["interface"].split()
    if len(interface) < 2:
        raise Refused(
            f"no interface has the declared address {site.managers[host].address}", host=host
        )
    return HostFacts(
        interface=interface[1],
        holds_vip=bool(texts["vip"].strip()),
        packages={p.name: p.read(texts[p.name]) for p in _packages(site, host)},
        file=_file(site, host, "").read(texts["file"]),
        service=_service(host).read(texts["service"]),
    )


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    found = []
    for host, seen in facts.items():
        fields = [(f"package {name}", p.installed) for name, p in seen.packages.items()]
        fields += [
            ("configuration", seen.file.identity),
            ("enabled", seen.service.enabled),
            ("active", seen.service.active),
            ("interface", seen.interface),
            ("holds the VIP", "yes" if seen.holds_vip else "no"),
        ]
        found += host_rows(host, "keepalived", fields)
    return found


def plan(live: Live, facts: Facts) -> list[Change]:
    """Return what each manager needs: packages and files everywhere, then the services.

    The services are handled one manager after another, the lowest priority first and the likely
    holder of the VIP last, so that the VIP moves at most once.
    """
    site = live.site
    order = sorted(site.managers, key=lambda host: site.managers[host].priority)
    changes: list[Change] = []
    for host, seen in facts.items():
        for package in _packages(site, host):
            changes += package.plan(seen.packages[package.name], 0)
        file = _file(site, host, seen.interface)
        _refuse_conflict(site, file, seen.file.content or "")
        written = file.plan(seen.file, 1)
        changes += written
        changes += _service(host).plan(
            seen.service, written=bool(written), stage=2 + order.index(host)
        )
    return changes


def _refuse_conflict(site: Site, file: File, present: str) -> None:
    """Refuse where somebody else's vrrp_instance and ours would fight over name, VRID or VIP."""
    keepalived = site.keepalived
    foreign = "" if file.replace_unmanaged else outside_block(present)
    patterns = {
        f"vrrp_instance {keepalived.instance}": (
            rf"vrrp_instance\s+{re.escape(keepalived.instance)}\b"
        ),
        f"virtual_router_id {keepalived.virtual_router_id}": (
            rf"virtual_router_id\s+{keepalived.virtual_router_id}\b"
        ),
        f"address {keepalived.vip}": rf"(?<![\d.]){re.escape(str(keepalived.vip))}(?![\d.])",
    }
    statements = re.sub(r"[#!].*", "", foreign)
    taken = [name for name, pattern in patterns.items() if re.search(pattern, statements)]
    if taken:
        raise Refused(
            f"{file.path}, which somebody else wrote, already has {', '.join(taken)}",
            host=file.host,
            step="keepalived",
            todo="declare another instance, VRID or VIP, or set keepalived.replace_unmanaged: true "
            "to have the file replaced after a backup",
        )


def files(live: Live, facts: Facts) -> dict[str, dict[str, str]]:
    """Return each manager's whole configuration as it must be, with the lines of others.

    Raises:
        Refused: Our block in a configuration has no end.
    """
    wanted = {host: _file(live.site, host, seen.interface) for host, seen in facts.items()}
    return {
        host: {file.path: file.declared(facts[host].file.content)} for host, file in wanted.items()
    }


def verify(live: Live) -> list[Check]:
    """Ask every manager whether keepalived is well, and wait for the VIP to settle."""
    managers = list(live.site.managers)
    snippets = {
        "accepted": f"f={CONFIGURATION}; set -- $f; {CHECK} >/dev/null 2>&1 && echo accepted",
        "running": "echo $(systemctl is-enabled keepalived) $(systemctl is-active keepalived)",
    }
    seen = live.gather(dict.fromkeys(managers, snippets))
    return [
        Check(ACCEPTED, "every manager", _each(managers, "accepted"), _told(seen, "accepted")),
        Check(RUNNING, "every manager", _each(managers, "enabled active"), _told(seen, "running")),
        holder_check(live),
    ]


def _each(hosts: list[str], text: str) -> str:
    return ", ".join(f"{host} {text}" for host in hosts)


def _told(seen: Mapping[str, Mapping[str, str]], name: str) -> str:
    return ", ".join(f"{host} {texts[name].strip()}" for host, texts in seen.items())


def holders(live: Live) -> str:
    """Return the managers that hold the VIP now, as one line; empty where none does."""
    probe = {"vip": f"ip -o -4 addr show to {live.site.keepalived.vip}/32"}
    seen = live.gather(dict.fromkeys(live.site.managers, probe), sudo=False)
    return ", ".join(host for host, texts in seen.items() if texts["vip"].strip())


def expected_holder(site: Site) -> str:
    """Return the manager that should hold the VIP: the one with the highest priority."""
    return max(site.managers, key=lambda host: site.managers[host].priority)


def holder_check(live: Live) -> Check:
    """Wait until the expected manager alone holds the VIP, and say who does."""
    keepalived, expected = live.site.keepalived, expected_holder(live.site)
    # RFC 5798, 6.1: three adverts and a skew of at most one until a backup takes over, twice where
    # a lower one was first; a health check must have succeeded `rise` times before.
    health = keepalived.health_check
    settle_s = 8 * keepalived.advert_int + 5 + (health.interval * health.rise if health else 0)
    live.say(None, f"waiting up to {settle_s:.0f} s for {expected} to hold {keepalived.vip}")
    seen = until(lambda: holders(live), holds=lambda text: text == expected, timeout_s=settle_s)
    return Check(HOLDER, "every manager", expected, seen or "nobody")
