"""Connections against a real sshd on loopback: what is run, what comes back, what goes wrong."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import paramiko
import pytest
from servers import LOOPBACK, Client, Sshd, free_port, generate_key

from runbook.errors import Lost, Refused, Unreachable
from runbook.hosts import connection as module
from runbook.hosts.connection import Connection
from runbook.hosts.fleet import Fleet
from runbook.hosts.ssh import keepalive, transport
from runbook.hosts.ssh.command import CommandFailed, CommandTimeout
from runbook.hosts.ssh.errors import MEANING
from runbook.hosts.ssh.known_hosts import KnownHosts
from runbook.hosts.ssh.script import running
from runbook.hosts.transcript import Transcript
from runbook.waiting import until

MEGABYTES = 5_000_000  # more than the 2 MiB window of a channel


@pytest.fixture
def fleet(client: Client, sshd: Sshd, inner_sshd: Sshd) -> Iterator[Fleet]:
    """A gateway that is host and jump host at once, with every other host behind it."""
    hosts = [f"docker0{n}" for n in (1, 2, 3, 4)]
    config = f"Host gateway\n  Port {sshd.port}\n"
    config += "".join(f"Host {host}\n  HostKeyAlias {host}\n" for host in hosts)
    config += f"Host docker*\n  Port {inner_sshd.port}\n  ProxyJump gateway\n"
    aliases = f"{','.join(hosts)} {inner_sshd.public_key()}\n"
    client.known_hosts.write_text(sshd.known_as() + aliases)
    with Fleet(client.site(config), Transcript(None)) as fleet:
        yield fleet


@pytest.fixture
def gateway(fleet: Fleet) -> Connection:
    """One open connection."""
    return fleet["gateway"]


def only_host(client: Client, port: int, more: str = "", timeout_s: int = 10) -> Fleet:
    """A fleet whose gateway is on this port."""
    config = f"Host gateway\n  Port {port}\n{more}"
    return Fleet(client.site(config, timeout_s), Transcript(None))


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


SHELLS = {
    "talks": "echo Welcome; echo motd >&2; eval {}",
    "talks without an end of line": "printf '%s' 'fortune: 42'; eval {}",
    "fails as it goes": "set -e; false || true; unset LANG; eval {}",
    "reads a line": 'read answer; [ -z "$answer" ] || exit 3; eval {}',
    "splits words": "$SSH_ORIGINAL_COMMAND",
    "goes elsewhere": "cd /; umask 077; eval {}",
    "speaks Spanish": "export LANGUAGE=es_ES:es LC_ALL=es_ES.UTF-8; eval {}",
    **{name: f"{name} -c {{}}" for name in ("dash", "bash", "tcsh", "csh", "fish", "zsh", "ksh")},
}
BYTES = "".join(map(chr, range(1, 0x180)))  # among them those that dash keeps for itself


class TestLoginShell:
    """Whatever shell the user logs in to, and whatever it does first."""

    @pytest.fixture(params=SHELLS)
    def shell(
        self, request: pytest.FixtureRequest, client: Client, start_sshd: Callable[..., Sshd]
    ) -> Iterator[Connection]:
        """A connection to a host with such a shell."""
        command = SHELLS[request.param]
        quoted = command.format('"$SSH_ORIGINAL_COMMAND"')
        server = start_sshd(f"ForceCommand {quoted}")
        client.known_hosts.write_text(server.known_as())
        with only_host(client, server.port) as fleet:
            yield fleet["gateway"]

    def test_command(self, shell: Connection) -> None:
        """Arguments and input arrive as they are; only the command's own output comes back."""
        asked = ["sh", "-c", 'cat; printf "%s|" "$@"; pwd; echo "<$LANGUAGE>" >&2', "x"]
        arguments = ["$HOME", "it's", "!!", "a\nb\\", "", BYTES]
        for stdin in ("", "one\ntwo", BYTES):
            result = shell.run([*asked, *arguments], stdin=stdin)
            home = shell.run(["sh", "-c", 'echo "$HOME"']).stdout

            assert result.stdout == stdin + "|".join(arguments) + f"|{home}"
            assert result.stderr == "<>\n"

    def test_spoken_with(self, shell: Connection) -> None:
        """A command that is spoken with hears and says nothing but its own."""
        channel = shell.become(["sh", "-c", "cat; echo end >&2"])
        said = BYTES.encode() * 1000
        channel.sendall(said)
        channel.shutdown_write()
        heard = b""
        while piece := channel.recv(100_000):
            heard += piece

        assert (heard, channel.recv_stderr(100)) == (said, b"end\n")
        channel.close()

    @pytest.mark.parametrize(
        ("how", "forced", "cause"),
        [
            ("run", "echo This account is not available.; exit 1", "This account is not available"),
            ("become", "echo This account is not available.; exit 1", "This account is not"),
            ("run", "echo Hasta luego; exit 0", "Hasta luego"),
            ("become", "echo Hasta luego; exit 0", "Hasta luego"),
            ("run", "exec sh", "begin another shell"),
            ("become", "exec sh", "begin another shell"),
            ("run", "cat > /dev/null", "nothing was said"),  # the other would wait for more
        ],
    )
    def test_no_shell(
        self, client: Client, start_sshd: Callable[..., Sshd], forced: str, cause: str, how: str
    ) -> None:
        """A login shell that runs nothing is refused with what it said, and nothing was run."""
        server, touched = start_sshd(f"ForceCommand {forced}"), client.folder / "touched"
        client.known_hosts.write_text(server.known_as())
        with only_host(client, server.port) as fleet, pytest.raises(Refused) as caught:
            getattr(fleet["gateway"], how)(["touch", str(touched)])

        assert cause in caught.value.message
        assert "login shell" in caught.value.message
        assert "ssh gateway sh -s" in caught.value.todo
        assert not touched.exists()

    def test_slow_shell(
        self, client: Client, start_sshd: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A shell that takes its time is waited for; one that takes too long is called slow."""
        server = start_sshd('ForceCommand sleep 1.5; eval "$SSH_ORIGINAL_COMMAND"')
        client.known_hosts.write_text(server.known_as())
        monkeypatch.setattr(module, "SESSION_TIMEOUT_S", 1)
        with only_host(client, server.port) as fleet:
            channel = fleet["gateway"].become(["echo", "here"])
            assert channel.recv(100) == b"here\n"
            channel.close()
            monkeypatch.setattr(module, "BEGIN_TIMEOUT_S", 1)
            with pytest.raises(Unreachable, match="did not begin within 1 s"):
                fleet["gateway"].become(["echo", "here"])

    @pytest.mark.skipif(not shutil.which("bash"), reason="dash keeps no input in a file")
    def test_input_without_room_for_a_file(self) -> None:
        """An input arrives though /tmp is full, also where sh is bash."""
        text = "x" * 200_000
        done = subprocess.run(
            ["bash", "-c", "ulimit -f 1; exec bash --posix -s f0"],
            input=running(["cat"], text, "f0"),
            capture_output=True,
            check=False,
        )

        assert done.stdout.decode() == f"\nf0\n{text}"

    def test_cut_script(self, client: Client, sshd: Sshd) -> None:
        """Of a script that does not arrive whole, nothing is run."""
        touched = client.folder / "touched"
        for stdin in ("", "input"):
            whole = running(["sh", "-c", f"cat; touch {touched}"], stdin, "f0").decode()
            for end in range(len(whole.rstrip("}\n"))):
                part = whole[:end].encode()
                subprocess.run(["sh", "-s", "f0"], input=part, capture_output=True, check=False)
        assert not touched.exists()


class TestSudo:
    """Acting as root."""

    @pytest.fixture
    def host(
        self, client: Client, start_sshd: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[[str], Connection]]:
        """A host whose sudo is this shell script; a user other than root is logged in."""
        programs = client.folder / "bin"
        programs.mkdir()
        server = start_sshd(environment=f"PATH={programs}:{os.environ['PATH']}")
        client.known_hosts.write_text(server.known_as())
        with only_host(client, server.port) as fleet:

            def host(script: str) -> Connection:
                (programs / "sudo").write_text(f"#!/bin/sh\n{script}\n")
                (programs / "sudo").chmod(0o755)
                monkeypatch.setattr(fleet["gateway"], "user", "gerard")
                return fleet["gateway"]

            yield host

    def test_asked_for(self, host: Callable[[str], Connection]) -> None:
        """Another user goes through sudo, which must not ask."""
        connection = host('echo "asked: $*" >&2; [ "$1 $2" = "-n --" ] || exit 1; shift 2; "$@"')

        assert connection.run(["echo", "a b"], sudo=True).stdout == "a b\n"
        assert connection.run(["echo", "a b"], sudo=True).stderr == ""
        assert connection.run(["printenv", "LC_ALL"], sudo=True).stdout == "C.UTF-8\n"

    def test_root_needs_none(
        self, host: Callable[[str], Connection], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Root runs commands directly, so that a host without sudo will do."""
        connection = host("exit 1")
        monkeypatch.setattr(connection, "user", "root")

        assert connection.run(["echo", "here"], sudo=True).stdout == "here\n"

    @pytest.mark.parametrize("how", ["run", "become"])
    @pytest.mark.parametrize(
        ("script", "cause", "todo"),
        [
            ("echo 'sudo: a password is required' >&2; exit 1", "sudo: a password", "NOPASSWD"),
            ("echo 'sudo: se requiere una contraseña' >&2; exit 1", "sudo: se requiere", "NOPASS"),
            (
                "echo 'sudo: interactive authentication is required' >&2; exit 1",
                "sudo: interactive authentication",
                "gerard ALL=(ALL:ALL) NOPASSWD: ALL",
            ),
            ("echo 'sudo: cuenta caducada' >&2; exit 1", "sudo: cuenta caducada", "NOPASSWD"),
            ("exit 1", "sudo gave 1 and said nothing", "NOPASSWD"),
            (
                "[ -t 0 ] || { echo 'sudo: necesita un tty' >&2; exit 1; }",
                "sudo: necesita un tty",
                "Defaults:gerard !requiretty",
            ),
        ],
    )
    def test_refused(
        self, host: Callable[[str], Connection], script: str, cause: str, todo: str, how: str
    ) -> None:
        """Whatever language sudo refuses in, the cause comes first, and the hint fits."""
        connection = host(f"case $* in -V) exit 0 ;; esac\n{script}")
        with pytest.raises(Refused) as caught:
            getattr(connection, how)(["id"], sudo=True)

        assert str(caught.value).startswith(f"gateway: {cause}")
        assert "gerard" in caught.value.message
        assert todo in caught.value.todo
        assert ("NOPASSWD" in caught.value.todo) == ("requiretty" not in caught.value.todo)

    def test_none_there(
        self, client: Client, start_sshd: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a sudo, that is what has to be done, also where status is not checked."""
        programs = client.folder / "only"
        programs.mkdir()
        for program in ("sh", "id", "true"):
            (programs / program).symlink_to(str(shutil.which(program)))
        server = start_sshd(environment=f"PATH={programs}")
        client.known_hosts.write_text(server.known_as())
        with only_host(client, server.port) as fleet:
            monkeypatch.setattr(fleet["gateway"], "user", "gerard")
            with pytest.raises(Refused) as caught:
                fleet["gateway"].run(["id"], sudo=True, check=False)

        for part in ("gateway: ", "sudo: ", "not found", "install sudo there"):
            assert part in str(caught.value)


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

    def test_quiet_host_is_alive(
        self, client: Client, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A command that says nothing for long is not taken for a dead host."""
        monkeypatch.setattr(keepalive, "ASK_AFTER_S", 0.2)
        monkeypatch.setattr(keepalive, "DEAD_AFTER_S", 0.7)
        monkeypatch.setattr(keepalive, "LOOK_EVERY_S", 0.1)
        with only_host(client, sshd.port) as fleet:
            assert fleet["gateway"].run(["sleep", "1.2"]).status == 0


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

        assert time.monotonic() - before < 2

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

        assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer)]

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
