"""What the values of a site must be to each other, and what they had better be.

A rule looks at the site and yields the path of the setting at fault with a sentence. Rules know
nothing of files; :mod:`runbook.site.loading` adds the places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from math import ceil
from typing import Final

from runbook.site.model import Host, Site
from runbook.site.names import short
from runbook.site.reading import Step
from runbook.site.risks import risks

Finding = tuple[tuple[Step, ...], str]
Rule = Callable[[Site], Iterator[Finding]]

# Two backups whose timers end closer than this may both become master for a moment. Measured: with
# 3/2/1 (4 ms apart at most) in 13 of 56 handovers; with 200/150/100 (39 ms apart at 0.2 s, 10 ms at
# 0.05 s) in 1 of 108.
CLOSE_SKEW_S: Final = 0.03


def placed_hosts(site: Site) -> Iterator[tuple[tuple[Step, ...], str, Host]]:
    """Yield every host with its path and name: managers, workers, then the gateway."""
    for role in ("managers", "workers"):
        for name, host in getattr(site, role, {}).items():
            yield (role, name), name, host
    if hasattr(site, "gateway"):
        yield ("gateway",), getattr(site.gateway, "name", "the gateway"), site.gateway


def vip_is_free(site: Site) -> Iterator[Finding]:
    """Require a VIP that is an address of the LAN and nobody's own."""
    vip, path = site.keepalived.vip, ("keepalived", "vip")
    if hasattr(site, "lan") and (objection := _not_a_host_of(site.lan, vip)):
        yield path, objection
    for _, name, host in placed_hosts(site):
        if getattr(host, "address", None) == vip:
            yield path, f"{vip} is the address of {name}; the VIP must be nobody's own"


def addresses_fit(site: Site) -> Iterator[Finding]:
    """Require of every host an address of the LAN, and its own."""
    owners: dict[IPv4Address, str] = {}
    for path, name, host in placed_hosts(site):
        address = getattr(host, "address", None)
        if address is None:
            continue
        if hasattr(site, "lan") and (objection := _not_a_host_of(site.lan, address)):
            yield (*path, "address"), objection
        if owners.setdefault(address, name) != name:
            yield (*path, "address"), f"{address} is also the address of {owners[address]}"


def names_are_unique(site: Site) -> Iterator[Finding]:
    """Refuse one name for two hosts: hosts call themselves by a short or a full name at will."""
    known: dict[str, tuple[str, str]] = {}
    for path, name, _ in placed_hosts(site):
        other, role = known.setdefault(short(name), (name, str(path[0])))
        if (name, path[0]) == (other, role):
            continue
        place = (*path, "name") if path == ("gateway",) else path
        if name == other:
            yield place, f"{name} is also the name of a host under {role}"
        else:
            message = f"{name} and {other} under {role} are both {short(name)!r} in short form"
            yield place, f"{message}, by which hosts are told apart; give one another name"


def priorities_are_unique(site: Site) -> Iterator[Finding]:
    """Refuse one VRRP priority for two managers."""
    owners: dict[int, str] = {}
    for name, manager in site.managers.items():
        priority = getattr(manager, "priority", None)
        if priority is None:
            continue
        if owners.setdefault(priority, name) != name:
            message = f"{priority} is also the priority of {owners[priority]}; each needs its own"
            yield ("managers", name, "priority"), message


def overlay_is_off_the_lan(site: Site) -> Iterator[Finding]:
    """Require an overlay subnet that shares nothing with the LAN."""
    subnet = site.network.subnet
    if subnet and subnet.overlaps(site.lan):
        message = f"{subnet} overlaps the LAN {site.lan}; containers could not reach the LAN"
        yield ("network", "subnet"), message


def interval_fits_version(site: Site) -> Iterator[Finding]:
    """Require whole seconds in VRRP version 2, where keepalived rounds anything else."""
    interval = site.keepalived.advert_int
    if site.keepalived.version == 2 and not float(interval).is_integer():
        message = f"{interval:g} is not whole seconds, as version 2 needs; write 1, or version: 3"
        yield ("keepalived", "advert_int"), message


def dashboard_has_one_form(site: Site) -> Iterator[Finding]:
    """Require a dashboard that is open on a port, guarded on a virtual host, or off."""
    dashboard, path = site.traefik.dashboard, ("traefik", "dashboard")
    if dashboard.insecure:
        if dashboard.port is None:
            yield path, "needs `port` when insecure is true"
        for name in ("host", "users_secret", "users"):
            if getattr(dashboard, name, None) is not None:
                yield (*path, name), "has no effect when insecure is true; remove one of the two"
        return
    if dashboard.port is not None:
        yield (*path, "port"), "has no effect unless insecure is true; remove it"
    if dashboard.host is not None and dashboard.users_secret is None:
        yield path, "needs `users_secret` with `host`: nobody is let in without a password"
    if dashboard.users_secret is not None and dashboard.host is None:
        yield path, "needs `host` with `users_secret`: the virtual host it answers on"
    if dashboard.users is not None and dashboard.host is None and dashboard.users_secret is None:
        message = "needs `users_secret` and `host`: the secret to make, and what it guards"
        yield (*path, "users"), message


def requirements_fit(site: Site) -> Iterator[Finding]:
    """Require that a requirement is named once, and of an approval a signature to hold it against.

    An approval by the operator's own key is none, and only a signature says which key that is.
    """
    require = site.records.require
    if not all(isinstance(word, str) for word in require):  # said elsewhere; it is not known
        return
    for number, word in enumerate(require):
        path = ("records", "require", number)
        if word in require[:number]:
            yield path, f"{word} is listed twice"
        elif word == "approval" and "signature" not in require:
            yield path, "approval needs `signature` too: it is held against the operator's key"


def ports_are_published_once(site: Site) -> Iterator[Finding]:
    """Refuse the web port for the dashboard."""
    traefik = site.traefik
    if traefik.dashboard.port == traefik.web_port:
        message = f"{traefik.web_port} is the web port; the dashboard needs another"
        yield ("traefik", "dashboard", "port"), message


def forwards_are_published(site: Site) -> Iterator[Finding]:
    """Require that Traefik publishes whatever is forwarded to the VIP."""
    dashboard = site.traefik.dashboard
    published = [site.traefik.web_port]
    if dashboard.insecure:
        if dashboard.port is None:  # said elsewhere; what is published is not known
            return
        published.append(dashboard.port)
    for number, forward in enumerate(site.shorewall.forward):
        target = forward.to_port or forward.port
        if target not in published:
            where = "to_port" if forward.to_port else "port"
            ports = " and ".join(map(str, published))
            message = f"{target} is not published on the VIP; Traefik publishes {ports}"
            yield ("shorewall", "forward", number, where), message


def forwards_are_distinct(site: Site) -> Iterator[Finding]:
    """Refuse two rules for one port, since the first that matches wins."""
    seen: set[int] = set()
    for number, forward in enumerate(site.shorewall.forward):
        if forward.port in seen:
            message = f"{forward.port} is forwarded twice; list every source in one rule"
            yield ("shorewall", "forward", number, "port"), message
        seen.add(forward.port)


def managers_are_odd(site: Site) -> Iterator[Finding]:
    """Advise an odd number of managers, since one more adds no tolerance.

    Source: Docker, "Administer and maintain a swarm", fault tolerance.
    """
    count = len(site.managers)
    if count % 2 == 0:
        lost = (count - 1) // 2
        message = (
            f"{count} managers survive the loss of {lost}, as {count - 1} do; use an odd number"
        )
        yield ("managers",), message


def priorities_are_apart(site: Site) -> Iterator[Finding]:
    """Advise priorities with which backups count down at clearly different speeds.

    The skew is (256 - priority) / 256 of the advert interval in version 3, and of one second in
    version 2. Source: keepalived, vrrp.h, VRRP_TIMER_SKEW.
    """
    unit_s = site.keepalived.advert_int if site.keepalived.version == 3 else 1
    gaps = [
        ((high.priority - low.priority) * unit_s / 256, name, other)
        for (name, high), (other, low) in pairwise(site.ordered_managers.items())
    ]
    gap_s, name, other = min(gaps, default=(CLOSE_SKEW_S, "", ""))
    if gap_s < CLOSE_SKEW_S:
        message = (
            f"{site.managers[other].priority} is close to the {site.managers[name].priority} of "
            f"{name}: their timers end {gap_s * 1000:.1f} ms apart, and both may become master "
            f"for a moment; {_well_apart(len(site.managers), unit_s)}"
        )
        yield ("managers", other, "priority"), message


def _well_apart(managers: int, unit_s: float) -> str:
    """Return what keeps the timers of so many managers apart, the published spread if that does."""
    needed, widest = ceil(CLOSE_SKEW_S * 256 / unit_s), 253 // (managers - 1)
    if widest < needed:
        interval_s = ceil(CLOSE_SKEW_S * 25600 / widest) / 100
        return f"no priorities are well apart at this advert_int; {interval_s:g} s is enough"
    step = min(max(needed, 50), widest)
    lowest = min(100, 254 - step * (managers - 1))
    *others, last = [str(lowest + step * number) for number in reversed(range(managers))]
    return f"{', '.join(others)} and {last} are well apart"


def risks_exist(site: Site) -> Iterator[Finding]:
    """Advise against accepting a risk that this site does not take."""
    taken = {risk.name for risk in risks(site)}
    for number, accepted in enumerate(site.accepted_risks):
        if accepted.risk not in taken:
            message = f"{accepted.risk} is accepted, but this site does not take it; remove it"
            yield ("accepted_risks", number, "risk"), message


def gateway_can_be_asked(site: Site) -> Iterator[Finding]:
    """Advise a name or an address for acceptance to ask."""
    if site.acceptance.url_host is None and site.gateway.public_address is None:
        message = "acceptance has nothing to ask; set url_host, or public_address of the gateway"
        yield ("acceptance", "url_host"), message


def demonstration_can_be_reached(site: Site) -> Iterator[Finding]:
    """Require a way from the client to the demonstration: the web port, forwarded to it."""
    acceptance, port = site.acceptance, site.traefik.web_port
    if acceptance.demonstration is None:
        return
    ways = [way for way in site.shorewall.forward if (way.to_port or way.port) == port]
    if not any(way.admits(acceptance.client_address) for way in ways):
        message = f"no client reaches it: the web port {port} is not forwarded to it"
        yield ("acceptance", "demonstration"), message


def _not_a_host_of(lan: IPv4Network, address: IPv4Address) -> str:
    if address not in lan:
        return f"{address} is not in the LAN {lan}"
    if lan.prefixlen < 31 and address in (lan.network_address, lan.broadcast_address):
        which = "network" if address == lan.network_address else "broadcast"
        return f"{address} is the {which} address of the LAN {lan}"
    return ""


REQUIRED: Final[tuple[Rule, ...]] = (
    demonstration_can_be_reached,
    vip_is_free,
    addresses_fit,
    names_are_unique,
    priorities_are_unique,
    overlay_is_off_the_lan,
    interval_fits_version,
    dashboard_has_one_form,
    requirements_fit,
    ports_are_published_once,
    forwards_are_published,
    forwards_are_distinct,
)
"""Rules whose breach makes a site invalid."""

ADVISED: Final[tuple[Rule, ...]] = (
    managers_are_odd,
    priorities_are_apart,
    risks_exist,
    gateway_can_be_asked,
)
"""Rules whose breach is a warning."""
