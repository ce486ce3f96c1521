"""SSH signatures (SSHSIG) read and verified without a subprocess.

Source: OpenSSH PROTOCOL.sshsig; RFC 4253 6.6, RFC 5656 3.1.2 and RFC 8332 for the blobs within.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

RECORD, APPROVAL, ANCHOR = "runbook-record", "runbook-approval", "runbook-anchor"
"""The namespaces: a signature of one kind is worth nothing as another."""

BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_RSA = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}
_KEY_TYPES = frozenset(
    {b"ssh-ed25519", b"ssh-rsa"} | {b"ecdsa-sha2-nistp%d" % bits for bits in (256, 384, 521)}
)
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


class Unverified(Exception):
    """A signature that proves nothing; the message says why."""


class Unsupported(Unverified):
    """A signature that ssh-keygen can verify and this module cannot: of a token, or certified."""


@dataclass(frozen=True, slots=True)
class Signature:
    """An SSH signature, parsed.

    Attributes:
        key: The public key's blob, as in the second field of a ``.pub`` file.
        namespace: What it was made for.
        hash_name: ``sha256`` or ``sha512``.
        blob: The signature proper.
    """

    key: bytes
    namespace: str
    hash_name: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """Return the key's fingerprint, as ``ssh-keygen -l`` shows it."""
        return fingerprint(self.key)


def fingerprint(key: bytes) -> str:
    """Return the SHA256 fingerprint of a public key's blob."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def parse(armored: str) -> Signature:
    """Return the signature of an armored file.

    Raises:
        Unverified: It is none.
    """
    text = armored.strip()
    if not (text.startswith(BEGIN) and text.endswith(END)):
        raise Unverified("it is not an SSH signature")
    try:
        raw = base64.b64decode("".join(text[len(BEGIN) : -len(END)].split()), validate=True)
        if raw[:6] != _MAGIC or raw[6:10] != b"\0\0\0\1":
            raise Unverified("it is not an SSH signature of version 1")
        key, namespace, _reserved, hash_name, blob = strings(raw[10:])
        return Signature(key, namespace.decode(), hash_name.decode(), blob)
    except (binascii.Error, ValueError, struct.error) as error:
        raise Unverified("it is not a whole SSH signature") from error


def check(signature: Signature, content: bytes, namespace: str) -> None:
    """Return if the signature is one of this content, made for this namespace.

    Whose key it is, is another question: see :mod:`runbook.records.signing.allowed_signers`.

    Raises:
        Unverified: It is not.
    """
    if signature.namespace != namespace:
        raise Unverified(f"it was made for the namespace {signature.namespace}, not {namespace}")
    if signature.hash_name not in _HASHES:
        raise Unverified(f"its hash {signature.hash_name} is unknown")
    digest = _HASHES[signature.hash_name](content).digest()
    fields = (namespace.encode(), b"", signature.hash_name.encode(), digest)
    signed = _MAGIC + b"".join(map(string, fields))
    try:
        _verify(_key(signature.key), signature.blob, signed)
    except InvalidSignature:
        raise Unverified("it is not a signature of this content") from None
    except (ValueError, struct.error) as error:
        raise Unverified("it is malformed") from error


@lru_cache(maxsize=64)
def _key(blob: bytes) -> serialization.SSHPublicKeyTypes:
    name = next(iter(strings(blob)), b"")
    if name not in _KEY_TYPES:
        raise Unsupported(f"keys of type {name.decode(errors='replace')} are for ssh-keygen")
    try:
        return serialization.load_ssh_public_key(name + b" " + base64.b64encode(blob))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unverified("its key is malformed") from error


def _verify(key: serialization.SSHPublicKeyTypes, blob: bytes, signed: bytes) -> None:
    algorithm, raw, *rest = strings(blob)
    if rest:
        raise ValueError("more follows the signature")
    if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == b"ssh-ed25519":
        key.verify(raw, signed)
    elif isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA:
        key.verify(raw, signed, padding.PKCS1v15(), _RSA[algorithm])
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm.startswith(b"ecdsa-sha2-"):
        r, s = (int.from_bytes(number) for number in strings(raw))
        der = utils.encode_dss_signature(r, s)
        key.verify(der, signed, ec.ECDSA(_CURVES[key.curve.name]))
    else:
        raise Unverified(f"its algorithm {algorithm.decode(errors='replace')} is not of this key")


def string(content: bytes) -> bytes:
    """Return bytes as the ``string`` of RFC 4251, section 5."""
    return struct.pack(">I", len(content)) + content


def strings(content: bytes) -> Iterator[bytes]:
    """Yield the ``string`` values that bytes hold one after another.

    Raises:
        ValueError: One is cut off.
    """
    at = 0
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        if at + 4 + size > len(content):
            raise ValueError("a string is cut off")
        yield content[at + 4 : at + 4 + size]
        at += 4 + size
