"""Connections to the hosts of a site: one SSH connection a host, for commands and the Engine API.

A host that cannot be reached raises ``Unreachable``, a sudo that does not let the user act raises
``Refused``, and a command that fails raises one of the errors of ``runbook.ssh.command``.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import paramiko

from runbook.errors import Refused, RunbookError, Unreachable
from runbook.ssh.command import CommandFailed, CommandTimeout, Result, last_words
from runbook.ssh.config import SshConfig
from runbook.ssh.errors import Deadline, no_session
from runbook.ssh.keys import Identities
from runbook.ssh.known_hosts import fingerprint
from runbook.ssh.pool import Pool
from runbook.ssh.session import Spoken, converse
from runbook.ssh.sudo import how_to_allow, refusal
from runbook.ssh.transport import Opener
from runbook.transcript import Transcript

if TYPE_CHECKING:
    from runbook.site import SiteFile

__all__ = ["CommandFailed", "CommandTimeout", "Connection", "Fleet", "Result", "Transcript"]

SESSION_TIMEOUT_S = 10.0  # to open a channel on a connection that is already there

T = TypeVar("T")


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
        reach: Callable[[], paramiko.Transport],
        transcript: Transcript,
    ) -> None:
        self.host = host
        self.user = user
        self._reach = reach
        self._transcript = transcript

    @property
    def transport(self) -> paramiko.Transport:
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
            argv: The command, quoted for the remote shell here and nowhere else.
            stdin: Its standard input.
            sudo: Whether root runs it: through ``sudo -n``, or directly where root is logged in.
            timeout_s: Longest time in seconds, all included.
            check: Whether a status other than 0 is an error.

        Raises:
            CommandFailed: It ended with another status than 0, and ``check`` is set.
            CommandTimeout: It did not end in time.
            Refused: sudo does not let this user act as root.
            Unreachable: The connection was lost.
        """
        if isinstance(argv, str):
            raise TypeError("a command is a list of arguments, not a string")
        deadline, started, clock = Deadline(timeout_s), datetime.now(UTC), time.monotonic()
        channel = self.session(deadline.left_s)
        try:
            spoken = converse(channel, self.command_line(argv, sudo=sudo), stdin, deadline)
        finally:
            channel.close()
        result = Result(
            host=self.host,
            argv=tuple(argv),
            sudo=sudo,
            status=spoken.status,
            stdout=spoken.stdout,
            stderr=spoken.stderr,
            started=started,
            duration_ms=round((time.monotonic() - clock) * 1000),
        )
        self._transcript.add(result)
        self._judge(result, spoken, deadline)
        if check and result.status != 0:
            raise CommandFailed(result)
        return result

    def command_line(self, argv: Sequence[str], *, sudo: bool) -> str:
        """Return a command as the remote shell is given it.

        Args:
            argv: The command.
            sudo: Whether root runs it.
        """
        return shlex.join(["sudo", "-n", "--", *argv] if sudo and self.user != "root" else argv)

    def session(self, timeout_s: float = SESSION_TIMEOUT_S) -> paramiko.Channel:
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

    def _judge(self, result: Result, spoken: Spoken, deadline: Deadline) -> None:
        if not spoken.ended and deadline.passed:
            raise CommandTimeout(result, deadline.seconds)
        if not spoken.ended:
            raise Unreachable(
                f"the connection was lost while `{result.command}` ran{last_words(result)}",
                host=self.host,
                todo="run it again once the host answers: what was done is found, not repeated",
            )
        reason = refusal(result.stderr) if result.sudo and result.status > 0 else ""
        if reason:
            raise Refused(
                f"sudo does not let {self.user} run `{shlex.join(result.argv)}`: {reason}",
                host=self.host,
                todo=how_to_allow(self.user, self.host),
            )


class Fleet:
    """The connections to a site's hosts, each opened on first use and kept; safe in threads.

    Args:
        site_file: The site.
        transcript: Keeps what is run.

    Raises:
        BadInput: The SSH configuration cannot be used.
    """

    def __init__(self, site_file: SiteFile, transcript: Transcript) -> None:
        site = site_file.site
        self.transcript = transcript
        self.config = SshConfig(
            site_file.ssh_config_path,
            {name: str(host.address) for name, host in site.hosts.items()},
        )
        opener = Opener(
            connect_timeout_s=site.ssh.connect_timeout,
            trust=f"runbook trust {site_file.path}",
            identities=Identities(),
        )
        self.pool = Pool(opener)
        self._lock = threading.Lock()
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getitem__(self, host: str) -> Connection:
        """Return the connection to a host, open.

        Args:
            host: Its name in the site, or in the SSH configuration.

        Raises:
            BadInput: The SSH configuration cannot be used for this host.
            Unreachable: It cannot be reached, or is not the host it should be.
        """
        endpoint = self.config.endpoint(host)
        self.pool.transport(endpoint)
        reach = partial(self.pool.transport, endpoint)
        with self._lock:
            return self._connections.setdefault(
                host, Connection(host, endpoint.user, reach, self.transcript)
            )

    @property
    def host_keys(self) -> dict[str, str]:
        """The fingerprint of each connected host's key by host, as ``ssh-keygen -l`` shows it."""
        with self._lock:
            connected = dict(self._connections)
        keys = {host: known.transport.get_remote_server_key() for host, known in connected.items()}
        return {host: fingerprint(key.asbytes()) for host, key in keys.items()}

    def each(
        self,
        hosts: Iterable[str],
        work: Callable[[Connection], T],
        *,
        progress: Callable[[str], None] | None = None,
    ) -> dict[str, T]:
        """Do the same on several hosts at once, and wait for all of them.

        Args:
            hosts: Their names.
            work: What to do with each host's connection.
            progress: Called with the name of each host that is done, in the caller's thread.

        Returns:
            What came of it by host, in the order given.

        Raises:
            RunbookError: The first host's error, which also tells those of the others.
        """
        names = tuple(dict.fromkeys(hosts))
        with ThreadPoolExecutor(max_workers=max(len(names), 1)) as pool:
            tasks = {pool.submit(lambda host: work(self[host]), name): name for name in names}
            for task in as_completed(tasks):
                if progress:
                    progress(tasks[task])
        errors = [error for task in tasks if (error := task.exception())]
        if errors:
            raise _together(errors)
        return {name: task.result() for task, name in tasks.items()}

    @contextmanager
    def fresh(self, host: str, address: str | None = None) -> Iterator[Connection]:
        """Log in anew, whatever connection is open; closed at the end of the block.

        Args:
            host: Its name. The key offered must be this host's.
            address: Another address to meet it at, such as the VIP.

        Raises:
            Unreachable: No new connection comes through, or another host answers there.
        """
        endpoint = self.config.endpoint(host)
        if address is not None:
            endpoint = replace(endpoint, address=address)
        transport = self.pool.open(endpoint)
        try:
            yield Connection(host, endpoint.user, lambda: transport, self.transcript)
        finally:
            transport.close()

    def close(self) -> None:
        """Close every connection, the jump hosts' last."""
        self.pool.close()


def _together(errors: Sequence[BaseException]) -> BaseException:
    """Return the first error with the others told in it; something unforeseen comes first."""
    for error in errors:
        if not isinstance(error, RunbookError):
            return error
    first, *others = dict.fromkeys(errors)  # one dead jump host is one error, not one a host
    if others and isinstance(first, RunbookError):
        first.message += "".join(f"\n  also {error}" for error in others)
    return first
