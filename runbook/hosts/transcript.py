"""The transcript: every command that was run on a host, one JSON line each."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from runbook.hosts.ssh.command import Result
from runbook.masking.redact import MASKER

STDERR_TAIL = 2000  # characters; enough for the message, not for a build log


@dataclass(frozen=True, slots=True)
class Entry:
    """One command as the transcript keeps it: masked; what went in and came out stays out of it.

    Args:
        time: When it was started, UTC, ISO 8601.
        host: The host's name in the site.
        sudo: Whether it was run as root through sudo.
        argv: The command.
        status: Its exit status; -1 where there was none.
        duration_ms: How long it took.
        stderr: The end of what it wrote to its standard error.

    """

    time: str
    host: str
    sudo: bool
    argv: tuple[str, ...]
    status: int
    duration_ms: int
    stderr: str


class Transcript:
    """Keeps what was run, and appends it to a file where there is one; safe in threads.

    Args:
        path: The file, created with mode 0600; ``None`` keeps the entries in memory alone.

    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What was run so far, in the order it ended."""
        with self._lock:
            return tuple(self._entries)

    def add(self, result: Result) -> None:
        """Keep one command.

        Args:
            result: The command and what came of it.

        Raises:
            OSError: The file cannot be written; a run without its transcript is no record.

        """
        entry = Entry(
            time=result.started.isoformat(timespec="milliseconds"),
            host=result.host,
            sudo=result.sudo,
            argv=tuple(MASKER.mask_json(result.argv)),
            status=result.status,
            duration_ms=result.duration_ms,
            stderr=MASKER.mask(result.stderr)[-STDERR_TAIL:],
        )
        with self._lock:
            self._entries.append(entry)
            if self.path:
                _append(self.path, entry)


def _append(path: Path, entry: Entry) -> None:
    line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
    # One write in append mode: kernels of several steps may write to the same file.
    target = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(target, line.encode("utf-8", errors="replace"))
    finally:
        os.close(target)
