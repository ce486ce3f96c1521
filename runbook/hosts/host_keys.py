"""Host keys: which ones the site's hosts offer, and writing down those the operator confirmed.

Nothing here decides: the keys are fetched without accepting any, a person compares their
fingerprints with the hosts' own, and only then ``pin`` makes a host known. A host behind a jump
host is not asked before the jump host is known, so ask again after pinning:

    while new := [offered for offered in offered_keys(site_file) if offered.known == "no"]:
        ...  # show them, ask, pin
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import paramiko

from runbook.errors import BadInput, Refused, Unreachable
from runbook.hosts.fleet import Fleet
from runbook.hosts.ssh.config import Endpoint
from runbook.hosts.ssh.errors import wrong_host_key
from runbook.hosts.ssh.known_hosts import fingerprint
from runbook.hosts.ssh.transport import known_hosts
from runbook.hosts.transcript import Transcript

if TYPE_CHECKING:
    from runbook.site import SiteFile

Known = Literal["yes", "no", "changed", "unasked"]


@dataclass(frozen=True, slots=True)
class Offered:
    """The key that one host offers.

    Args:
        host: The host's name in the site, or in ProxyJump.
        name_in_known_hosts: The name under which a known hosts file keeps it.
        key_type: Type of the key; empty where the host was not asked.
        fingerprint: Its SHA256 fingerprint; empty where the host was not asked.
        known: Whether that is the known key. ``changed`` also stands for a revoked one;
            ``unasked`` for a host that did not answer, or whose jump host is not known yet.
        why: What is wrong and what to do, for ``changed`` and ``unasked``.
        key: The public key in base64.
        file: The known hosts file it belongs in: the first UserKnownHostsFile.

    """

    host: str
    name_in_known_hosts: str
    key_type: str
    fingerprint: str
    known: Known
    why: str
    key: str
    file: Path


def offered_keys(site_file: SiteFile) -> tuple[Offered, ...]:
    """Ask every host of a site, and every jump host on the way, for its host key.

    Args:
        site_file: The site.

    Returns:
        One for each host, jump hosts before those behind them.

    Raises:
        BadInput: The SSH configuration cannot be used.

    """
    with Fleet(site_file, Transcript(None)) as fleet:
        names = list(site_file.site.hosts)
        if site_file.site.acceptance.client:
            names.append(site_file.site.acceptance.client)
        found: dict[tuple[str, ...], Offered] = {}
        for row in _by_depth([fleet.config.endpoint(name) for name in names]):
            with ThreadPoolExecutor(max_workers=len(row)) as workers:
                tasks = [workers.submit(_ask, fleet, endpoint, dict(found)) for endpoint in row]
            found |= {
                endpoint.login: task.result() for endpoint, task in zip(row, tasks, strict=True)
            }
    return tuple(found.values())


def pin(offered: Offered, path: Path) -> None:
    """Write a confirmed key down; nothing is done where it is known already.

    One line is appended in one write, so that neither the lines of others nor a concurrent ``ssh``
    are disturbed. A new file gets mode 0600, a new folder 0700.

    Args:
        offered: The key, as a person has confirmed it.
        path: The known hosts file, usually ``offered.file``.

    Raises:
        Refused: The host is known by another key, or was not asked for its key.
        BadInput: The file cannot be written.

    """
    if offered.known == "yes":
        return
    if offered.known != "no":
        raise Refused(f"its host key is not written down: {offered.why}", host=offered.host)
    if path.is_char_device():  # it would be offered as unknown again, for ever
        raise BadInput(
            f"UserKnownHostsFile is {path} or none, so no host key can be pinned",
            host=offered.host,
            todo=f"name a file as UserKnownHostsFile of {offered.host} in the SSH configuration",
        )
    line = f"{offered.name_in_known_hosts} {offered.key_type} {offered.key}\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _append(path, line)
    except OSError as error:
        raise BadInput(f"known hosts file {path}: {error.strerror}") from error


def _by_depth(endpoints: list[Endpoint]) -> list[list[Endpoint]]:
    """Return the hosts and all their jump hosts, each once, those nearest first."""
    logins: dict[tuple[str, ...], Endpoint] = {}
    waiting = list(endpoints)
    while waiting:
        endpoint = waiting.pop(0)
        logins.setdefault(endpoint.login, endpoint)
        if endpoint.via:
            waiting.append(endpoint.via)
    depths = sorted({len(login) for login in logins})
    return [[one for login, one in logins.items() if len(login) == depth] for depth in depths]


def _ask(fleet: Fleet, endpoint: Endpoint, found: dict[tuple[str, ...], Offered]) -> Offered:
    jump = found[endpoint.via.login] if endpoint.via else None
    if jump and jump.known != "yes":
        return _answer(endpoint, "unasked", f"{jump.host}, which is on the way, is not known yet")
    try:
        key = fleet.pool.opener.host_key(endpoint, fleet.pool.jump(endpoint))
    except Unreachable as error:
        whose = "" if error.host == endpoint.host else f"{error.host}: "
        return _answer(endpoint, "unasked", _told(f"{whose}{error.message}", error.todo))
    known = known_hosts(endpoint)
    verdict = known.verdict(key.asbytes())
    if verdict in ("yes", "no"):
        return _answer(endpoint, "yes" if verdict == "yes" else "no", "", key)
    warning = wrong_host_key(endpoint, verdict, key, known, fleet.pool.opener.trust)
    return _answer(endpoint, "changed", _told(warning.message, warning.todo), key)


def _told(message: str, todo: str) -> str:
    return str(Unreachable(message, todo=todo))


def _answer(
    endpoint: Endpoint, known: Known, why: str, key: paramiko.PKey | None = None
) -> Offered:
    files = endpoint.user_known_hosts or (Path(os.devnull),)
    return Offered(
        host=endpoint.host,
        name_in_known_hosts=endpoint.known_as[0],
        key_type=key.get_name() if key else "",
        fingerprint=fingerprint(key.asbytes()) if key else "",
        known=known,
        why=why,
        key=key.get_base64() if key else "",
        file=files[0],
    )


def _append(path: Path, line: str) -> None:
    target = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(target).st_size
        unfinished = size > 0 and os.pread(target, 1, size - 1) != b"\n"
        os.write(target, ("\n" + line if unfinished else line).encode())
    finally:
        os.close(target)
