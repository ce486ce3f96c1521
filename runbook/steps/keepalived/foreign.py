"""What somebody else's lines in keepalived's configuration do to our instance.

Source: keepalived.conf(5); keepalived, vrrp/vrrp.c, vrrp_complete_instance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from runbook.errors import Refused
from runbook.site import Site
from runbook.steps.keepalived.reading import Statement

# A global that changes our instance, and what the instance says to be as if it were not there.
_OUTRIGHT = {
    "vrrp_version": "version {version}",
    "vrrp_strict": "strict_mode off",
    "vrrp_down_timer_adverts": "down_timer_adverts 3",
}
# Globals with which managers do not hear each other unless all say the same, and keepalived's own.
_SHARED = {"vrrp_mcast_group4": "224.0.0.18", "v3_checksum_as_v2": "false"}
_DELAYS = ("vrrp_startup_delay", "vrrp_delay_after_boot")
_DEFAULT_INTERFACE = "eth0"

Said = tuple[Statement, str]


def outright(site: Site, others: Sequence[Statement]) -> list[str]:
    """Return the lines that our instance needs because of somebody else's globals."""
    lines = [line.format(version=site.keepalived.version)
             for keyword, line in _OUTRIGHT.items() if any(_globals(others, keyword))]  # fmt: skip
    return [line for line in lines if line != "version 3"]  # it says that anyway


def startup_delay(others: Sequence[Statement]) -> float:
    """Return the seconds that VRRP may wait once keepalived starts; what is no number it ignores.

    One that counts from the boot may well be over; it is only the most that there is to wait.
    """
    delays = [value for keyword in _DELAYS for _, value in _globals(others, keyword)]
    return max((float(d) for d in delays if re.fullmatch(r"\d+(\.\d*)?", d)), default=0.0)


def refuse_split(site: Site, managers: Mapping[str, Sequence[Statement]]) -> None:
    """Refuse globals that keep the managers from hearing each other and cannot be outvoted."""
    for keyword, own in _SHARED.items():
        if keyword.startswith("v3_") and site.keepalived.version != 3:
            continue
        said = {host: next(_globals(others, keyword), None) for host, others in managers.items()}
        values = {host: (found[1] or "true") if found else own for host, found in said.items()}
        if len(set(values.values())) == 1:
            continue
        host, found = next((host, found) for host, found in said.items() if found is not None)
        rest = ", ".join(f"{value} on {other}" for other, value in values.items() if other != host)
        raise Refused(
            f"{keyword} {values[host]} ({_place(found[0])}) is {rest}: the managers would not hear "
            "each other, and each would hold the VIP",
            host=host,
            step="keepalived",
            todo="give it the same value on every manager, or remove it",
        )


def refuse_clash(site: Site, host: str, interface: str, others: Sequence[Statement]) -> None:
    """Refuse where somebody else's lines and our instance would fight, or keep it off the LAN."""
    for found, value in [*_named(others, "net_namespace"), *_globals(others, "net_namespace")]:
        raise Refused(
            f"net_namespace {value} ({_place(found)}) takes keepalived off the LAN, and the VIP "
            "with it",
            host=host,
            step="keepalived",
            todo="remove it; a keepalived of its own can serve that namespace",
        )
    for found in _untold(others):
        raise Refused(
            f"{' '.join(found.words)} ({_place(found)}) is only known when keepalived starts, and "
            "may clash with ours",
            host=host,
            step="keepalived",
            todo="write out its value, or set keepalived.replace_unmanaged: true to have the file "
            "replaced after a backup",
        )
    taken = list(_taken(site, interface, others))
    if taken:
        by_file = groupby(sorted(taken, key=lambda each: each[1].line.path), _path)
        raise Refused(
            "; ".join(
                f"{path}, which somebody else wrote, already has "
                + ", ".join(f"{what} (line {found.line.number})" for what, found in each)
                for path, each in by_file
            ),
            host=host,
            step="keepalived",
            todo="declare another instance, VRID or VIP, or set keepalived.replace_unmanaged: true "
            "to have the file replaced after a backup",
        )


def _untold(others: Sequence[Statement]) -> Iterator[Statement]:
    """Yield what tells an instance from ours, where it has parameters of keepalived's own."""
    for top in others:
        telling = [top, *top.inner] if top.keyword == "vrrp_instance" else []
        for statement in telling:
            addresses = statement.inner if statement.keyword == "virtual_ipaddress" else []
            if statement.keyword in ("vrrp_instance", "virtual_router_id", "interface"):
                addresses = [statement]
            yield from (each for each in addresses if any("$" in word for word in each.words))


def _taken(
    site: Site, interface: str, others: Sequence[Statement]
) -> Iterator[tuple[str, Statement]]:
    keepalived = site.keepalived
    ours = {
        "vrrp_instance": keepalived.instance,
        "vrrp_script": f"{keepalived.instance}_traefik" if keepalived.health_check else "",
    }
    default = next((value for _, value in _globals(others, "default_interface")), "")
    for top in others:
        if top.words[1:2] and ours.get(top.keyword) == top.words[1]:
            yield f"{top.keyword} {top.words[1]}", top
        if top.keyword == "vrrp_instance":
            yield from _same_router(site, interface, default or _DEFAULT_INTERFACE, top)
        if top.keyword == "vrrp_sync_group":
            members = [inner for group, _ in top.values("group") for inner in group.inner]
            for member in members:
                if keepalived.instance in member.words:
                    yield f"{keepalived.instance} in a vrrp_sync_group", member
    for statement in every(others):
        if str(keepalived.vip) in [word.partition("/")[0] for word in statement.words]:
            yield f"address {keepalived.vip}", statement


def _same_router(
    site: Site, interface: str, default: str, instance: Statement
) -> Iterator[tuple[str, Statement]]:
    """Yield the VRID of an instance that sends adverts where ours does.

    VRIDs are apart on each interface, and IPv4's from IPv6's. Source: RFC 5798, 1.7.
    """
    where = next((value for _, value in instance.values("interface")), default)
    addresses = [
        inner for block, _ in instance.values("virtual_ipaddress") for inner in block.inner
    ]
    if where != interface or (addresses and ":" in addresses[0].keyword):
        return
    for found, value in instance.values("virtual_router_id"):
        if value.isdigit() and int(value) == site.keepalived.virtual_router_id:
            yield f"virtual_router_id {int(value)}", found


def mentions(text: str, others: Sequence[Statement]) -> bool:
    """Return whether any of the statements has an address, with a prefix or without."""
    return any(text == word.partition("/")[0] for each in every(others) for word in each.words)


def every(statements: Sequence[Statement]) -> Iterator[Statement]:
    """Yield statements with all that are in their blocks."""
    for statement in statements:
        yield statement
        yield from every(statement.inner)


def _named(statements: Sequence[Statement], keyword: str) -> Iterator[Said]:
    for statement in statements:
        if statement.keyword == keyword:
            yield statement, " ".join(statement.words[1:])


def _globals(statements: Sequence[Statement], keyword: str) -> Iterator[Said]:
    for block, _ in _named(statements, "global_defs"):
        yield from block.values(keyword)


def _place(statement: Statement) -> str:
    return f"{statement.line.path}, line {statement.line.number}"


def _path(taken: tuple[str, Statement]) -> str:
    return taken[1].line.path
