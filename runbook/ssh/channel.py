"""A channel that sends nothing after its CLOSE, and the transport that opens such channels.

paramiko makes a message under the channel's lock and sends it after releasing the lock. In between
its reader thread may answer the host's CLOSE, and the message follows it: RFC 4254, 5.3, forbids
that, and sshd ends the whole connection ("ieof packet referred to nonexistent channel").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paramiko


class Channel(paramiko.Channel):
    """A channel whose CLOSE waits for what is being sent, and is sent by the last sender."""

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

    def open_channel(self, *arguments: Any, **options: Any) -> paramiko.Channel:
        """Open a channel, as paramiko does, which makes its own kind and asks for no other."""
        channel = super().open_channel(*arguments, **options)
        channel.__class__ = Channel  # nothing is sent on it yet
        return channel
