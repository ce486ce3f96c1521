"""Signing with the operator's SSH key, and verifying in this process or by ssh-keygen."""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from runbook.errors import BadInput, Refused
from runbook.records.signing import sshsig
from runbook.records.signing.allowed_signers import AllowedSigners
from runbook.records.signing.sshsig import Signature, Unsupported, Unverified

TIMEOUT_S = 60.0
"""Long enough to type a passphrase or touch a key."""

PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(@[A-Za-z0-9][A-Za-z0-9._-]*)?")
UNSIGNED = "unsigned"
"""The name under which runs without a key are entered; nobody's principal."""


def checked_principal(name: str) -> str:
    """Return a principal that may also be a file's name.

    Raises:
        BadInput: It may not.
    """
    if not PRINCIPAL.fullmatch(name) or name == UNSIGNED:
        raise BadInput(
            f"{name!r} is no principal", todo="name yourself as in allowed_signers: alice@example"
        )
    return name


@dataclass(frozen=True)  # not slotted: the key's blob is read once
class Signer:
    """A principal and the SSH key to sign with.

    Attributes:
        key: The private key's file, or the ``.pub`` file of a key that the agent holds.
        principal: Who signs, as ``allowed_signers`` names them.

    Raises:
        BadInput: The principal may not be used, or there is no public key.
    """

    key: Path
    principal: str

    def __post_init__(self) -> None:
        checked_principal(self.principal)

    @cached_property
    def public(self) -> bytes:
        """The public key's blob.

        Raises:
            BadInput: There is no public key beside the private one.
        """
        return public_key(self.key)

    @property
    def public_line(self) -> str:
        """Return type and key as a ``.pub`` file has them."""
        kind = next(sshsig.strings(self.public)).decode()
        return f"{kind} {base64.b64encode(self.public).decode()}"

    def sign(self, content: bytes, namespace: str) -> str:
        """Return the armored signature of these bytes.

        Raises:
            Refused: The key cannot be used: locked without a terminal, or not in the agent.
        """
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.key)]
        status, printed, said = _ssh_keygen(argv, content)
        if status != 0 or sshsig.BEGIN not in printed:
            raise Refused(
                f"{self.key} did not sign: {said or 'ssh-keygen gave no reason'}",
                todo="name an SSH key that you hold, or load it into the agent (ssh-add)",
            )
        return printed


def public_key(key: Path) -> bytes:
    """Return the blob of a key's public half.

    Raises:
        BadInput: There is none to be read.
    """
    public = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    try:
        _kind, encoded = public.read_text(encoding="utf-8").split()[:2]
        return base64.b64decode(encoded, validate=True)
    except (OSError, ValueError, binascii.Error) as error:
        raise BadInput(
            f"there is no public key in {public}: {error}",
            todo=f"write it: ssh-keygen -y -f {key.with_suffix('')} > {public}",
        ) from error


def verify(
    content: bytes,
    armored: str,
    namespace: str,
    allowed: AllowedSigners,
    who: tuple[str, datetime],
) -> Signature:
    """Return the signature if this principal made it of this content at that time.

    Args:
        content: What was signed.
        armored: The signature.
        namespace: What it must be made for.
        allowed: Whose keys are trusted.
        who: The principal and the time of signing.

    Raises:
        Unverified: It is not so.
        Refused: The key is of a token or certified, and there is no ssh-keygen to verify it.
    """
    signature = sshsig.parse(armored)
    try:
        sshsig.check(signature, content, namespace)
    except Unsupported:
        return verify_independently(content, armored, namespace, allowed, who)
    allowed.check(signature, *who)
    return signature


def verify_independently(
    content: bytes,
    armored: str,
    namespace: str,
    allowed: AllowedSigners,
    who: tuple[str, datetime],
) -> Signature:
    """Verify as :func:`verify` does, by ``ssh-keygen -Y verify`` and none of our code.

    Raises:
        Unverified: ssh-keygen does not accept it.
    """
    principal, at = who
    with tempfile.NamedTemporaryFile("w", suffix=".sig") as signature:
        signature.write(armored)
        signature.flush()
        argv = ["ssh-keygen", "-Y", "verify", "-n", namespace, "-I", principal]
        argv += ["-f", str(allowed.path), "-s", signature.name]
        argv += [f"-Overify-time={at:%Y%m%d%H%M%S}Z"]
        argv += ["-r", str(allowed.revoked)] if allowed.revoked else []
        status, printed, said = _ssh_keygen(argv, content)
    if status != 0:
        raise Unverified(f"ssh-keygen refuses it: {said or printed.strip()}")
    return sshsig.parse(armored)


def _ssh_keygen(argv: list[str], content: bytes) -> tuple[int, str, str]:
    """Run ssh-keygen; what it says is given in one line."""
    environment = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv,
            input=content,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        raise Refused("ssh-keygen is not installed", todo="install the OpenSSH client") from None
    except subprocess.TimeoutExpired:
        return 1, "", f"no answer within {TIMEOUT_S:.0f} s"
    said = "; ".join(filter(None, map(str.strip, done.stderr.decode(errors="replace").split("\n"))))
    return done.returncode, done.stdout.decode(errors="replace"), said
