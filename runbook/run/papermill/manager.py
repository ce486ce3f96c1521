"""What is written about a notebook while it runs, and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from papermill.engines import NotebookExecutionManager
from papermill.iorw import write_ipynb

from runbook.events import ChangeEnded, Verdict
from runbook.masking.redact import MASKER
from runbook.records.archive import canonical
from runbook.records.journal import entries
from runbook.records.journal.status import ENDED_WELL, Status, together

Report = Callable[[entries.OfStep], None]
"""Is told what happens, without the step. Called from the thread that runs the notebook."""

REASON_LENGTH = 500


def silent(_entry: entries.OfStep) -> None:
    """Report to nobody."""


class HonestManager(NotebookExecutionManager):  # type: ignore[misc]
    """Keeps the statuses of cells in the notebook, and the notebook on disk.

    papermill marks every cell it knows nothing about as completed. Here a cell never ran until it
    is started, and what it came to is what it told of itself. What is written holds no secret.

    Args:
        notebook: The notebook that is run.
        save_to: Where it is saved, each time as a whole; ``None``: papermill's own way to
            ``output_path``.
        report: Told what happens.
        options: Those of papermill's manager.
    """

    PENDING = Status.NEVER_RAN.value

    def __init__(
        self,
        notebook: NotebookNode,
        *,
        save_to: Path | None,
        report: Report,
        **options: Any,
    ) -> None:
        super().__init__(notebook, **options)
        self.save_to = save_to
        self.report = report
        self.status = Status.RUNNING
        self.reason = ""
        self._heard: set[Status] = set()

    @property
    def masked(self) -> NotebookNode:
        """Return a copy of the notebook that may be shown to anybody."""
        masked: NotebookNode = nbformat.from_dict(MASKER.mask_notebook(self.nb))  # type: ignore[no-untyped-call]
        return masked

    def hear(self, event: dict[str, Any]) -> None:
        """Take in what the running cell tells, and pass it on."""
        entry = entries.EventTold(event=event)
        match entry.told:
            case ChangeEnded(outcome="done"):
                self._heard.add(Status.CHANGED)
            case Verdict(checks_passed=passed, checks_failed=failed) if passed and not failed:
                self._heard.add(Status.VERIFIED)
        self.report(entry)

    @property
    def achieved(self) -> Status:
        """Return what the running cell came to, now that it came to its end."""
        return together(self._heard)

    def end_well(self) -> None:
        """Settle that every cell came to its end."""
        self.end(together([Status(cell.metadata.papermill["status"]) for cell in self.nb.cells]))

    def end(self, status: Status, reason: str = "") -> None:
        """Settle how the notebook ended; the first word on it stands."""
        if self.status is Status.RUNNING:
            # Masked first: a secret that is cut off is none that is known.
            self.status, self.reason = status, MASKER.mask(reason.strip())[:REASON_LENGTH]

    def save(self, **_: Any) -> None:
        """Save the notebook as it is now, whole."""
        self.nb.metadata["runbook"] = {"status": self.status.value, "reason": self.reason}
        if self.save_to is not None:
            text: str = nbformat.v4.writes(self.masked)  # type: ignore[no-untyped-call]
            canonical.write(self.save_to, f"{text}\n".encode(), durable=False)
        elif self.output_path:
            write_ipynb(self.masked, self.output_path)
        self.last_save_time = self.now()

    def cell_start(self, cell: NotebookNode, cell_index: int, **_: Any) -> None:
        """Mark the cell as running, and save where there is something to run."""
        self._heard.clear()
        if cell.cell_type == "code":
            super().cell_start(cell, cell_index)
            self.report(entries.CellStarted(cell=cell.get("id"), index=cell_index))
        else:
            cell.metadata.papermill["start_time"] = self.now().isoformat()

    def cell_complete(
        self, cell: NotebookNode, cell_index: int, status: Status = Status.UNCHANGED, **_: Any
    ) -> None:
        """Mark how the cell ended; save where nothing follows that would save."""
        ended = self.now()
        marks = cell.metadata.papermill
        # a signal may come before the start was noted
        started = datetime.fromisoformat(marks["start_time"] or ended.isoformat())
        seconds = (ended - started).total_seconds()
        broken = status not in ENDED_WELL
        marks.update(
            status=status.value, exception=broken, end_time=ended.isoformat(), duration=seconds
        )
        if self.pbar:
            self.pbar.update(1)
        if broken:
            self.save()
        if cell.cell_type == "code":
            self.report(entries.CellEnded(**asdict(_summary(cell, cell_index))))

    def notebook_complete(self, **_: Any) -> None:
        """Write how the notebook ended; cells that were not reached stay marked so."""
        self.end_time = self.now()
        marks = self.nb.metadata.papermill
        marks["end_time"] = self.end_time.isoformat()
        marks["duration"] = (self.end_time - self.start_time).total_seconds()
        marks["exception"] = self.status not in ENDED_WELL
        self.cleanup_pbar()
        self.save()
        code = [(n, cell) for n, cell in enumerate(self.nb.cells) if cell.cell_type == "code"]
        cells = tuple(_summary(cell, number) for number, cell in code)
        self.report(entries.NotebookEnded(status=self.status, reason=self.reason, cells=cells))


def _summary(cell: NotebookNode, index: int) -> entries.Cell:
    marks = cell.metadata.papermill
    seconds = marks["duration"]
    duration_ms = None if seconds is None else round(seconds * 1000)
    return entries.Cell(cell.get("id"), index, Status(marks["status"]), duration_ms)
