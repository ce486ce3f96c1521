"""A connection to one host: one SSH connection for commands and the Engine API.

A host that cannot be reached raises ``Unreachable``, a login shell or a sudo that does not let the
user act raises ``Refused``, a connection that ends during a command raises ``Lost``, and a command
that fails raises one of the errors of ``runbook.hosts.ssh.command``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import paramiko

from runbook.errors import IN_DOUBT, Lost, Refused, Unreachable
from runbook.hosts.ssh.channel import Channel, Transport
from runbook.hosts.ssh.command import CommandFailed, CommandTimeout, Result, last_words
from runbook.hosts.ssh.errors import Deadline, no_session
from runbook.hosts.ssh.script import after, becoming, command_line, running, until_fence
from runbook.hosts.ssh.session import Spoken, all_errors, converse
from runbook.hosts.ssh.sudo import not_begun
from runbook.hosts.transcript import Transcript

SESSION_TIMEOUT_S = 10.0  # to open a channel on a connection that is already there
BEGIN_TIMEOUT_S = 60.0  # for PAM, the startup files and sudo, which may ask a directory or DNS


class Connection:
    """A connection to one host, opened again where it was lost; safe in threads.

    Args:
        host: The host's name in the site.
        user: The user that is logged in there.
        reach: Returns the open transport.
        transcript: Keeps what is run.
    """

    def __init__(
        self,
        host: str,
        user: str,
        reach: Callable[[], Transport],
        transcript: Transcript,
    ) -> None:
        self.host = host
        self.user = user
        self._reach = reach
        self._transcript = transcript

    @property
    def transport(self) -> Transport:
        """The open transport.

        Raises:
            Unreachable: It was lost, and the host cannot be reached again.
        """
        return self._reach()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        sudo: bool = False,
        timeout_s: float = 60,
        check: bool = True,
    ) -> Result:
        """Run a command and return what came of it.

        Args:
            argv: The command; every argument reaches it as it is, whatever the login shell.
            stdin: Its standard input.
            sudo: Whether root runs it: through ``sudo -n``, or directly where root is logged in.
            timeout_s: Longest time in seconds, all included.
            check: Whether a status other than 0 is an error.

        Raises:
            CommandFailed: It ended with another status than 0, and ``check`` is set.
            CommandTimeout: It did not end in time.
            Lost: The connection ended before the command did.
            Refused: The login shell or sudo does not let this user act; nothing was run.
            Unreachable: The host cannot be reached; nothing was run.
        """
        if isinstance(argv, str):
            raise TypeError("a command is a list of arguments, not a string")
        deadline, started, clock = Deadline(timeout_s), datetime.now(UTC), time.monotonic()
        fence, sudo_needed = _fence(), sudo and self.user != "root"
        line = command_line(fence, sudo=sudo_needed)
        spoken = self._converse(line, running(argv, stdin, fence), deadline)
        stdout, stderr = after(fence, spoken.stdout), after(fence, spoken.stderr)
        result = Result(
            host=self.host,
            argv=tuple(argv),
            sudo=sudo,
            status=spoken.status,
            stdout=_text(spoken.stdout if stdout is None else stdout),
            stderr=_text(spoken.stderr if stderr is None else stderr),
            started=started,
            duration_ms=round((time.monotonic() - clock) * 1000),
        )
        self._transcript.add(result)
        self._judge_ending(result, spoken, deadline)
        if stdout is None:
            raise self._not_begun(result.stderr, result.stdout, spoken.status, sudo=sudo_needed)
        if check and result.status != 0:
            raise CommandFailed(result)
        return result

    def become(self, argv: Sequence[str], *, sudo: bool = False) -> Channel:
        """Start a command that is then spoken with; the caller closes the channel.

        Args:
            argv: The command. It reads what is sent into the channel; what the login shell says
                on its own account is not among what is received.
            sudo: Whether root runs it.

        Raises:
            Refused: The login shell or sudo does not let this user act.
            Unreachable: The connection was lost, or the shell does not begin in time.
        """
        fence, sudo_needed = _fence(), sudo and self.user != "root"
        channel = self.session()
        channel.settimeout(BEGIN_TIMEOUT_S)
        begun, stdout, stderr, trouble = False, b"", b"", ""
        try:
            channel.exec_command(command_line(fence, sudo=sudo_needed))
            with suppress(OSError):  # one that ends at once reads nothing, but may say why
                channel.sendall(becoming(argv, fence))
            # The shell reads ahead: only what is sent from here on is for the command.
            begun, stdout = until_fence(channel.recv, fence)
            stderr = until_fence(channel.recv_stderr, fence)[1] if begun else b""
        except TimeoutError as error:
            channel.close()
            what = "sudo" if sudo_needed else "the login shell"
            trial = "sudo -n true" if sudo_needed else "true"
            raise Unreachable(
                f"{what} of {self.user} did not begin within {BEGIN_TIMEOUT_S:g} s",
                host=self.host,
                todo=f"see what `ssh {self.host} {trial}` waits for",
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            trouble = str(error)  # such as a closed socket: what the host said of it comes first
        if begun:
            return channel
        ended = channel.status_event.wait(SESSION_TIMEOUT_S) and channel.ended
        stderr += all_errors(channel) if ended else b""
        channel.close()
        if not ended:
            raise no_session(self.host, EOFError(_text(stderr).strip() or trouble))
        raise self._not_begun(_text(stderr), _text(stdout), channel.exit_status, sudo=sudo_needed)

    def session(self, timeout_s: float = SESSION_TIMEOUT_S) -> Channel:
        """Return a new session channel; the caller closes it.

        Args:
            timeout_s: Longest wait in seconds.

        Raises:
            Refused: The host opens no further session.
            Unreachable: The connection was lost.
        """
        try:
            return self.transport.open_session(timeout=min(timeout_s, SESSION_TIMEOUT_S))
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise no_session(self.host, error) from error

    def _converse(
        self, line: str, script: bytes, deadline: Deadline, *, terminal: bool = False
    ) -> Spoken:
        channel = self.session(deadline.left_s)
        try:
            if terminal:
                channel.get_pty()
            return converse(channel, line, script, deadline)
        finally:
            channel.close()

    def _judge_ending(self, result: Result, spoken: Spoken, deadline: Deadline) -> None:
        if not spoken.ended and deadline.passed:
            raise CommandTimeout(result, deadline.seconds)
        if not spoken.ended:
            raise Lost(
                f"the connection was lost while `{result.command}` ran{IN_DOUBT}",
                host=self.host,
                todo="run it again once the host answers: what was done is found, not repeated",
            )

    def _not_begun(self, stderr: str, stdout: str, status: int, *, sudo: bool) -> Refused:
        def attempt(line: str, terminal: bool) -> int:
            deadline = Deadline(SESSION_TIMEOUT_S)
            return self._converse(line, b"", deadline, terminal=terminal).status

        said = last_words(stderr) or last_words(stdout)
        return not_begun(self.host, self.user, said, status, attempt if sudo else None)


def _fence() -> str:
    return secrets.token_hex(16)


def _text(said: bytes | bytearray) -> str:
    # Every byte can be put back, such as those of a firewall rule; records show what is no UTF-8.
    return said.decode("utf-8", errors="surrogateescape")
