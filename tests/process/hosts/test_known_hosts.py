"""Known hosts files, as OpenSSH writes them."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from servers import generate_key

from runbook.errors import BadInput
from runbook.hosts.ssh.known_hosts import KnownHosts, fingerprint

NAME = "[203.0.113.1]:2222"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    """Two public keys."""
    texts = []
    for name in ("one", "two"):
        generate_key(tmp_path / name, "ed25519")
        texts.append(" ".join((tmp_path / f"{name}.pub").read_text().split()[:2]))
    return texts[0], texts[1]


def verdict(folder: Path, text: str, key: str, name: str = NAME) -> str:
    """Return what a file of this text says about a key that a host offers."""
    (folder / "known_hosts").write_text(text)
    known = KnownHosts([folder / "known_hosts", folder / "missing"], [name])
    return known.verdict(b64decode(key.split()[1]))


class TestVerdict:
    """Whether an offered key is the known one."""

    def test_known(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """The very key is known."""
        assert verdict(tmp_path, f"# mine\n\n{NAME} {keys[0]} comment\n", keys[0]) == "yes"

    @pytest.mark.parametrize("written", ["docker01", "Docker01"])
    def test_capitals(self, tmp_path: Path, keys: tuple[str, str], written: str) -> None:
        """A name is hashed in lower case, however the site writes it."""
        path = tmp_path / "known_hosts"
        path.write_text(f"{written} {keys[0]}\n")
        command = ["ssh-keygen", "-q", "-H", "-f", str(path)]
        subprocess.run(command, check=True, capture_output=True)

        assert "|1|" in path.read_text()
        assert verdict(tmp_path, path.read_text(), keys[0], name="Docker01") == "yes"

    def test_unknown(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """A host that no line is about."""
        assert verdict(tmp_path, f"203.0.113.1 {keys[0]}\n", keys[0]) == "no"

    def test_changed(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """A host that is known by another key."""
        assert verdict(tmp_path, f"{NAME} {keys[1]}\n", keys[0]) == "changed"

    def test_another_type_is_a_change(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """A host known by a key of another type only has changed, too."""
        text = f"{NAME} ssh-rsa {keys[1].split()[1]}\n"

        assert verdict(tmp_path, text, keys[0]) == "changed"

    def test_several_keys(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """Any of several known keys will do, as while keys are being rotated."""
        assert verdict(tmp_path, f"{NAME} {keys[1]}\n{NAME} {keys[0]}\n", keys[0]) == "yes"

    def test_revoked(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """A revoked key is never accepted, whatever else the file says."""
        text = f"{NAME} {keys[0]}\n@revoked * {keys[0]}\n"

        assert verdict(tmp_path, text, keys[0]) == "revoked"
        assert verdict(tmp_path, f"@revoked * {keys[1]}\n", keys[0]) == "no"

    def test_authority_is_passed_over(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """A certificate authority's own key is no host's key."""
        assert verdict(tmp_path, f"@cert-authority * {keys[0]}\n", keys[0]) == "no"

    def test_damaged_lines(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """Damaged lines vouch for nobody, and hide no other."""
        text = f"{NAME}\n{NAME} ssh-ed25519 A?A\n|1|x {keys[1]}\n{NAME} {keys[0]}\n"

        assert verdict(tmp_path, text, keys[0]) == "yes"


class TestNames:
    """How lines name hosts."""

    @pytest.mark.parametrize(
        ("names", "name", "found"),
        [
            ("docker01,10.0.0.11", "10.0.0.11", True),
            ("Docker01", "docker01", True),
            ("10.0.0.*", "10.0.0.11", True),
            ("10.0.0.1?", "10.0.0.11", True),
            ("*.example,!bad.example", "good.example", True),
            ("*.example,!bad.example", "bad.example", False),
            ("[10.0.0.11]:2222", "[10.0.0.11]:2222", True),
            ("[10.0.0.11]:2222", "1", False),
            ("10.0.0.1", "10.0.0.11", False),
        ],
    )
    def test_pattern(
        self, tmp_path: Path, keys: tuple[str, str], names: str, name: str, found: bool
    ) -> None:
        """Lists, wildcards, negations and ports are understood; brackets are no wildcards."""
        assert verdict(tmp_path, f"{names} {keys[0]}\n", keys[0], name) == (
            "yes" if found else "no"
        )

    def test_hashed(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """A file that ssh-keygen has hashed says the same as before."""
        path = tmp_path / "known_hosts"
        path.write_text(f"{NAME} {keys[0]}\nother {keys[1]}\n")
        subprocess.run(["ssh-keygen", "-H", "-f", path], check=True, capture_output=True)
        text = path.read_text()

        assert "203.0.113.1" not in text
        assert verdict(tmp_path, text, keys[0]) == "yes"
        assert verdict(tmp_path, text, keys[1]) == "changed"
        assert verdict(tmp_path, text, keys[0], "203.0.113.1") == "no"


class TestFiles:
    """The files themselves."""

    def test_unreadable(self, tmp_path: Path) -> None:
        """A file that cannot be read is an error: it may hold a revocation."""
        with pytest.raises(BadInput, match="Is a directory"):
            KnownHosts([tmp_path], [NAME])

    def test_list_of_revoked_keys(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """RevokedHostKeys is stronger than any line; one that cannot be read is an error."""
        path = tmp_path / "known_hosts"
        path.write_text(f"{NAME} {keys[0]}\n")
        (tmp_path / "none").touch()

        def said(revoked: str | bytes) -> str:
            (tmp_path / "revoked").write_bytes(
                revoked.encode() if isinstance(revoked, str) else revoked
            )
            known = KnownHosts([path], [NAME], [tmp_path / "none", tmp_path / "revoked"])
            return known.verdict(b64decode(keys[0].split()[1]))

        assert said(f"# {keys[0]}\n{keys[1]} old\n") == "yes"
        assert said(f"{keys[1]} old\n{keys[0]} stolen\n") == "revoked"
        command = ["ssh-keygen", "-q", "-k", "-f", tmp_path / "krl", tmp_path / "one.pub"]
        subprocess.run(command, check=True)
        with pytest.raises(BadInput, match=r"RevokedHostKeys .* is a key revocation list"):
            said((tmp_path / "krl").read_bytes())
        with pytest.raises(BadInput, match=r"RevokedHostKeys .*: No such file"):
            KnownHosts([path], [NAME], [tmp_path / "missing"])

    def test_fingerprint(self, tmp_path: Path, keys: tuple[str, str]) -> None:
        """A fingerprint is written as ssh-keygen writes it."""
        shown = subprocess.run(
            ["ssh-keygen", "-l", "-f", tmp_path / "one.pub"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

        assert fingerprint(b64decode(keys[0].split()[1])) in shown.split()
