"""The Engine API of a host over its SSH connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import requests
import urllib3
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import DockerException
from docker.utils import version_lt

from runbook.errors import IN_DOUBT, Lost, RunbookError
from runbook.hosts.connection import Connection
from runbook.hosts.docker.errors import EngineError, EngineTimeout, answered
from runbook.hosts.docker.socket import EngineAdapter, SocketDenied

TIMEOUT_S = 60
SOCKET = "unix:///var/run/docker.sock"  # never opened here: the adapter is put in its place
OLDEST_API = "1.30"
"""The first one with configs, of which one is the lock."""


class Engine(docker.APIClient):
    """The Docker Engine of a host, asked over the host's SSH connection.

    Whatever goes wrong with a request raises an error of the runbook, whoever makes it. The API
    version is the engine's own. Every wait is bounded.

    Args:
        host: The host.
        adapter: The way to its engine.

    Raises:
        EngineError: The engine answered with an error, or did not answer in time.
        Lost: The connection ended during a request.
        Refused: The state of the Swarm or of the engine does not allow this.
        Unreachable: The engine does not run, or the host cannot be reached.

    Source: Docker Engine API, ``GET /version``; ``docker system dial-stdio``.
    """

    def __init__(self, host: str, adapter: EngineAdapter) -> None:
        self._host = host
        self.sudo = adapter.sudo
        with _translated(host):
            super().__init__(SOCKET, version=DEFAULT_DOCKER_API_VERSION, timeout=TIMEOUT_S)
        self.trust_env = False  # proxies and .netrc of this machine are not for the engine there
        self.mount("http+docker://", adapter)
        try:
            self._version: str = self.version(api_version=False)["ApiVersion"]
            if version_lt(self._version, OLDEST_API):
                told = f"the Docker Engine speaks API {self._version}, older than {OLDEST_API}"
                raise EngineError(told, host=host)
        except RunbookError:
            self.close()
            raise

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Make a request, as every call of the SDK does; an answer that is an error raises it."""
        with _translated(self._host):
            answer = super().request(*arguments, **options)
            if not answer.ok:
                changes = answer.request.method != "GET"
                raise answered(answer.status_code, _said(answer), self._host, changes=changes)
            return answer

    def _result(self, *arguments: Any, **options: Any) -> Any:
        with _translated(self._host):  # it is no JSON, for example
            return super()._result(*arguments, **options)  # type: ignore[misc]  # not in the stubs


def engine(connection: Connection) -> Engine:
    """Return the engine of a host; root opens its socket where the user may not.

    Raises:
        Refused: Neither the user nor sudo opens the engine's socket.
        Unreachable: The engine does not run, or the connection was lost.
    """
    try:
        return Engine(connection.host, EngineAdapter(connection, sudo=False, timeout_s=TIMEOUT_S))
    except SocketDenied:
        if connection.user == "root":
            raise
    return Engine(connection.host, EngineAdapter(connection, sudo=True, timeout_s=TIMEOUT_S))


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """Turn what the SDK and the libraries below it raise inside into errors of the runbook."""
    try:
        yield
    except DockerException as error:
        raise EngineError(f"the Docker SDK: {error}", host=host) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise _unanswered(error, host) from error


def _said(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, LookupError, TypeError):
        return answer.text.strip() or answer.reason


def _unanswered(error: Exception, host: str) -> RunbookError:
    # requests tells a timeout within an answer as a ConnectionError about one.
    waited = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    if any(isinstance(one, waited) for one in (error, *error.args)):
        return EngineTimeout("the Docker Engine did not answer in time", host=host)
    return Lost(
        f"the connection to the Docker Engine was lost ({error}){IN_DOUBT}",
        host=host,
        todo=f"see `systemctl status docker` on {host}, and run it again",
    )
