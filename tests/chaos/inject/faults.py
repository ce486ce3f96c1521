"""What a cut does to the run: to its processes, to a connection, or to an answer.

It reads from the environment

    CHAOS_RUNNER  the process of the run itself, which its kernels are not
    CHAOS_BOUND   after how many seconds an answer that never comes is given up
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import paramiko

if TYPE_CHECKING:
    from injection import Sent

HOLD_S = 0.5  # how long what was interrupted stands still, so that the signal comes first
GONE_S = 3.0  # how long a transport may take to notice that its socket is shut


def bound_s() -> float:
    """Return after how many seconds an answer that never comes is given up."""
    return float(os.environ.get("CHAOS_BOUND", "3"))


def _kill_runner(_sent: Sent) -> None:
    os.kill(int(os.environ["CHAOS_RUNNER"]), signal.SIGKILL)
    threading.Event().wait()


def _kill_kernel(_sent: Sent) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def _interrupt(_sent: Sent) -> None:
    os.kill(int(os.environ["CHAOS_RUNNER"]), signal.SIGINT)
    time.sleep(HOLD_S)


def _lose(sent: Sent) -> None:
    """Shut the TCP connection under this host's: the jump host's, and all that goes through it."""
    transport = sent.channel.get_transport()
    reached = transport.sock
    while isinstance(reached, paramiko.Channel):
        reached = reached.get_transport().sock
    reached.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    reached.shutdown(socket.SHUT_RDWR)
    _await_loss(transport)


def _lose_host(sent: Sent) -> None:
    """Shut the connection to this host alone."""
    transport = sent.channel.get_transport()
    if isinstance(transport.sock, paramiko.Channel):
        transport.sock.close()
    else:
        transport.sock.shutdown(socket.SHUT_RDWR)
    _await_loss(transport)


def _await_loss(transport: paramiko.Transport) -> None:
    if threading.current_thread() is not transport:
        transport.join(GONE_S)


def _never_answer(sent: Sent) -> None:
    sent.channel.__dict__["_chaos"].muted = True
    shorten = threading.Timer(bound_s(), _pass_deadlines, (sent.channel,))
    shorten.daemon = True
    shorten.start()


def _pass_deadlines(channel: paramiko.Channel) -> None:
    """Let the bound of whoever waits for this channel pass now, so that no minute is waited."""
    for frame in sys._current_frames().values():
        at: Any = frame
        while at is not None:
            found = [value for value in at.f_locals.values() if _is_deadline(value)]
            if found and any(value is channel for value in at.f_locals.values()):
                for deadline in found:
                    deadline._end = time.monotonic()
            at = at.f_back
    for buffer in (channel.in_buffer, channel.in_stderr_buffer):
        if buffer._event is not None:
            buffer._event.set()


def _is_deadline(value: Any) -> bool:
    return type(value).__name__ == "Deadline" and hasattr(value, "_end")


FAULTS = {
    "killed runner": _kill_runner,
    "killed kernel": _kill_kernel,
    "lost connection": _lose,
    "lost host": _lose_host,
    "timeout": _never_answer,
    "interrupt": _interrupt,
}
