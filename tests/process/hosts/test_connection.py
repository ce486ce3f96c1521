"""Connections against a real sshd on loopback: what is run, what comes back, what goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from servers import MEGABYTES, Client, Sshd, only_host

from runbook.errors import Lost, Refused, Unreachable
from runbook.hosts.connection import Connection
from runbook.hosts.fleet import Fleet
from runbook.hosts.ssh import channel, keepalive, transport
from runbook.hosts.ssh.command import CommandFailed, CommandTimeout
from runbook.hosts.ssh.errors import MEANING


class TestRun:
    """One command."""

    def test_result(self, gateway: Connection) -> None:
        """A result says what was run where, and what came of it."""
        result = gateway.run(["sh", "-c", "echo out; echo err >&2"])

        assert (result.host, result.argv) == ("gateway", ("sh", "-c", "echo out; echo err >&2"))
        assert (result.status, result.stdout, result.stderr) == (0, "out\n", "err\n")
        assert result.started.tzinfo is not None

    def test_arguments_are_quoted(self, gateway: Connection) -> None:
        """Whatever an argument holds, the remote shell hands it on unchanged."""
        arguments = ["a b", "$HOME", "it's", '"', "`id`", "line\nline", "", "*", "ü"]
        result = gateway.run(["printf", "%s|", *arguments])

        assert "|".join(arguments) + "|" == result.stdout

    def test_a_string_is_no_command(self, gateway: Connection) -> None:
        """A command line in one string is a mistake of the caller, never split."""
        with pytest.raises(TypeError):
            gateway.run("ls -l")

    def test_large_output_on_both_streams(self, gateway: Connection) -> None:
        """Megabytes on both outputs at once are all read."""
        script = f"head -c {MEGABYTES} /dev/zero >&2 & head -c {MEGABYTES} /dev/zero; wait"
        result = gateway.run(["sh", "-c", script])

        assert (len(result.stdout), len(result.stderr)) == (MEGABYTES, MEGABYTES)

    def test_large_input_comes_back(self, gateway: Connection) -> None:
        """An input larger than the window is fed while the output is drained."""
        text = "x" * MEGABYTES

        assert text == gateway.run(["cat"], stdin=text).stdout

    def test_input_that_nobody_reads(self, gateway: Connection) -> None:
        """A command that ignores its input ends as usual."""
        assert gateway.run(["true"], stdin="x" * MEGABYTES).status == 0

    def test_empty_input_ends(self, gateway: Connection) -> None:
        """A command that reads its input does not wait for a person."""
        assert gateway.run(["cat"], timeout_s=5).stdout == ""

    def test_output_that_is_not_utf8(self, gateway: Connection) -> None:
        """Bytes that are not UTF-8 can be sent back as they came, as an input or an argument."""
        said = gateway.run(["printf", r"f\374r \302\205"]).stdout

        assert gateway.run(["od", "-An", "-tx1"], stdin=said).stdout == " 66 fc 72 20 c2 85\n"
        assert gateway.run(["printf", "%s", said]).stdout == said

    def test_programs_speak_english(self, gateway: Connection) -> None:
        """Messages come in the locale that parsers expect."""
        assert gateway.run(["printenv", "LC_ALL"]).stdout == "C.UTF-8\n"

    def test_failure(self, gateway: Connection) -> None:
        """A status other than 0 raises, with host, command, status and last words."""
        with pytest.raises(CommandFailed) as caught:
            gateway.run(["sh", "-c", "echo no such thing >&2; exit 7"])

        assert caught.value.result.status == 7
        assert caught.value.exit_code == 1
        for part in ("gateway: ", "exit 7", "gave 7", "no such thing"):
            assert part in str(caught.value)

    def test_unchecked_failure(self, gateway: Connection) -> None:
        """Where the caller judges, a status is a result."""
        assert gateway.run(["false"], check=False).status == 1

    def test_signal(self, gateway: Connection) -> None:
        """A command that a signal ended has no status, and says so."""
        with pytest.raises(CommandFailed, match="ended by a signal"):
            gateway.run(["sh", "-c", "kill -9 $$"])

    def test_timeout(self, gateway: Connection) -> None:
        """A command that does not end in time is given up, with what it said until then."""
        before = time.monotonic()
        with pytest.raises(CommandTimeout) as caught:
            gateway.run(["sh", "-c", "echo started; exec sleep 30"], timeout_s=0.5)

        assert time.monotonic() - before < 2
        assert caught.value.result.stdout == "started\n"
        assert "did not end within 0.5 s: started" in str(caught.value)

    def test_timeout_with_input_stuck(self, gateway: Connection) -> None:
        """An input that nobody reads does not outlast the time limit."""
        with pytest.raises(CommandTimeout):
            gateway.run(["sleep", "30"], stdin="x" * MEGABYTES, timeout_s=0.5)
        assert gateway.run(["true"]).status == 0

    def test_many_threads(self, fleet: Fleet) -> None:
        """One connection serves several threads."""
        found: dict[int, str] = {}

        def ask(n: int) -> None:
            found[n] = fleet["gateway"].run(["echo", str(n)]).stdout

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert {n: f"{n}\n" for n in range(8)} == found

    def test_transcript(self, gateway: Connection, fleet: Fleet) -> None:
        """Whatever is run is in the transcript, also what failed or was given up."""
        gateway.run(["false"], check=False)
        with pytest.raises(CommandTimeout):
            gateway.run(["sleep", "30"], timeout_s=0.2)

        seen = [(entry.argv, entry.status) for entry in fleet.transcript.entries]
        assert seen == [(("false",), 1), (("sleep", "30"), -1)]

    def test_no_further_session(self, client: Client, start_sshd: Callable[..., Sshd]) -> None:
        """A server that opens no further session is told from a lost connection."""
        server = start_sshd("MaxSessions 0")
        client.known_hosts.write_text(server.known_as())
        with only_host(client, server.port) as fleet, pytest.raises(Refused, match="MaxSessions"):
            fleet["gateway"].run(["true"])


class TestLost:
    """Connections that end early."""

    def test_while_running(self, gateway: Connection) -> None:
        """A connection that ends during a command is no end of the command."""
        with pytest.raises(
            Lost, match=r"gateway: the connection was lost while `sh -c .*`"
        ) as lost:
            gateway.run(["sh", "-c", "kill -9 $PPID; exec sleep 30"])

        assert not isinstance(lost.value, Refused)
        assert (lost.value.exit_code, "not known" in lost.value.message) == (1, True)

    def test_opened_again(self, fleet: Fleet) -> None:
        """A lost connection is opened again on the next use, for whoever holds it."""
        gateway = fleet["gateway"]
        gateway.transport.close()

        assert gateway.run(["true"]).status == 0
        assert fleet["gateway"] is gateway

    def test_opened_again_with_its_jump_host(self, fleet: Fleet) -> None:
        """A host behind a lost jump host is reached again, too."""
        docker01 = fleet["docker01"]
        fleet["gateway"].transport.close()

        assert docker01.run(["true"]).status == 0

    @pytest.mark.parametrize("host", ["gateway", "docker01"])
    def test_silent_host(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        """A host that stops answering is noticed long before the command's time is up."""
        monkeypatch.setattr(keepalive, "ASK_AFTER_S", 0.2)
        monkeypatch.setattr(keepalive, "DEAD_AFTER_S", 0.7)
        monkeypatch.setattr(keepalive, "LOOK_EVERY_S", 0.1)
        connection = fleet[host]
        session = int(connection.run(["sh", "-c", "echo $PPID"]).stdout)
        os.kill(session, signal.SIGSTOP)
        try:
            before = time.monotonic()
            with pytest.raises(Unreachable):
                connection.run(["sleep", "30"])
            assert time.monotonic() - before < 5
        finally:
            os.kill(session, signal.SIGKILL)

    def test_stood_still(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who was suspended has heard nobody meanwhile, and takes no host for dead therefore."""
        monkeypatch.setattr(keepalive, "LOOK_EVERY_S", 0.1)
        passed = [0.0]
        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(passed))
        for user in (keepalive, transport):
            monkeypatch.setattr(user, "time", clock)
        gateway = fleet["gateway"]
        resumed = threading.Timer(0.5, passed.append, [3600.0])  # between two looks
        resumed.start()

        assert gateway.run(["sleep", "1"]).status == 0
        resumed.join()

    def test_clock_that_is_set(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wall clock that jumps while a session is opened makes no connection lost."""
        gateway = fleet["gateway"]
        session = int(gateway.run(["sh", "-c", "echo $PPID"]).stdout)
        begun = time.monotonic()

        def jumping() -> float:
            return time.time() + (3600 if time.monotonic() - begun > 0.2 else 0)

        monkeypatch.setattr(paramiko.transport, "time", SimpleNamespace(time=jumping))
        os.kill(session, signal.SIGSTOP)  # so that the answer comes after the jump
        answers = threading.Timer(0.7, os.kill, [session, signal.SIGCONT])
        answers.start()

        assert gateway.run(["true"]).status == 0
        answers.join()

    def test_silent_host_is_asked_once(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that really was waited for is not waited for once more."""
        monkeypatch.setattr(channel, "JUMP_S", 60)  # however busy this machine is
        gateway = fleet["gateway"]
        session = int(gateway.run(["sh", "-c", "echo $PPID"]).stdout)
        asked: list[str] = []
        opening = paramiko.Transport.open_channel

        def counted(self: paramiko.Transport, kind: str, *rest: Any, **options: Any) -> Any:
            asked.append(kind)
            return opening(self, kind, *rest, **options)

        monkeypatch.setattr(paramiko.Transport, "open_channel", counted)
        os.kill(session, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable, match="Timeout opening channel"):
                gateway.session(0.5)
        finally:
            os.kill(session, signal.SIGKILL)
        assert asked == ["session"]

    def test_quiet_host_is_alive(
        self, client: Client, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A command that says nothing for long is not taken for a dead host."""
        monkeypatch.setattr(keepalive, "ASK_AFTER_S", 0.2)
        monkeypatch.setattr(keepalive, "DEAD_AFTER_S", 0.7)
        monkeypatch.setattr(keepalive, "LOOK_EVERY_S", 0.1)
        with only_host(client, sshd.port) as fleet:
            assert fleet["gateway"].run(["sleep", "1.2"]).status == 0


class TestLibrary:
    """What is owed to paramiko and to callers."""

    def test_every_error_of_paramiko_is_translated(self) -> None:
        """An error that a new paramiko brings has to be given a meaning here."""
        from paramiko import auth_strategy, ssh_exception

        elsewhere = {
            ssh_exception.NoValidConnectionsError,  # of SSHClient, which is not used
            ssh_exception.CouldNotCanonicalize,  # of the configuration: BadInput
            ssh_exception.ConfigParseError,  # likewise
        }
        there = {
            thing
            for part in (ssh_exception, auth_strategy)
            for thing in vars(part).values()
            if isinstance(thing, type) and issubclass(thing, Exception)
        }

        assert there == MEANING.keys() | elsewhere

    def test_the_docker_sdk_is_not_loaded(self) -> None:
        """Commands do without the SDK, which takes as long to load as all the rest."""
        script = "import runbook.hosts.fleet, sys; sys.exit('docker' in sys.modules)"

        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
