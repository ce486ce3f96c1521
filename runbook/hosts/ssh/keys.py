"""The private keys that are offered to a host: those of the agent and those in files.

The order is OpenSSH's: configured keys that the agent holds, the agent's other keys unless
IdentitiesOnly forbids them, then configured keys from their files, each with its certificates
first. A passphrase is never asked for. Source: ssh_config(5), IdentityFile, CertificateFile,
IdentitiesOnly and IdentityAgent; OpenSSH's PROTOCOL.key and PROTOCOL.certkeys.
"""

from __future__ import annotations

import io
import re
import socket
import threading
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from paramiko.agent import AgentSSH
from paramiko.pkey import OPENSSH_AUTH_MAGIC, PublicBlob

from runbook.hosts.ssh.config import Endpoint
from runbook.hosts.ssh.known_hosts import fingerprint

AGENT_TIMEOUT_S = 5.0  # an agent that asks its user for a confirmation must not hold up a run
KINDS: Mapping[type, type[paramiko.PKey]] = {
    RSAPrivateKey: paramiko.RSAKey,
    EllipticCurvePrivateKey: paramiko.ECDSAKey,
    Ed25519PrivateKey: paramiko.Ed25519Key,
}
PEM_BODY = re.compile(r"-----BEGIN OPENSSH PRIVATE KEY-----(.*)-----END", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Offer:
    """One key to log in with, and what to call it in a message."""

    label: str
    key: paramiko.PKey


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What one IdentityFile holds.

    Args:
        path: The file.
        key: Its private key, or ``None`` where it could not be used.
        public: Its public key, or ``None`` where it is not to be had without the private one.
        trouble: Why ``key`` is missing; empty where it is not.

    """

    path: Path
    key: paramiko.PKey | None
    public: bytes | None
    trouble: str = ""


class Certified(paramiko.PKey):
    """A key that is offered with a certificate of it.

    Args:
        key: The key, which signs.
        certificate: What a certificate authority says of it.

    """

    def __init__(self, key: paramiko.PKey, certificate: PublicBlob) -> None:
        self._key = key
        self.public_blob = certificate

    @property
    def refused(self) -> str:
        """Why an agent did not sign."""
        return getattr(self._key, "refused", "")

    def get_name(self) -> str:
        """Return the type of the key."""
        return self._key.get_name()

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> paramiko.Message:
        """Return the signature of the key.

        Args:
            data: What to sign.
            algorithm: How to.

        """
        return self._key.sign_ssh_data(data, algorithm)


class Agent(AgentSSH):
    """The operator's ssh-agent, over a connection of its own.

    One per login: the agent's protocol has no request numbers, so threads cannot share one.
    """

    def __init__(self, path: str) -> None:
        """Connect and ask for its keys.

        Args:
            path: The agent's socket.

        Raises:
            OSError: Nothing answers there.
            paramiko.SSHException: What answers is no agent.

        """
        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(AGENT_TIMEOUT_S)
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined]  # not in the stubs
        except (OSError, paramiko.SSHException):
            connection.close()
            raise

    def close(self) -> None:
        """Close the connection to the agent."""
        self._close()  # type: ignore[attr-defined]


class Held(paramiko.AgentKey):
    """A key of the agent, which may refuse to sign with it: a card was taken out, nobody confirmed.

    As with ssh, the next key is then tried: without a signature the host turns this one down.

    Args:
        key: The key.

    Attributes:
        refused: Why the agent did not sign; empty where it did.
    """

    def __init__(self, key: paramiko.AgentKey) -> None:
        super().__init__(key.agent, key.blob, key.comment)
        self.refused = ""

    def sign_ssh_data(self, data: Any, algorithm: str | None = None) -> Any:
        """Return the agent's signature, or none where it refuses.

        Args:
            data: What to sign.
            algorithm: How to.

        """
        try:
            return super().sign_ssh_data(data, algorithm)
        except (paramiko.SSHException, OSError) as error:
            self.refused = str(error)
            return b""


class Identities:
    """The key files of this run; each is read once, however many hosts it opens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[Path, KeyFile] = {}

    @contextmanager
    def offered(self, endpoint: Endpoint) -> Iterator[tuple[tuple[Offer, ...], tuple[str, ...]]]:
        """Give the keys to offer to a host, in order; those of an agent work only inside.

        Args:
            endpoint: The host.

        Returns:
            The keys, and a sentence for each key or agent that could not be used.

        """
        files = tuple(self._file(path) for path in endpoint.identities)
        agent, troubles = None, [file.trouble for file in files if file.trouble]
        if endpoint.agent:
            try:
                agent = Agent(endpoint.agent)
            except (OSError, paramiko.SSHException) as error:
                troubles.append(f"the agent at {endpoint.agent} does not answer ({error})")
        try:
            held = tuple(map(Held, agent.get_keys())) if agent else ()
            plain = _in_order(files, held, endpoint.identities_only)
            names = (path.with_name(f"{path.name}-cert.pub") for path in endpoint.identities)
            certificates = _certificates((*endpoint.certificates, *names))
            yield tuple(_with_certificates(plain, certificates)), tuple(troubles)
        finally:
            if agent:
                agent.close()

    def _file(self, path: Path) -> KeyFile:
        with self._lock:
            if path not in self._files:
                self._files[path] = read_key_file(path)
            return self._files[path]


def read_key_file(path: Path) -> KeyFile:
    """Read one IdentityFile: a private key, or only the public half of one that an agent holds.

    Args:
        path: The file; it need not exist.

    """
    content = b""
    try:
        content = path.read_bytes()
        key = _private_key(content)
    except FileNotFoundError:
        return KeyFile(path, None, _public_half(path), f"{path} does not exist")
    except OSError as error:
        return KeyFile(path, None, None, f"{path} cannot be read ({error.strerror})")
    except TypeError:  # cryptography's word for it
        trouble = f"{path} has a passphrase; unlock it with `ssh-add {path}`"
        return KeyFile(path, None, _public_half(path), trouble)
    except (ValueError, paramiko.SSHException, UnsupportedAlgorithm) as error:
        public, trouble = _public_half(path), ""
        if not public:
            trouble = f"{path} is not a private key"
        elif b"PRIVATE KEY" in content:
            trouble = f"{path} cannot be used ({error}); an agent may: `ssh-add {path}`"
        return KeyFile(path, None, public, trouble)
    return KeyFile(path, key, key.asbytes())


def _private_key(content: bytes) -> paramiko.PKey:
    """Return a private key in any of the formats that ssh takes; paramiko reads no PKCS #8."""
    try:
        key: Any = serialization.load_ssh_private_key(content, None)
    except ValueError:
        key = serialization.load_pem_private_key(content, None)
    kind = next((KINDS[one] for one in KINDS if isinstance(key, one)), None)
    if kind is None:
        raise ValueError("a key of this type is not known here")
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()
    return kind.from_private_key(io.StringIO(text))


def _certificates(paths: Iterable[Path]) -> dict[Path, PublicBlob]:
    found = {}
    for path in paths:
        with suppress(OSError, ValueError, paramiko.SSHException):  # as ssh does: passed over
            found[path] = PublicBlob.from_file(str(path))
    return found


def _with_certificates(
    offers: Iterable[Offer], certificates: Mapping[Path, PublicBlob]
) -> Iterator[Offer]:
    for offer in offers:
        for path, certificate in certificates.items():
            if _certifies(certificate.key_blob, offer.key.asbytes()):
                yield Offer(f"{offer.label} with {path}", Certified(offer.key, certificate))
        yield offer


def _certifies(certificate: bytes, public: bytes) -> bool:
    """Whether it is a certificate of this key: its fields follow the type and a nonce."""
    there, key = paramiko.Message(certificate), paramiko.Message(public)
    same_type = there.get_text().startswith(key.get_text())
    there.get_string()
    return same_type and there.get_remainder().startswith(key.get_remainder())


def _in_order(
    files: tuple[KeyFile, ...], held: tuple[paramiko.AgentKey, ...], only_files: bool
) -> Iterator[Offer]:
    by_blob = {key.blob: key for key in held}
    for file in files:
        key = by_blob.pop(file.public, None) if file.public else None
        if key:
            yield Offer(f"{file.path} from the agent", key)
    if not only_files:
        yield from (Offer(f"agent key {_name(key)}", key) for key in by_blob.values())
    in_agent = {key.blob for key in held}
    for file in files:
        if file.key and file.public not in in_agent:
            yield Offer(f"{file.path} ({fingerprint(file.key.asbytes())})", file.key)


def _name(key: paramiko.AgentKey) -> str:
    return f'"{key.comment}"' if key.comment else fingerprint(key.blob)


def _public_half(path: Path) -> bytes | None:
    """Return the public key of a locked private key, or of a file that holds nothing else.

    An OpenSSH private key file carries it in the clear, before the encrypted part; for the older
    formats it is in the file of the same name with ``.pub``.
    """
    for source in (path, path.with_name(f"{path.name}.pub")):
        try:
            text = source.read_text(encoding="utf-8", errors="replace")
            body = PEM_BODY.search(text)
            if body:
                return _public_in_private(b64decode(body[1]))
            fields = text.split()
            if len(fields) >= 2 and fields[0].startswith(("ssh-", "ecdsa-", "sk-")):
                return b64decode(fields[1], validate=True)
        except (OSError, NotBase64):
            continue
    return None


def _public_in_private(blob: bytes) -> bytes | None:
    message = paramiko.Message(blob.removeprefix(OPENSSH_AUTH_MAGIC))
    for _ in ("cipher", "kdf", "kdf options"):
        message.get_string()
    return message.get_string() if message.get_int() == 1 else None
