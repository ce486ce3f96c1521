"""What a run was made with: the operator's account, the commit, the versions."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from runbook.records.archive import canonical

PACKAGE = "edge-runbook"
LOCK = "requirements.lock"
TIMEOUT_S = 10.0


def account() -> dict[str, str]:
    """Return who is logged in here, and where; a claim of this machine, not of a signature."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has a number and no name
        user = f"uid {os.getuid()}"
    return {"os_user": user, "host": socket.gethostname()}


def git(checkout: Path) -> dict[str, Any] | None:
    """Return the commit and whether anything differs from it; ``None`` outside a repository.

    Args:
        checkout: Its top. A repository further up is somebody else's, in which this is installed.
    """
    commit = _git(checkout, "rev-parse", "HEAD") if (checkout / ".git").exists() else None
    if commit is None:
        return None
    changed = _git(checkout, "status", "--porcelain")
    return {
        "commit": commit,
        "branch": _git(checkout, "symbolic-ref", "--short", "-q", "HEAD"),
        "dirty": bool(changed) if changed is not None else None,
    }


def tool(checkout: Path) -> dict[str, Any]:
    """Return the versions that ran, and the digest of the lock file they were installed from."""
    lock = checkout / LOCK
    return {
        "name": PACKAGE,
        "version": _version(PACKAGE),
        "python": platform.python_version(),
        "papermill": _version("papermill"),
        "lock_sha256": canonical.sha256_of(lock) if lock.is_file() else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(checkout: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
