"""The operator's SSH configuration, held against what ``ssh`` itself does with it."""

from __future__ import annotations

import getpass
import re
import subprocess
from pathlib import Path

import pytest

from runbook.errors import BadInput
from runbook.hosts.ssh.config import Endpoint, Hop, SshConfig

ADDRESSES = {"gateway": "203.0.113.1", "docker01": "10.0.0.11", "docker02": "10.0.0.12"}


def endpoint(folder: Path, text: str, host: str = "docker01") -> Endpoint:
    """Return what a configuration of this text says about a host."""
    path = folder / "config"
    path.write_text(text)
    return SshConfig(path, ADDRESSES).endpoint(host)


def openssh(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the key files that ssh looks for, and the ProxyCommand it runs, with the same file."""
    command = ["ssh", "-v", "-F", folder / "config", "docker01"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    files = re.findall(r"identity file (.+) type ", done.stderr)
    commands = re.findall(r"Executing proxy command: exec (.*)", done.stderr)
    return [Path(name) for name in files if not name.endswith("-cert")], commands


class TestLikeOpenssh:
    """What ``ssh -G`` leaves open means the same to ssh and to the runbook."""

    @pytest.mark.parametrize(
        "text",
        [
            "IdentityFile ~/.ssh/%r_%h:%p\nUser g\nPort 2222\n",
            "IdentityFile %d/%u@%n\nIdentityFile ${HOME}/%i\n",
            "IdentityFile /%%h-%k-%l-%L\n",
            "IdentityFile ~root/%k\nHostKeyAlias Edge\n",
        ],
    )
    def test_same_meaning(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Names and commands become the same, also where $HOME is not the account's."""
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("LOGNAME", "somebody")
        ours = endpoint(tmp_path, text + "HostName Other\nProxyCommand false %h %k %n %p %r %%\n")

        assert (list(ours.identities), [ours.command]) == openssh(tmp_path)

    def test_expanded_once(self, tmp_path: Path) -> None:
        """What ssh has expanded already stays as it is."""
        found = endpoint(tmp_path, "UserKnownHostsFile /a%%h-%n\nIdentityAgent /a%%h-%n\n")

        assert found.user_known_hosts == (Path("/a%h-docker01"),)
        assert found.agent == "/a%h-docker01"


class TestDefaults:
    """What holds where the configuration is silent."""

    def test_address_of_the_site(self, tmp_path: Path) -> None:
        """A host without HostName is where the site says, on port 22, as this user."""
        found = endpoint(tmp_path, "")

        assert ("10.0.0.11", 22, getpass.getuser()) == (found.address, found.port, found.user)
        assert found.via is None
        assert found.place == "10.0.0.11:22"

    def test_known_by_address_and_name(self, tmp_path: Path) -> None:
        """Such a host may be known by its address or, as ssh would write it, by its name."""
        assert endpoint(tmp_path, "Port 2222\n").known_as == ("[10.0.0.11]:2222", "[docker01]:2222")

    def test_known_by_host_name(self, tmp_path: Path) -> None:
        """A host with HostName is known by that alone."""
        assert endpoint(tmp_path, "HostName edge.example\n").known_as == ("edge.example",)

    def test_known_by_alias(self, tmp_path: Path) -> None:
        """HostKeyAlias is used as it stands, without the port."""
        assert endpoint(tmp_path, "HostKeyAlias edge\nPort 2222\n").known_as == ("edge",)

    def test_no_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An operator without a configuration has OpenSSH's defaults."""
        monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
        found = endpoint(tmp_path, "")

        assert [path.name for path in found.identities] == ["id_rsa", "id_ecdsa", "id_ed25519"]
        assert found.user_known_hosts[0].parts[-2:] == (".ssh", "known_hosts")
        assert found.agent == "/agent"
        assert not found.identities_only


class TestSpeed:
    """Reading the configuration waits for nothing that it need not."""

    def test_all_at_once(self, tmp_path: Path) -> None:
        """A Match that asks the network takes its time once, not once for every host."""
        others = " -a ".join(f"-e {tmp_path}/{host}" for host in ADDRESSES)
        wait = f"for i in $(seq 100); do [ {others} ] && exit; sleep 0.05; done; false"
        text = f'Match exec "touch {tmp_path}/%n; {wait}"\n  Port 2222\n'

        assert endpoint(tmp_path, text).port == 2222


class TestAgent:
    """Which agent is used."""

    @pytest.mark.parametrize(
        ("setting", "agent"),
        [
            ("", "/from/environment"),
            ("IdentityAgent SSH_AUTH_SOCK\n", "/from/environment"),
            ("IdentityAgent $SSH_AUTH_SOCK\n", "/from/environment"),
            ("IdentityAgent $NOT_THERE\n", None),
            ("IdentityAgent none\n", None),
            ("IdentityAgent /other\n", "/other"),
        ],
    )
    def test_agent(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, agent: str | None
    ) -> None:
        """IdentityAgent is honoured in all its forms."""
        monkeypatch.setenv("SSH_AUTH_SOCK", "/from/environment")

        assert endpoint(tmp_path, setting).agent == agent


class TestJumps:
    """Ways over other hosts."""

    def test_chain(self, tmp_path: Path) -> None:
        """Jump hosts are followed to the first, each with its own settings."""
        text = (
            "Host docker01\n  ProxyJump gateway\nHost gateway\n  ProxyJump x@bastion:2222\n"
            "  User gerard\nHost bastion\n  HostName 198.51.100.1\n"
        )
        found = endpoint(tmp_path, text)

        assert found.via is not None
        assert found.via.via is not None
        assert found.login == (
            "x@198.51.100.1:2222",
            "gerard@203.0.113.1:22",
            f"{getpass.getuser()}@10.0.0.11:22",
        )

    def test_list(self, tmp_path: Path) -> None:
        """A list leads through its hosts in order, whatever ProxyJump the last has itself."""
        text = "Host docker01\n  ProxyJump one,two\nHost two\n  ProxyJump three\n"
        login = endpoint(tmp_path, text).login

        assert [place.split("@")[1] for place in login] == ["one:22", "two:22", "10.0.0.11:22"]

    def test_tokens(self, tmp_path: Path) -> None:
        """A jump host may be named after the host and its user, as ssh allows."""
        text = "Match originalhost docker*\n  User gerard\n  ProxyJump %r@gate-%n\n"
        found = endpoint(tmp_path, text)

        assert found.via is not None
        assert (found.via.user, found.via.address) == ("gerard", "gate-docker01")

    def test_same_login(self, tmp_path: Path) -> None:
        """A jump host and a host of the site are one where user, address and port are."""
        text = "Host docker01\n  ProxyJump gw\nHost gw\n  HostName 203.0.113.1\nHost *\n  User g\n"
        found, gateway = endpoint(tmp_path, text), endpoint(tmp_path, text, "gateway")

        assert found.via is not None
        assert found.via.login == gateway.login

    def test_alias_is_a_login_of_its_own(self, tmp_path: Path) -> None:
        """Two names of one address share a connection unless they have keys of their own."""
        text = "HostName a\nHost docker01\n  HostKeyAlias one\n"
        logins = {endpoint(tmp_path, text, host).login for host in ("docker01", "gateway", "x")}

        assert len(logins) == 2

    def test_none(self, tmp_path: Path) -> None:
        """The word none ends a way."""
        text = "Host gateway\n  ProxyJump none\nHost *\n  ProxyJump gateway\n"
        found = endpoint(tmp_path, text)

        assert found.via is not None
        assert found.via.via is None

    def test_circle(self, tmp_path: Path) -> None:
        """A jump host that is reached through itself is an error that shows the circle."""
        with pytest.raises(BadInput, match="loop via gateway"):
            endpoint(tmp_path, "Host *\n  ProxyJump gateway\n")

    @pytest.mark.parametrize(
        ("text", "hop"),
        [
            ("gateway", Hop("gateway")),
            ("gerard@gateway", Hop("gateway", "gerard")),
            ("gerard@gateway:2222", Hop("gateway", "gerard", 2222)),
            ("ssh://gerard@gateway:2222", Hop("gateway", "gerard", 2222)),
            ("[2001:db8::1]:2222", Hop("2001:db8::1", None, 2222)),
        ],
    )
    def test_forms(self, text: str, hop: Hop) -> None:
        """Every form that ssh takes is understood."""
        assert Hop.parse(text) == hop


class TestErrors:
    """Configurations that cannot be used."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("Port twenty\n", "line 1: Bad port 'twenty'"),
            ("ProxyCommand nc %Z\n", "%Z is not supported"),
            ("ProxyCommand nc %h %p\nProxyUseFdpass yes\n", "ProxyUseFdpass is not supported"),
            ("KnownHostsCommand /bin/true %H\n", "KnownHostsCommand is not supported"),
            ("ProxyJump a:b:c\n", 'line 1: Invalid ProxyJump "a:b:c"'),
            ("Match nonsense\n", "line 1: Bad Match condition"),
            ("ConnectTimeout soon\n", "line 1: invalid time value"),
            (
                "UserKnownHostsFile ~nobody-here/f\n",
                "^gateway: SSH configuration: tilde_expand: No",
            ),
        ],
    )
    def test_message(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
    ) -> None:
        """Each is bad input, with what is wrong."""
        with pytest.raises(BadInput, match=message):
            endpoint(tmp_path, text)

    def test_missing_file(self, tmp_path: Path) -> None:
        """A declared file that is not there is an error."""
        with pytest.raises(BadInput, match="nowhere: No such file"):
            SshConfig(tmp_path / "nowhere", ADDRESSES)
        with pytest.raises(
            BadInput, match=r"^gateway: `ssh -G gateway` cannot be run: .*null byte"
        ):
            SshConfig(tmp_path / "no\0where", ADDRESSES)

    def test_host_is_no_option(self, tmp_path: Path) -> None:
        """A name that looks like an option of ssh stays a name, which ssh refuses."""
        for host, text in (
            ("-oProxyCommand=true", ""),
            ("docker01", "Host docker01\n  ProxyJump -oProxyCommand=true\n"),
        ):
            with pytest.raises(BadInput, match=r"^-oP.*: hostname contains invalid characters"):
                endpoint(tmp_path, text, host)

    def test_no_ssh(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without an OpenSSH client that runs, the message says so."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BadInput, match=r"^there is no ssh here") as caught:
            endpoint(tmp_path, "")
        assert "OpenSSH client" in caught.value.todo
        (tmp_path / "ssh").write_text("not executable")
        with pytest.raises(BadInput, match=r"`ssh -G gateway` cannot be run: .*Permission denied"):
            endpoint(tmp_path, "")


class TestWhateverOpensshAccepts:
    """Forms that people use."""

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("1m30s", 90), ("none", None)],
    )
    def test_time(self, tmp_path: Path, text: str, seconds: float | None) -> None:
        """A time may have units."""
        assert endpoint(tmp_path, f"ConnectTimeout {text}\n").connect_timeout_s == seconds

    @pytest.mark.parametrize(
        ("text", "command"),
        [
            ("ProxyCommand ssh -W %h:%p -q gateway\n", "ssh -W 10.0.0.11:22 -q gateway"),
            (
                "ProxyCommand nc -x 'a b' %h %p %r %n %%\nUser g",
                "nc -x 'a b' 10.0.0.11 22 g docker01 %",
            ),
            ("HostName %h.example.org\nProxyCommand nc %h\n", "nc docker01.example.org"),
            ("HostKeyAlias edge\nPort 2222\nProxyCommand nc %k:%p\n", "nc edge:2222"),
            ("ProxyCommand none\n", ""),
            ("ProxyJump none\nProxyCommand nc %h\n", "nc 10.0.0.11"),
        ],
    )
    def test_proxy_command(self, tmp_path: Path, text: str, command: str) -> None:
        """A ProxyCommand has its tokens replaced."""
        found = endpoint(tmp_path, text)

        assert (found.command, found.via) == (command, None)

    def test_blank_in_a_name(self, tmp_path: Path) -> None:
        """Names of files may have blanks and tokens, and be none."""
        text = f'UserKnownHostsFile "{tmp_path}/a b" ~/c\nGlobalKnownHostsFile none\n'
        more = f"IdentityFile {tmp_path}/%h-%r\nIdentitiesOnly yes\nUser g\n"
        found = endpoint(tmp_path, text + more)

        assert found.user_known_hosts == (tmp_path / "a b", Path("~/c").expanduser())
        assert found.global_known_hosts == ()
        assert found.identities == (tmp_path / "10.0.0.11-g",)
        assert found.identities_only

    def test_home_of_nobody(self, tmp_path: Path) -> None:
        """A key at the home of a user that there is not is one that does not exist."""
        found = endpoint(tmp_path, "IdentityFile ~nobody-here/id\n")

        assert found.identities == (Path("~nobody-here/id"),)

    @pytest.mark.parametrize(
        "text",
        [
            "ForkAfterAuthentication yes\n",
            "RemoteCommand tmux attach\nRequestTTY force\n",
            "SessionType none\nStdinNull yes\n",
            "ControlMaster auto\nControlPath ~/%C\nLocalForward 8080 localhost:80\n",
        ],
    )
    def test_what_is_for_sessions(self, tmp_path: Path, text: str) -> None:
        """What a person's own sessions are to do does not keep the host from being found."""
        assert endpoint(tmp_path, text).place == "10.0.0.11:22"

    def test_relative_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Names without a folder are told from blanks by the files that are there."""
        monkeypatch.chdir(tmp_path)
        for name in ("one", "a b"):
            (tmp_path / name).touch()
        text = f'UserKnownHostsFile one two\nGlobalKnownHostsFile "{tmp_path}/a b"\n'
        found = endpoint(tmp_path, text + "RevokedHostKeys ~/revoked\nKnownHostsCommand none\n")

        assert found.user_known_hosts == (Path("one"), Path("two"))
        assert found.global_known_hosts == (tmp_path / "a b",)
        assert found.revoked == (Path("~/revoked").expanduser(),)

    def test_several_lists_of_revoked_keys(self, tmp_path: Path) -> None:
        """Each is heeded; OpenSSH takes several since 10.3, and prints them so."""
        found = endpoint(tmp_path, f'RevokedHostKeys "{tmp_path}/a {tmp_path}/b"\n')

        assert found.revoked == (tmp_path / "a", tmp_path / "b")

    def test_match(self, tmp_path: Path) -> None:
        """Match is judged by ssh itself, with the user and the port of a jump host."""
        text = "Host docker01\n  ProxyJump ops@gateway:2222\nMatch user ops\n  HostKeyAlias jump\n"
        via = endpoint(tmp_path, text + 'Match exec "true"\n  Port 33\n').via

        assert via is not None
        assert (via.user, via.port, via.known_as) == ("ops", 2222, ("jump",))
