"""Open one SSH transport: reach the host, exchange keys, check its host key, log in.

Every phase is bounded by the same deadline, and every failure says which phase it was.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko
from paramiko.packet import Packetizer

from runbook.errors import Unreachable
from runbook.hosts.ssh.channel import Transport
from runbook.hosts.ssh.config import Endpoint
from runbook.hosts.ssh.errors import (
    Deadline,
    asks_for_more,
    by_command,
    failed,
    not_let_in,
    wrong_host_key,
)
from runbook.hosts.ssh.keys import Identities, Offer
from runbook.hosts.ssh.known_hosts import KnownHosts
from runbook.hosts.ssh.proxy import ProxySocket

# Cheapest first: AES-GCM needs no separate MAC, which paramiko computes in Python.
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
KEY_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}  # RFC 8332; others name themselves

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # not on the operator's terminal


class Listener(Packetizer):
    """A packetizer that remembers when the other side was last heard."""

    heard = 0.0

    def read_message(self) -> tuple[int, paramiko.Message]:
        """Return the next message, and note the time."""
        message = super().read_message()
        self.heard = time.monotonic()
        return message


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens transports for one site.

    Args:
        connect_timeout_s: Longest time for one host in seconds, all phases together.
        trust: The command that confirms host keys, as a message shows it.
        identities: The operator's keys.

    """

    connect_timeout_s: float
    trust: str
    identities: Identities

    def open(self, endpoint: Endpoint, jump: Transport | None) -> Transport:
        """Return a transport that is logged in to a host whose key is known.

        Args:
            endpoint: The host.
            jump: An open transport to the host it is reached through, if it is.

        Raises:
            Unreachable: The host does not answer, is not known, or does not let the user in.

        """
        deadline, transport = self._exchange_keys(endpoint, jump)
        try:
            self._check_host_key(endpoint, transport.get_remote_server_key())
            self._log_in(endpoint, transport, deadline)
        except (paramiko.SSHException, EOFError, OSError) as error:
            _give_up(transport)
            raise failed(endpoint, "authentication", error, deadline) from error
        except Unreachable:
            _give_up(transport)
            raise
        return transport

    def host_key(self, endpoint: Endpoint, jump: Transport | None) -> paramiko.PKey:
        """Return the key a host offers, without logging in or trusting it.

        Args:
            endpoint: The host.
            jump: An open transport to the host it is reached through, if it is.

        Raises:
            Unreachable: The host does not answer, or not with SSH.

        """
        _, transport = self._exchange_keys(endpoint, jump)
        try:
            return transport.get_remote_server_key()
        finally:
            _give_up(transport)

    def _exchange_keys(
        self, endpoint: Endpoint, jump: Transport | None
    ) -> tuple[Deadline, Transport]:
        limits = (self.connect_timeout_s, endpoint.connect_timeout_s)
        deadline = Deadline(min(limit for limit in limits if limit))
        known = known_hosts(endpoint)
        reached: socket.socket | paramiko.Channel
        if endpoint.command:
            reached = ProxySocket(endpoint.command)
        else:
            reached = _through(endpoint, jump, deadline) if jump else _directly(endpoint, deadline)
        transport = Transport(reached, packetizer_class=Listener)
        options = transport.get_security_options()
        options.ciphers, options.digests = CIPHERS, MACS
        options.key_types = _preferred(known.key_types, options.key_types)
        transport.banner_timeout = transport.handshake_timeout = deadline.left_s
        try:
            transport.start_client(timeout=deadline.left_s)
            transport.get_remote_server_key()  # raises where time ran out, which start does not
        except (paramiko.SSHException, EOFError, OSError) as error:
            said = reached.said if isinstance(reached, ProxySocket) else ""
            _give_up(transport)
            if endpoint.command:
                raise by_command(endpoint, said, error, deadline) from error
            raise failed(endpoint, "key exchange", error, deadline) from error
        return deadline, transport

    def _check_host_key(self, endpoint: Endpoint, offered: paramiko.PKey) -> None:
        known = known_hosts(endpoint)
        verdict = known.verdict(offered.asbytes())
        if verdict != "yes":
            raise wrong_host_key(endpoint, verdict, offered, known, self.trust)

    def _log_in(self, endpoint: Endpoint, transport: Transport, deadline: Deadline) -> None:
        with self.identities.offered(endpoint) as (offers, troubles):
            tried = []
            for offer in offers:
                transport.auth_timeout = deadline.left_s
                tried.append(offer.label)
                if _accepted(endpoint, transport, offer):
                    return
                if refused := getattr(offer.key, "refused", ""):
                    tried[-1] += f" (the agent does not sign: {refused})"
                if not transport.is_active() or deadline.passed:
                    break
        if deadline.passed:
            raise TimeoutError
        raise not_let_in(endpoint, tried, troubles, cut_off=not transport.is_active())


def known_hosts(endpoint: Endpoint) -> KnownHosts:
    """Return what the known hosts files say about a host now."""
    files = endpoint.user_known_hosts + endpoint.global_known_hosts
    # As ssh does it: on another port than 22, a host may also be known without one.
    portless = (re.sub(r"^\[(.+)\]:\d+$", r"\1", name) for name in endpoint.known_as)
    return KnownHosts(files, (*endpoint.known_as, *portless), endpoint.revoked)


def _directly(endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            endpoint.address, endpoint.port, endpoint.family, socket.SOCK_STREAM
        )
        return _first_to_answer(found, endpoint.source, deadline)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS could not even carry
        raise failed(endpoint, "TCP connection", error, deadline) from error


def _first_to_answer(
    found: Sequence[tuple[object, ...]], source: str, deadline: Deadline
) -> socket.socket:
    # As socket.create_connection(), whose timeout counts anew for every address of a name.
    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        reached = socket.socket(family, kind, protocol)  # type: ignore[arg-type]
        try:
            reached.settimeout(deadline.left_s)
            if source:
                reached.bind((source, 0))
            reached.connect(address)  # type: ignore[arg-type]
        except OSError as error:
            reached.close()
            failure = error
        else:
            reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return reached
    raise failure


def _through(endpoint: Endpoint, jump: Transport, deadline: Deadline) -> paramiko.Channel:
    there, here = (endpoint.address, endpoint.port), ("127.0.0.1", 0)
    try:
        return jump.open_channel("direct-tcpip", there, here, timeout=deadline.left_s)
    except (paramiko.SSHException, EOFError, OSError) as error:
        jump_host = endpoint.via.host if endpoint.via else "its jump host"
        raise failed(endpoint, f"jump through {jump_host}", error, deadline) from error


def _preferred(known: tuple[str, ...], possible: Sequence[str]) -> tuple[str, ...]:
    """Put the algorithms of known keys first, as ssh does: else an unknown one may be offered."""
    wanted = [name for kind in known for name in KEY_ALGORITHMS.get(kind, (kind,))]
    return tuple(dict.fromkeys([name for name in wanted if name in possible] + [*possible]))


def _accepted(endpoint: Endpoint, transport: Transport, offer: Offer) -> bool:
    try:
        more = transport.auth_publickey(endpoint.user, offer.key)
    except paramiko.BadAuthenticationType as error:
        raise asks_for_more(endpoint, error.allowed_types) from error
    except paramiko.AuthenticationException:
        return False
    if more:
        raise asks_for_more(endpoint, more)
    return True


def _give_up(transport: Transport) -> None:
    transport.packetizer.complete_handshake()  # stops its timer, which outlives a failed start
    transport.close()
    transport.sock.close()
