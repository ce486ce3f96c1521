"""The machine the lab runs on: its programs and processes, and commands that take root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from runbook.lab.errors import LabError


def as_root(*command: str, check: bool = True) -> str:
    """Run a command on the engine's own host as root and return its output.

    Raises:
        LabError: It failed, and ``check`` is set.
    """
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    done = subprocess.run(
        [*sudo, *command],
        check=False,
        text=True,
        capture_output=True,
        env=os.environ | {"PATH": _system_path()},
    )
    if check and done.returncode:
        tail = (done.stderr or done.stdout).strip()[-800:]
        raise LabError(f"{' '.join(command)} failed ({done.returncode}): {tail}")
    return done.stdout


def install(*packages: str) -> None:
    """Install Debian packages on this machine."""
    quietly = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq")  # sudo clears the rest
    as_root(*quietly, "update")
    as_root(*quietly, "install", "-y", "--no-install-recommends", *packages)


def has(program: str) -> bool:
    """Return whether a program is installed, also where only root would find it."""
    return shutil.which(program, path=_system_path()) is not None


def can_be_root() -> bool:
    """Return whether this is Linux and commands can run as root without a question."""
    if not sys.platform.startswith("linux"):
        return False
    if os.geteuid() == 0:
        return True
    if shutil.which("sudo") is None:
        return False
    probe = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True)
    return probe.returncode == 0


def runs(program: str) -> bool:
    """Return whether this program runs here, and not in a container.

    The nodes' own engines, which outlive the host's, are processes of the host too; in the list of
    a process's numbers, one for each namespace, they have two. Source: proc(5), status, NSpid.
    """
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):  # it ended while we looked
            continue
        if fields.get("Name", "").strip() == program and len(fields.get("NSpid", "").split()) == 1:
            return True
    return False


def running(number: str, program: str) -> int | None:
    """Return the number of the process if it runs this program, else ``None``. Source: proc(5)."""
    try:
        pid = int(number)
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if name == program else None


def _system_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
