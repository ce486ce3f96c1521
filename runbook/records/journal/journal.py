"""The journal of a run: what happened, line by line, written outside the kernels.

One JSON object a line, each with ``seq``, ``time`` and ``kind``; everything else about a run is
derived from these lines. They hold no secret. The kinds, in the order in which a run has them:

    run opened      run_id, site, site_file, settings: {name: value}, mode, context, emergency,
                    steps: [{step, notebook, skipped}]
    record closed   record: the record of an earlier run that was killed, found and closed now
    kernel started  folder: the name of its folder of sockets, among the temporary files
    step started    step, notebook
    cell started    step, cell, index
    event           step, event: what the notebook said of itself
    cell ended      step, cell, index, status, duration_ms
    notebook ended  step, status, reason, cells: [{cell, index, status, duration_ms}]
    step ended      step, status, reason, duration_ms
    interrupted     signal
    run closed      status, reason, exit_status, duration_ms
    run killed      in place of ``run closed``, written by the run that finds it
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.masking.redact import MASKER

KERNEL_FOLDER = "runbook-"
"""What the names of the kernels' folders begin with."""

Entry = Mapping[str, Any]
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

    def write(self, kind: str, **particulars: Any) -> None:
        """Append one entry, masked, and tell the listener."""
        told = MASKER.mask_json(particulars)
        with self._lock:
            entry = {"seq": len(self.entries), "time": now(), "kind": kind, **told}
            line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"
            written = line.encode(errors="replace")  # such as a host's words in Latin-1
            unwritten = written
            while unwritten:  # where a disk fills, the rest meets the error
                unwritten = unwritten[os.write(self._file, unwritten) :]
            entry = json.loads(written)
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


def read(path: Path) -> list[Entry]:
    """Return the entries of a journal; a last line that was cut off is left out."""
    # Not splitlines(): a line ends at a line feed, not at U+2028 within a message.
    *lines, _cut_off = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines]


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
