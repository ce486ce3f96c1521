"""The witness: heads of the ledger in the journals of the managers, out of the operator's archive.

Each is one entry of root's with the identifier ``runbook-audit``:

    opened run=RUN ledger=PRINCIPAL begun=DIGEST seq=NUMBER head=SHA256
    closed run=RUN ledger=PRINCIPAL begun=DIGEST seq=NUMBER head=SHA256

``begun`` are the first digits of the SHA-256 of the ledger's first line. It tells two archives of
one operator apart, whose heads may be in the same journal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from runbook.records.archive import canonical
from runbook.records.archive.findings import Finding, Level
from runbook.records.archive.ledger import FOLDER, Head

if TYPE_CHECKING:
    from runbook.hosts.connection import Connection
    from runbook.records.archive.chain import Chain, Chains
    from runbook.site import SiteFile

TAG = "runbook-audit"
"""The entries' SYSLOG_IDENTIFIER, systemd.journal-fields(7)."""

BEGUN_DIGITS = 16

# logger(1) drops what no socket takes, and ends with 0, unless told otherwise.
_WRITE = ("logger", "--socket-errors=on", "-t", TAG, "-p", "auth.notice", "--")
# Any user can log under any identifier; _UID is what the kernel says of who did.
_READ = ("journalctl", "-t", TAG, "_UID=0", "-o", "cat", "--no-pager", "-q")

_LINE = re.compile(
    r"(?P<event>opened|closed) run=(?P<run>[A-Za-z0-9][A-Za-z0-9._-]*)"
    r" ledger=(?P<principal>[A-Za-z0-9][A-Za-z0-9._+@-]*)"
    rf" begun=(?P<begun>[0-9a-f]{{{BEGUN_DIGITS}}})"
    r" seq=(?P<seq>0|[1-9][0-9]{0,8}) head=(?P<head>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A head that a manager has in its journal.

    Attributes:
        host: The manager.
        event: ``opened`` or ``closed``.
        run_id: The run that the head's line is about.
        head: The head.
        begun: The beginning of the ledger's first digest.
    """

    host: str
    event: str
    run_id: str
    head: Head
    begun: str


@dataclass(frozen=True, slots=True)
class Journals:
    """What the managers of a site have seen.

    Attributes:
        site: The site's name.
        seen: Every head in every journal.
    """

    site: str
    seen: tuple[Seen, ...]


def begun(archive: Path, principal: str) -> str:
    """Return the first digits of the SHA-256 of a ledger's first line.

    Args:
        archive: The archive's folder.
        principal: Whose ledger.

    Raises:
        RunbookError: It has no line.
    """
    path = archive / FOLDER / f"{principal}.jsonl"
    try:
        with path.open("rb") as opened:
            line = opened.readline()
    except OSError as error:
        raise RunbookError(f"{path} cannot be read: {error.strerror}") from error
    if not line.endswith(b"\n"):
        raise RunbookError(f"{path} has no whole line", todo="runbook records verify says more")
    return canonical.sha256(line[:-1])[:BEGUN_DIGITS]


def text(event: str, run_id: str, head: Head, begun: str) -> str:
    """Return the entry for the journal.

    Args:
        event: ``opened`` or ``closed``.
        run_id: The run.
        head: The ledger's head after that event.
        begun: See :func:`begun`.
    """
    ledger = f"ledger={head.principal} begun={begun} seq={head.seq} head={head.head}"
    return f"{event} run={run_id} {ledger}"


def write(connection: Connection, text: str) -> None:
    """Write an entry to a host's journal, as root.

    Raises:
        RunbookError: The journal does not take it.
        Refused: sudo does not let this user act as root.
        Unreachable: The connection was lost.

    Source: logger(1).
    """
    done = connection.run([*_WRITE, text], sudo=True, check=False)
    if done.status != 0:
        raise RunbookError(
            f"nothing can be written to the journal: {done.stderr.strip() or done.status}",
            host=connection.host,
            todo="see there: systemctl status systemd-journald systemd-journald-dev-log.socket",
        )


def read_back(site_file: SiteFile) -> Journals:
    """Return what the managers of a site have seen, asking all of them at once.

    Raises:
        Unreachable: A manager cannot be reached.
        Refused: sudo does not let this user act as root.
        RunbookError: A journal cannot be read.

    Source: journalctl(1).
    """
    from runbook.hosts.fleet import Fleet
    from runbook.hosts.transcript import Transcript

    def ask(connection: Connection) -> tuple[Seen, ...]:
        return parse(connection.host, connection.run(_READ, sudo=True).stdout)

    with Fleet(site_file, Transcript(None)) as fleet:
        seen = fleet.each(site_file.site.managers, ask)
    return Journals(site_file.site.name, tuple(each for host in seen for each in seen[host]))


def parse(host: str, journal: str) -> tuple[Seen, ...]:
    """Return the heads in a journal; what is not exactly the line of one is passed over.

    Args:
        host: Whose journal.
        journal: The messages, one a line.
    """
    found = map(_LINE.fullmatch, journal.split("\n"))
    return tuple(_seen(host, line) for line in found if line)


def _seen(host: str, line: re.Match[str]) -> Seen:
    head = Head(line["principal"], int(line["seq"]), line["head"])
    return Seen(host, line["event"], line["run"], head, line["begun"])


def heads(journals: Journals, chains: Chains) -> tuple[Head, ...]:
    """Return the heads that are of these ledgers, by principal and number, each once."""
    own = {seen.head for seen in journals.seen if _is_of(seen, chains)}
    return tuple(sorted(own, key=lambda head: (head.principal, head.seq, head.head)))


def findings(journals: Journals, chains: Chains, knows: Callable[[str], bool]) -> Iterator[Finding]:
    """Hold the heads that are of these ledgers against them, and yield what remains to be said.

    A head in a journal is not signed: it may accuse, and never vouches for a line.

    Args:
        journals: What the managers have seen.
        chains: The ledgers; told what they are held against.
        knows: Whether a principal has, or may have, a ledger in this archive.
    """
    own: dict[tuple[str, str, Head], list[str]] = {}
    others: dict[tuple[str, str], list[Seen]] = {}
    for seen in journals.seen:
        if _is_of(seen, chains):
            own.setdefault((seen.event, seen.run_id, seen.head), []).append(seen.host)
        elif knows(seen.head.principal) or chains.of(seen.event, seen.run_id):
            others.setdefault((seen.head.principal, seen.begun), []).append(seen)
    for (event, run_id, head), hosts in own.items():
        chains.hold(head, f"{_all(hosts)} has seen ({event} {run_id})")
    for heads_of_one in others.values():
        yield _another(heads_of_one, chains)
    witnessed = {head.principal for _, _, head in own}
    for principal, chain in chains.by_principal.items():
        if principal not in witnessed and _should_be_known(chain, journals.site):
            yield Finding(Level.INCOMPLETE, chain.name, "no witness has seen it")


def _another(heads: list[Seen], chains: Chains) -> Finding:
    """Return what there is to say of a ledger that is not the archive's."""
    principal, hosts = heads[0].head.principal, _all(seen.host for seen in heads)
    said = f"{hosts} has seen another ledger of {principal}, begun {heads[0].begun}"
    # A run is entered into one ledger only: the one that was seen had it first.
    for seen in heads:
        for chain, index, _ in chains.of(seen.event, seen.run_id):
            return Finding(Level.BAD, chain.where(index), f"rewritten: {said}, with this run")
    said += ": of another archive, or of this one before it was replaced whole"
    return Finding(Level.INCOMPLETE, f"{FOLDER}/{principal}.jsonl", said)


def _is_of(seen: Seen, chains: Chains) -> bool:
    chain = chains.by_principal.get(seen.head.principal)
    return chain is not None and any(first.startswith(seen.begun) for first in chain.digests[:1])


def _should_be_known(chain: Chain, site: str) -> bool:
    """Return whether runs of a ledger had something to tell the managers of a site."""
    made = ("closed", site, "apply")
    return any(line and (line["event"], line["site"], line["mode"]) == made for line in chain.lines)


def _all(hosts: Iterable[str]) -> str:
    names = sorted(set(hosts))
    return names[0] if len(names) == 1 else f"each of {', '.join(names)}"
