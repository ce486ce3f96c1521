"""The same statement in a DSSE envelope, which supply-chain tools read; Ed25519 file keys only.

Source: DSSE v1.0 (secure-systems-lab/dsse, protocol.md): PAE and the JSON envelope.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from runbook.records.archive import canonical
from runbook.records.signing.sshsig import Unverified, fingerprint, strings

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def private_key(path: Path) -> Ed25519PrivateKey | None:
    """Return the key, or ``None``: another kind, locked, or in the agent only."""
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None


def envelope(payload: bytes, key: Ed25519PrivateKey, public: bytes) -> bytes:
    """Return the envelope of a statement's exact bytes.

    Args:
        payload: The statement.
        key: What signs.
        public: Its public blob, whose fingerprint is the key's id.
    """
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    return canonical.document(
        {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [
                {"keyid": fingerprint(public), "sig": base64.b64encode(signature).decode()}
            ],
        }
    )


def verify(content: bytes, public: bytes) -> bytes:
    """Return the payload of an envelope that this key signed.

    Args:
        content: The envelope.
        public: The blob of the Ed25519 public key.

    Raises:
        Unverified: It is malformed, of another type, or not signed by this key.
    """
    try:
        value = json.loads(content)
        payload = base64.b64decode(value["payload"], validate=True)
        kind = value["payloadType"]
        pairs = [
            (s["keyid"], base64.b64decode(s["sig"], validate=True)) for s in value["signatures"]
        ]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Unverified("it is not a DSSE envelope") from error
    if kind != PAYLOAD_TYPE:
        raise Unverified(f"its payload is of type {kind}")
    own = [signature for keyid, signature in pairs if keyid == fingerprint(public)]
    if not own:
        raise Unverified(f"it bears no signature of key {fingerprint(public)}")
    try:
        _public(public).verify(own[0], pae(kind, payload))
    except InvalidSignature:
        raise Unverified("it is not signed by this key") from None
    return payload


def _public(blob: bytes) -> Ed25519PublicKey:
    encoded = next(strings(blob)) + b" " + base64.b64encode(blob)
    key = load_ssh_public_key(encoded)
    if not isinstance(key, Ed25519PublicKey):
        raise Unverified("its key is not an Ed25519 key")
    return key
