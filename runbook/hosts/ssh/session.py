"""Run one command in one session channel: feed it, drain it, wait for its end."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

import paramiko

from runbook.hosts.ssh.channel import Channel
from runbook.hosts.ssh.errors import Deadline

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a command said.

    Args:
        status: Its exit status, or -1 where it ended by a signal or has not ended.
        stdout: Its standard output.
        stderr: Its standard error.
        ended: Whether it ended at all; ``False`` where time ran out or the connection was lost.

    """

    status: int
    stdout: bytes
    stderr: bytes
    ended: bool


class News(threading.Event):
    """Set when either output has something to read, or has ended.

    Instead of the descriptor that a channel offers for poll(2): that one can stay clear while there
    is something to read, when the other output is emptied at the same moment (paramiko 5.1).
    """

    def clear(self) -> None:
        """Do nothing: paramiko clears when one output is empty, whatever the other holds."""

    def expect(self) -> None:
        """Clear it; whoever does so looks at both outputs afterwards, and misses nothing."""
        super().clear()


def converse(channel: Channel, command: str, stdin: bytes, deadline: Deadline) -> Spoken:
    """Run a command and return all it says.

    Both outputs are drained while the input is fed, so that neither side can block the other.

    Args:
        channel: A fresh session channel; the caller closes it.
        command: The command line for the login shell.
        stdin: Its standard input, which then ends.
        deadline: When to give up waiting. The remote command is not killed.

    """
    feeder = threading.Thread(target=_feed, args=(channel, command, stdin), daemon=True)
    feeder.start()
    stdout, stderr = bytearray(), bytearray()
    news = News()
    channel.in_buffer.set_event(news)
    channel.in_stderr_buffer.set_event(news)
    over = False
    while not over and not deadline.passed:
        news.wait(deadline.left_s)
        news.expect()
        over = bool(channel.eof_received or channel.closed)  # before draining: nothing comes after
        while channel.recv_ready():
            stdout += channel.recv(CHUNK_BYTES)
        while channel.recv_stderr_ready():
            stderr += channel.recv_stderr(CHUNK_BYTES)
    # The status may come after the output ended; a channel that closes without one sets it too.
    closed = over and channel.status_event.wait(deadline.left_s)
    return Spoken(
        status=channel.exit_status,
        stdout=bytes(stdout),
        stderr=bytes(stderr),
        ended=closed and channel.ended,
    )


def _feed(channel: Channel, command: str, stdin: bytes) -> None:
    # A command that does not read its input, or a lost connection: the drain sees either one.
    with suppress(paramiko.SSHException, OSError, EOFError):
        channel.exec_command(command)
        channel.sendall(stdin)
        channel.shutdown_write()


def all_errors(channel: Channel) -> bytes:
    """Return what is left of a command's standard error, once it has ended.

    Args:
        channel: The channel it ran in.

    """
    said = bytearray()
    while piece := channel.recv_stderr(CHUNK_BYTES):
        said += piece
    return bytes(said)
