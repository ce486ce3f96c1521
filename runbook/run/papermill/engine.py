"""The engine, and the client through which it runs the cells of one notebook."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger

from runbook.errors import BadInput
from runbook.events import MIME, SWITCH
from runbook.masking.secret import KNOWN
from runbook.records.journal.status import ExitStatus, Status
from runbook.run.kernels import Kernel, LocalKernelManager
from runbook.run.notebooks import declared_parameters
from runbook.run.papermill.manager import HonestManager, silent

IOPUB_TIMEOUT_S = 30  # nbclient's 4 s are too few for a machine that is busy with its lab

_ENDS: tuple[tuple[type[BaseException], Status], ...] = (
    (CellTimeoutError, Status.TIMED_OUT),
    (DeadKernelError, Status.KERNEL_DIED),
    (KeyboardInterrupt, Status.INTERRUPTED),
    (SystemExit, Status.INTERRUPTED),
)


class HonestClient(PapermillNotebookClient):  # type: ignore[misc]
    """Runs cells one by one and says of each how it ended.

    Args:
        manager: Keeps the notebook.
        kernel: A kernel of the runner, which outlives the notebook; ``None``: one is started for
            this notebook.
        options: Those of papermill's client.
    """

    def __init__(self, manager: HonestManager, kernel: Kernel | None, **options: Any) -> None:
        super().__init__(manager, km=kernel.manager if kernel else None, **options)
        self.kernel = kernel
        if kernel:
            self.kc = kernel.client

    def papermill_execute_cells(self) -> None:
        """Run the cells up to the first that does not come to its end."""
        for index, cell in enumerate(self.nb.cells):
            if self.kernel and self.kernel.stopping:
                self.nb_man.end(Status.INTERRUPTED, "interrupted between two cells")
                return
            status = Status.FAILED
            try:
                self.nb_man.cell_start(cell, index)
                self.execute_cell(cell, index)
                status = self.nb_man.achieved
            except CellExecutionError as error:
                status = self._end_of(error)
                self.nb_man.end(status, ": ".join(filter(None, (error.ename, error.evalue))))
                return
            except BaseException as error:
                status = self._end_of(error)
                # nbclient adds a preview of the cell after the first line
                self.nb_man.end(status, str(error).partition("\n")[0] or type(error).__name__)
                _abandon_tasks()
                raise
            finally:
                self.nb_man.cell_complete(cell, index, status=status)
        self.nb_man.end_well()

    def _end_of(self, error: BaseException) -> Status:
        if self.kernel and self.kernel.stopping:
            return Status.INTERRUPTED
        if isinstance(error, CellExecutionError) and error.ename == "KeyboardInterrupt":
            return Status.INTERRUPTED
        return next((end for kind, end in _ENDS if isinstance(error, kind)), Status.FAILED)

    def process_message(self, msg: dict[str, Any], *place: Any) -> NotebookNode | None:
        """Take the runbook's events out of the outputs; leave the rest to nbclient."""
        kind, content = msg["msg_type"], msg["content"]
        if self.kernel and kind == "execute_input":
            self.kernel.entered_cell()
        elif self.kernel and kind == "status" and content["execution_state"] == "idle":
            self.kernel.left_cell()
        elif kind == "display_data" and MIME in content["data"]:
            self._hear(content["data"][MIME])
            return None
        output: NotebookNode | None = super().process_message(msg, *place)
        return output

    def _hear(self, event: dict[str, Any]) -> None:
        if event.get("event") == "secret":  # it comes before whatever holds the value
            KNOWN.add(event["name"], event["value"])
        else:
            self.nb_man.hear(event)


class HonestEngine(NBClientEngine):  # type: ignore[misc]
    """Runs a notebook for papermill and tells the truth about it.

    Beyond papermill's own options it takes those of the runner: ``kernel`` (a
    :class:`~runbook.run.kernels.Kernel`), ``save_to`` (the output's path, in place of
    ``output_path``) and ``report`` (see :data:`~runbook.run.papermill.manager.Report`).
    """

    @classmethod
    def execute_notebook(cls, nb: NotebookNode, kernel_name: str, **options: Any) -> NotebookNode:
        """Run the notebook and return it.

        Raises:
            BadInput: The output exists, a parameter is given that the notebook does not declare,
                or outputs are to be copied elsewhere; nothing was run or written.
            PapermillExecutionError: A cell left through ``sys.exit``.
        """
        kernel, given = options.pop("kernel", None), options.pop("save_to", None)
        save_to = given or _local(options.get("output_path"))
        _refuse(nb, save_to)
        _refuse_copies(options)
        _normalise(nb, given)
        names = ("output_path", "progress_bar", "autosave_cell_every")
        manager = HonestManager(
            nb,
            save_to=save_to,
            report=options.pop("report", silent),
            **{name: options.pop(name) for name in names if name in options},
        )
        manager.notebook_start()
        try:
            with _termination():
                cls.execute_managed_notebook(manager, kernel_name, kernel=kernel, **options)
        except BaseException as error:
            manager.end(Status.FAILED, str(error) or type(error).__name__)
            raise
        finally:
            manager.notebook_complete()
        masked = manager.masked
        _refuse_exit(masked)
        return masked

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: HonestManager, kernel_name: str, **options: Any
    ) -> None:
        """Run the cells of a notebook whose state is kept by the manager."""
        options.pop("input_path", None)
        client = HonestClient(
            nb_man,
            timeout=options.pop("execution_timeout", None),
            startup_timeout=options.pop("start_timeout", 60),
            kernel_name=kernel_name,
            kernel_manager_class=LocalKernelManager,
            iopub_timeout=IOPUB_TIMEOUT_S,
            shell_timeout_interval=1,  # how soon a dead kernel is noticed after the last cell
            # Tags of a cell neither leave it out nor make its error acceptable.
            skip_cells_with_tag="",
            force_raise_errors=True,
            store_widget_state=False,  # it holds the value of a password field in clear
            log=logger,
            **options,
        )
        # Without them the notebook would not tell what its cells came to.
        client.execute(env={**os.environ, SWITCH: "1"})


def _abandon_tasks() -> None:
    """End what nbclient still waits for after a signal; it would run on in the clean-up."""
    loop = ensure_event_loop()
    tasks = () if loop.is_running() else asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _local(path: str | None) -> Path | None:
    return None if path is None or path == "-" or "://" in path else Path(path)


def _refuse(nb: NotebookNode, save_to: Path | None) -> None:
    if save_to is not None and save_to.exists():
        raise BadInput(f"{save_to} exists; the evidence in it is not overwritten")
    known = declared_parameters(nb)
    unknown = sorted(set(nb.metadata.papermill.get("parameters") or ()) - known)
    if unknown:
        raise BadInput(
            f"unknown parameter {', '.join(unknown)}; the notebook declares "
            f"{', '.join(sorted(known)) or 'none'}"
        )


def _refuse_copies(options: dict[str, Any]) -> None:
    # Outputs come in pieces, and a secret that is cut in two is in neither of them.
    asked = [name for name in ("log_output", "stdout_file", "stderr_file") if options.get(name)]
    if asked:
        raise BadInput(
            f"{', '.join(asked)}: outputs go to the notebook only, where secrets are masked",
            todo="leave the option out, and read the notebook",
        )


def _normalise(nb: NotebookNode, given: Path | None) -> None:
    """Keep out of the notebook what differs between equal runs, and the operator's folders."""
    for cell in nb.cells:
        if "injected-parameters" in cell.metadata.tags:
            cell["id"] = "injected-parameters"
    if given is not None:
        marks = nb.metadata.papermill
        marks.update(input_path=Path(marks["input_path"]).name, output_path=given.name)


def _refuse_exit(nb: NotebookNode) -> None:
    """Raise for a cell that left through ``sys.exit(0)``, which papermill takes for success."""
    for index, cell in enumerate(nb.cells):
        for output in cell.get("outputs", ()):
            if output.output_type == "error" and output.ename == "SystemExit":
                raise PapermillExecutionError(
                    cell_index=index,
                    exec_count=cell.execution_count,
                    source=cell.source,
                    **{name: output[name] for name in ("ename", "evalue", "traceback")},
                )


@contextmanager
def _termination() -> Iterator[None]:
    """Let SIGTERM unwind, so that the notebook is closed; only the main thread gets signals."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(int(ExitStatus.TERMINATED))

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
