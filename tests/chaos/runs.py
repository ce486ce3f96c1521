"""Runs of the product as an operator starts them, with the injection or without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_TIMEOUT_S = 300
GONE_S = 3.0
"""How long what a killed run leaves running may take to notice."""
INJECT = Path(__file__).parent / "inject"
RUNBOOK = Path(sys.executable).with_name("runbook")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        status: Its exit status; -9 where it was killed.
        said: Both its outputs.
        results: What it printed with ``--json``; empty where nothing.
        seconds: How long it took.
        hung: Whether it had to be ended.
        survivors: Processes of it that went on.
    """

    status: int
    said: str
    results: dict[str, Any]
    seconds: float
    hung: bool
    survivors: tuple[str, ...]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What it planned."""
        return [change for step in self.results.get("steps", ()) for change in step["changes"]]


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody with an archive of his own and a folder for temporary files.

    Attributes:
        folder: Holds both.
    """

    folder: Path

    @property
    def records(self) -> Path:
        """The archive."""
        return self.folder / "records"

    @property
    def log(self) -> Path:
        """What the injection tells."""
        return self.folder / "log"

    def __call__(self, *words: str | Path, cut: str | None = None) -> Ended:
        """Run ``runbook`` to its end; its output is JSON where there is any.

        Args:
            words: Command, site and options.
            cut: What the injection is to do; empty: it only records; ``None``: none is there.
        """
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        if cut is not None:
            paths = filter(None, (str(INJECT), environment.get("PYTHONPATH")))
            environment |= {
                "PYTHONPATH": os.pathsep.join(paths),
                "CHAOS_LOG": str(self.log),
                "CHAOS_CUT": cut,
            }
        command = [RUNBOOK, *map(str, words), "--records", self.records, "--json"]
        begun = time.monotonic()
        with open(self.folder / "out", "w+b") as out, open(self.folder / "err", "w+b") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
            hung = False
            try:
                process.wait(RUN_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                hung = True
                process.kill()
                process.wait()
        seconds = time.monotonic() - begun
        printed = (self.folder / "out").read_text()
        results = {}
        with suppress(ValueError):
            results = json.loads(printed)
        return Ended(
            status=process.returncode,
            said=printed + (self.folder / "err").read_text(),
            results=results,
            seconds=seconds,
            hung=hung,
            survivors=tuple(self._survivors()) if cut is not None else (),
        )

    def told(self) -> list[dict[str, Any]]:
        """Return the lines of the injection's log."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]

    def archived(self) -> list[dict[str, Any]]:
        """Return the results in the archive, the earliest run's first."""
        return [json.loads(p.read_text()) for p in sorted(self.records.glob("2*/results.json"))]

    def verify(self) -> int:
        """Return the status of ``records verify`` over the archive."""
        command = [RUNBOOK, "records", "verify", "--archive", self.records]
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode

    def remains(self) -> list[str]:
        """Return what the runs have left on the operator's machine."""
        left = [*self.folder.glob("runbook-*"), *self.records.glob(".spool*")]
        return [f"operator: {path.name}" for path in left]

    def _survivors(self) -> Iterator[str]:
        mark = f"CHAOS_LOG={self.log}".encode()
        end = time.monotonic() + GONE_S
        while (alive := list(_running(mark))) and time.monotonic() < end:
            time.sleep(0.1)
        yield from alive


def _running(mark: bytes) -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes():
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()


@contextmanager
def operator() -> Iterator[Operator]:
    """Give an operator whose folder goes afterwards; its path is short, as sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="c-"))
    try:
        yield Operator(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def last(results: Sequence[dict[str, Any]], status: str | None = None) -> dict[str, Any]:
    """Return the latest results, of those with this status; empty where there are none."""
    fitting = [one for one in results if status in (None, one["status"])]
    return fitting[-1] if fitting else {}
