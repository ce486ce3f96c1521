"""What a lab keeps on the operator's disk: its topology, its keys, and the files ssh reads.

All of it is under ``.lab/<name>/`` of the current folder, readable by its owner alone, and never
committed. Keys belong to one lab and die with it; only the one that signs records stays, beside the
labs, as the records do.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runbook.errors import BadInput
from runbook.lab.topology import Topology
from runbook.lab.waiting import wait_until

FOLDER = Path(".lab")
OPERATOR = "id_ed25519"
TURN_TIMEOUT_S = 300.0  # an up that builds the images takes a minute or two
INNER = "gateway_ed25519"  # opens the nodes for gerard on the gateway
SIGNING = "records_ed25519"


@dataclass(frozen=True, slots=True)
class State:
    """The files of one lab; equal when they are the same folder.

    Attributes:
        folder: ``.lab/<name>``, absolute.
    """

    folder: Path

    @classmethod
    def of(cls, name: str, root: Path | None = None) -> "State":
        """Return the state of the lab of this name below a folder, by default the current one."""
        return cls((root or Path.cwd()).absolute() / FOLDER / name)

    @property
    def ssh_config(self) -> Path:
        """The configuration for ``ssh -F``."""
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """The host keys of every node."""
        return self.folder / "known_hosts"

    @property
    def identity(self) -> Path:
        """The operator's private key."""
        return self.folder / OPERATOR

    @property
    def signing_key(self) -> Path:
        """The operator's private key that signs records, of whatever lab."""
        return self.folder.parent / SIGNING

    @property
    def neighbours(self) -> Path:
        """What other people's services and networks were like when they were made."""
        return self.folder / "neighbours"

    @property
    def description(self) -> Path:
        """The topology as JSON."""
        return self.folder / "lab.json"

    def topology(self) -> Topology | None:
        """Return the lab's topology, or ``None`` where no lab of that name was made here."""
        try:
            return Topology.from_json(self.description.read_text())
        except FileNotFoundError:
            return None
        except BadInput as error:
            raise BadInput(f"{self.description}: {error}; remove it and run lab up") from error

    def key(self, name: str) -> tuple[bytes, str]:
        """Return a key pair (OpenSSH private file, public line), made on the first call.

        Args:
            name: File name within the folder; the public half gets ``.pub``.
        """
        path = self.folder / name
        public = path.with_name(f"{name}.pub")
        if not path.exists() or not public.exists():
            private, line = _generate(path.name)
            self.write(path, private.decode())
            self.write(public, line)
        return path.read_bytes(), public.read_text()

    def host_key(self, node: str) -> tuple[bytes, str]:
        """Return the host key pair of a node."""
        return self.key(f"host_{node}")

    def write(self, path: Path, text: str) -> None:
        """Write a file for its owner alone, and its folder; nothing when it says so already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if path.exists() and path.read_text() == text:
            return
        partial = path.with_name(path.name + ".partial")
        partial.touch(mode=0o600)
        partial.write_text(text)
        partial.replace(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time change the lab; the next one waits its turn.

        Raises:
            LabError: The other one takes longer than any command of the lab should.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        path = self.folder.with_suffix(".lock")
        held: list[IO[str]] = []
        wait_until(
            lambda: _take(path, held),
            f"another process to leave the lab {self.folder.name!r} alone",
            timeout_s=TURN_TIMEOUT_S,
        )
        try:
            yield
        finally:
            if not self.folder.exists():
                path.unlink(missing_ok=True)
            held[0].close()  # gives the lock back, as does the end of the process

    def remove(self) -> bool:
        """Remove the folder and return whether there was one."""
        if not self.folder.exists():
            return False
        shutil.rmtree(self.folder)
        return True

    @property
    def owner(self) -> str:
        """What the lab's containers are marked with, so that no other checkout takes them over."""
        return str(self.folder.resolve())


def _take(path: Path, held: list[IO[str]]) -> bool:
    """Try to take the lock; a file that its last holder removed meanwhile does not count."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            held.append(file)
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return False


def _generate(comment: str) -> tuple[bytes, str]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private, f"{public.decode()} {comment}\n"
