"""Notice a host that has gone silent, so that nobody waits for it longer than necessary.

paramiko's own keepalive asks for no answer and so notices nothing; this one does as ``ssh`` with
ServerAliveInterval: it asks for an answer, and closes the connection when none comes.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

import paramiko
from paramiko.common import cMSG_GLOBAL_REQUEST

from runbook.hosts.ssh.transport import Listener

ASK_AFTER_S = 5.0
DEAD_AFTER_S = 15.0
LOOK_EVERY_S = 1.0


class Watchdog:
    """Asks silent hosts for a sign of life, and closes the transports of the dead ones."""

    def __init__(self) -> None:
        self._transports: weakref.WeakSet[paramiko.Transport] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, transport: paramiko.Transport) -> None:
        """Watch a transport until it is closed.

        Args:
            transport: An open transport whose packetizer is a ``Listener``.

        """
        # Asked by the transport's own thread, as it may block there; judged by this one.
        transport.packetizer.set_keepalive(ASK_AFTER_S, _asking(transport))
        with self._lock:
            self._transports.add(transport)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="keepalive", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _look(self) -> None:
        listening = looked = time.monotonic()
        while not self._stop.wait(LOOK_EVERY_S):
            now = time.monotonic()
            if now - looked > ASK_AFTER_S:  # this process stood still, and could hear nobody
                listening = now
            looked = now
            with self._lock:
                transports = tuple(self._transports)
            for transport in transports:
                silence_s = now - max(_heard(transport), listening)
                if transport.is_active() and silence_s > DEAD_AFTER_S:
                    transport.close()


def _heard(transport: paramiko.Transport) -> float:
    listener = transport.packetizer
    assert isinstance(listener, Listener)
    return listener.heard


def _asking(transport: paramiko.Transport) -> Callable[[], None]:
    proxy = weakref.proxy(transport)

    def ask() -> None:
        request = paramiko.Message()
        request.add_byte(cMSG_GLOBAL_REQUEST)
        request.add_string("keepalive@openssh.com")
        request.add_boolean(True)  # wants an answer; sshd gives one to any request it does not know
        proxy._send_user_message(request)

    return ask
