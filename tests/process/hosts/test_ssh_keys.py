"""The operator's private keys, in files and in a real ssh-agent."""

from __future__ import annotations

import dataclasses
import getpass
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import Client, Sshd, generate_key

from runbook.errors import Unreachable
from runbook.hosts.fleet import Fleet
from runbook.hosts.ssh.config import Endpoint, SshConfig
from runbook.hosts.ssh.keys import Identities, read_key_file
from runbook.hosts.transcript import Transcript


@dataclass(frozen=True, slots=True)
class SshAgent:
    """A running ssh-agent."""

    socket: Path

    def add(self, key: Path) -> None:
        """Unlock a key for it."""
        subprocess.run(["ssh-add", "-q", key], check=True, env={"SSH_AUTH_SOCK": str(self.socket)})


@pytest.fixture
def agent() -> Iterator[SshAgent]:
    """An empty agent; its socket is in a short folder, as the kernel limits such paths."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent"
        process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + 10
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.01)  # between two looks at the condition
        yield SshAgent(path)
        process.terminate()
        process.wait(10)


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    """A host with two key files, neither of which exists yet, and no agent."""
    config = tmp_path / "config"
    config.write_text(
        f"IdentityFile {tmp_path}/one\nIdentityFile {tmp_path}/two\nIdentityAgent none\n"
    )
    return SshConfig(config, {}).endpoint("docker01")


def labels(endpoint: Endpoint) -> list[str]:
    """Return what is offered, without folders and fingerprints."""
    with Identities().offered(endpoint) as (offers, _):
        return [offer.label.split(" (")[0].split("/")[-1] for offer in offers]


def lock(key: Path) -> None:
    """Put a passphrase on a key."""
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key],
        check=True,
        capture_output=True,
    )


def _let_in(client: Client, server: Sshd) -> None:
    client.known_hosts.write_text(server.known_as())
    config = f"Host gateway\n  Port {server.port}\n"
    with Fleet(client.site(config), Transcript(None)) as fleet:
        assert fleet["gateway"].run(["true"]).status == 0


class TestFiles:
    """Private key files."""

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_key(self, tmp_path: Path, kind: str) -> None:
        """A key of any usual type is read."""
        generate_key(tmp_path / "key", kind)
        found = read_key_file(tmp_path / "key")

        assert found.key is not None
        assert found.trouble == ""

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_locked(self, tmp_path: Path, kind: str) -> None:
        """Of a locked key, the public half is read without asking anybody."""
        generate_key(tmp_path / "open", kind)
        public = read_key_file(tmp_path / "open").public
        lock(tmp_path / "open")
        (tmp_path / "open.pub").unlink()
        found = read_key_file(tmp_path / "open")

        assert (found.key, found.public) == (None, public)
        assert f"ssh-add {tmp_path}/open" in found.trouble

    @pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
    @pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
    def test_format(
        self, client: Client, start_sshd: Callable[..., Sshd], form: str, kind: str
    ) -> None:
        """A key in any format that ssh takes lets the user in."""
        client.key.unlink()
        command = ["ssh-keygen", "-q", "-m", form, "-t", kind, "-N", "", "-f", client.key]
        subprocess.run(command, check=True)
        public = client.key.with_suffix(".pub").rename(client.folder / "authorized")
        _let_in(client, start_sshd(f"AuthorizedKeysFile {public}"))

    @pytest.mark.parametrize(
        "content", ["", "an error page\n", "ssh-ed25519-cert-v01@openssh.com AAAA"]
    )
    def test_beside_a_broken_certificate(self, client: Client, sshd: Sshd, content: str) -> None:
        """What is no certificate, such as what a failed download left, does not spoil the key."""
        client.key.with_name(f"{client.key.name}-cert.pub").write_text(content)
        _let_in(client, sshd)

    def test_that_only_an_agent_can_use(self, tmp_path: Path) -> None:
        """A key of which the public half alone is understood is told."""
        words = ["-N", "secret", "-Z", "chacha20-poly1305@openssh.com", "-f", tmp_path / "key"]
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", *words], check=True)
        found = read_key_file(tmp_path / "key")

        assert found.key is None
        assert found.public is not None
        assert f"{tmp_path}/key cannot be used (" in found.trouble

    def test_locked_pem(self, tmp_path: Path) -> None:
        """The public half of a locked key in the old format is in the file beside it."""
        path = tmp_path / "key"
        command = ["ssh-keygen", "-q", "-m", "PEM", "-t", "ecdsa", "-N", "secret", "-f", str(path)]
        subprocess.run(command, check=True)

        assert read_key_file(path).public is not None

    def test_public_key_alone(self, tmp_path: Path) -> None:
        """A public key is no trouble: it picks a key of the agent."""
        generate_key(tmp_path / "key", "ed25519")
        found = read_key_file(tmp_path / "key.pub")

        assert (found.key, found.trouble) == (None, "")
        assert found.public == read_key_file(tmp_path / "key").public

    @pytest.mark.parametrize("text", ["", "not a key\n", "-----BEGIN OPENSSH PRIVATE KEY-----\n"])
    def test_rubbish(self, tmp_path: Path, text: str) -> None:
        """A file that holds no key is told."""
        (tmp_path / "key").write_text(text)

        assert "is not a private key" in read_key_file(tmp_path / "key").trouble

    def test_read_once(self, endpoint: Endpoint) -> None:
        """A key file is read once a run."""
        generate_key(endpoint.identities[0], "ed25519")
        identities = Identities()
        with identities.offered(endpoint) as (first, _):
            endpoint.identities[0].unlink()
        with identities.offered(endpoint) as (second, _):
            assert first == second


class TestOrder:
    """Which keys are offered, and in which order."""

    def test_files(self, endpoint: Endpoint) -> None:
        """Files are offered in their order; missing ones are told."""
        generate_key(endpoint.identities[1], "ed25519")
        with Identities().offered(endpoint) as (offers, troubles):
            assert len(offers) == 1
            assert troubles == (f"{endpoint.identities[0]} does not exist",)
        generate_key(endpoint.identities[0], "ed25519")

        assert labels(endpoint) == ["one", "two"]

    def test_agent_first(self, endpoint: Endpoint, agent: SshAgent, tmp_path: Path) -> None:
        """Configured keys of the agent come first, then its others, then the other files."""
        for path in (*endpoint.identities, tmp_path / "three"):
            generate_key(path, "ed25519")
        for path in (tmp_path / "three", endpoint.identities[1]):
            agent.add(path)
        with_agent = dataclasses.replace(endpoint, agent=str(agent.socket))
        offered = labels(with_agent)

        assert offered[0] == "two from the agent"
        assert offered[1].startswith("agent key")
        assert offered[2:] == ["one"]

    def test_identities_only(self, endpoint: Endpoint, agent: SshAgent, tmp_path: Path) -> None:
        """With IdentitiesOnly, the agent's other keys stay unused."""
        for path in (endpoint.identities[0], tmp_path / "three"):
            generate_key(path, "ed25519")
            agent.add(path)
        only = dataclasses.replace(endpoint, agent=str(agent.socket), identities_only=True)

        assert labels(only) == ["one from the agent"]

    def test_no_agent_there(self, endpoint: Endpoint, tmp_path: Path) -> None:
        """An agent that is gone is told, and the files are still offered."""
        generate_key(endpoint.identities[0], "ed25519")
        gone = dataclasses.replace(endpoint, agent=str(tmp_path / "gone"))
        with Identities().offered(gone) as (offers, troubles):
            assert len(offers) == 1
            assert "does not answer" in troubles[-1]


class TestLogin:
    """Keys of an agent against a real server."""

    def test_locked_key_in_the_agent(self, client: Client, sshd: Sshd, agent: SshAgent) -> None:
        """A locked key works once it is in the agent, on several hosts at once."""
        agent.add(client.key)
        lock(client.key)
        hosts = ["docker01", "docker02", "docker03"]
        aliases = "".join(f"Host {host}\n  HostKeyAlias {host}\n" for host in hosts)
        client.known_hosts.write_text(f"{','.join(hosts)} {sshd.public_key()}\n")
        config = f"{aliases}Host *\n  Port {sshd.port}\n  IdentityAgent {agent.socket}\n"
        with Fleet(client.site(config), Transcript(None)) as fleet:
            found = fleet.each(hosts, lambda connection: connection.run(["true"]).status)

        assert set(found.values()) == {0}

    @pytest.mark.parametrize("certified", [False, True])
    def test_agent_that_refuses(
        self, client: Client, sshd: Sshd, agent: SshAgent, certified: bool
    ) -> None:
        """As with ssh, the next key is tried; where there is none, the refusal is told."""
        other = client.folder / "other"
        generate_key(other, "ed25519")
        if certified:
            sign = ["ssh-keygen", "-q", "-s", client.key, "-I", "x", "-n", "x", f"{other}.pub"]
            subprocess.run(sign, check=True)
        # It asks for a confirmation, and there is nobody to ask.
        own = {"SSH_AUTH_SOCK": str(agent.socket)}
        subprocess.run(["ssh-add", "-q", "-c", other], check=True, env=own)
        config = f"Host *\n  Port {sshd.port}\n  IdentityAgent {agent.socket}\n"
        config += f"  IdentityFile {other}\n"
        with Fleet(client.site(config), Transcript(None)) as fleet:
            assert fleet["docker01"].run(["true"]).status == 0

        client.key.unlink()
        with (
            Fleet(client.site(config), Transcript(None)) as fleet,
            pytest.raises(Unreachable, match=r"tried .*other.* \(the agent does not sign: "),
        ):
            fleet["docker01"]

    def test_locked_key_alone(self, client: Client, sshd: Sshd, agent: SshAgent) -> None:
        """A locked key that the agent does not have leaves nothing to try."""
        lock(client.key)
        config = f"Host *\n  Port {sshd.port}\n  IdentityAgent {agent.socket}\n"
        with (
            Fleet(client.site(config), Transcript(None)) as fleet,
            pytest.raises(Unreachable, match=r"there was no key to try; .* has a passphrase"),
        ):
            fleet["docker01"]


class TestCertificate:
    """Keys that a certificate authority vouches for: ssh-keygen(1), CERTIFICATES."""

    @pytest.fixture
    def authority(self, client: Client, start_sshd: Callable[..., Sshd]) -> Sshd:
        """A server that lets in whom an authority certified, and no key alone."""
        generate_key(client.folder / "authority", "ed25519")
        server = start_sshd(
            f"TrustedUserCAKeys {client.folder}/authority.pub\nAuthorizedKeysFile none\n"
        )
        client.known_hosts.write_text(server.known_as())
        return server

    def certify(self, client: Client, key: Path, validity: str = "always:forever") -> Path:
        """Certify a key, and return the certificate."""
        command = ["ssh-keygen", "-q", "-s", client.folder / "authority", "-I", "operator"]
        command += ["-n", getpass.getuser(), "-V", validity, key.with_suffix(".pub")]
        subprocess.run(command, check=True)
        return key.with_name(f"{key.name}-cert.pub")

    def enter(self, client: Client, server: Sshd, more: str = "") -> None:
        """Log in."""
        config = f"Host gateway\n  Port {server.port}\n{more}"
        with Fleet(client.site(config), Transcript(None)) as fleet:
            assert fleet["gateway"].run(["true"]).status == 0

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_beside_the_key(self, client: Client, authority: Sshd, kind: str) -> None:
        """The file that is named after the key's is its certificate."""
        key = client.folder / "key"
        generate_key(key, kind)
        self.certify(client, key)

        self.enter(client, authority, f"  IdentityFile {key}\n")

    def test_elsewhere(self, client: Client, authority: Sshd) -> None:
        """CertificateFile names one."""
        path = self.certify(client, client.key).rename(client.folder / "mine.pub")

        self.enter(client, authority, f"  CertificateFile {path}\n")

    @pytest.mark.parametrize("kind", ["ed25519", "rsa"])
    def test_of_a_key_in_the_agent(
        self, client: Client, authority: Sshd, agent: SshAgent, kind: str
    ) -> None:
        """The agent signs, and the certificate is on disk."""
        key = client.folder / "key"
        generate_key(key, kind)
        agent.add(key)
        self.certify(client, key)
        lock(key)

        self.enter(client, authority, f"  IdentityFile {key}\n  IdentityAgent {agent.socket}\n")

    def test_that_has_expired(self, client: Client, sshd: Sshd) -> None:
        """It does not hinder the key alone, where that is let in."""
        generate_key(client.folder / "authority", "ed25519")
        self.certify(client, client.key, "20200101:20200102")

        self.enter(client, sshd)
