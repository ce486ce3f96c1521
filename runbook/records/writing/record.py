"""The folder that a run leaves behind."""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from runbook.errors import BadInput
from runbook.masking.redact import MASKER
from runbook.records.archive import canonical
from runbook.records.archive.archive import Archive, Sealed
from runbook.records.archive.statement import KILLED, SPOOL, WITHHELD
from runbook.records.journal.entries import KernelStarted, RunEnded
from runbook.records.journal.journal import KERNEL_FOLDER, Journal, Listener
from runbook.records.journal.results import Results, StepResults, collect
from runbook.records.journal.status import ENDED_WELL, Status
from runbook.records.writing.closing import JOURNAL, Withheld, publish

SOURCES = "source"
"""The folder of the notebooks as they were before the run."""


class Record:
    """The record of one run, under a spool name until the run is closed.

    Attributes:
        run_id: UTC start, site and six random digits; the folder's final name.
        folder: Where it is now.
        journal: Its journal.
        killed: Records of earlier runs that were killed, closed when this one was opened.

    Raises:
        BadInput: The folder of records cannot be written.
        Refused: The key cannot sign, or may not.
        Withheld: An earlier run was killed, and its record holds a secret; it is put aside.
    """

    def __init__(self, archive: Archive, site: str, listener: Listener) -> None:
        start = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.archive = archive
        self.run_id = f"{start}-{site}-{secrets.token_hex(3)}"
        records = archive.folder
        self.folder = (records / (SPOOL + self.run_id)).absolute()
        try:
            archive.begin()
            with _alone(records):
                self.killed = close_killed(archive)
                self.folder.mkdir()
                self.journal = Journal(self.folder / JOURNAL, listener)
        except OSError as error:
            raise BadInput(
                f"no record can be kept in {records}: {error.strerror}",
                todo="name a folder that can be written",
            ) from error

    def keep_sources(self, notebooks: Iterable[Path]) -> None:
        """Keep the notebooks as they are before the run."""
        folder = self.folder / SOURCES
        folder.mkdir()
        for path in notebooks:
            notebook = json.loads(path.read_text(encoding="utf-8"))
            _write(folder / path.name, MASKER.mask_notebook(notebook))

    def settle(self, notebook: str, status: Status, reason: str) -> None:
        """Write into an executed notebook how its step ended, now that its evidence was judged."""
        path = self.folder / notebook
        if path.exists():
            executed = json.loads(path.read_text(encoding="utf-8"))
            executed["metadata"]["runbook"] = {"status": status.value, "reason": reason}
            _write(path, executed)

    def discard(self) -> None:
        """Remove the record of a run that could not be opened."""
        shutil.rmtree(self.folder)
        self.journal.close()

    def close(self) -> tuple[Results, Sealed]:
        """Publish the record under its final name; return its results and what closed it.

        Raises:
            Withheld: A file of it holds a secret.
            Refused: The key cannot sign any more; the next run closes the record.
        """
        self.journal.sync()
        try:
            results, sealed = publish(self.folder, self.run_id, self.archive)
            self.folder = self.folder.replace(self.folder.with_name(self.run_id))
        finally:
            self.journal.close()  # held until now: what nobody holds, the next run takes for killed
        assert results is not None  # its journal has been begun
        return results, sealed


def close_killed(archive: Archive) -> list[Path]:
    """Close the records of runs that were killed, and return where they are now.

    A run that is still under way holds its journal and is left alone, and so is one that did
    something and that no ledger knows: this program did not write it, or its ledger is gone.
    """
    closed = []
    for spool in sorted(archive.folder.glob(f"{SPOOL}*")):
        journal = _abandoned(spool)
        if journal is None:
            continue
        run_id = spool.name.removeprefix(SPOOL)
        if archive.is_opened(run_id):
            try:
                closed.append(_close_killed(spool, run_id, journal, archive))
            except Withheld:  # put aside, which is told; it is no reason not to run now
                closed.append(spool.with_name(WITHHELD + run_id))
            continue
        journal.close()
        if not journal.entries:  # killed before anything was contacted, or entered anywhere
            shutil.rmtree(spool)
    return closed


def _abandoned(spool: Path) -> Journal | None:
    """Return the journal of a run that nobody is at any more."""
    try:
        journal = Journal(spool / JOURNAL, lambda _entry: None)
    except (BlockingIOError, FileNotFoundError):
        return None
    if spool.exists():
        return journal
    journal.close()  # its run has just given it its name
    return None


def _close_killed(spool: Path, run_id: str, journal: Journal, archive: Archive) -> Path:
    ended = [entry for entry in journal.entries if isinstance(entry, RunEnded)]
    closed = any(entry.kind == "run closed" for entry in ended)
    final = spool.with_name(run_id + ("" if closed else KILLED))
    if archive.is_closed(run_id):  # it only wants its name
        journal.close()
        return spool.replace(final)
    for unfinished in spool.rglob(".*.new"):
        unfinished.unlink()
    for entry in journal.entries:
        if isinstance(entry, KernelStarted):
            _remove_sockets(entry.folder)
    if journal.entries and not ended:  # else it came to its end, or its finder was killed, too
        reason = "the runner was killed"
        journal.write(RunEnded(kind="run killed", status=Status.KILLED, reason=reason))
    journal.close()
    for step in collect(journal.entries).steps if journal.entries else ():
        if (spool / step.notebook).exists():
            _mark_killed(spool / step.notebook, step)
    publish(spool, run_id, archive)
    return spool.replace(final)


def _remove_sockets(folder: str) -> None:
    """Remove what a killed runner could not; its kernels went by themselves."""
    if folder.startswith(KERNEL_FOLDER) and "/" not in folder:
        shutil.rmtree(Path(tempfile.gettempdir()) / folder, ignore_errors=True)


def _mark_killed(path: Path, step: StepResults) -> None:
    """Have a notebook say what the results say of its step; nobody was left to do it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    ended = {cell.cell: cell.status for cell in step.cells}
    about = notebook["metadata"]
    for cell in notebook["cells"]:
        mark = cell["metadata"]["papermill"]
        if mark["status"] == Status.RUNNING:  # as it was saved last
            status = ended.get(cell["id"], Status.KILLED)
            mark.update(status=status.value, exception=status not in ENDED_WELL)
    if step.status is Status.KILLED:
        about["papermill"]["exception"] = True
    about["runbook"] = {"status": step.status, "reason": step.reason}
    _write(path, notebook)


def _write(path: Path, notebook: canonical.Value) -> None:
    canonical.write(path, canonical.document(notebook), durable=False)


@contextmanager
def _alone(records: Path) -> Iterator[None]:
    """Exclude other runs for a moment: a folder without a held journal looks like a killed run."""
    with (records / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
