"""Names of hosts: a machine is one machine, whether it gives its short name or its full one."""

from __future__ import annotations

from collections.abc import Iterable


def short(name: str) -> str:
    """Return the first label of a host name, in small letters.

    The site's rules see to it that no two of its hosts have the same one.

    Source: RFC 1123, 2.1; RFC 4343 (names compare in any case).
    """
    return name.strip().partition(".")[0].lower()


def same_host(one: str, other: str) -> bool:
    """Return whether two names, short or fully qualified and in any case, are of one host."""
    return short(one) == short(other) != ""


def as_declared(name: str, hosts: Iterable[str]) -> str:
    """Return the declared name of the host that calls itself so, or the name where it is none."""
    return next((host for host in hosts if same_host(host, name)), name)
