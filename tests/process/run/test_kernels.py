"""Kernels: nobody else can talk to them, and they leave nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_core.utils import run_sync

from runbook.masking.redact import Masker
from runbook.masking.secret import Registry
from runbook.run import kernels
from runbook.run.kernels import Kernel, KernelLog, KernelStartError

SUN_PATH = 104  # macOS; Linux has 108 (unix(7))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory with nothing in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def kernel(home: Path) -> Iterator[Kernel]:
    """A kernel that has started."""
    environment = {"HOME": str(home), "RUNBOOK_RUN_ID": "run-1"}
    kernel = Kernel(environment, home.with_name("kernel.log"))
    kernel.submit(lambda: None).result()
    yield kernel
    kernel.close()()


def answer(kernel: Kernel, expression: str) -> str:
    """Return the repr of an expression, evaluated in the kernel."""

    async def ask() -> dict[str, Any]:
        request = kernel.client.execute("", user_expressions={"answer": expression}, silent=True)
        while True:
            reply = await kernel.client.get_shell_msg(timeout=10)
            if reply["parent_header"]["msg_id"] == request:
                return reply["content"]["user_expressions"]["answer"]

    found = kernel.submit(run_sync(ask)).result()
    return found["data"]["text/plain"] if found["status"] == "ok" else found["ename"]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class TestIsolation:
    """What a kernel opens, and what it reads."""

    def test_listens_on_no_port(self, kernel: Kernel) -> None:
        """The kernel's process has Unix sockets only."""
        process = psutil.Process(kernel.manager.provisioner.pid)

        assert process.net_connections(kind="inet") == []
        assert process.net_connections(kind="unix")

    def test_sockets_are_the_owners(self, kernel: Kernel) -> None:
        """Sockets and connection file are in one folder that only its owner may enter."""
        folder = kernel.manager.folder
        sockets = [path for path in folder.iterdir() if path.is_socket()]

        assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o700
        assert len(sockets) == 5
        assert max(len(str(path)) for path in sockets) < SUN_PATH

    def test_home_is_left_alone(self, kernel: Kernel, home: Path) -> None:
        """Neither history nor profile is written to the operator's home."""
        assert answer(kernel, "1 + 1") == "2"
        assert list(home.iterdir()) == []

    def test_gets_its_environment(self, kernel: Kernel) -> None:
        """The runner's variables come on top of the operator's."""
        assert answer(kernel, "__import__('os').environ['RUNBOOK_RUN_ID']") == "'run-1'"

    def test_folder_of_the_caller_is_no_source(self, kernel: Kernel) -> None:
        """A file json.py in the current folder does not take the place of the real one."""
        assert answer(kernel, "__import__('sys').flags.safe_path") == "True"


class TestReuse:
    """One kernel serves several notebooks."""

    def test_names_do_not_stay(self, kernel: Kernel) -> None:
        """What one notebook defines, the next does not find."""
        assert answer(kernel, "globals().setdefault('left_behind', 1)") == "1"
        assert answer(kernel, "left_behind") == "NameError"

    def test_what_notebooks_import_is_loaded(self, kernel: Kernel) -> None:
        """The runbook's modules were imported while the kernel was idle."""
        assert answer(kernel, "'runbook.notebook.walk' in __import__('sys').modules") == "True"


def wait_for_timers() -> None:
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


class TestInterrupt:
    """An interruption that comes when the next cell is about to begin."""

    @pytest.fixture
    def sent(self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The signals that the kernel would get, once nothing is to come any more."""
        sent: list[int] = []
        monkeypatch.setattr(kernel, "_signal", sent.append)
        monkeypatch.setattr(kernel, "_stop_asked", False)
        monkeypatch.setattr(kernels, "SHORT_CELL_S", 0.01)
        return sent

    def test_waits_for_the_cell(self, kernel: Kernel, sent: list[int]) -> None:
        """While the kernel is idle an interrupt would be lost; it comes in the cell."""
        kernel.interrupt()
        assert sent == []
        kernel.entered_cell()
        wait_for_timers()
        kernel.left_cell()

        assert sent == [signal.SIGINT]
        assert kernel.stopping

    def test_spares_a_cell_that_has_ended(self, kernel: Kernel, sent: list[int]) -> None:
        """A cell that ended by itself is answered, and no interrupt breaks the answer."""
        kernel.interrupt()
        kernel.entered_cell()
        kernel.left_cell()
        wait_for_timers()

        assert sent == []


@pytest.fixture
def log(tmp_path: Path) -> KernelLog:
    """What a kernel's process says, of which nothing was said yet."""
    return KernelLog(tmp_path / "kernel.log")


def say(log: KernelLog, *pieces: bytes) -> None:
    for piece in pieces:
        os.write(log.writing_end, piece)


class TestLog:
    """What is kept of what a kernel's process says besides its messages."""

    def test_is_written_at_the_end(self, log: KernelLog) -> None:
        """Nothing is on the disk before the kernel has ended, and then all of it is."""
        say(log, b"one\n", b"\xfftwo\n")
        assert not log.path.exists()
        log.finish()

        assert log.path.read_bytes() == b"one\n\xfftwo\n"

    def test_holds_no_secret(self, log: KernelLog, monkeypatch: pytest.MonkeyPatch) -> None:
        """A secret is masked though it comes in two pieces, and before it is known."""
        registry = Registry()
        monkeypatch.setattr(kernels, "MASKER", Masker(registry))
        say(log, b"first correct-horse-", b"battery, then more\n")
        registry.add("vault", "correct-horse-battery")
        log.finish()

        assert log.path.read_text() == "first [masked:vault], then more\n"

    def test_nothing_said(self, log: KernelLog) -> None:
        """There is no file of nothing."""
        say(log)
        log.finish()

        assert not log.path.exists()

    def test_keeps_the_end(self, log: KernelLog, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a flood the last lines are kept."""
        monkeypatch.setattr(kernels, "LOG_BYTES", 1005)
        say(log, *[b"%09d\n" % n for n in range(500)])
        log.finish()

        assert log.path.read_bytes() == b"".join(b"%09d\n" % n for n in range(400, 500))

    @pytest.mark.parametrize("kept", range(100, 121, 4))
    def test_cut_through_a_secret(
        self, log: KernelLog, monkeypatch: pytest.MonkeyPatch, kept: int
    ) -> None:
        """Of a value that a flood repeats no part is left at the place where it was cut."""
        registry = Registry()
        registry.add("vault", "correct-horse-battery")
        monkeypatch.setattr(kernels, "MASKER", Masker(registry))
        monkeypatch.setattr(kernels, "LOG_BYTES", kept)
        say(log, *[b"correct-horse-battery\n"] * 50)
        log.finish()

        assert set(log.path.read_text().splitlines()) == {"[masked:vault]"}

    def test_child_that_stays(self, log: KernelLog) -> None:
        """What outlives the kernel and holds its output is not waited for; its words are kept."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log.writing_end) as child:
            say(log, *[b"%09d\n" % n for n in range(50_000)])
            log.finish()

            assert log.path.read_bytes() == b"".join(b"%09d\n" % n for n in range(50_000))
            assert child.poll() is None


class TestEnd:
    """What is left of a kernel."""

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "PRELOAD", "json")

    def test_closing_leaves_nothing(self, tmp_path: Path) -> None:
        """Process and folder are gone, and the process went of its own accord."""
        kernel = Kernel({}, tmp_path / "kernel.log")
        assert answer(kernel, "1 + 1") == "2"
        process = kernel.manager.provisioner.process
        kernel.close()()

        assert gone(process.pid)
        assert process.returncode == 0
        assert not kernel.manager.folder.exists()
        assert list(tmp_path.iterdir()) == []

    def test_unused_kernel_is_not_waited_for(self, tmp_path: Path) -> None:
        """A kernel that served nothing is killed, however far its start has come."""
        kernel = Kernel({}, tmp_path / "kernel.log")
        kernel.close()()

        assert not kernel.manager.folder.exists()

    def test_kernel_that_does_not_start(self, tmp_path: Path) -> None:
        """The error names the log, which says why."""
        log = tmp_path / "kernel.log"
        kernel = Kernel({"PYTHONHOME": str(tmp_path / "nowhere")}, log)
        with pytest.raises(KernelStartError, match=r"see kernel\.log"):
            kernel.submit(lambda: None).result()
        kernel.close()()

        assert "No module named 'encodings'" in log.read_text()
        assert not kernel.manager.folder.exists()

    def test_killed_kernel_serves_no_more(self, tmp_path: Path) -> None:
        """After a kill the next piece of work is an error, and closing still cleans up."""
        kernel = Kernel({}, tmp_path / "kernel.log")
        kernel.submit(lambda: None).result()
        pid = kernel.manager.provisioner.pid
        kernel.kill()
        with pytest.raises(KernelStartError, match="died"):
            kernel.submit(lambda: None).result()
        kernel.close()()

        assert gone(pid)
        assert not kernel.manager.folder.exists()
