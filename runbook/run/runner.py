"""A run under way: steps side by side where they can, one kernel each."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from graphlib import TopologicalSorter
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from runbook.context import RunContext
from runbook.events import SWITCH
from runbook.records.journal import entries
from runbook.records.journal.results import (
    collect,
    exit_status,
    first_broken,
    outcome,
    what_was_touched,
)
from runbook.records.journal.status import ENDED_WELL, ExitStatus, Status
from runbook.records.writing import closing
from runbook.records.writing.record import Record
from runbook.run.selection import Request, order, side_by_side

if TYPE_CHECKING:
    from types import FrameType

    from runbook.run.kernels import Kernel
    from runbook.site import SiteFile
    from runbook.steps import Step

GRACE_S = 20.0
"""How long interrupted cells may clean up before their kernels are killed, in seconds."""

WAKE_S = 0.5
"""How late a signal may be noticed, in seconds."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Finished = tuple[str, Future[None]]


class Runner:
    """One run.

    All is decided in the thread that calls :meth:`run`; signals and finished steps reach it
    through one queue.

    Args:
        site_file: The declared site.
        request: What is run.
        steps: The steps to run.
        record: Receives what happens; its journal is opened.
        context: What the kernels are told.
    """

    def __init__(
        self,
        site_file: SiteFile,
        request: Request,
        steps: tuple[Step[Any], ...],
        record: Record,
        context: RunContext,
    ) -> None:
        self.site_file = site_file
        self.request = request
        self.context = context
        self.steps = {step.name: step for step in steps}
        self.needs = order(steps, site_file.site)
        self.record = record
        self.journal = record.journal
        self._inbox: SimpleQueue[int | Finished] = SimpleQueue()
        self._kernels: list[Kernel] = []
        self._running: dict[str, tuple[Kernel, float]] = {}
        self._signal: int | None = None
        self._deadline: float | None = None
        self._surprise: BaseException | None = None

    def run(self) -> BaseException | None:
        """Run the steps and end the journal.

        Returns:
            What nobody foresaw; to be raised once the record is closed.
        """
        begun = time.monotonic()
        with signals_into(self._inbox):
            try:
                self._start_kernels()
                self._work()
            finally:
                self._close_kernels()
        self._end(begun)
        return self._surprise

    def _start_kernels(self) -> None:
        from runbook.run.kernels import Kernel

        environment = {SWITCH: "1", **self.context.to_environ()}

        def start(log: str) -> None:
            kernel = Kernel(environment, self.record.folder / log)
            self._kernels.append(kernel)
            self.journal.write(entries.KernelStarted(folder=kernel.manager.folder.name))

        start("kernel-1.log")
        from runbook.run import serving  # noqa: F401  # loads papermill as the kernel boots

        if side_by_side(self.needs):
            start("kernel-2.log")
        threading.Thread(target=closing.warm, daemon=True).start()

    def _work(self) -> None:
        waiting = TopologicalSorter(self.needs)
        waiting.prepare()
        ready: list[str] = []
        idle = list(self._kernels)
        failed = False
        while True:
            if not failed and self._signal is None:
                ready += waiting.get_ready()
                while ready and idle:
                    self._begin(ready.pop(0), idle.pop(0))
            if not self._running:
                return
            match self._next():
                case None:
                    self._kill()
                case int(number):
                    self._interrupt(number)
                case (name, future):
                    kernel, status = self._finish(name, future)
                    if status in ENDED_WELL:
                        waiting.done(name)
                        idle.append(kernel)
                    else:
                        failed = True

    def _next(self) -> int | Finished | None:
        """Wait for a signal or a finished step; return ``None`` when the grace is over."""
        while self._deadline is None or time.monotonic() < self._deadline:
            try:
                # A signal that comes just before the wait begins does not end it.
                return self._inbox.get(timeout=WAKE_S)
            except Empty:
                continue
        return None

    def _begin(self, name: str, kernel: Kernel) -> None:
        from runbook.run.serving import serve

        notebook = self.steps[name].notebook
        self.journal.write(entries.StepStarted(step=name, notebook=notebook))
        self._running[name] = (kernel, time.monotonic())
        work = partial(
            serve,
            self.request.notebooks / notebook,
            {"site": str(self.site_file.path), "mode": self.request.mode},
            self.request.cell_timeout_s,
            kernel=kernel,
            save_to=self.record.folder / notebook,
            report=lambda entry: self.journal.write(replace(entry, step=name)),
        )
        kernel.submit(work).add_done_callback(lambda done: self._inbox.put((name, done)))

    def _finish(self, name: str, future: Future[None]) -> tuple[Kernel, Status]:
        from runbook.run.serving import EXPECTED

        kernel, begun = self._running.pop(name)
        error = future.exception()
        if error is not None and not isinstance(error, EXPECTED):
            self._surprise = error
        step = self.steps[name]
        prove = self.request.mode == "apply" or step.proves_when_planning
        required = step.required_checks(self.site_file.site) if prove else None
        status, reason = outcome(tuple(self.journal.entries), name, error, required)
        took = _ms_since(begun)
        ended = entries.StepEnded(step=name, status=status, reason=reason, duration_ms=took)
        self.journal.write(ended)
        self.journal.sync()
        self.record.settle(step.notebook, status, reason)
        return kernel, status

    def _interrupt(self, number: int) -> None:
        self.journal.write(entries.Interrupted(signal=signal.Signals(number).name))
        if self._signal is not None:  # asked twice
            self._kill()
            return
        self._signal = number
        self._deadline = time.monotonic() + GRACE_S
        for kernel, _ in self._running.values():
            kernel.interrupt()

    def _kill(self) -> None:
        self._deadline = None
        for kernel, _ in self._running.values():
            kernel.kill()

    def _close_kernels(self) -> None:
        closing = [kernel.close() for kernel in self._kernels]
        for closed in closing:
            closed()

    def _end(self, begun: float) -> None:
        results = collect(self.journal.entries)
        broken = first_broken(results)
        status, reason, code = Status.COMPLETED, "", exit_status(results)
        if self._signal is not None:
            status, code = Status.INTERRUPTED, ExitStatus(128 + self._signal)
            reason = f"interrupted by {signal.Signals(self._signal).name}"
        elif broken is not None:
            status, reason = broken.status, f"{broken.step}: {broken.reason}"
            if any(error.exit_code == ExitStatus.REFUSED for error in broken.errors):
                reason += what_was_touched(results) or " (nothing was changed)"
        took = _ms_since(begun)
        ended = entries.RunEnded(status=status, reason=reason, exit_status=code, duration_ms=took)
        self.journal.write(ended)


def _ms_since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)


@contextmanager
def signals_into(inbox: SimpleQueue[Any]) -> Iterator[None]:
    """Put signals into the queue; only the main thread may set handlers."""

    def put(number: int, _frame: FrameType | None) -> None:
        inbox.put(number)  # safe in a signal handler, as SimpleQueue.put is reentrant

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What nohup or a shell's background job ignores stays ignored.
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, put) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
