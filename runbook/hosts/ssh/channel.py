"""A channel that sends nothing after its CLOSE, and the transport that opens such channels.

paramiko makes a message under the channel's lock and sends it after releasing the lock. In between
its reader thread may answer the host's CLOSE, and the message follows it: RFC 4254, 5.3, forbids
that, and sshd ends the whole connection ("ieof packet referred to nonexistent channel").
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import paramiko
from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_FAILURE

from runbook.hosts.ssh.command import NO_STATUS

AGAIN_S = 3.0
"""How long a host is waited for that is asked for a channel once more."""
JUMP_S = 1.0
"""From when on a wait that is too long is one in which this process stood still."""


class Channel(paramiko.Channel):
    """A channel whose CLOSE waits for what is being sent, and is sent by the last sender."""

    closed_by_host = False  # in order, with or without an exit status
    _senders = 0
    _last: tuple[paramiko.Message | None, ...] = ()

    def exec_command(self, command: Any) -> None:
        """Have the host run a command."""
        with self._before_close():
            super().exec_command(command)

    def shutdown(self, how: int) -> None:
        """End one direction, or both."""
        with self._before_close():
            super().shutdown(how)

    def recv(self, nbytes: int) -> bytes:
        """Return what came, which may tell the host that it may send more."""
        with self._before_close():
            return super().recv(nbytes)

    def recv_stderr(self, nbytes: int) -> bytes:
        """Return what came on standard error, likewise."""
        with self._before_close():
            return super().recv_stderr(nbytes)

    def _handle_close(self, m: paramiko.Message) -> None:
        self.closed_by_host = True
        super()._handle_close(m)  # type: ignore[misc]

    def _request_failed(self, m: paramiko.Message) -> None:
        self.closed_by_host = True  # sshd did not start the command
        super()._request_failed(m)  # type: ignore[misc]

    @property
    def ended(self) -> bool:
        """Whether the command has ended, and not the connection alone."""
        return self.closed_by_host or self.exit_status != NO_STATUS

    def _send(self, s: bytes, m: paramiko.Message) -> int:
        with self._before_close():
            sent: int = super()._send(s, m)  # type: ignore[misc]  # not in the stubs
            return sent

    def _close_internal(self) -> tuple[paramiko.Message | None, ...]:
        # Called under the lock. From here on nobody begins to send: all look at `closed` first.
        messages: tuple[paramiko.Message | None, ...] = super()._close_internal()  # type: ignore[misc]
        if not self._senders:
            return messages
        self._last += messages
        return ()

    @contextmanager
    def _before_close(self) -> Iterator[None]:
        with self.lock:
            self._senders += 1
        try:
            yield
        finally:
            with self.lock:
                self._senders -= 1
                last, self._last = ((), self._last) if self._senders else (self._last, ())
            for message in last:
                if message is not None:
                    self.transport._send_user_message(message)  # type: ignore[union-attr]


class Transport(paramiko.Transport):
    """A transport whose channels are of that kind, also those to hosts behind a jump host."""

    # paramiko's own table names the functions of its own kind.
    _channel_handler_table: ClassVar = {
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_CLOSE: lambda channel, message: channel._handle_close(message),
        MSG_CHANNEL_FAILURE: lambda channel, message: channel._request_failed(message),
    }

    def open_channel(self, *arguments: Any, **options: Any) -> Channel:
        """Open a channel, as paramiko does, which makes its own kind and asks for no other."""
        wait_s = options.get("timeout") or self.channel_timeout
        begun = time.monotonic()
        try:
            channel = super().open_channel(*arguments, **options)
        except paramiko.SSHException as error:
            # paramiko goes by the wall clock, which also jumps where it is set and where this
            # process or its machine stood still: a host that is there answers when asked again.
            was_waited_for = 0 <= time.monotonic() - begun - wait_s < JUMP_S
            if "Timeout" not in str(error) or was_waited_for:
                raise
            options["timeout"] = min(wait_s, AGAIN_S)
            channel = super().open_channel(*arguments, **options)
        channel.__class__ = Channel  # nothing is sent on it yet
        assert isinstance(channel, Channel)
        return channel

    def open_session(self, *arguments: Any, **options: Any) -> Channel:
        """Open a channel for a command."""
        channel = super().open_session(*arguments, **options)
        assert isinstance(channel, Channel)
        return channel
