"""The way to a login against a real sshd: reaching it, its host key, the operator's keys."""

from __future__ import annotations

import getpass
import socket
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable

import pytest
from servers import LOOPBACK, Client, Sshd, free_port, generate_key, only_host

from runbook.errors import Unreachable
from runbook.hosts.fleet import Fleet
from runbook.hosts.ssh.known_hosts import KnownHosts
from runbook.hosts.transcript import Transcript
from runbook.waiting import until


def _ssh(client: Client, sshd: Sshd) -> int:
    """Return the status of the operator's own ssh."""
    config = client.folder / "own_config"
    config.write_text(client.defaults())
    command = ["ssh", "-F", config, "-p", str(sshd.port), "-o", "BatchMode=yes", LOOPBACK, "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode


class TestHostKey:
    """Only hosts that somebody confirmed."""

    def test_unknown(self, client: Client, sshd: Sshd) -> None:
        """A host nobody confirmed is refused, with the command that confirms it."""
        client.known_hosts.write_text("")
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable) as caught:
            fleet["gateway"]

        assert f"host key of gateway ({LOOPBACK}:{sshd.port}) is not known" in str(caught.value)
        assert "runbook trust parameters/unit.yml" in caught.value.todo
        assert caught.value.exit_code == 3

    def test_changed(self, client: Client, sshd: Sshd, inner_sshd: Sshd) -> None:
        """A host with another key than the confirmed one is refused sharply, with both keys."""
        client.known_hosts.write_text(f"[{LOOPBACK}]:{sshd.port} {inner_sshd.public_key()}\n")
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable) as caught:
            fleet["gateway"]

        assert "HAS CHANGED" in str(caught.value)
        assert str(caught.value).count("SHA256:") == 2
        assert f"{client.known_hosts}:1" in str(caught.value)

    def test_revoked(self, client: Client, sshd: Sshd) -> None:
        """A key that is marked as revoked is refused, even if another line knows it."""
        client.known_hosts.write_text(f"@revoked * {sshd.public_key()}\n{sshd.known_as()}")
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable, match="revoked"):
            fleet["gateway"]

    def test_list_of_revoked_keys(self, client: Client, sshd: Sshd) -> None:
        """So is one that RevokedHostKeys has."""
        revoked = client.folder / "revoked"
        revoked.write_text(f"{sshd.public_key()}\n")
        client.known_hosts.write_text(sshd.known_as())
        more = f"  RevokedHostKeys {revoked}\n"
        with (
            only_host(client, sshd.port, more) as fleet,
            pytest.raises(Unreachable, match="revoked"),
        ):
            fleet["gateway"]

    def test_certificate_authority(self, client: Client, sshd: Sshd, inner_sshd: Sshd) -> None:
        """A host that only an authority vouches for is unknown, and the message says why."""
        client.known_hosts.write_text(f"@cert-authority * {inner_sshd.public_key()}\n")
        why = rf"by the certificate authority in {client.known_hosts}:1, .* not supported"
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable, match=why) as caught:
            fleet["gateway"]
        assert "runbook trust" in caught.value.todo

    def test_short_name_of_another_site(self, client: Client, sshd: Sshd, inner_sshd: Sshd) -> None:
        """A short name that is known with another key makes a host unknown, not changed."""
        client.known_hosts.write_text(f"docker01 {inner_sshd.public_key()}\n")
        known = KnownHosts((client.known_hosts,), ("10.0.0.11", "docker01"))
        here, there = (b64decode(one.public_key().split()[1]) for one in (sshd, inner_sshd))

        assert (known.verdict(here), known.verdict(there)) == ("no", "yes")
        client.known_hosts.write_text(
            f"docker01 {inner_sshd.public_key()}\n10.0.0.11 {sshd.public_key()}\n"
        )
        known = KnownHosts((client.known_hosts,), ("10.0.0.11", "docker01"))
        assert (known.verdict(here), known.verdict(there)) == ("yes", "changed")

    @pytest.mark.parametrize("hashed", [False, True])
    @pytest.mark.parametrize(
        "line", ["{host} {key}", "[{host}]:1 {other}\n{host} {key}", "127.* {key}"]
    )
    def test_known_without_its_port(
        self, client: Client, sshd: Sshd, inner_sshd: Sshd, line: str, hashed: bool
    ) -> None:
        """A host on another port may be known by its address alone, as it may to ssh."""
        key, other = sshd.public_key(), inner_sshd.public_key()
        client.known_hosts.write_text(line.format(host=LOOPBACK, key=key, other=other) + "\n")
        if hashed:
            subprocess.run(["ssh-keygen", "-qHf", client.known_hosts], check=True)
        assert _ssh(client, sshd) == 0
        with only_host(client, sshd.port) as fleet:
            assert fleet["gateway"].run(["true"]).status == 0

        client.known_hosts.write_text(f"{LOOPBACK} {other}\n")
        assert _ssh(client, sshd) != 0
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable, match="not known"):
            fleet["gateway"]

    def test_advice_helps(self, client: Client, sshd: Sshd, inner_sshd: Sshd) -> None:
        """The command that the message gives removes the old key."""
        client.known_hosts.write_text(f"[{LOOPBACK}]:{sshd.port} {inner_sshd.public_key()}\n")
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable) as caught:
            fleet["gateway"]
        command = next(c for c in caught.value.todo.split("`") if c.startswith("ssh-keygen -R"))
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)

        assert client.known_hosts.read_text() == ""

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
    def test_known_type_is_asked_for(self, client: Client, sshd: Sshd, kind: str) -> None:
        """A host known by one type of key is asked for that type."""
        client.known_hosts.write_text(sshd.known_as(kind))
        with only_host(client, sshd.port) as fleet:
            assert fleet["gateway"].run(["true"]).status == 0

    def test_alias(self, client: Client, sshd: Sshd) -> None:
        """HostKeyAlias names the host in the known hosts file."""
        client.known_hosts.write_text(f"edge.example {sshd.public_key()}\n")
        with only_host(client, sshd.port, "  HostKeyAlias edge.example\n") as fleet:
            assert fleet["gateway"].run(["true"]).status == 0

    def test_jump_host_unknown(self, client: Client, sshd: Sshd, inner_sshd: Sshd) -> None:
        """A jump host has to be known, too; the error is about it."""
        client.known_hosts.write_text(inner_sshd.known_as())
        config = f"Host gateway\n  Port {sshd.port}\nHost docker01\n  ProxyJump gateway\n"
        with (
            Fleet(client.site(config), Transcript(None)) as fleet,
            pytest.raises(Unreachable, match="gateway: the host key of gateway"),
        ):
            fleet["docker01"]


class TestLogin:
    """Who is let in."""

    def test_wrong_user(self, client: Client, sshd: Sshd) -> None:
        """A user who is not let in is named, with the keys that were tried."""
        more = "  User nobody-of-this-name\n"
        with only_host(client, sshd.port, more) as fleet, pytest.raises(Unreachable) as caught:
            fleet["gateway"]

        for part in ("authentication: ", "nobody-of-this-name", str(client.key), "authorized_keys"):
            assert part in str(caught.value)

    def test_wrong_key(self, client: Client, sshd: Sshd) -> None:
        """A key that is not accepted is named by file and fingerprint."""
        client.key.unlink()
        generate_key(client.key, "ecdsa")
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable) as caught:
            fleet["gateway"]

        assert f"tried {client.key} (SHA256:" in str(caught.value)

    def test_no_key(self, client: Client, sshd: Sshd) -> None:
        """A missing key file is told."""
        client.key.unlink()
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable) as caught:
            fleet["gateway"]

        assert f"there was no key to try; {client.key} does not exist" in str(caught.value)

    def test_passphrase(self, client: Client, sshd: Sshd) -> None:
        """A locked key is never asked about; the way to unlock it is told."""
        client.key.unlink()
        generate_key(client.key, "ed25519", "secret")
        with only_host(client, sshd.port) as fleet, pytest.raises(Unreachable) as caught:
            fleet["gateway"]

        assert f"has a passphrase; unlock it with `ssh-add {client.key}`" in str(caught.value)

    def test_more_than_a_key(self, client: Client, start_sshd: Callable[..., Sshd]) -> None:
        """A server that also wants a password is told from a wrong key."""
        server = start_sshd("PasswordAuthentication yes\nAuthenticationMethods publickey,password")
        client.known_hosts.write_text(server.known_as())
        with only_host(client, server.port) as fleet, pytest.raises(Unreachable, match="password"):
            fleet["gateway"]

    def test_several_keys(self, client: Client, sshd: Sshd) -> None:
        """The keys are tried in their order until one is accepted."""
        other = client.folder / "id_other"
        generate_key(other, "ed25519")
        with only_host(client, sshd.port, f"  IdentityFile {other}\n") as fleet:
            assert fleet["gateway"].run(["true"]).status == 0

    def test_too_many_keys(self, client: Client, start_sshd: Callable[..., Sshd]) -> None:
        """A server that hangs up after too many keys is told, with the setting that helps."""
        server = start_sshd("MaxAuthTries 2")
        client.known_hosts.write_text(server.known_as())
        others = [client.folder / f"id_{n}" for n in range(3)]
        for other in others:
            generate_key(other, "ed25519")
        more = "".join(f"  IdentityFile {other}\n" for other in others)
        with (
            only_host(client, server.port, more) as fleet,
            pytest.raises(Unreachable, match="IdentitiesOnly yes"),
        ):
            fleet["gateway"]


class TestReach:
    """Getting to the host at all."""

    def test_refused_port(self, client: Client) -> None:
        """A port that nothing listens on."""
        port = free_port()
        with only_host(client, port) as fleet, pytest.raises(Unreachable) as caught:
            fleet["gateway"]

        assert f"TCP connection: {LOOPBACK}:{port} refuses connections" in str(caught.value)

    def test_silent_port(self, client: Client) -> None:
        """A port that accepts and says nothing is given up in time, and the phase is told."""
        with socket.socket() as silent:
            silent.bind((LOOPBACK, 0))
            silent.listen()
            before = time.monotonic()
            with (
                only_host(client, silent.getsockname()[1], timeout_s=1) as fleet,
                pytest.raises(Unreachable, match=r"key exchange: .* within 1 s"),
            ):
                fleet["gateway"]

        assert time.monotonic() - before < 5  # of itself, paramiko waits for 15 s

    def test_full_backlog(self, client: Client) -> None:
        """A connection that is never accepted is given up in time."""
        with socket.socket() as full, socket.socket() as first:
            full.bind((LOOPBACK, 0))
            full.listen(0)
            first.connect(full.getsockname())
            with (
                only_host(client, full.getsockname()[1], timeout_s=1) as fleet,
                pytest.raises(Unreachable, match="within 1 s"),
            ):
                fleet["gateway"]

    def test_connect_timeout_of_the_configuration(self, client: Client) -> None:
        """A shorter ConnectTimeout holds."""
        with socket.socket() as silent:
            silent.bind((LOOPBACK, 0))
            silent.listen()
            with (
                only_host(client, silent.getsockname()[1], "  ConnectTimeout 1\n") as fleet,
                pytest.raises(Unreachable, match="within 1 s"),
            ):
                fleet["gateway"]

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback has one address")
    def test_from_an_address(self, client: Client, sshd: Sshd) -> None:
        """BindAddress is where the connection comes from: a firewall may ask for it."""
        with only_host(client, sshd.port, "  BindAddress 127.0.0.5\n") as fleet:
            fleet["gateway"].run(["true"])

        assert f"publickey for {getpass.getuser()} from 127.0.0.5" in sshd.log

    def test_address_family(self, client: Client, sshd: Sshd) -> None:
        """AddressFamily says which addresses of a name are tried."""
        named = "  HostName localhost\n  HostKeyAlias alias\n  AddressFamily"
        client.known_hosts.write_text(f"alias {sshd.public_key()}\n")
        with only_host(client, sshd.port, f"{named} inet\n") as fleet:
            assert fleet["gateway"].run(["true"]).status == 0
        with (
            only_host(client, sshd.port, f"{named} inet6\n") as fleet,
            pytest.raises(Unreachable),
        ):
            fleet["gateway"]

    @pytest.mark.parametrize(
        ("setting", "missing"),
        [
            ("Ciphers chacha20-poly1305@openssh.com", "ciphers"),
            ("Ciphers aes128-ctr\nMACs umac-128-etm@openssh.com", "macs"),
            ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "kex"),
        ],
    )
    def test_nothing_in_common(
        self, client: Client, start_sshd: Callable[..., Sshd], setting: str, missing: str
    ) -> None:
        """The operator's ssh may know an algorithm that is not known here; so it is no advice."""
        server = start_sshd(setting)
        client.known_hosts.write_text(server.known_as())
        with (
            only_host(client, server.port) as fleet,
            pytest.raises(
                Unreachable, match=f"no algorithm is common to both .*{missing}"
            ) as caught,
        ):
            fleet["gateway"]
        assert "aes256-gcm@openssh.com" in caught.value.todo
        assert "works from here" not in caught.value.todo

    def test_not_ssh(self, client: Client) -> None:
        """A port where something else answers."""
        with socket.create_server((LOOPBACK, 0)) as server:

            def answer() -> None:
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

            thread = threading.Thread(target=answer)
            thread.start()
            with (
                only_host(client, server.getsockname()[1]) as fleet,
                pytest.raises(Unreachable, match=r"key exchange: .*not SSH"),
            ):
                fleet["gateway"]
            thread.join()

    def test_stuck_in_the_key_exchange(self, client: Client) -> None:
        """A server that greets and then hangs is given up in time, and leaves no thread behind."""
        with socket.create_server((LOOPBACK, 0)) as server:

            def greet() -> None:
                connection, _ = server.accept()
                connection.sendall(b"SSH-2.0-stuck\r\n")
                while connection.recv(4096):
                    pass
                connection.close()

            thread = threading.Thread(target=greet)
            thread.start()
            with (
                only_host(client, server.getsockname()[1], timeout_s=1) as fleet,
                pytest.raises(Unreachable, match=r"key exchange: .* within 1 s"),
            ):
                fleet["gateway"]
            thread.join()

        def timers() -> list[threading.Thread]:
            return [one for one in threading.enumerate() if isinstance(one, threading.Timer)]

        assert until(timers, holds=lambda left: not left, timeout_s=5, every_s=0.01) == []

    @pytest.mark.parametrize("name", ["edge.example", "a..b"])
    def test_unknown_name(self, client: Client, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """A name that nobody knows."""

        def nobody(*_: object, **__: object) -> None:
            name.encode("idna")
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", nobody)
        with (
            Fleet(client.site(f"Host gateway\n  HostName {name}\n"), Transcript(None)) as fleet,
            pytest.raises(Unreachable, match="TCP connection: "),
        ):
            fleet["gateway"]

    def test_behind_the_jump_host(self, client: Client, sshd: Sshd) -> None:
        """A host that the jump host cannot reach."""
        port = free_port()
        config = (
            f"Host gateway\n  Port {sshd.port}\nHost docker01\n  Port {port}\n  ProxyJump gateway\n"
        )
        with (
            Fleet(client.site(config), Transcript(None)) as fleet,
            pytest.raises(Unreachable, match=f"docker01: jump through gateway: {LOOPBACK}:{port}"),
        ):
            fleet["docker01"]
