"""Headless runs: every step's notebook through papermill, and the record it leaves.

Importing this package is cheap; what makes a run is imported when one starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.errors import BadInput, RunbookError
from runbook.records.journal.journal import Listener
from runbook.records.journal.results import Results
from runbook.records.journal.status import ExitStatus, Status
from runbook.run import notebooks
from runbook.run.selection import Request, select

if TYPE_CHECKING:
    from runbook.records.archive.archive import Sealed
    from runbook.records.writing.closing import Testimony
    from runbook.records.writing.record import Record
    from runbook.site import SiteFile
    from runbook.steps import Step

__all__ = ["ExitStatus", "Request", "RunResult", "Status", "run"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        record: Its folder.
        exit_status: What the program ends with.
        results: What ``results.json`` in the record holds.
        sealed: Who signed it, and the ledger's head to keep elsewhere.
        testimony: Which managers have that head in their journals; ``None``: none was wanted.
    """

    record: Path
    exit_status: ExitStatus
    results: Results
    sealed: Sealed
    testimony: Testimony | None = None


def run(
    site_file: SiteFile,
    request: Request,
    *,
    steps: Sequence[Step[Any]] | None = None,
    listener: Listener = lambda _entry: None,
) -> RunResult:
    """Run the steps' notebooks and leave a record.

    The first failure ends the run: steps under way finish, none is begun. SIGINT, SIGTERM and
    SIGHUP interrupt the running cells and give them 20 seconds to clean up; a second one kills
    them.

    Args:
        site_file: The declared site.
        request: What to run, from where and to where.
        steps: The steps there are; absent: :data:`runbook.steps.STEPS`.
        listener: Told every entry of the journal, one at a time, from several threads.

    Raises:
        BadInput: An unknown step, a notebook that cannot be run, or a record that cannot be kept;
            nothing was started.
        Refused: The key cannot sign, or something that the site requires is missing; likewise.
        Withheld: The record holds a secret and is not published; the run itself is over.
        RunbookError: The record could not be written to its end, as where the disk is full.
    """
    from runbook.records.writing.closing import testify
    from runbook.records.writing.record import Record
    from runbook.run.opening import begin, prepare
    from runbook.run.runner import Runner

    if steps is None:
        from runbook.steps import STEPS

        steps = STEPS
    chosen = select(steps, request)
    for step in chosen:
        notebooks.check(request.notebooks / step.notebook)
    opening = prepare(site_file, request)
    record = Record(opening.archive, site_file.site.name, listener)
    with _writing(record, BadInput):
        context = begin(record, site_file, request, opening, {s: s in chosen for s in steps})
    with _writing(record, RunbookError):
        surprise = Runner(site_file, request, chosen, record, context).run()
        results, sealed = record.close()
    if surprise is not None:
        raise surprise
    status = ExitStatus(results.exit_status or 0)
    testimony = testify(site_file, record.folder, sealed)
    return RunResult(record.folder, status, results, sealed, testimony)


@contextmanager
def _writing(record: Record, kind: type[RunbookError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise kind(
            f"{error.strerror or error}: the record {record.folder} could not be written any more",
            todo="make room there, or mend the folder; the next run closes the record, in which "
            "journal.jsonl tells what was done",
        ) from error
