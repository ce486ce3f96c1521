"""The dashboard's users: what of a secret is stored, and what lets nobody in."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.errors import BadInput
from runbook.masking import secret as secrets
from runbook.masking.secret import Registry, Secret
from runbook.steps.traefik.htpasswd import content

SETTING = "traefik.dashboard.users"
# The hashes of one password, by `htpasswd -B`, `-m` and `-s`, and by `openssl passwd -1`.
BCRYPT = "$2y$05$Ig3LTaLJRJsL08oyDDXRreWcpQL4xCYb4ovjd8RG7qpYuBZkjvE5q"
APR1 = "$apr1$mHd83kLm$dy4xm0CCgRYHdfXI.Sy670"
MD5 = "$1$mHd83kLm$8S0oL7xnqOL3gUSHDbrVO."
SHA1 = "{SHA}fIbt602FH4c3Oeysdv1YFyW4NAE="
LINE = f"operator:{BCRYPT}"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What the process knows, empty at first."""
    registry = Registry()
    monkeypatch.setattr(secrets, "KNOWN", registry)
    return registry


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file with the users, which only its owner can read."""
    path = tmp_path / "users"
    path.write_text(f"{LINE}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def users(kept: Path) -> Secret:
    """Where that file is."""
    return Secret(SETTING, "file:users", folder=kept.parent)


class TestContent:
    """What may be stored."""

    @pytest.mark.parametrize("hashed", [BCRYPT, APR1, MD5, SHA1, BCRYPT.replace("$2y", "$2b")])
    def test_hashes(self, kept: Path, users: Secret, hashed: str) -> None:
        """Each kind that Traefik compares with; the lines are stored as they are."""
        kept.write_text(f"# the night shift\n\nalice:{hashed}\nbob b.:{hashed}\n\n")

        assert content(users) == f"# the night shift\n\nalice:{hashed}\nbob b.:{hashed}\n"

    def test_is_known_first(self, kept: Path, users: Secret, known: Registry) -> None:
        """Whoever writes masks the lines from then on, also those that are refused."""
        content(users)
        kept.write_text("operator:in-clear\n")
        with pytest.raises(BadInput):
            content(users)

        assert known.values == ((LINE, SETTING), ("operator:in-clear", SETTING))

    @pytest.mark.parametrize(
        "line",
        [
            "operator:in-clear",
            "in-clear",
            BCRYPT,
            f":{BCRYPT}",
            f"operator:{BCRYPT[:-1]}",
            f"operator:{BCRYPT}x",
            f"operator:{BCRYPT.replace('$', '$$')}",
            f"operator:realm:{BCRYPT}",
            "operator:$5$ab$i1iHK8Hrto6yoJ0OzrIDt5kGpAG2sDhFWdSU906GJMB",
            "operator:{SSHA}fIbt602FH4c3Oeysdv1YFyW4NAE=",
            f"alice:{BCRYPT} operator:{BCRYPT}",
            "short",
        ],
    )
    def test_no_user(self, kept: Path, users: Secret, line: str) -> None:
        """A line that lets nobody in is refused by its number; it may be a password, so not shown.

        Dollar signs are doubled in recipes only, which the site's labels are not.
        """
        kept.write_text(f"{LINE}\n{line}\n")
        with pytest.raises(BadInput, match=f"^line 2 of the secret {SETTING} is no user") as caught:
            content(users)

        assert line not in str(caught.value)
        assert caught.value.__context__ is None
        assert "htpasswd -nB" in caught.value.todo

    def test_nobody(self, kept: Path, users: Secret) -> None:
        """A file of comments has no user at all."""
        kept.write_text("# nobody yet\n")

        with pytest.raises(BadInput, match=f"^the secret {SETTING} is no user"):
            content(users)

    def test_unreadable(self, kept: Path, users: Secret) -> None:
        """What cannot be read is refused as every secret is."""
        kept.chmod(0o644)

        with pytest.raises(BadInput, match="others may read it"):
            content(users)
