"""The docker command line on the first manager, for what the Engine API has no call for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook.hosts.live import Live
    from runbook.hosts.ssh.command import Result

# Neither a context nor the environment of the user there may name another engine or how to ask it:
# the option beats $DOCKER_HOST, $DOCKER_CONTEXT and `docker context use`, but not the others.
DOCKER = (
    *("env", "-u", "DOCKER_TLS", "-u", "DOCKER_TLS_VERIFY", "-u", "DOCKER_API_VERSION"),
    *("docker", "-H", "unix:///var/run/docker.sock"),
)
"""The docker command line, as it asks the host's own engine."""

# Prints the registry's name where docker has a login for it, wherever the password is kept.
_LOGIN = 'grep -osF -m 1 -e "$1" "${DOCKER_CONFIG:-$HOME/.docker}/config.json"'


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
    return live.fleet[live.manager].run(argv, sudo=live.engine.sudo, **options)


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
