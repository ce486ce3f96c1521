"""HTTP to the Docker Engine of a host over its SSH connection.

``docker system dial-stdio`` connects its standard input and output with the engine's socket; run in
a session channel, it makes the channel a socket to the engine. http.client and urllib3 see the few
methods of a socket that they use.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from runbook.errors import IN_DOUBT, Lost, Refused, RunbookError, Unreachable
from runbook.hosts.connection import Connection
from runbook.hosts.docker.cli import DOCKER
from runbook.hosts.ssh.session import all_errors

DIAL = (*DOCKER, "system", "dial-stdio")
POOL_SIZE = 4  # kept open; sshd's MaxSessions of 10 is shared with commands
CHUNK_BYTES = 1 << 16


class SocketDenied(Refused):
    """The user may not open the engine's socket."""


class ChannelSocket:
    """A socket to the engine of a host.

    Args:
        connection: The connection to the host.
        sudo: Whether root opens the engine's socket.
        timeout_s: Longest wait for data in seconds; nothing waits longer.

    Raises:
        Refused: The host opens no further session, or does not let the user act.
        Unreachable: The connection was lost.
    """

    def __init__(self, connection: Connection, sudo: bool, timeout_s: float) -> None:
        self._connection = connection
        self._longest_s = timeout_s
        self._heard = False
        self._closed = False
        self._files = 0
        self._channel = connection.become(DIAL, sudo=sudo)
        self._channel.settimeout(timeout_s)

    @property
    def usable(self) -> bool:
        """Whether a request can still be sent."""
        return not (self._channel.closed or self._channel.eof_received)

    def settimeout(self, seconds: float | None) -> None:
        """Set the longest wait in seconds; "for ever" becomes the bound of this socket."""
        self._channel.settimeout(min(seconds or self._longest_s, self._longest_s))

    def sendall(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            BrokenPipeError: Nobody reads it; ``recv`` then says why.
        """
        try:
            self._channel.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise BrokenPipeError from error

    def recv(self, size: int) -> bytes:
        """Return what came, at most so many bytes; empty at the end.

        Raises:
            TimeoutError: Nothing came in time.
            Refused: The engine is not to be had by this user, or not at all.
            Unreachable: The engine does not run.
            Lost: The connection ended.
        """
        data = self._channel.recv(size)
        if data:
            self._heard = True
        elif not self._channel.eof_received:
            raise Lost(
                f"the connection was lost during a request to the Docker Engine{IN_DOUBT}",
                host=self._connection.host,
                todo="run it again once the host answers",
            )
        elif not self._heard:
            raise no_engine(self._connection.user, self._connection.host, all_errors(self._channel))
        return data

    def makefile(self, _mode: str = "rb", _buffering: int | None = None) -> io.BufferedReader:
        """Return a file that reads from this socket, and keeps it open."""
        self._files += 1
        return io.BufferedReader(ChannelFile(self))

    def close(self) -> None:
        """Close it as soon as no file reads from it: socket.socket.close() does the same."""
        self._closed = True
        self._close_unused()

    def file_closed(self) -> None:
        """Note that a file no longer reads from it."""
        self._files -= 1
        self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and self._files <= 0:
            self._channel.close()


class ChannelFile(io.RawIOBase):
    """A raw file that reads from a ``ChannelSocket``."""

    def __init__(self, sock: ChannelSocket) -> None:
        super().__init__()
        self._sock = sock

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer and return how much."""
        data = self._sock.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close it, and its socket where that only waited for this."""
        if not self.closed:
            super().close()
            self._sock.file_closed()


class EngineConnection(HTTPConnection):
    """An HTTP connection over a ``ChannelSocket``.

    Args:
        dial: Opens the socket.
        options: What urllib3 sets for any connection.
    """

    def __init__(self, *, dial: Callable[[], ChannelSocket], **options: Any) -> None:
        super().__init__(**options)
        self._dial = dial

    def connect(self) -> None:
        """Open the socket."""
        self.sock = self._dial()

    @property
    def is_connected(self) -> bool:
        """Whether a request can still be sent; urllib3 would poll a descriptor for it."""
        return isinstance(self.sock, ChannelSocket) and self.sock.usable


class EnginePool(HTTPConnectionPool):
    """The HTTP connections to one engine."""

    ConnectionCls = EngineConnection


class EngineAdapter(HTTPAdapter):
    """Lets requests speak with the engine of a host.

    Args:
        connection: The connection to the host.
        sudo: Whether root opens the engine's socket.
        timeout_s: Longest wait for data in seconds.
    """

    def __init__(self, connection: Connection, sudo: bool, timeout_s: float) -> None:
        super().__init__()
        self.sudo = sudo
        self._pool = EnginePool(
            "localhost",
            maxsize=POOL_SIZE,
            dial=lambda: ChannelSocket(connection, sudo, timeout_s),
        )

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,  # noqa: ARG002  # the signature is that of requests
        verify: bool | str | None,  # noqa: ARG002
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
        cert: tuple[str, str] | str | None = None,  # noqa: ARG002
    ) -> HTTPConnectionPool:
        """Return the pool: every request goes to the one engine."""
        return self._pool

    def request_url(
        self, request: requests.PreparedRequest, _proxies: Mapping[str, str] | None
    ) -> str:
        """Return the path alone: no proxy is on the way."""
        return request.path_url

    def close(self) -> None:
        """Close every connection to the engine."""
        super().close()
        self._pool.close()


def no_engine(user: str, host: str, errors: bytes) -> RunbookError:
    """Return the error about an engine that did not answer at all.

    Args:
        user: The user that is logged in.
        host: The host.
        errors: What ``docker system dial-stdio`` wrote to its standard error.
    """
    said = errors.decode("utf-8", errors="replace").strip()
    if "permission denied" in said:
        return SocketDenied(
            f"{user} may not open the Docker Engine's socket: {said}",
            host=host,
            todo=f"as root on {host}: `usermod -aG docker {user}`, or allow {user} to use sudo",
        )
    if "not found" in said or said.startswith("env: "):  # the message of the latter is translated
        return Refused(
            f"there is no docker command: {said}", host=host, todo="install Docker Engine there"
        )
    if not said:  # it was there, since `dial-stdio` says why it cannot connect
        return Lost(
            f"the Docker Engine closed the connection during a request{IN_DOUBT}",
            host=host,
            todo=f"see `systemctl status docker` on {host}, and run it again",
        )
    return Unreachable(
        f"the Docker Engine does not run: {said}",
        host=host,
        todo=f"start it on {host}: `sudo systemctl start docker`",
    )
