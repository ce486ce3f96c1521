"""The ledger: one line for everything that happens to runs, each holding the digest of the last.

There is one file a signer, so that two workstations never write to the same one. The events:

    opened              a run begins; written before anything is contacted
    closed              its statement, by digest; of a killed run in the ledger of who found it
    pruned              its folder was removed when its time was over
    held, released      it is kept beyond its time; no longer
    redacted            a file was replaced, by old and new digest
    review              an emergency was reviewed
    anchored            a head was witnessed elsewhere
    note                what else had better be known
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook.errors import Refused
from runbook.records.archive import canonical
from runbook.records.journal.journal import now

VERSION = 1
FOLDER = "ledger"
FIRST = "0" * 64
"""What the first line has in place of the digest of the one before."""

EVENTS = frozenset(
    "opened closed pruned held released redacted review anchored note".split()  # noqa: SIM905
)
FIELDS: dict[str, Any] = dict.fromkeys(
    "run_id site mode ticket outcome reason statement_sha256 sig_sha256 dsse_sha256 "  # noqa: SIM905
    "file old_sha256 new_sha256 os_user host".split()
)
"""What a line may say of its event; a key is always there. Older records have a DSSE envelope."""

_TAIL_BYTES = 65536  # far more than a line; the last one is read without the others

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """How far a ledger had come: the digest names its last line and all before it.

    Attributes:
        principal: Whose ledger.
        seq: Number of the last line, from 0.
        head: SHA-256 of that line.
    """

    principal: str
    seq: int
    head: str

    @classmethod
    def of(cls, value: Any) -> Head:
        """Return the head that :meth:`as_dict` gave.

        Raises:
            TypeError: It is none.
        """
        head = cls(**value)
        if (type(head.principal), type(head.seq), type(head.head)) != (str, int, str):
            raise TypeError(f"not a head: {value}")
        return head

    def as_dict(self) -> dict[str, Any]:
        """Return the head as plain values, for statements, anchors and witnesses."""
        return asdict(self)


class Ledger:
    """One signer's ledger, appended to by one process at a time.

    Args:
        archive: The archive's folder.
        principal: Its owner.
    """

    def __init__(self, archive: Path, principal: str) -> None:
        self.principal = principal
        self.path = archive / FOLDER / f"{principal}.jsonl"

    def append(self, event: str, **fields: Any) -> Head:
        """Append one line, and return the new head once it is on the disk.

        Args:
            event: One of :data:`EVENTS`.
            fields: What the line says; the others are null.

        Raises:
            Refused: The last line is damaged; nothing is appended to a broken chain.
        """
        unknown = set(fields) - set(FIELDS)
        if event not in EVENTS or unknown:
            raise ValueError(f"a ledger line has no {event} {sorted(unknown)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        opened = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX)
            head = self._write(opened, {"event": event, **FIELDS, **fields})
            os.fsync(opened)
        finally:
            os.close(opened)
        if is_new:
            canonical.sync(self.path.parent)
        return head

    def head(self) -> Head | None:
        """Return the head; ``None`` where nothing was written yet.

        Raises:
            Refused: The last line is damaged.
        """
        if not self.path.exists():
            return None
        opened = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(opened, fcntl.LOCK_SH)
            return self._read_head(opened)[0]
        finally:
            os.close(opened)

    def lines(self) -> list[Line]:
        """Return what was written, as it is; :mod:`runbook.records.archive.chain` judges it."""
        if not self.path.exists():
            return []
        *whole, _cut_off = self.path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in whole]

    def _write(self, opened: int, fields: dict[str, Any]) -> Head:
        last, cut_off = self._read_head(opened)
        if cut_off:  # never acknowledged: a power failure came before fsync returned
            os.ftruncate(opened, os.fstat(opened).st_size - len(cut_off))
            said = f"a last line cut off after {len(cut_off)} bytes was removed"
            last = self._put(opened, last, {"event": "note", **FIELDS, "reason": said})
        return self._put(opened, last, fields)

    def _put(self, opened: int, last: Head | None, fields: dict[str, Any]) -> Head:
        seq = 0 if last is None else last.seq + 1
        line = canonical.line(
            {
                "v": VERSION,
                "seq": seq,
                "prev": FIRST if last is None else last.head,
                "time": now(),
                "operator": self.principal,
                **fields,
            }
        )
        os.write(opened, line + b"\n")  # one write: a killed writer leaves whole lines
        return Head(self.principal, seq, canonical.sha256(line))

    def _read_head(self, opened: int) -> tuple[Head | None, bytes]:
        """Return the head, and what follows the last whole line."""
        size = os.fstat(opened).st_size
        tail = os.pread(opened, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        *whole, cut_off = tail.split(b"\n")
        if not whole:
            return None, cut_off
        last = whole[-1]
        try:
            return Head(
                self.principal, int(json.loads(last)["seq"]), canonical.sha256(last)
            ), cut_off
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                f"{self.path}: its last line is damaged", todo="runbook records verify says more"
            ) from error


def moment(text: str) -> datetime:
    """Return a time of a record.

    Raises:
        ValueError: It is not written as RFC 3339 in UTC.
    """
    if not text.endswith("Z"):
        raise ValueError(f"{text} is not in UTC")
    return datetime.fromisoformat(text)


def heads(archive: Path) -> list[Head]:
    """Return the heads of all ledgers of an archive, by principal.

    Raises:
        Refused: The last line of one is damaged.
    """
    found = (
        Ledger(archive, path.stem).head() for path in sorted((archive / FOLDER).glob("*.jsonl"))
    )
    return [head for head in found if head is not None]
