"""The known hosts files: which host keys the operator has confirmed.

Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT. Hashed names, patterns, ``[host]:port`` and
``@revoked`` are understood; ``@cert-authority`` lines vouch for nobody, since the certificates of
hosts are not checked here, so a host that is known only through one counts as unknown.
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
MARKERS = ("", "@revoked", "@cert-authority")


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line of a known hosts file.

    Args:
        names: The names it is for: patterns, or one hashed name.
        key_type: Type of the key, such as ``ssh-ed25519``.
        key: The public key as it is sent.
        marker: ``@revoked``: never to be accepted; ``@cert-authority``; or empty.
        place: File and line, as ``known_hosts:12``.

    """

    names: str
    key_type: str
    key: bytes
    marker: str
    place: str

    @property
    def revoked(self) -> bool:
        """Whether the line says never to accept this key."""
        return self.marker == "@revoked"

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
        revoked: RevokedHostKeys: files of public keys.

    Raises:
        BadInput: A file cannot be read.

    """

    def __init__(
        self, files: Iterable[Path], names: Iterable[str], revoked: Iterable[Path] = ()
    ) -> None:
        first, *others = names
        lines = tuple(known for file in files for known in _read(file))
        self._first = tuple(known for known in lines if known.names_host(first))
        self._others = tuple(
            known for known in lines if any(known.names_host(name) for name in others)
        )
        self._revoked = tuple(word for file in revoked for word in _words(file))

    @property
    def accepted(self) -> tuple[KnownKey, ...]:
        """The lines that vouch for the host."""
        return _vouching(self._first) or _vouching(self._others)

    @property
    def authorities(self) -> tuple[KnownKey, ...]:
        """The lines that leave it to a certificate authority to vouch for the host."""
        lines = (*self._first, *self._others)
        return tuple(known for known in lines if known.marker == "@cert-authority")

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
        revoked = [known.key for known in (*self._first, *self._others) if known.revoked]
        if key in revoked or b64encode(key) in self._revoked:
            return "revoked"
        if any(known.key == key for known in self.accepted):
            return "yes"
        return "changed" if _vouching(self._first) else "no"


def _vouching(lines: tuple[KnownKey, ...]) -> tuple[KnownKey, ...]:
    return tuple(known for known in lines if not known.marker)


def _words(revoked: Path) -> tuple[bytes, ...]:
    try:
        content = revoked.read_bytes()
    except OSError as error:  # ssh then accepts no host at all
        raise BadInput(f"RevokedHostKeys {revoked}: {error.strerror}") from error
    if content.startswith(b"SSHKRL\n"):
        raise BadInput(
            f"RevokedHostKeys {revoked} is a key revocation list, which is not supported",
            todo="list the revoked keys in it as text, one public key a line: ssh_config(5)",
        )
    lines = (line.split() for line in content.splitlines() if not line.startswith(b"#"))
    return tuple(word for words in lines for word in words)


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
        if len(fields) < 3 or fields[0].startswith("#") or marker not in MARKERS:
            continue
        try:
            key = b64decode(fields[2], validate=True)
        except binascii.Error:
            continue  # as ssh does: a damaged line vouches for nobody
        yield KnownKey(fields[0], fields[1], key, marker, f"{file}:{number}")


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
