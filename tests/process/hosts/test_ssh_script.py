"""What the login shell of a host is spoken with, and commands of root, against a real sshd."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from servers import Client, Sshd, only_host

from runbook.errors import Refused, Unreachable
from runbook.hosts import connection as module
from runbook.hosts.connection import Connection
from runbook.hosts.ssh.script import running

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
