"""What a channel sends, and that nothing follows its CLOSE."""

from __future__ import annotations

from collections.abc import Callable

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_DATA, MSG_CHANNEL_EOF

from runbook.hosts.ssh.channel import Channel

Act = Callable[[paramiko.Channel], object]


class Wire:
    """A transport whose host closes the channel at the moment at which something is sent."""

    def __init__(self, kind: type[paramiko.Channel]) -> None:
        self.sent: list[int] = []
        self.channel = kind(7)
        self.channel._set_transport(self)  # type: ignore[attr-defined]
        self.channel._set_window(2097152, 32768)  # type: ignore[attr-defined]
        self.channel._set_remote_channel(3, 2097152, 32768)  # type: ignore[attr-defined]

    def get_log_channel(self) -> str:
        """Name the log, for paramiko."""
        return "paramiko"

    def _sanitize_window_size(self, size: int) -> int:
        return size

    def _sanitize_packet_size(self, size: int) -> int:
        return size

    def _unlink_channel(self, number: int) -> None:
        """Nothing to take out."""

    def _send_user_message(self, message: paramiko.Message) -> None:
        kind = message.asbytes()[0]
        if kind != MSG_CHANNEL_CLOSE and not self.channel.closed:
            self.channel._handle_close(None)  # type: ignore[attr-defined]  # the reader's thread
        self.sent.append(kind)


class TestOrder:
    """RFC 4254, 5.3: CLOSE is the last message of a channel."""

    @pytest.mark.parametrize(
        ("act", "kind"),
        [
            (lambda channel: channel.shutdown_write(), MSG_CHANNEL_EOF),
            (lambda channel: channel.sendall(b"input"), MSG_CHANNEL_DATA),
            (lambda channel: channel.send(b"input"), MSG_CHANNEL_DATA),
        ],
    )
    def test_host_closes_meanwhile(self, act: Act, kind: int) -> None:
        """What is being sent when the host closes goes out before the answer."""
        wire = Wire(Channel)
        act(wire.channel)
        wire.channel.close()

        assert wire.sent[0] == kind
        assert wire.sent[-1] == MSG_CHANNEL_CLOSE
        assert wire.sent.count(MSG_CHANNEL_CLOSE) == 1

    def test_paramiko_still_needs_it(self) -> None:
        """Once paramiko's own channel keeps the order, this one can go."""
        wire = Wire(paramiko.Channel)
        wire.channel.shutdown_write()

        assert wire.sent == [MSG_CHANNEL_CLOSE, MSG_CHANNEL_EOF]
