"""The known hosts files: which host keys the operator has confirmed.

Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT. Hashed names, patterns, ``[host]:port`` and
``@revoked`` are understood; ``@cert-authority`` lines are passed over, so a host that is known only
through its certificate authority counts as unknown.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runbook.errors import BadInput

Verdict = Literal["yes", "no", "changed", "revoked"]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line of a known hosts file.

    Args:
        names: The names it is for: patterns, or one hashed name.
        key_type: Type of the key, such as ``ssh-ed25519``.
        key: The public key as it is sent.
        revoked: Whether the line says never to accept this key.
        place: File and line, as ``known_hosts:12``.

    """

    names: str
    key_type: str
    key: bytes
    revoked: bool
    place: str

    def names_host(self, name: str) -> bool:
        """Whether this line is about a host of this name."""
        if self.names.startswith("|1|"):
            # ssh writes host names in lower case, and a HostKeyAlias as it is configured.
            return any(_is_hash_of(n, self.names) for n in {name, name.lower()})
        patterns = self.names.lower().split(",")
        if any(p.startswith("!") and _matches(p[1:], name.lower()) for p in patterns):
            return False
        return any(_matches(pattern, name.lower()) for pattern in patterns)


class KnownHosts:
    """What the files say about one host.

    Args:
        files: The files to read; those that do not exist are passed over.
        names: The names the host has in them. The first decides; the others only vouch for a host
            that is not known by it, since they may be another site's.

    Raises:
        BadInput: A file cannot be read.

    """

    def __init__(self, files: Iterable[Path], names: Iterable[str]) -> None:
        first, *others = names
        lines = tuple(known for file in files for known in _read(file))
        self._first = tuple(known for known in lines if known.names_host(first))
        self._others = tuple(
            known for known in lines if any(known.names_host(name) for name in others)
        )

    @property
    def accepted(self) -> tuple[KnownKey, ...]:
        """The lines that vouch for the host."""
        return _vouching(self._first) or _vouching(self._others)

    @property
    def key_types(self) -> tuple[str, ...]:
        """The types of key the host is known by, in the order of the files."""
        return tuple(dict.fromkeys(known.key_type for known in self.accepted))

    def verdict(self, key: bytes) -> Verdict:
        """Say whether an offered key is the known one.

        Args:
            key: The public key as it was sent.

        Returns:
            ``changed`` also where the host is known only by keys of other types: an impostor
            would offer just those types that nobody has confirmed.

        """
        if any(known.key == key for known in (*self._first, *self._others) if known.revoked):
            return "revoked"
        if any(known.key == key for known in self.accepted):
            return "yes"
        return "changed" if _vouching(self._first) else "no"


def _vouching(lines: tuple[KnownKey, ...]) -> tuple[KnownKey, ...]:
    return tuple(known for known in lines if not known.revoked)


def fingerprint(key: bytes) -> str:
    """Return the SHA256 fingerprint of a public key, written as ssh-keygen(1) -l does."""
    return "SHA256:" + b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _read(file: Path) -> Iterator[KnownKey]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInput(f"known hosts file {file}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        marker, fields = "", line.split()
        if fields and fields[0].startswith("@"):
            marker, *fields = fields
        if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        try:
            key = b64decode(fields[2], validate=True)
        except binascii.Error:
            continue  # as ssh does: a damaged line vouches for nobody
        yield KnownKey(fields[0], fields[1], key, bool(marker), f"{file}:{number}")


def _is_hash_of(name: str, hashed: str) -> bool:
    """Whether ``|1|salt|hash`` stands for this name: HMAC-SHA1, as ssh-keygen(1) -H writes it."""
    try:
        salt, digest = (b64decode(part) for part in hashed.removeprefix("|1|").split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)


def _matches(pattern: str, name: str) -> bool:
    # Not fnmatch: to it the brackets of "[host]:port" would be a set of characters.
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, name) is not None
