"""The folder that a run leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from runbook.errors import BadInput
from runbook.execute.journal import KERNEL_FOLDER, Journal, Listener
from runbook.execute.results import Results, collect
from runbook.execute.status import Status

SPOOL = ".spool-"
JOURNAL = "journal.jsonl"
RESULTS = "results.json"


class Record:
    """The record of one run, under a spool name until the run is closed.

    Attributes:
        run_id: UTC start, site and six random digits; the folder's final name.
        folder: Where it is now.
        journal: Its journal.
        killed: Records of earlier runs that were killed, closed when this one was opened.

    Raises:
        BadInput: The folder of records cannot be written.
    """

    def __init__(self, records: Path, site: str, listener: Listener) -> None:
        start = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.run_id = f"{start}-{site}-{secrets.token_hex(3)}"
        self.folder = (records / (SPOOL + self.run_id)).absolute()
        try:
            records.mkdir(parents=True, exist_ok=True)
            with _alone(records):
                self.killed = close_killed(records)
                self.folder.mkdir()
                self.journal = Journal(self.folder / JOURNAL, listener)
        except OSError as error:
            raise BadInput(
                f"no record can be kept in {records}: {error.strerror}",
                todo="name a folder that can be written",
            ) from error

    def close(self) -> Results:
        """Write the results, give the folder its final name and return the results."""
        results = collect(self.journal.entries)
        _write_results(self.folder, results)
        self.journal.close()
        _sync(self.folder)
        self.folder = self.folder.replace(self.folder.with_name(self.run_id))
        return results


def close_killed(records: Path) -> list[Path]:
    """Close the records of runs that were killed, and return where they are now.

    A run that is still under way holds its journal and is left alone.
    """
    closed = []
    for spool in sorted(records.glob(f"{SPOOL}*")):
        try:
            journal = Journal(spool / JOURNAL, lambda _entry: None)
        except BlockingIOError:
            continue
        closed.append(_close_killed(spool, journal))
    return closed


def _close_killed(spool: Path, journal: Journal) -> Path:
    for unfinished in spool.glob(".*.new"):
        unfinished.unlink()
    for notebook in spool.glob("*.ipynb"):
        _mark_killed(notebook)
    for entry in journal.entries:
        if entry["kind"] == "kernel started":
            _remove_sockets(entry["folder"])
    if journal.entries:
        journal.write("run killed", status=Status.KILLED.value, reason="the runner was killed")
        _write_results(spool, collect(journal.entries))
    journal.close()
    return spool.replace(spool.with_name(spool.name.removeprefix(SPOOL) + "-killed"))


def _remove_sockets(folder: str) -> None:
    """Remove what a killed runner could not; its kernels went by themselves."""
    if folder.startswith(KERNEL_FOLDER) and "/" not in folder:
        shutil.rmtree(Path(tempfile.gettempdir()) / folder, ignore_errors=True)


def _mark_killed(path: Path) -> None:
    """Replace ``running`` in a notebook; nobody was left to do it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    marks = [cell["metadata"]["papermill"] for cell in notebook["cells"]]
    for mark in (*marks, notebook["metadata"]["runbook"]):
        if mark["status"] == Status.RUNNING:
            mark["status"] = Status.KILLED.value
            notebook["metadata"]["papermill"]["exception"] = True
    _replace(path, json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _write_results(folder: Path, results: Results) -> None:
    _replace(folder / RESULTS, json.dumps(results, indent=1, sort_keys=True) + "\n")


def _replace(path: Path, text: str) -> None:
    spare = path.with_name(f".{path.name}.new")
    spare.write_text(text, encoding="utf-8")
    os.replace(spare, path)


def _sync(folder: Path) -> None:
    """Return once the folder and its files are on the disk."""
    for path in (*folder.iterdir(), folder):
        opened = os.open(path, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


@contextmanager
def _alone(records: Path) -> Iterator[None]:
    """Exclude other runs for a moment: a folder without a held journal looks like a killed run."""
    with (records / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
