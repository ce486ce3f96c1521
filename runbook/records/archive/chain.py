"""Whether a ledger is one unbroken chain, and the one that others have seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from runbook.records.archive import canonical
from runbook.records.archive.findings import Finding, Level
from runbook.records.archive.ledger import (
    EVENTS,
    FIELDS,
    FIRST,
    FOLDER,
    VERSION,
    Head,
    Line,
    moment,
)


@dataclass(frozen=True, slots=True)
class Chain:
    """A ledger as it was found.

    Attributes:
        principal: Whose it is.
        lines: Its lines; ``None`` in place of one that is no line of a ledger.
        digests: The SHA-256 of each line.
        cut_off: Whether its last line lacks its end.
    """

    principal: str
    lines: tuple[Line | None, ...]
    digests: tuple[str, ...]
    cut_off: bool

    @property
    def name(self) -> str:
        """Return the file's name, seen from the archive's folder."""
        return f"{FOLDER}/{self.principal}.jsonl"

    @property
    def head(self) -> Head | None:
        """Return how far it has come; ``None`` where it is empty."""
        if not self.digests:
            return None
        return Head(self.principal, len(self.digests) - 1, self.digests[-1])

    def where(self, index: int) -> str:
        """Return file and line, the first one being 1."""
        return f"{self.name}:{index + 1}"

    def check(self) -> Iterator[Finding]:
        """Yield what is wrong with the chain by itself."""
        due, seqs = 0, {line["seq"] for line in self.lines if line is not None}
        for index, line in enumerate(self.lines):
            where = self.where(index)
            if line is None:
                yield Finding(Level.BAD, where, "not a line of a ledger")
                due += 1
                continue
            if line["operator"] != self.principal:
                yield Finding(Level.BAD, where, f"a line of {line['operator']}, not of this ledger")
            if line["seq"] != due:
                yield Finding(Level.BAD, where, _gap(line["seq"], due, seqs))
            elif line["prev"] != (self.digests[index - 1] if index else FIRST):
                altered = self.where(max(0, index - 1))
                said = "altered after the next line was written" if index else "not the first line"
                yield Finding(Level.BAD, altered, said)
            due = line["seq"] + 1
        if self.cut_off:
            yield Finding(Level.INCOMPLETE, self.where(len(self.lines)), "the line is cut off")


def _gap(seq: int, due: int, seqs: set[int]) -> str:
    if seq > due and not seqs & set(range(due, seq)):
        return f"dropped before it: {seq - due} (seq {seq} where {due} is due)"
    return f"out of order or repeated (seq {seq} where {due} is due)"


def _numbered(chain: Chain) -> Iterator[tuple[int, str]]:
    """Yield number and digest of every line that has one."""
    for line, digest in zip(chain.lines, chain.digests, strict=True):
        if line is not None:
            yield line["seq"], digest


def read(path: Path) -> Chain:
    """Return a ledger as it is."""
    *whole, rest = path.read_bytes().split(b"\n")
    digests = tuple(map(canonical.sha256, whole))
    return Chain(path.name.removesuffix(".jsonl"), tuple(map(_line, whole)), digests, bool(rest))


def read_all(archive: Path) -> dict[str, Chain]:
    """Return all ledgers of an archive, by principal."""
    chains = map(read, sorted((archive / FOLDER).glob("*.jsonl")))
    return {chain.principal: chain for chain in chains}


def _line(content: bytes) -> Line | None:
    try:
        line: Any = json.loads(content)
        known = line["v"] == VERSION and line["event"] in EVENTS and type(line["seq"]) is int
        texts = (line["prev"], line["operator"], *(line[name] or "" for name in FIELDS))
        moment(line["time"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return line if known and all(type(text) is str for text in texts) else None


class Chains:
    """All ledgers together: what they say of each run.

    Attributes:
        by_principal: The ledgers.
        events: Event and run to the lines that say so: ledger, index and line.
    """

    def __init__(self, archive: Path) -> None:
        self.by_principal = read_all(archive)
        self.events: dict[tuple[str, str], list[tuple[Chain, int, Line]]] = {}
        self._covered = dict.fromkeys(self.by_principal, -1)
        self._missed: dict[str, list[tuple[int, str]]] = {}
        self._digests = {name: dict(_numbered(c)) for name, c in self.by_principal.items()}
        for chain in self.by_principal.values():
            for index, line in zip(count(), chain.lines, strict=False):
                if line is not None and line["run_id"]:
                    key = (line["event"], line["run_id"])
                    self.events.setdefault(key, []).append((chain, index, line))

    def of(self, event: str, run_id: str) -> list[tuple[Chain, int, Line]]:
        """Return the lines of one event of one run."""
        return self.events.get((event, run_id), [])

    def runs(self, event: str) -> list[str]:
        """Return the runs that have such an event."""
        return sorted(run_id for name, run_id in self.events if name == event)

    def see(self, seen: Head, witness: str) -> None:
        """Compare with a head that somebody saw; a sound one vouches for the lines up to it.

        Args:
            seen: The head.
            witness: Who has it: a file's name.
        """
        if self.hold(seen, f"{witness} has seen"):
            self._covered[seen.principal] = max(self._covered[seen.principal], seen.seq)

    def hold(self, seen: Head, said: str) -> bool:
        """Hold a head against its ledger, and return whether that has this line.

        Args:
            seen: The head.
            said: Who has seen it, as the end of a sentence about a line.
        """
        is_there = self._digests.get(seen.principal, {}).get(seen.seq) == seen.head
        if not is_there:
            self._missed.setdefault(seen.principal, []).append((seen.seq, said))
        return is_there

    def disagreements(self) -> Iterator[Finding]:
        """Yield where the ledgers are not those that others have seen: each one's first line."""
        for principal, missed in self._missed.items():
            digests = self._digests.get(principal)
            name = f"{FOLDER}/{principal}.jsonl"
            there = [seen for seen in missed if digests and seen[0] in digests]
            gone = [seen for seen in missed if not digests or seen[0] not in digests]
            if digests is None:
                yield Finding(Level.BAD, name, f"missing: {gone[0][1]} it")
                continue
            if there:
                seq, said = min(there)
                what = f"rewritten: not the line that {said}"
                yield Finding(Level.BAD, f"{name}:{seq + 1}", what)
            if gone:
                seq, said = max(gone)
                what = f"cut or dropped: it lacks line {seq + 1}, which {said}"
                yield Finding(Level.BAD, name, what)

    def uncovered(self) -> Iterator[Finding]:
        """Yield the lines that excuse a loss, and that nothing signed vouches for."""
        for principal, chain in self.by_principal.items():
            for index in range(self._covered[principal] + 1, len(chain.lines)):
                line = chain.lines[index]
                if line is not None and line["event"] in (
                    "pruned",
                    "redacted",
                    "released",
                    "review",
                ):
                    said = f"{line['event']}: nothing signed vouches for this line"
                    yield Finding(Level.INCOMPLETE, chain.where(index), said)
