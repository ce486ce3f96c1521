"""The open transports of a site: one a login, however many hosts and threads ask for it."""

from __future__ import annotations

import threading
import time

import paramiko

from runbook.errors import Unreachable
from runbook.hosts.ssh.channel import Transport
from runbook.hosts.ssh.config import Endpoint
from runbook.hosts.ssh.keepalive import Watchdog
from runbook.hosts.ssh.transport import Opener


class Slot:
    """Where one login's transport is kept, so that it is opened once whoever asks first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.transport: Transport | None = None
        self.failure: Unreachable | None = None
        self.failed_at = 0.0


class Pool:
    """Keeps the transports, opens them through their jump hosts and watches over them.

    Args:
        opener: Opens them.

    """

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self._lock = threading.Lock()
        self._slots: dict[tuple[str, ...], Slot] = {}
        self._watchdog = Watchdog()

    def transport(self, endpoint: Endpoint) -> Transport:
        """Return the transport to a host, opened where it is not yet, or no longer.

        Args:
            endpoint: The host.

        Raises:
            Unreachable: It or one of its jump hosts cannot be reached.

        """
        asked = time.monotonic()
        with self._lock:
            slot = self._slots.setdefault(endpoint.login, Slot())
        with slot.lock:  # a jump host's lock is taken inside its hosts', never the other way round
            if slot.transport and _alive(slot.transport):
                return slot.transport
            if slot.failure and slot.failed_at >= asked:
                raise slot.failure  # tried while this one waited: no second wait for one dead host
            try:
                slot.transport = self.open(endpoint)
            except Unreachable as error:
                slot.failure, slot.failed_at = error, time.monotonic()
                raise
            return slot.transport

    def open(self, endpoint: Endpoint) -> Transport:
        """Return a new transport to a host, which the caller closes.

        Args:
            endpoint: The host.

        Raises:
            Unreachable: It or one of its jump hosts cannot be reached.

        """
        transport = self.opener.open(endpoint, self.jump(endpoint))
        self._watchdog.watch(transport)
        return transport

    def jump(self, endpoint: Endpoint) -> Transport | None:
        """Return the transport to the jump host of a host; ``None`` where it is reached directly.

        Args:
            endpoint: The host.

        Raises:
            Unreachable: The jump host cannot be reached.

        """
        return self.transport(endpoint.via) if endpoint.via else None

    def close(self) -> None:
        """Close every transport, those of jump hosts last."""
        self._watchdog.stop()
        with self._lock:
            slots = sorted(self._slots.items(), key=lambda item: -len(item[0]))
        for _, slot in slots:
            if slot.transport:
                slot.transport.close()


def _alive(transport: Transport) -> bool:
    # A transport notices a little later than its socket that the jump host is gone.
    reached = transport.sock
    return transport.is_active() and not (isinstance(reached, paramiko.Channel) and reached.closed)
