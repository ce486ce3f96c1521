"""A ProxyCommand as a socket: what it reads and writes is the connection; ssh_config(5)."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile

ENDING_S = 2.0
SHOWN_BYTES = 500


class ProxySocket(socket.socket):
    """A socket whose other end a command has as its standard input and output.

    Args:
        command: The command, for the operator's shell: ssh_config(5), ProxyCommand.

    """

    def __init__(self, command: str) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the socket
        with theirs:
            # exec, as ssh does: the command itself is ended with the connection, not its shell.
            # A session of its own, so that Ctrl-C is for the run, which then closes in order.
            self._process = subprocess.Popen(
                [os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._errors,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """The end of what the command wrote to its standard error."""
        if self._errors.closed:
            return ""
        self._errors.seek(0)
        return self._errors.read()[-SHOWN_BYTES:].decode("utf-8", errors="replace").strip()

    def close(self) -> None:
        """Close the connection, and end the command."""
        super().close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()
