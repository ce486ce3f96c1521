"""The floating IP: keepalived on every manager, and exactly one holder of the VIP."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runbook.changes import Change, Check, in_stages
from runbook.errors import Refused
from runbook.hosts.live import Live
from runbook.recipes import render
from runbook.resources.file import File, FileFacts
from runbook.resources.package import Package, PackageFacts
from runbook.resources.service import Service, ServiceFacts
from runbook.site import Site, SiteFile
from runbook.steps.keepalived import daemon, foreign, holding, reading
from runbook.steps.keepalived.daemon import CONFIGURATION, Daemon
from runbook.steps.keepalived.holding import HOLDER, expected_holder, holder_check, holders
from runbook.steps.keepalived.objections import objections
from runbook.steps.step import CONVERGED, Row, Step, host_rows

__all__ = ["CONFIGURATION", "HOLDER", "expected_holder", "holder_check", "holders"]

ACCEPTED = "keepalived accepts its configuration on every manager"
RUNNING = "keepalived is enabled and running on every manager"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What was seen on one manager.

    Attributes:
        interface: The interface that has its declared address.
        vip: How the VIP is there, as ``address/prefix on interface``; empty where it is not.
        packages: The packages it needs.
        file: keepalived's configuration.
        service: keepalived's unit.
        daemon: How that is started.
        others: What keepalived reads there beside our instance, and will go on to read.
        objection: What keepalived has against the configuration that it is to have, empty where
            it accepts it, ``None`` where it has not been asked: it is there, or keepalived is not.
    """

    interface: str
    vip: str
    packages: Mapping[str, PackageFacts]
    file: FileFacts
    service: ServiceFacts
    daemon: Daemon
    others: Sequence[reading.Statement]
    objection: str | None = None


Facts = dict[str, HostFacts]


def configuration(site: Site, host: str, interface: str, outright: Sequence[str] = ()) -> str:
    """Return one manager's vrrp_instance, as published.

    Args:
        site: The declared site.
        host: The manager.
        interface: Its LAN interface, used where the site declares none.
        outright: Lines that are needed only beside somebody else's globals.

    Source: keepalived.conf(5); ``article.md``.
    """
    keepalived, manager = site.keepalived, site.managers[host]
    return render(
        "keepalived.conf",
        instance=keepalived.instance,
        interface=_interface(site, host, interface),
        outright=outright,
        priority=manager.priority,
        virtual_router_id=keepalived.virtual_router_id,
        version=keepalived.version,
        advert_int=keepalived.advert_int,
        vip=keepalived.vip,
        health_check=keepalived.health_check,
        address=manager.address,
        web_port=site.traefik.web_port,
    )


def _interface(site: Site, host: str, found: str) -> str:
    return site.managers[host].interface or site.keepalived.interface or found


def _packages(site: Site, host: str) -> list[Package]:
    names = ["keepalived", "curl"] if site.keepalived.health_check else ["keepalived"]
    return [Package(host, name) for name in names]


def _file(site: Site, host: str, facts: HostFacts | None = None) -> File:
    outright = foreign.outright(site, facts.others) if facts else []
    return File(
        host,
        CONFIGURATION,
        configuration(site, host, facts.interface if facts else "", outright),
        block=True,
        replace_unmanaged=site.keepalived.replace_unmanaged,
        check=f'{daemon.judging(facts.daemon.config_id)} <"$1"' if facts else "",
    )


def _service(host: str) -> Service:
    return Service(host, "keepalived", CONFIGURATION)


def observe(live: Live) -> Facts:
    """Read what each manager has in one command, and have keepalived judge what it is to have."""
    site = live.site
    probes = {
        host: {
            "interface": f"ip -o -4 addr show to {manager.address}/32",
            "vip": holding.PROBE.format(vip=site.keepalived.vip),
            "file": _file(site, host).probe,
            "read": reading.probe(CONFIGURATION),
            "daemon": daemon.PROBE,
            "service": _service(host).probe,
            **{package.name: package.probe for package in _packages(site, host)},
        }
        for host, manager in site.managers.items()
    }
    seen = live.gather(probes, said="observed")
    facts = {host: _read(site, host, texts) for host, texts in seen.items()}
    return facts | _judged(live, facts)


def _read(site: Site, host: str, texts: Mapping[str, str]) -> HostFacts:
    interface = texts["interface"].split()
    if len(interface) < 2:
        raise Refused(
            f"no interface has the declared address {site.managers[host].address}", host=host
        )
    started = daemon.read(texts["daemon"])
    return HostFacts(
        interface=interface[1],
        vip=holding.how(texts["vip"]),
        packages={p.name: p.read(texts[p.name]) for p in _packages(site, host)},
        file=_file(site, host).read(texts["file"]),
        service=_service(host).read(texts["service"]),
        daemon=started,
        others=_others(site, host, texts["read"], started),
    )


def _others(site: Site, host: str, text: str, started: Daemon) -> list[reading.Statement]:
    """Return what keepalived reads beside our instance, and will go on to read."""
    if site.keepalived.replace_unmanaged:
        return []
    return reading.statements(host, reading.lines_of_others(host, text), started.config_id)


def _judged(live: Live, facts: Facts) -> Facts:
    """Return the facts of those managers whose keepalived was asked about a new configuration."""
    asked = {}
    for host, seen in facts.items():
        content = _file(live.site, host, seen).declared(seen.file.content)
        if seen.packages["keepalived"].installed and content != seen.file.content:
            asked[host] = {"judged": daemon.judged(content, seen.daemon.config_id)}
    said = {host: texts["judged"].strip() for host, texts in live.gather(asked).items()}
    return {
        host: replace(facts[host], objection="" if text == "accepted" else text)
        for host, text in said.items()
    }


def startup_delay(facts: Facts) -> float:
    """Return the seconds that VRRP may wait on any manager once keepalived starts there."""
    return max(foreign.startup_delay(seen.others) for seen in facts.values())


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    found = []
    for host, seen in facts.items():
        fields = [(f"package {name}", p.installed) for name, p in seen.packages.items()]
        fields += [
            ("configuration", seen.file.identity),
            ("accepted by keepalived", _opinion(seen)),
            ("enabled", seen.service.enabled),
            ("active", seen.service.active),
            ("interface", seen.interface),
            ("holds the VIP", "yes" if seen.vip else "no"),
        ]
        found += host_rows(host, "keepalived", fields)
    return found


def _opinion(seen: HostFacts) -> str:
    if seen.objection is not None:
        return seen.objection or "yes"
    return "as it is" if seen.packages["keepalived"].installed else "asked once it is installed"


def plan(site_file: SiteFile, facts: Facts) -> list[Change]:
    """Return what each manager needs: packages and files everywhere, then the services.

    The services are handled one manager after another, the lowest priority first and the likely
    holder of the VIP last, so that the VIP moves at most once.
    """
    site = site_file.site
    order = sorted(site.managers, key=lambda host: site.managers[host].priority)
    changes: list[Change] = []
    foreign.refuse_split(site, {host: seen.others for host, seen in facts.items()})
    for host, seen in facts.items():
        _refuse(site, host, seen)
        installed = [c for p in _packages(site, host) for c in p.plan(seen.packages[p.name])]
        written = _file(site, host, seen).plan(seen.file)
        service = replace(seen.service, stale=seen.service.stale or bool(written))
        others: list[list[Change]] = [[]] * order.index(host)  # whose turn comes before
        changes += in_stages(installed, written, *others, _service(host).plan(service))
    return changes


def _refuse(site: Site, host: str, seen: HostFacts) -> None:
    """Refuse a manager on which our instance would not be what it says.

    Raises:
        Refused: Says what stands in its way.
    """
    seen.daemon.refuse(host)
    foreign.refuse_clash(site, host, _interface(site, host, seen.interface), seen.others)
    vip = str(site.keepalived.vip)
    ours = re.search(rf"(?<![\d.]){re.escape(vip)}(?![\d.])", seen.file.content or "")
    is_read = ours or foreign.mentions(vip, seen.others)
    # A keepalived that runs may have it still, from a configuration that is gone, and as a /32.
    is_given = seen.service.active == "active" and seen.vip.startswith(f"{vip}/32 ")
    if seen.vip and not is_read and not is_given:
        raise Refused(
            f"{seen.vip} is an address of the host's own, and keepalived did not put it there",
            host=host,
            step="keepalived",
            todo="take it out of the host's network configuration, and off the interface: "
            f"sudo ip address del {seen.vip.replace(' on ', ' dev ')}",
        )
    if seen.objection:
        raise Refused(
            f"{seen.objection} (says keepalived -t of the {CONFIGURATION} that is planned)",
            host=host,
            step="keepalived",
            todo="mend what it says in the site, or in the lines of others that it names",
        )


def files(site_file: SiteFile, facts: Facts) -> dict[str, dict[str, str]]:
    """Return each manager's whole configuration as it must be, with the lines of others.

    Raises:
        Refused: Our block in a configuration has no end.
    """
    wanted = {host: _file(site_file.site, host, seen) for host, seen in facts.items()}
    return {
        host: {file.path: file.declared(facts[host].file.content)} for host, file in wanted.items()
    }


def verify(live: Live) -> list[Check]:
    """Ask every manager whether keepalived is well, and wait for the VIP to settle."""
    managers = list(live.site.managers)
    probes = {"daemon": daemon.PROBE, "read": reading.probe(CONFIGURATION)}
    started = live.gather(dict.fromkeys(managers, probes))
    daemons = {host: daemon.read(texts["daemon"]) for host, texts in started.items()}
    delays = [
        foreign.startup_delay(_others(live.site, host, started[host]["read"], daemons[host]))
        for host in managers
    ]
    running = "echo $(systemctl is-enabled keepalived) $(systemctl is-active keepalived)"
    judging = {host: daemon.judging(each.config_id) for host, each in daemons.items()}
    seen = live.gather(
        {
            host: {"accepted": f"{judge} <{CONFIGURATION} && echo accepted", "running": running}
            for host, judge in judging.items()
        }
    )
    return [
        Check(ACCEPTED, "every manager", _each(managers, "accepted"), _told(seen, "accepted")),
        Check(RUNNING, "every manager", _each(managers, "enabled active"), _told(seen, "running")),
        holder_check(live, max(delays)),
    ]


def _each(hosts: list[str], text: str) -> str:
    return ", ".join(f"{host} {text}" for host in hosts)


def _told(seen: Mapping[str, Mapping[str, str]], name: str) -> str:
    return ", ".join(f"{host} {texts[name].strip()}" for host, texts in seen.items())


def _needs(site: Site) -> frozenset[str]:
    # With a health check the VIP settles only where Traefik answers.
    return frozenset({"traefik"} if site.keepalived.health_check else {"preflight"})


STEP = Step(
    name="keepalived",
    notebook="30_keepalived.ipynb",
    needs=_needs,
    manages=True,
    observe=observe,
    rows=rows,
    plan=plan,
    files=files,
    verify=verify,
    objections=objections,
    required_checks=lambda _site: (CONVERGED, ACCEPTED, RUNNING, HOLDER),
)
