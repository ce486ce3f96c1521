"""Whose key may sign what, and when: the ``allowed_signers`` file of OpenSSH.

Source: ssh-keygen(1), ALLOWED SIGNERS; ssh_config(5), PATTERNS.
"""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from runbook.errors import BadInput
from runbook.records.signing import sshsig
from runbook.records.signing.sshsig import Signature, Unverified

TIMEOUT_S = 30.0
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?(?:,|$)')
_KEY_TYPE = re.compile(r"^(sk-)?(ssh|ecdsa)-")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: these principals may sign in these namespaces with this key, in this time.

    Attributes:
        number: Its number in the file, from 1.
        principals: A pattern list.
        key: The key's blob.
        namespaces: A pattern list; ``None``: any.
        after: Valid from then on; ``None``: always was.
        before: Valid until then; ``None``: still is.
        authority: Whether the key signs certificates and not content.
    """

    number: int
    principals: str
    key: bytes
    namespaces: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    authority: bool = False


@dataclass(frozen=True, slots=True)
class AllowedSigners:
    """The whole file, and the keys that were revoked.

    Attributes:
        path: The file.
        lines: Its lines.
        revoked: The file of revoked keys, a KRL or public keys; ``None`` where there is none.
    """

    path: Path
    lines: tuple[Line, ...]
    revoked: Path | None = None

    def principal_of(self, key: bytes) -> str | None:
        """Return the first principal whose line holds the key by name; ``None`` without one."""
        names = (line.principals.split(",")[0] for line in self.lines if line.key == key)
        return next((name for name in names if not set("*?!") & set(name)), None)

    def check(self, signature: Signature, principal: str, at: datetime) -> None:
        """Return if this principal was allowed to make this signature at that time.

        Raises:
            Unverified: It was not; the message says which part of which line forbids it.
        """
        if self.revoked is not None and signature.key in _revoked(self.revoked, signature.key):
            raise Unverified(f"key {signature.fingerprint} is in {self.revoked.name}")
        own = [line for line in self.lines if line.key == signature.key and not line.authority]
        if not own:
            raise Unverified(f"key {signature.fingerprint} is not in {self.path.name}")
        reasons = [self._objection(line, signature.namespace, principal, at) for line in own]
        if "" not in reasons:
            raise Unverified(f"key {signature.fingerprint}: {reasons[-1]}")

    def _objection(self, line: Line, namespace: str, principal: str, at: datetime) -> str:
        where = f"{self.path.name}:{line.number}"
        if not matches(principal, line.principals):
            return f"{where} gives it to {line.principals}, not to {principal}"
        if line.namespaces is not None and not matches(namespace, line.namespaces):
            return f"{where} does not permit it in the namespace {namespace}"
        if line.after is not None and at < line.after:
            return f"{where} permits it from {line.after.isoformat()} on, not at {at.isoformat()}"
        if line.before is not None and at > line.before:
            return f"{where} permitted it until {line.before.isoformat()}, not at {at.isoformat()}"
        return ""


def read(path: Path, revoked: Path | None = None) -> AllowedSigners:
    """Return an allowed signers file.

    Args:
        path: The file.
        revoked: The revoked keys; looked at only where it exists.

    Raises:
        BadInput: It cannot be read, or a line of it is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the allowed signers cannot be read from {path}: {error}") from error
    known = revoked if revoked is not None and revoked.exists() else None
    return AllowedSigners(path, tuple(_lines(text, path)), known)


def _lines(text: str, path: Path) -> Iterator[Line]:
    for number, content in enumerate(text.split("\n"), 1):
        if content.strip() and not content.lstrip().startswith("#"):
            try:
                yield _line(number, content.strip())
            except (ValueError, IndexError, binascii.Error) as error:
                raise BadInput(
                    f"{path}:{number}: not a line of allowed signers: {error}"
                ) from error


def _line(number: int, content: str) -> Line:
    principals, _, rest = content.partition(" ")
    # Only quoted values may hold spaces, and a key type never holds a quote.
    options, rest = ("", rest) if _KEY_TYPE.match(rest) else _until_space(rest)
    named = {name.lower(): value for name, value in _options(options)}
    unknown = set(named) - {"cert-authority", "namespaces", "valid-after", "valid-before"}
    if unknown:
        raise ValueError(f"unknown option {', '.join(sorted(unknown))}")
    kind, encoded = rest.split()[:2]
    key = base64.b64decode(encoded, validate=True)
    if next(sshsig.strings(key)).decode() != kind:
        raise ValueError(f"the key is not of type {kind}")
    return Line(
        number,
        principals.strip('"'),
        key,
        named.get("namespaces"),
        _time(named.get("valid-after")),
        _time(named.get("valid-before")),
        "cert-authority" in named,
    )


def _until_space(text: str) -> tuple[str, str]:
    quoted = False
    for at, character in enumerate(text):
        quoted ^= character == '"'
        if character == " " and not quoted:
            return text[:at], text[at + 1 :].lstrip()
    raise ValueError("no key follows")


def _options(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _OPTION.match(text, at)
        if found is None:
            raise ValueError(f"options {text[at:]!r}")
        yield found[1], found[2] or ""
        at = found.end()


def _time(text: str | None) -> datetime | None:
    """Return a time as ssh-keygen reads it: local unless it ends in Z."""
    if text is None:
        return None
    digits = text.removesuffix("Z")
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits), "")
    told = datetime.strptime(digits, form)  # the zone is added below
    return told.replace(tzinfo=UTC) if text.endswith("Z") else told.astimezone(UTC)


def matches(name: str, patterns: str) -> bool:
    """Return whether a name is in a pattern list; a matching ``!pattern`` keeps it out."""
    found = False
    for pattern in patterns.split(","):
        if _pattern(pattern.removeprefix("!")).fullmatch(name):
            if pattern.startswith("!"):
                return False
            found = True
    return found


@cache
def _pattern(text: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(character, re.escape(character)) for character in text))


def _revoked(path: Path, key: bytes) -> tuple[bytes, ...]:
    """Return the key in a tuple if the file revokes it, or every key that a plain file lists."""
    stamp = path.stat().st_mtime_ns
    return _revoked_as_of(path, stamp, key)


@cache
def _revoked_as_of(path: Path, _stamp: int, key: bytes) -> tuple[bytes, ...]:
    content = path.read_bytes()
    if content.startswith(b"SSHKRL\n\0"):
        return (key,) if _in_krl(path, key) else ()
    words = [line.split() for line in content.decode(errors="replace").splitlines()]
    encoded = base64.b64encode(key).decode()
    return (key,) if any(encoded in line for line in words if line[:1] != ["#"]) else ()


def _in_krl(path: Path, key: bytes) -> bool:
    """Ask ssh-keygen, which alone reads the binary form; its status is 1 where one is revoked."""
    kind = next(sshsig.strings(key)).decode()
    with tempfile.NamedTemporaryFile("w", suffix=".pub") as public:
        public.write(f"{kind} {base64.b64encode(key).decode()}\n")
        public.flush()
        argv = ["ssh-keygen", "-Q", "-f", str(path), public.name]
        done = subprocess.run(
            argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False
        )
    return done.returncode != 0
