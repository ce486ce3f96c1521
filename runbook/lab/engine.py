"""The host's Docker Engine: the one that answers, or one that the lab installs and starts.

Where no engine answers on Linux, and the user is root or has sudo without a password, Debian's
``docker.io`` is installed and ``dockerd`` started in the background. That engine is the lab's own:
its pid file says so, and only such an engine is ever stopped. The data root is always the
package's, because an engine with another one would build a second bridge on the same subnet.
"""

import grp
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import requests
from docker.errors import APIError, DockerException

from runbook.lab import workstation
from runbook.lab.errors import LabError
from runbook.lab.waiting import wait_until

SOCKET = Path("/var/run/docker.sock")
PID_FILE = Path("/run/edge-lab-dockerd.pid")
LOG_FILE = Path("/var/log/edge-lab-dockerd.log")
DATA_ROOT = Path("/var/lib/docker")
PACKAGES = ("docker.io", "iptables", "iproute2")
START_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 180  # the longest single call is a stage of the image build that downloads
# dockerd 20.10 waits for the process in this file even when its number now belongs to another.
CONTAINERD_PID_FILE = Path("/var/run/docker/containerd/containerd.pid")
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 1024  # a systemd node takes about eight; the usual 128 is one lab and a half

UNIX_SOCKET = "http+docker://localhost"  # what the SDK makes of unix://…; ssh://… has another host

WAYS = (
    "start Docker Desktop or another engine, or point DOCKER_HOST at one; on Debian or Ubuntu, "
    "lab up as root, or with a sudo that asks for no password, installs and starts one"
)


def connect() -> docker.DockerClient:
    """Return a client of the first engine that answers.

    ``DOCKER_HOST``, where set, is the only one asked; else the usual sockets are.

    Raises:
        LabError: None answers.
    """
    client = _first_answer()
    if client is None:
        raise LabError(f"no Docker Engine answers at {' or '.join(_addresses())}", todo=WAYS)
    return client


def ensure() -> docker.DockerClient:
    """Return a client of the engine, starting one where none answers.

    Raises:
        LabError: There is no engine and no way to start one.
    """
    client = _first_answer()
    if client is not None:
        return client
    _require_startable()
    if not workstation.has("dockerd"):
        workstation.install(*PACKAGES)
    # Where systemd runs, the package starts its engine itself; and another lab may just do it.
    if not workstation.runs("dockerd"):
        _start()
    wait_until(
        answers,
        "the engine to answer",
        timeout_s=START_TIMEOUT_S,
        detail=_log,
    )
    return connect()


def answers() -> bool:
    """Return whether an engine answers."""
    return _first_answer() is not None


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the SDK raises within the block into one message for the operator.

    Raises:
        LabError: The engine refused a call, or stopped answering.
    """
    try:
        yield
    except APIError as error:
        raise LabError(f"the engine refuses: {error.explanation or error}") from error
    except (DockerException, requests.RequestException) as error:
        raise LabError(f"the engine does not answer: {error}") from error


def stop() -> str:
    """Stop the engine the lab started, and no other; return what was done.

    Source: dockerd(8), which ends its containers and its containerd on SIGTERM.
    """
    pid = _own_pid()
    if pid is None:
        return "no engine of the lab's own is running"
    workstation.as_root("kill", str(pid))
    # Not for its pid file, which goes first: who starts an engine next would find this one running.
    wait_until(
        lambda: workstation.running(str(pid), "dockerd") is None,
        f"dockerd (process {pid}) to end",
        timeout_s=60,
        detail=_log,
    )
    return f"stopped the lab's own engine (process {pid})"


def _addresses() -> list[str]:
    if os.environ.get("DOCKER_HOST"):
        return [os.environ["DOCKER_HOST"]]
    home = Path.home()
    sockets = (
        SOCKET,
        home / ".docker/run/docker.sock",  # Docker Desktop
        home / ".colima/default/docker.sock",
        home / ".rd/docker.sock",  # Rancher Desktop
        home / ".orbstack/run/docker.sock",
    )
    return [f"unix://{socket}" for socket in sockets]


def _first_answer() -> docker.DockerClient | None:
    for address in _addresses():
        if address.startswith("unix://") and not Path(address.removeprefix("unix://")).exists():
            continue
        try:
            environment = os.environ | {"DOCKER_HOST": address}
            client = docker.from_env(
                environment=environment, timeout=CALL_TIMEOUT_S, max_pool_size=64
            )
            client.ping()
        except (DockerException, requests.RequestException):
            continue
        return client
    return None


def _require_startable() -> None:
    if os.environ.get("DOCKER_HOST"):
        reason = f"DOCKER_HOST is {os.environ['DOCKER_HOST']}, and does not answer"
    elif not sys.platform.startswith("linux"):
        reason = f"this is {sys.platform}, where an engine is an application"
    elif not workstation.can_be_root():
        reason = "this user is not root and has no sudo without a password"
    elif not (workstation.has("dockerd") or workstation.has("apt-get")):
        reason = "dockerd is not installed and there is no apt-get to install it with"
    elif SOCKET.exists() and not os.access(SOCKET, os.W_OK) and workstation.runs("dockerd"):
        reason = f"one runs, and this user may not use {SOCKET}; its group may (newgrp docker)"
    else:
        return
    raise LabError(f"no Docker Engine answers, and none can be started: {reason}", todo=WAYS)


def _start() -> None:
    _forget_dead(PID_FILE, "dockerd")
    _forget_dead(CONTAINERD_PID_FILE, "containerd")
    if int(INOTIFY.read_text()) < INOTIFY_INSTANCES:
        workstation.as_root(
            "sysctl", "-q", "-w", f"fs.inotify.max_user_instances={INOTIFY_INSTANCES}"
        )
    # A shell opens the log, because with sudo this process may not; setsid outlives the terminal.
    # Not `service docker start`: its script's ulimit -n is refused where it is over the hard limit.
    # The socket belongs to the user's own group, or only root could use the engine.
    group = grp.getgrgid(os.getgid()).gr_name
    options = f"--pidfile {PID_FILE} --data-root {DATA_ROOT} --group {shlex.quote(group)}"
    command = f"setsid dockerd {options} >>{LOG_FILE} 2>&1 &"
    workstation.as_root("sh", "-c", command)


def _forget_dead(pid_file: Path, program: str) -> None:
    """Remove a pid file whose process ended, or whose number another program has by now."""
    text = workstation.as_root(
        "cat", str(pid_file), check=False
    )  # not everybody may look into its folder
    if text and workstation.running(text, program) is None:
        workstation.as_root("rm", "-f", str(pid_file))


def _own_pid() -> int | None:
    try:
        return workstation.running(PID_FILE.read_text(), "dockerd")
    except OSError:
        return None


def _log() -> str:
    try:
        tail = LOG_FILE.read_text(errors="replace").splitlines()[-12:]
    except OSError as error:
        return f"its log cannot be read: {error}"
    return f"the end of {LOG_FILE}:\n" + "\n".join(tail)


def is_local(client: docker.DockerClient) -> bool:
    """Return whether the engine's networks are this machine's own, as with a Linux engine here."""
    return sys.platform.startswith("linux") and client.api.base_url == UNIX_SOCKET
