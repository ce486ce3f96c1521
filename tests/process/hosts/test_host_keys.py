"""Confirming host keys, against real servers."""

from __future__ import annotations

import dataclasses
import stat
import subprocess
from pathlib import Path

import pytest
from servers import LOOPBACK, Client, Sshd, free_port

from runbook.cli.host_keys import confirm_keys
from runbook.errors import BadInput, Refused, Unreachable
from runbook.hosts.fleet import Fleet
from runbook.hosts.host_keys import Offered, offered_keys, pin
from runbook.hosts.transcript import Transcript
from runbook.site import SiteFile

BEHIND = ("docker01", "docker02", "docker03", "docker04")


@pytest.fixture
def site_file(client: Client, sshd: Sshd, inner_sshd: Sshd) -> SiteFile:
    """A site whose hosts are all behind the gateway, and none of them known."""
    client.known_hosts.unlink()
    return client.site(
        f"Host gateway\n  Port {sshd.port}\n".join(
            f"Host {host}\n  HostKeyAlias {host}\n" for host in BEHIND
        )
        + f"Host docker*\n  Port {inner_sshd.port}\n  ProxyJump gateway\n"
    )


def known(offers: tuple[Offered, ...]) -> dict[str, str]:
    """Return what is known of each host."""
    return {offered.host: offered.known for offered in offers}


class TestOfferedKeys:
    """What the hosts offer."""

    def test_fingerprint(self, site_file: SiteFile, client: Client, sshd: Sshd) -> None:
        """A key is shown as the host's own ssh-keygen shows it, and is not accepted."""
        gateway = offered_keys(site_file)[0]
        shown = subprocess.run(
            ["ssh-keygen", "-l", "-f", sshd.folder / "host_ed25519.pub"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

        assert (gateway.host, gateway.known, gateway.key_type) == ("gateway", "no", "ssh-ed25519")
        assert gateway.fingerprint in shown.split()
        assert gateway.name_in_known_hosts == f"[{LOOPBACK}]:{sshd.port}"
        assert gateway.file == client.known_hosts
        assert not client.known_hosts.exists()

    def test_jump_host_first(self, site_file: SiteFile) -> None:
        """Hosts behind an unknown jump host are not asked, and the reason is given."""
        offers = offered_keys(site_file)

        assert known(offers) == {"gateway": "no"} | dict.fromkeys(BEHIND, "unasked")
        assert "gateway, which is on the way, is not known yet" in offers[1].why

    def test_until_all_are_known(self, site_file: SiteFile) -> None:
        """Asking and pinning in turn makes every host known, and then reachable."""
        rounds = 0
        while new := [offered for offered in offered_keys(site_file) if offered.known == "no"]:
            rounds += 1
            for offered in new:
                pin(offered, offered.file)

        assert rounds == 2
        assert set(known(offered_keys(site_file)).values()) == {"yes"}
        with Fleet(site_file, Transcript(None)) as fleet:
            assert fleet["docker01"].run(["true"]).status == 0

    def test_changed(
        self, site_file: SiteFile, client: Client, sshd: Sshd, inner_sshd: Sshd
    ) -> None:
        """A changed key is told with both fingerprints, and nobody behind it is asked."""
        client.known_hosts.write_text(f"[{LOOPBACK}]:{sshd.port} {inner_sshd.public_key()}\n")
        offers = offered_keys(site_file)

        assert known(offers) == {"gateway": "changed"} | dict.fromkeys(BEHIND, "unasked")
        assert offers[0].why.count("SHA256:") == 2

    def test_dead_host(self, client: Client, sshd: Sshd) -> None:
        """A host that does not answer hides no other."""
        config = f"Host gateway\n  Port {sshd.port}\nHost *\n  Port {free_port()}\n"
        offers = offered_keys(client.site(config))

        assert known(offers) == {"gateway": "yes", "docker01": "unasked"}
        assert "refuses connections" in offers[0].why


class TestConfirm:
    """The command."""

    def test_every_dead_host(self, client: Client, sshd: Sshd) -> None:
        """All hosts that could not be asked are told at once, each with what to do."""
        config = f"Host gateway\n  Port {sshd.port}\n"
        for host in ("docker01", "docker02", "docker03", "docker04"):
            config += f"Host {host}\n  Port {free_port()}\n"
        client.known_hosts.write_text(sshd.known_as())
        with pytest.raises(Unreachable) as caught:
            confirm_keys(client.site(config), confirmed=True)

        said = str(caught.value)
        assert said.startswith("docker01: TCP connection: ")
        assert said.count("refuses connections") == 4
        for host in ("docker02", "docker03", "docker04"):
            assert f"  also {host}: TCP connection: " in said
            assert f"check that {host} is up" in said

    def test_changed_key(self, client: Client, sshd: Sshd, inner_sshd: Sshd) -> None:
        """The warning says what to do, as it does elsewhere."""
        client.known_hosts.write_text(f"[{LOOPBACK}]:{sshd.port} {inner_sshd.public_key()}\n")
        with pytest.raises(Refused, match=r"HAS CHANGED.*\n  What to do: compare .*ssh-keygen -R"):
            confirm_keys(client.site(f"Host *\n  Port {sshd.port}\n"), confirmed=True)


class TestPin:
    """Writing a confirmed key down."""

    @pytest.fixture
    def offered(self, site_file: SiteFile) -> Offered:
        """The gateway's key, not known yet."""
        return offered_keys(site_file)[0]

    def test_new_file(self, offered: Offered, tmp_path: Path) -> None:
        """A new file is the operator's alone."""
        path = tmp_path / "new/known_hosts"
        pin(offered, path)

        assert path.read_text().split()[:2] == [offered.name_in_known_hosts, "ssh-ed25519"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    @pytest.mark.parametrize("others", ["# mine\n|1|a|b ssh-rsa AAAA\n", "unfinished line"])
    def test_lines_of_others(self, offered: Offered, tmp_path: Path, others: str) -> None:
        """What is there stays as it is, byte for byte, in the same file."""
        path = tmp_path / "known_hosts"
        path.write_text(others)
        before = path.stat().st_ino
        pin(offered, path)

        assert path.read_text().startswith(others)
        assert path.read_text()[len(others) :].strip().count("\n") == 0
        assert path.read_text().splitlines()[-1].endswith(offered.key)
        assert path.stat().st_ino == before

    def test_known_already(self, offered: Offered, tmp_path: Path) -> None:
        """A known key is not written again."""
        pin(dataclasses.replace(offered, known="yes"), tmp_path / "known_hosts")

        assert not (tmp_path / "known_hosts").exists()

    def test_changed(self, offered: Offered, tmp_path: Path) -> None:
        """A changed key is never written down."""
        with pytest.raises(Refused):
            pin(dataclasses.replace(offered, known="changed"), tmp_path / "known_hosts")
        assert not (tmp_path / "known_hosts").exists()

    def test_no_such_place(self, offered: Offered) -> None:
        """A file that cannot be written is told."""
        with pytest.raises(BadInput, match="/dev/null/known_hosts"):
            pin(offered, Path("/dev/null/known_hosts"))

    @pytest.mark.parametrize("setting", ["none", "/dev/null"])
    def test_no_place_at_all(self, client: Client, sshd: Sshd, setting: str) -> None:
        """Where nothing is kept, nothing is pinned, and asked for again and again."""
        config = f"Host gateway\n  Port {sshd.port}\n  UserKnownHostsFile {setting}\n"
        (offered,) = (key for key in offered_keys(client.site(config)) if key.host == "gateway")

        assert offered.known == "no"
        with pytest.raises(BadInput, match="UserKnownHostsFile is /dev/null or none"):
            pin(offered, offered.file)
