"""Headless runs: every step's notebook through papermill, and the record it leaves.

Importing this package is cheap; papermill is loaded when a run starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.execute import notebooks
from runbook.execute.journal import Listener
from runbook.execute.record import Record
from runbook.execute.results import Results
from runbook.execute.runner import GRACE_S, Runner
from runbook.execute.selection import Request, Step, select
from runbook.execute.status import ExitStatus, Status

if TYPE_CHECKING:
    from runbook.site import SiteFile

__all__ = ["GRACE_S", "ExitStatus", "Request", "RunResult", "Status", "run"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        record: Its folder.
        exit_status: What the program ends with.
        results: What ``results.json`` in the record holds.
    """

    record: Path
    exit_status: ExitStatus
    results: Results


def run(
    site_file: SiteFile,
    request: Request,
    *,
    steps: Sequence[Step] | None = None,
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
        BadInput: An unknown step, or a notebook that cannot be run; nothing was started.
    """
    if steps is None:
        from runbook.steps import STEPS

        steps = STEPS
    chosen = select(steps, request)
    for step in chosen:
        notebooks.check(request.notebooks / step.notebook)
    record = Record(request.records, site_file.site.name, listener)
    results = Runner(site_file, request, chosen, record).run()
    return RunResult(record.folder, ExitStatus(results["exit_status"]), results)
