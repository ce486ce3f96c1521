"""Whose signatures count, and what verifies them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook.records.signing.allowed_signers import AllowedSigners
from runbook.records.signing.sshsig import Signature, Unverified

Verify = Callable[[bytes, str, str, AllowedSigners, tuple[str, datetime]], Signature]


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count, and what verifies them.

    Attributes:
        allowed: The allowed signers.
        verify: :func:`runbook.records.signing.sign.verify`, or the one that asks ssh-keygen.
    """

    allowed: AllowedSigners
    verify: Verify

    def signature(
        self, content: bytes, path: Path, namespace: str, who: tuple[str, datetime]
    ) -> Signature:
        """Return the signature in a file, of this content by this principal at that time.

        Raises:
            Unverified: It is missing or none.
        """
        try:
            return self.check(content, path.read_bytes(), namespace, who)
        except FileNotFoundError:
            raise Unverified("missing") from None

    def check(
        self, content: bytes, armored: bytes, namespace: str, who: tuple[str, datetime]
    ) -> Signature:
        """Return the signature, of this content by this principal at that time.

        Raises:
            Unverified: It is none.
        """
        try:
            text = armored.decode()
        except UnicodeDecodeError:
            raise Unverified("it is not an SSH signature") from None
        return self.verify(content, text, namespace, self.allowed, who)
