"""The kernel's own process: an IPython kernel without a TCP port.

Started as ``python -P -m runbook.run.kernel_process -f FILE``.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Any

from ipykernel import iostream, kernelapp

ANSWER_TIMEOUT_S = 1.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class UnpipedIOPubThread(iostream.IOPubThread):
    """The thread that publishes outputs, without its pipe for forked children.

    ipykernel opens that pipe as a TCP port on 127.0.0.1 whatever the transport of the kernel is.
    Without it only the output of children made by a bare ``fork`` is lost.
    """

    def __init__(self, socket: Any, pipe: bool = False, session: Any = None) -> None:  # noqa: ARG002
        super().__init__(socket, pipe=False, session=session)  # type: ignore[no-untyped-call]


class KernelApp(kernelapp.IPKernelApp):
    """The kernel as an application."""

    def start(self) -> None:
        """Serve requests until one says to shut down, and let that one be answered."""
        super().start()  # type: ignore[no-untyped-call]
        # At exit ipykernel 7 stops the thread that publishes, then waits for the control thread,
        # which may still wait for its answer to be published: ten seconds, or until it is killed.
        self.control_thread.stop()
        self.control_thread.join(ANSWER_TIMEOUT_S)


def follow_parent() -> None:
    """Have the system kill this process with the runner that started it, where it can.

    ipykernel looks for its parent once a second, and a kernel that nobody supervises goes on
    changing hosts until it does. Source: prctl(2).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run a kernel until it is told to stop."""
    follow_parent()
    # IPKernelApp names the class at its only use and offers no trait for it.
    kernelapp.IOPubThread = UnpipedIOPubThread  # type: ignore[attr-defined]
    KernelApp.launch_instance()


if __name__ == "__main__":
    main()
