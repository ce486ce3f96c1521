"""What an operator is told when a host cannot be reached or does not let the runbook in.

Every error of paramiko and of the socket ends here, as an ``Unreachable`` (or ``Refused``) with the
phase it happened in and what to do.
"""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Sequence

import paramiko
from paramiko import ssh_exception
from paramiko.auth_strategy import AuthFailure

from runbook.errors import Refused, Unreachable
from runbook.hosts.ssh.config import Endpoint
from runbook.hosts.ssh.known_hosts import KnownHosts, Verdict, fingerprint

# What each of paramiko's errors means to an operator; a test holds this against paramiko itself.
MEANING: dict[type[Exception], str] = {
    ssh_exception.SSHException: "the SSH protocol failed",
    ssh_exception.AuthenticationException: "the login was refused",
    ssh_exception.PasswordRequiredException: "the private key has a passphrase",
    ssh_exception.BadAuthenticationType: "the server does not accept public keys",
    ssh_exception.PartialAuthentication: "the server asks for more than a key",
    ssh_exception.UnableToAuthenticate: "the login was refused",
    AuthFailure: "the login was refused",
    ssh_exception.ChannelException: "the server refused to open a channel",
    ssh_exception.BadHostKeyException: "the host key is not the known one",
    ssh_exception.IncompatiblePeer: "no algorithm is common to both sides",
    ssh_exception.ProxyCommandFailure: "the proxy command failed",
    ssh_exception.MessageOrderError: "messages came in an order that only an attacker sends",
}

COMMON = (
    "Ciphers aes256-gcm@openssh.com, MACs hmac-sha2-256-etm@openssh.com, "
    "KexAlgorithms curve25519-sha256@libssh.org"
)


class Deadline:
    """A point in time that several waits share.

    Args:
        seconds: How far it is away.

    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until then; never quite none, which a socket would take for "do not wait"."""
        return max(self._end - time.monotonic(), 0.001)

    @property
    def passed(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._end


def failed(endpoint: Endpoint, phase: str, error: Exception, deadline: Deadline) -> Unreachable:
    """Return the error about a phase of the connection that failed.

    Args:
        endpoint: The host.
        phase: What was being done.
        error: What paramiko or the socket said.
        deadline: The bound it was done under.

    """
    todo = f"check that {endpoint.host} is up and that `ssh {endpoint.host}` works from here"
    if isinstance(error, ssh_exception.IncompatiblePeer):  # ssh itself may know more of them
        todo = "have its sshd_config also offer what is known here: " + COMMON
    return Unreachable(
        f"{phase}: {endpoint.place} {_reason(error, deadline)}", host=endpoint.host, todo=todo
    )


def by_command(endpoint: Endpoint, said: str, error: Exception, deadline: Deadline) -> Unreachable:
    """Return the error about a ProxyCommand that does not lead to the host.

    Args:
        endpoint: The host.
        said: What the command wrote to its standard error.
        error: What paramiko or the socket said.
        deadline: The bound it was done under.

    """
    how = f"the ProxyCommand `{endpoint.command}` does not lead to {endpoint.place}"
    return Unreachable(
        f"{said} ({how})" if said else f"{how}: it {_reason(error, deadline)}",
        host=endpoint.host,
        todo=f"check that `ssh {endpoint.host}` works from here",
    )


def _reason(error: Exception, deadline: Deadline) -> str:
    reason = f"failed: {getattr(error, 'strerror', None) or error}"
    if deadline.passed or isinstance(error, TimeoutError):
        reason = f"did not answer within {deadline.seconds:g} s"
    elif isinstance(error, socket.gaierror):
        reason = f"cannot be resolved ({error.strerror})"
    elif isinstance(error, ConnectionRefusedError):
        reason = "refuses connections; no sshd listens there"
    elif isinstance(error, paramiko.ChannelException):
        reason = f"could not be reached from there ({error.text})"
    elif isinstance(error, EOFError) or "protocol banner" in str(error):
        reason = "closed the connection at once (not SSH, or sshd is at its MaxStartups)"
    elif isinstance(error, paramiko.SSHException):
        reason = f"failed: {_meaning(error)} ({error})"
    return reason


def _meaning(error: paramiko.SSHException) -> str:
    return next(MEANING[kind] for kind in type(error).__mro__ if kind in MEANING)


def wrong_host_key(
    endpoint: Endpoint, verdict: Verdict, offered: paramiko.PKey, known: KnownHosts, trust: str
) -> Unreachable:
    """Return the error about a host key that is not the known one.

    Args:
        endpoint: The host.
        verdict: What is wrong with the key.
        offered: The key it offers.
        known: What the known hosts files say about it.
        trust: The command that confirms host keys.

    """
    whose = f"{endpoint.host} ({endpoint.place})"
    key = f"{offered.get_name()} {fingerprint(offered.asbytes())}"
    if verdict == "no":
        by = "".join(f", but by the certificate authority in {k.place}" for k in known.authorities)
        why = f"{by}, and host certificates are not supported" if by else ""
        return Unreachable(
            f"the host key of {whose} is not known{why}; it offers {key}",
            host=endpoint.host,
            todo=f"run `{trust}`",
        )
    lines = (f"{k.key_type} {fingerprint(k.key)} in {k.place}" for k in known.accepted)
    known_as = "that key is marked as revoked" if verdict == "revoked" else "; ".join(lines)
    return Unreachable(
        f"THE HOST KEY OF {whose} HAS CHANGED. It offers {key}; known is: {known_as}. "
        "Somebody may be in between",
        host=endpoint.host,
        todo="compare with the host's own console first: `ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub`. Only if it was reinstalled, remove the old key "
        f"({_removal(endpoint.known_as[0], known)}) and run `{trust}`",
    )


def _removal(name: str, known: KnownHosts) -> str:
    files = dict.fromkeys(line.place.rpartition(":")[0] for line in known.accepted)
    commands = (f"`ssh-keygen -R {shlex.quote(name)} -f {shlex.quote(file)}`" for file in files)
    return " and ".join(commands)


def asks_for_more(endpoint: Endpoint, methods: Sequence[str]) -> Unreachable:
    """Return the error about a server that a public key alone does not satisfy.

    Args:
        endpoint: The host.
        methods: The methods it asks for.

    """
    return Unreachable(
        f"authentication: {endpoint.place} asks {endpoint.user} for {', '.join(methods)}, "
        "and only public keys work without a person",
        host=endpoint.host,
        todo="let this user in with a public key alone",
    )


def not_let_in(
    endpoint: Endpoint, tried: Sequence[str], troubles: Sequence[str], cut_off: bool
) -> Unreachable:
    """Return the error about a user who was not let in.

    Args:
        endpoint: The host.
        tried: The keys that were tried.
        troubles: Why others could not be tried.
        cut_off: Whether the server hung up before all were tried.

    """
    keys = f"tried {', '.join(tried)}" if tried else "there was no key to try"
    ending = ", until the server had enough (its MaxAuthTries)" if cut_off and tried else ""
    also = "".join(f"; {trouble}" for trouble in troubles)
    only = "; set IdentitiesOnly yes to offer the right key alone" if ending else ""
    return Unreachable(
        f"authentication: {endpoint.place} does not let {endpoint.user} in; {keys}{ending}{also}",
        host=endpoint.host,
        todo=f"check User and IdentityFile of {endpoint.host} in the SSH configuration, and that "
        f"the public key is in ~{endpoint.user}/.ssh/authorized_keys there{only}",
    )


def no_session(host: str, error: Exception) -> Refused:
    """Return the error about a connection that opens no session.

    Args:
        host: The host.
        error: What paramiko said.

    """
    if isinstance(error, paramiko.ChannelException):
        return Refused(
            f"sshd opens no further session ({error.text})",
            host=host,
            todo="raise MaxSessions in its sshd_config; 10 is OpenSSH's default",
        )
    return Unreachable(f"the connection was lost ({str(error) or 'end of file'})", host=host)
