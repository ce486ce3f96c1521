"""Connections to several hosts, through jump hosts and commands, against real sshds."""

from __future__ import annotations

import shutil
import socket
import threading
import time

import paramiko
import pytest
from servers import LOOPBACK, MEGABYTES, Client, Sshd, only_host

from runbook.errors import Unreachable
from runbook.hosts.connection import Connection
from runbook.hosts.fleet import Fleet
from runbook.hosts.ssh.command import CommandFailed
from runbook.hosts.transcript import Transcript
from runbook.waiting import until


class TestFleet:
    """All hosts of a site."""

    def test_jump_host_is_opened_once(self, fleet: Fleet, sshd: Sshd) -> None:
        """The gateway is a host and everybody's jump host, over one connection."""
        before = sshd.log.count("Accepted publickey")
        hosts = ["docker01", "docker02", "docker03", "docker04", "gateway"]
        names = fleet.each(hosts, lambda connection: connection.run(["true"]).host)

        assert {host: host for host in hosts} == names
        assert list(names) == hosts
        assert sshd.log.count("Accepted publickey") == before + 1

    def test_reached_through_it(self, fleet: Fleet) -> None:
        """A host behind the gateway is reached over the gateway's transport."""
        channel = fleet["docker01"].transport.sock

        assert isinstance(channel, paramiko.Channel)
        assert channel.get_transport() is fleet["gateway"].transport

    def test_a_chain_of_jump_hosts(self, client: Client, sshd: Sshd, inner_sshd: Sshd) -> None:
        """A list of jump hosts is gone through in its order."""
        config = (
            f"Host gateway\n  Port {sshd.port}\nHost docker01\n  Port {inner_sshd.port}\n"
            f"  ProxyJump {LOOPBACK}:{sshd.port},localhost:{inner_sshd.port}\n"
        )
        with Fleet(client.site(config), Transcript(None)) as fleet:
            endpoint = fleet.config.endpoint("docker01")
            assert [place.rpartition(":")[2] for place in endpoint.login] == [
                str(sshd.port),
                str(inner_sshd.port),
                str(inner_sshd.port),
            ]
            assert fleet["docker01"].run(["true"]).status == 0

    def test_kept(self, fleet: Fleet) -> None:
        """A connection is opened on first use and kept."""
        assert fleet["docker01"] is fleet["docker01"]
        assert fleet["docker01"] is not fleet["docker02"]

    def test_progress(self, fleet: Fleet) -> None:
        """Every host that is done is told, in the thread of the caller."""
        told: list[tuple[str, int]] = []
        fleet.each(
            ["gateway", "docker01"],
            lambda connection: connection.run(["true"]),
            progress=lambda host: told.append((host, threading.get_ident())),
        )

        assert {("gateway", threading.get_ident()), ("docker01", threading.get_ident())} == set(
            told
        )

    def test_nothing_to_do(self, fleet: Fleet) -> None:
        """No hosts, no work."""
        assert fleet.each([], lambda connection: connection.host) == {}

    def test_all_errors_are_told(self, fleet: Fleet) -> None:
        """All hosts are waited for, and the first error names the others."""
        done: list[str] = []

        def work(connection: Connection) -> None:
            done.append(connection.host)
            if connection.host != "docker02":
                connection.run(["sh", "-c", f"echo {connection.host} is broken >&2; exit 3"])

        told: list[str] = []
        with pytest.raises(CommandFailed) as caught:
            fleet.each(["docker01", "docker02", "docker03"], work, progress=told.append)

        assert told == ["docker02"]
        assert {"docker01", "docker02", "docker03"} == set(done)
        assert caught.value.host == "docker01"
        assert "docker01 is broken" in str(caught.value)
        assert "also docker03: " in str(caught.value)

    def test_a_mistake_is_not_hidden(self, fleet: Fleet) -> None:
        """An error of the program itself comes first, as it is."""

        def work(connection: Connection) -> None:
            if connection.host == "gateway":
                raise ZeroDivisionError
            connection.run(["false"])

        with pytest.raises(ZeroDivisionError):
            fleet.each(["docker01", "gateway"], work)

    def test_dead_jump_host_is_waited_for_once(self, client: Client, inner_sshd: Sshd) -> None:
        """Hosts behind a dead jump host share one wait and one error."""
        with socket.socket() as silent:
            silent.bind((LOOPBACK, 0))
            silent.listen()
            config = (
                f"Host gateway\n  Port {silent.getsockname()[1]}\n"
                f"Host docker*\n  Port {inner_sshd.port}\n  ProxyJump gateway\n"
            )
            fleet = Fleet(client.site(config, timeout_s=1), Transcript(None))
            before = time.monotonic()
            with fleet, pytest.raises(Unreachable) as caught:
                fleet.each(["docker01", "docker02", "docker03"], lambda c: c.run(["true"]))

        assert time.monotonic() - before < 2
        assert caught.value.host == "gateway"
        assert "also" not in str(caught.value)


class TestProxyCommand:
    """A host that a command leads to."""

    def test_leads_to_the_host(self, client: Client, sshd: Sshd, inner_sshd: Sshd) -> None:
        """A jump by ssh -W, as it was written before ProxyJump; it ends with the connection."""
        config = (
            f"Host gateway\n  Port {sshd.port}\nHost docker01\n  Port {inner_sshd.port}\n"
            f"  ProxyCommand ssh -F {client.folder}/ssh_config -W %h:%p -q gateway\n"
        )
        with Fleet(client.site(config), Transcript(None)) as fleet:
            assert fleet["docker01"].run(["cat"], stdin="x" * MEGABYTES).stdout == "x" * MEGABYTES
            process = fleet["docker01"].transport.sock._process  # type: ignore[union-attr]
            assert process.poll() is None

        until(process.poll, holds=lambda status: status is not None, timeout_s=5)
        assert process.poll() is not None

    def test_is_for_the_shell_of_the_user(
        self, client: Client, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As ssh has it, so that what only that shell understands works here, too."""
        monkeypatch.setenv("SHELL", shutil.which("bash") or "")
        jump = f"ssh -F {client.folder}/jump -q -W {LOOPBACK}:%p gateway"
        (client.folder / "jump").write_text(client.defaults() + f"Port {sshd.port}\n")
        with only_host(client, sshd.port, f"  ProxyCommand {jump} 2> >(cat >&2)\n") as fleet:
            assert fleet["gateway"].run(["true"]).status == 0

    @pytest.mark.parametrize(
        ("command", "cause"),
        [
            ("sh -c 'echo no way there >&2; exit 1'", "no way there"),
            ("/no/such/program %h", "/no/such/program"),
            ("true", "the ProxyCommand `true` does not lead to"),
            ("echo HTTP/1.1 403", "the ProxyCommand `echo HTTP/1.1 403` does not lead to"),
            ("sleep 60", "within 1 s"),
        ],
    )
    def test_does_not(self, client: Client, command: str, cause: str) -> None:
        """What the command says is the cause."""
        more = f"  ProxyCommand {command}\n"
        with (
            only_host(client, 22, more, timeout_s=1) as fleet,
            pytest.raises(Unreachable) as caught,
        ):
            fleet["gateway"]

        assert cause in caught.value.message
        if "no" in cause.split(maxsplit=1)[0]:
            assert "no" in caught.value.message.splitlines()[0]


class TestFresh:
    """Logging in anew, to see whether that still works."""

    def test_another_connection(self, fleet: Fleet, sshd: Sshd) -> None:
        """Whatever connection is open, a new one is made, and closed again."""
        kept = fleet["gateway"].transport
        before = sshd.log.count("Accepted publickey")
        with fleet.fresh("gateway") as connection:
            assert connection.run(["true"]).host == "gateway"
            transport = connection.transport

        assert sshd.log.count("Accepted publickey") == before + 1
        assert (transport.is_active(), kept.is_active()) == (False, True)

    def test_another_address(self, client: Client, sshd: Sshd) -> None:
        """At another address the same host has to answer, with its own key."""
        with only_host(client, sshd.port) as fleet:
            with fleet.fresh("gateway", address="localhost") as connection:
                assert connection.run(["true"]).status == 0
            client.known_hosts.write_text(sshd.known_as().replace(LOOPBACK, "localhost"))
            with pytest.raises(Unreachable), fleet.fresh("gateway", address="localhost"):
                pass

    def test_another_address_by_a_command(
        self, client: Client, sshd: Sshd, inner_sshd: Sshd
    ) -> None:
        """A ProxyCommand leads to the other address, or else nobody is met there."""
        client.site(f"Host gateway\n  Port {sshd.port}\n")
        jump = f"  ProxyCommand ssh -F {client.folder}/jump -q gateway -W"
        (client.folder / "ssh_config").rename(client.folder / "jump")
        with only_host(client, inner_sshd.port, f"{jump} %h:%p\n") as fleet:
            with fleet.fresh("gateway", address="localhost") as connection:
                assert connection.run(["true"]).status == 0
            with pytest.raises(Unreachable), fleet.fresh("gateway", address="127.0.0.2"):
                pass
        with (
            only_host(client, inner_sshd.port, f"{jump} {LOOPBACK}:%p\n") as fleet,
            pytest.raises(Unreachable, match="has no %h"),
            fleet.fresh("gateway", address="localhost"),
        ):
            pass
