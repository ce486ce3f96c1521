"""The Engine API of a host over its SSH connection, and what its errors mean.

    EngineError      1  the engine answered with an error
    ├── Absent       1  what was asked for is not there (404)
    ├── Conflict     1  the name is taken, or somebody else changed it meanwhile (409)
    └── EngineTimeout 1 the engine did not answer in time

A Swarm without quorum, or a node that is no manager, raises ``Refused``; an engine that does not
run raises ``Unreachable``, and a connection that ends during a request ``Lost``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import docker
import requests
import urllib3
from docker import errors
from docker.utils.socket import SocketError

from runbook.errors import IN_DOUBT, Lost, Refused, RunbookError
from runbook.hosts import DOCKER
from runbook.hosts.connection import Connection
from runbook.hosts.docker_socket import EngineAdapter, SocketDenied
from runbook.hosts.ssh.command import Result

if TYPE_CHECKING:
    from runbook.hosts.live import Live

TIMEOUT_S = 60
SOCKET = "unix:///var/run/docker.sock"  # never opened here: the adapter is put in its place
BASE_URL = "http+docker://localhost"  # what the SDK calls that socket


# Prints the registry's name where docker has a login for it, wherever the password is kept.
_LOGIN = 'grep -osF -m 1 -e "$1" "${DOCKER_CONFIG:-$HOME/.docker}/config.json"'


class EngineError(RunbookError):
    """The engine answered with an error.

    Args:
        message: What it answered.
        host: The host of the engine.
        step: The step that was running.
        status: The HTTP status; ``None`` where there was none.

    """

    def __init__(
        self, message: str, *, host: str, step: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, host=host, step=step)
        self.status = status


class Absent(EngineError):
    """What was asked for is not there."""


class Conflict(EngineError):
    """The name is taken, or somebody else changed the object meanwhile."""


class EngineTimeout(EngineError, Lost):
    """The engine did not answer in time."""


# What each error of the SDK becomes; a test holds this against the SDK itself.
DOCKER_ERRORS: dict[type[Exception], type[EngineError]] = {
    errors.DockerException: EngineError,
    errors.APIError: EngineError,
    errors.NotFound: Absent,
    errors.ImageNotFound: Absent,
    errors.InvalidVersion: EngineError,
    errors.InvalidRepository: EngineError,
    errors.InvalidConfigFile: EngineError,
    errors.InvalidArgument: EngineError,
    errors.DeprecatedMethod: EngineError,
    errors.TLSParameterError: EngineError,
    errors.NullResource: EngineError,
    errors.ContainerError: EngineError,
    errors.StreamParseError: EngineError,
    errors.BuildError: EngineError,
    errors.ImageLoadError: EngineError,
    errors.MissingContextParameter: EngineError,
    errors.ContextAlreadyExists: EngineError,
    errors.ContextException: EngineError,
    errors.ContextNotFound: EngineError,
    SocketError: EngineError,
}

# The engine tells these states by text alone: moby's and swarmkit's own messages.
REFUSALS = (
    (
        re.compile(r"does not have a leader|too few managers|code = DeadlineExceeded"),
        "the Swarm has lost its quorum",
        "bring more than half of the managers back: see `docker node ls`, and on each manager "
        "`systemctl status docker` and the way to its port 2377",
    ),
    (
        re.compile(r"needs to be unlocked"),
        "the Swarm is locked here",
        "run `docker swarm unlock` on this host",
    ),
    (
        re.compile(r"is not a swarm manager|is not part of a swarm"),
        "this host is no manager of the Swarm",
        "join or promote it (`docker swarm join`, `docker node promote`), or correct the site",
    ),
)


def engine(connection: Connection) -> docker.DockerClient:
    """Return a client of a host's Docker Engine that shares its SSH connection.

    The API version is the engine's own. Every wait is bounded, that for the next event of a stream
    included: a stream that says nothing for a minute raises ``EngineTimeout``.

    Args:
        connection: The connection to the host. Root opens the socket where the user may not.

    Raises:
        Refused: Neither the user nor sudo opens the engine's socket.
        Unreachable: The engine does not run, or the connection was lost.

    Source: Docker Engine API, ``GET /version``; ``docker system dial-stdio``.

    """
    with translated(connection.host):
        try:
            return _client(connection, sudo=False)
        except SocketDenied:
            if connection.user == "root":
                raise
        return _client(connection, sudo=True)


def run_docker(
    live: Live, *arguments: str, stdin: str = "", timeout_s: float = 60, check: bool = True
) -> Result:
    """Run the docker command line on the first manager, for what the Engine API has no call for.

    Root runs it exactly where root opens the engine's socket, so that whoever can observe a site
    can also change it.

    Args:
        live: The site and its connections.
        arguments: Those of ``docker``.
        stdin: Its standard input.
        timeout_s: Longest time in seconds.
        check: Whether a status other than 0 is an error.

    Raises:
        RunbookError: As :meth:`runbook.hosts.connection.Connection.run` says.
    """
    return _run(live, [*DOCKER, *arguments], stdin=stdin, timeout_s=timeout_s, check=check)


def _run(live: Live, argv: list[str], **options: Any) -> Result:
    adapter = cast(EngineAdapter, live.engine.api.get_adapter(BASE_URL))
    return live.fleet[live.manager].run(argv, sudo=adapter.sudo, **options)


def deploy_stack(
    live: Live, image: str, *arguments: str, stdin: str, timeout_s: float = 60
) -> None:
    """Run ``docker stack deploy``, and hand the nodes the credentials for an image.

    Without a login for its registry there, none are sent: empty ones would replace those that the
    service has from somewhere else.

    Args:
        live: The site and its connections.
        image: The image of the stack's services.
        arguments: Those of ``docker stack deploy``.
        stdin: Its standard input.
        timeout_s: Longest time in seconds.

    Raises:
        RunbookError: As :meth:`runbook.hosts.connection.Connection.run` says.

    Source: docker stack deploy, ``--with-registry-auth``; moby, daemon/cluster/services.go.
    """
    first, slash, _ = image.partition("/")
    named = slash and (first == "localhost" or "." in first or ":" in first)
    registry = first if named and first != "docker.io" else "index.docker.io"
    known = _run(live, ["sh", "-c", _LOGIN, "login", registry], check=False).stdout
    words = ("stack", "deploy", *(["--with-registry-auth"] if known else []), *arguments)
    run_docker(live, *words, stdin=stdin, timeout_s=timeout_s)


def _client(connection: Connection, *, sudo: bool) -> docker.DockerClient:
    adapter = EngineAdapter(connection, sudo, TIMEOUT_S)
    try:
        version = _api_version(adapter)
    except RunbookError:
        adapter.close()
        raise
    client = docker.DockerClient(base_url=SOCKET, version=version, timeout=TIMEOUT_S)
    _mount(client.api, adapter)
    return client


def _api_version(adapter: EngineAdapter) -> str:
    """Ask as the SDK does with version="auto", which happens before it can be given an adapter."""
    session = requests.Session()  # not closed: that would close the adapter
    _mount(session, adapter)
    answer = session.get(f"{BASE_URL}/version", timeout=TIMEOUT_S)
    try:
        answer.raise_for_status()
    except requests.HTTPError as error:
        errors.create_api_error_from_http_exception(error)
    version: str = answer.json()["ApiVersion"]
    return version


def _mount(session: requests.Session, adapter: EngineAdapter) -> None:
    session.trust_env = False  # proxies and .netrc of this machine are not for the engine there
    session.mount("http+docker://", adapter)


@contextmanager
def translated(host: str, step: str | None = None) -> Iterator[None]:
    """Turn whatever the docker SDK raises inside into errors of the runbook.

    Args:
        host: The host of the engine.
        step: The step that is running.

    Raises:
        EngineError: The engine answered with an error, or did not answer in time.
        Lost: The connection ended during a request.
        Refused: The state of the Swarm or of the engine does not allow this.
        Unreachable: The engine does not run, or the host cannot be reached.

    """
    try:
        yield
    except RunbookError as error:
        error.step = error.step or step
        raise
    except errors.APIError as error:
        raise _answered(error, host, step) from error
    except tuple(DOCKER_ERRORS) as error:
        raise _kind(error)(f"the Docker SDK: {error}", host=host, step=step) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise _unanswered(error, host, step) from error


def _answered(error: errors.APIError, host: str, step: str | None) -> RunbookError:
    said = error.explanation or str(error)
    for pattern, meaning, todo in REFUSALS:
        if pattern.search(said):
            if "DeadlineExceeded" in said and _changes(error):
                return Lost(f"{meaning}: {said}{IN_DOUBT}", host=host, step=step, todo=todo)
            return Refused(f"{meaning}: {said}", host=host, step=step, todo=todo)
    message = f"the Docker Engine answered {error.status_code}: {said}"
    # "update out of sequence": the object's Version.Index was not the current one.
    conflict = error.status_code == 409 or "out of sequence" in said
    kind = Conflict if conflict else _kind(error)
    return kind(message, host=host, step=step, status=error.status_code)


def _changes(error: errors.APIError) -> bool:
    request = getattr(error.response, "request", None)
    return request is not None and request.method != "GET"


def _unanswered(error: Exception, host: str, step: str | None) -> RunbookError:
    # requests tells a timeout within an answer as a ConnectionError about one.
    waited = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    if any(isinstance(one, waited) for one in (error, *error.args)):
        return EngineTimeout("the Docker Engine did not answer in time", host=host, step=step)
    return Lost(
        f"the connection to the Docker Engine was lost ({error}){IN_DOUBT}",
        host=host,
        step=step,
        todo=f"see `systemctl status docker` on {host}, and run it again",
    )


def _kind(error: Exception) -> type[EngineError]:
    return next(DOCKER_ERRORS[kind] for kind in type(error).__mro__ if kind in DOCKER_ERRORS)
