"""The connections to a site's hosts, each opened on first use and kept.

A host that cannot be reached raises ``Unreachable``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from runbook.errors import RunbookError
from runbook.hosts.connection import Connection
from runbook.hosts.ssh.config import SshConfig
from runbook.hosts.ssh.keys import Identities
from runbook.hosts.ssh.known_hosts import fingerprint
from runbook.hosts.ssh.pool import Pool
from runbook.hosts.ssh.transport import Opener
from runbook.hosts.transcript import Transcript

if TYPE_CHECKING:
    from runbook.site import SiteFile

T = TypeVar("T")


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
            progress: Called with the name of each host where it was done, in the caller's thread.

        Returns:
            What came of it by host, in the order given.

        Raises:
            RunbookError: The first host's error, which also tells those of the others.
        """
        names = tuple(dict.fromkeys(hosts))
        with ThreadPoolExecutor(max_workers=max(len(names), 1)) as pool:
            tasks = {pool.submit(lambda host: work(self[host]), name): name for name in names}
            for task in as_completed(tasks):
                if progress and not task.exception():
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
        endpoint = self.config.endpoint(host, address)
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
