"""Kernels that listen on Unix sockets in a private folder, and the threads that talk to them."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop, run_sync

from runbook.masking.redact import MASKER
from runbook.records.journal.journal import KERNEL_FOLDER

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient

T = TypeVar("T")

START_TIMEOUT_S = 60
SHORT_CELL_S = 0.2
"""How long a cell may take that is not worth an interrupt."""
LOG_BYTES = 2**20
"""The end of what is said that is kept; of a longer one, whole lines."""

PRELOAD = "runbook.notebook.walk"
_FRESH = "get_ipython().reset(new_session=True)"


class KernelStartError(Exception):
    """A kernel did not come up, or died while it was idle."""


class LocalKernelManager(AsyncKernelManager):
    """Starts a kernel of this interpreter that no other user of the machine can talk to.

    Connection file, sockets and IPython's folder are in one new folder with mode 0700, which goes
    when the manager goes. IPython's own folder is not read, so neither the operator's startup
    files nor history take part in a run.
    """

    def __init__(self, **options: Any) -> None:
        # A Unix socket's path holds 104 bytes at most on macOS, 108 on Linux (unix(7)).
        folder = tempfile.mkdtemp(prefix=KERNEL_FOLDER)
        self.remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = Path(folder)
        super().__init__(
            transport="ipc", ip=f"{folder}/s", connection_file=f"{folder}/kernel.json", **options
        )

    @property
    def kernel_spec(self) -> KernelSpec | None:
        """Return how the kernel is started; another name than python3 is looked up as usual."""
        if self.kernel_name != NATIVE_KERNEL_NAME:
            return super().kernel_spec
        command = [sys.executable, "-P", "-m", "runbook.run.kernel_process"]
        return KernelSpec(
            argv=[*command, "-f", "{connection_file}", "--HistoryManager.enabled=False"],
            env={"IPYTHONDIR": str(self.folder)},
            display_name="Python 3",
            language="python",
        )


class KernelLog:
    """What a kernel's process says besides its messages; the children of cells say it there, too.

    It is kept in memory until the kernel has ended, since what it says may come before the word
    that a part of it is a secret.

    Args:
        path: The file, written when the kernel has ended, masked; not written where it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._said = bytearray()
        self._is_cut = False
        self._end = secrets.token_bytes(16)
        self._reading_end, self.writing_end = os.pipe()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def finish(self) -> None:
        """Write what was said; a child that outlives the kernel has had its say."""
        # All that the kernel said stands in the pipe before this.
        os.write(self.writing_end, self._end)
        os.close(self.writing_end)
        self._reader.join()
        said = bytes(self._said)
        if self._is_cut:  # in the middle of a line, and so perhaps of a secret
            said = said.partition(b"\n")[2]
        if said:
            self.path.write_bytes(MASKER.mask_bytes(said))

    def _read(self) -> None:
        said = self._said
        with open(self._reading_end, "rb", buffering=0) as pipe:
            while self._end not in said:
                self._is_cut |= len(said) > LOG_BYTES
                del said[:-LOG_BYTES]
                said += pipe.read(65536)
        del said[said.index(self._end) :]
        self._is_cut |= len(said) > LOG_BYTES
        del said[:-LOG_BYTES]


class Kernel:
    """One kernel of a run, serving notebooks one after another.

    The kernel is launched at once. All talk with it happens in one thread of its own, because
    asyncio sockets belong to the event loop, and so to the thread, that first used them.

    Args:
        environment: Variables the kernel gets on top of this process's.
        log: Receives what the kernel's process says besides its messages.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.manager = LocalKernelManager()
        self.client: AsyncKernelClient | None = None
        self._log = KernelLog(log)
        self._lock = threading.Lock()
        self._busy = False
        self._stop_asked = False
        self._used = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kernel")
        self._started = self._thread.submit(run_sync(self._start), dict(environment))

    @property
    def stopping(self) -> bool:
        """Return whether the kernel was told to stop."""
        return self._stop_asked

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run work in the kernel's thread, with a fresh namespace in the kernel."""
        return self._thread.submit(self._serve, work)

    def entered_cell(self) -> None:
        """Note that the kernel runs a cell now; called by the engine."""
        with self._lock:
            self._busy = True
            if self._stop_asked:
                # Not at once: of a cell that has just ended it would break the reply, which is
                # then waited for until the grace is over.
                late = threading.Timer(SHORT_CELL_S, self._interrupt_cell)
                late.daemon = True
                late.start()

    def left_cell(self) -> None:
        """Note that the kernel is between two cells; called by the engine."""
        with self._lock:
            self._busy = False

    def interrupt(self) -> None:
        """Interrupt the running cell, once; no further cell is run."""
        # Once only: a second interrupt would hit the clean-up that the first one set off. One that
        # comes while the kernel is idle is lost, so it waits for the cell to begin.
        with self._lock:
            if self._busy and not self._stop_asked:
                self._signal(signal.SIGINT)
            self._stop_asked = True

    def _interrupt_cell(self) -> None:
        with self._lock:
            if self._busy:
                self._signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill the kernel and the children in its process group."""
        self._stop_asked = True
        self._signal(signal.SIGKILL)

    def close(self) -> Callable[[], None]:
        """Begin to shut the kernel down, and return what waits for the end of it.

        The kernel has a bounded time for its own clean-up and is killed after it.
        """
        stopped = self._thread.submit(run_sync(self._stop))

        def finish() -> None:
            stopped.result()
            self._thread.submit(lambda: ensure_event_loop().close()).result()
            self._thread.shutdown()
            self.manager.remove()
            self._log.finish()

        return finish

    def _process(self) -> Any:
        return getattr(self.manager.provisioner, "process", None)

    def _signal(self, number: int) -> None:
        process = self._process()
        # poll() reaps, so the number cannot have passed to another process. The kernel leads a
        # session, and so a process group, of its own (jupyter_client.launcher).
        if process is not None and process.poll() is None:
            os.killpg(process.pid, number)

    async def _start(self, environment: Mapping[str, str]) -> None:
        end = self._log.writing_end
        await self.manager.start_kernel(env={**os.environ, **environment}, stdout=end, stderr=end)
        self.client = self.manager.client()
        self.client.start_channels(stdin=False, hb=False)
        self.client.allow_stdin = False
        await self._welcome(self.client)
        # What the notebooks import is imported while nobody waits for it; an error shows there.
        self.client.execute(f"__import__({PRELOAD!r})", silent=True, store_history=False)

    async def _welcome(self, client: AsyncKernelClient) -> None:
        """Wait until outputs reach this client."""
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and await self.manager.is_alive():
            try:
                message = await client.get_iopub_msg(timeout=0.5)
            except Empty:
                continue
            if message["msg_type"] == "iopub_welcome":
                return
        raise KernelStartError(f"the kernel did not start; see {self._log.path.name}")

    def _serve(self, work: Callable[[], T]) -> T:
        self._started.result()
        if self._used:
            run_sync(self._reset)()
        self._used = True
        return work()

    async def _reset(self) -> None:
        assert self.client is not None
        request = self.client.execute(_FRESH, silent=True, store_history=False)
        while True:
            try:
                reply = await self.client.get_shell_msg(timeout=1)
            except Empty:
                if not await self.manager.is_alive():
                    raise KernelStartError(f"the kernel died; see {self._log.path.name}") from None
                continue
            if reply["parent_header"].get("msg_id") == request:
                break
        if reply["content"]["status"] != "ok":
            raise KernelStartError("the kernel could not be cleaned up between two notebooks")

    async def _stop(self) -> None:
        if self.client is not None:
            self.client.stop_channels()
        if not self._used:
            await self.manager.shutdown_kernel(now=True)
        elif self.manager.has_kernel:
            if self._busy:
                await self.manager.interrupt_kernel()
            await self.manager.request_shutdown()
            await self.manager.finish_shutdown(pollinterval=0.02)
            await self.manager.cleanup_resources()
