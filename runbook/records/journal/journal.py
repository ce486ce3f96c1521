"""The journal of a run: what happened, line by line, written outside the kernels."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from runbook.events import as_text, to_json
from runbook.masking.redact import MASKER
from runbook.records.journal.entries import Entry, parse, read

KERNEL_FOLDER = "runbook-"
"""What the names of the kernels' folders begin with."""

Listener = Callable[[Entry], None]


def now() -> str:
    """Return the time in UTC with milliseconds, as RFC 3339 writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Journal:
    """An append-only file of entries, held by one process.

    Args:
        path: The file; created, or continued if it exists. One that is sealed is only held.
        listener: Told every entry after it was written, one at a time, in any thread; until it
            raises ``OSError``.

    Raises:
        BlockingIOError: Another process holds the journal: its run is still under way.
    """

    def __init__(self, path: Path, listener: Listener) -> None:
        self._file = _open(path)
        try:
            # The system drops the lock with the process, however that ends (flock(2)).
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _drop_cut_off(path)
            self.entries: list[Entry] = read(path)
        except BaseException:
            os.close(self._file)
            raise
        self._listener = listener
        self._lock = threading.Lock()

    def write(self, entry: Entry) -> None:
        """Append an entry, numbered, dated and masked, and tell the listener."""
        particulars = to_json(entry)
        del particulars["seq"], particulars["time"], particulars["kind"]
        masked = MASKER.mask_json(particulars)
        with self._lock:
            envelope = {"seq": len(self.entries), "time": now(), "kind": entry.kind}
            unwritten = as_text({**envelope, **masked}) + b"\n"
            entry = parse(unwritten)  # before it is there: a line that is none is read by nobody
            while unwritten:  # where a disk fills, the rest meets the error
                unwritten = unwritten[os.write(self._file, unwritten) :]
            self.entries.append(entry)
            try:
                self._listener(entry)
            except OSError:  # its terminal or pipe has gone, which is no reason to stop
                self._listener = lambda _entry: None

    def sync(self) -> None:
        """Return once everything written is on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Sync and let go of the file."""
        self.sync()
        os.close(self._file)


def _open(path: Path) -> int:
    try:
        # O_APPEND and one write an entry: a killed writer leaves whole lines.
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError:  # killed between the seal and the final name
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _drop_cut_off(path: Path) -> None:
    """Remove what follows the last whole line: after it, the next entry would be none."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
