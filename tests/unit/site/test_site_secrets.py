"""Settings that name a secret by reference: what they may be, and what is never repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runbook.cli.site import app
from runbook.masking.secret import Secret
from runbook.site import SiteInvalid, load
from runbook.site.schema import schema
from runbook.site.values import REFERENCE, SECRETS

VALID = Path(__file__).parents[2] / "data" / "sites" / "valid.yml"
WANTED = "must say where the secret is: env:NAME, file:PATH or command:WORDS"
NAME = "traefik.dashboard.users"
SECRET = "s3cr3t-of-the-edge"  # noqa: S105


def written(folder: Path, users: str, name: str = "site.yml") -> Path:
    """Write a valid site with a guarded dashboard whose users are written like this."""
    site = folder / name
    site.write_text(
        f"extends: {VALID}\n"
        "traefik:\n"
        "  dashboard:\n"
        "    host: traefik.test\n"
        "    users_secret: edge_users\n"
        f"    users: {users}\n"
    )
    return site


def refusal(site: Path) -> SiteInvalid:
    """Return the error that refuses a site."""
    with pytest.raises(SiteInvalid) as caught:
        load(site)
    return caught.value


class TestReference:
    """A value that names a secret, and values that may be one."""

    @pytest.mark.parametrize(
        "reference",
        ["env:EDGE_USERS", "file:users", "file:~/users", "'command:pass show edge: users'"],
    )
    def test_accepted(self, tmp_path: Path, reference: str) -> None:
        """Each of the three forms; nothing has to be there yet."""
        seen = load(written(tmp_path, reference)).site.traefik.dashboard.users

        assert seen == reference.strip("'")

    @pytest.mark.parametrize(
        "value",
        [
            f"operator:{SECRET}",
            f"'operator:$2y$05${SECRET}'",
            f'"env: {SECRET}"',
            "'env:'",
            "true",
            f"ENV:{SECRET}",
            f"vault:{SECRET}",
            f"[{SECRET}]",
            f"[env:{SECRET}]",
            f"{{operator: {SECRET}}}",
            f"|\n      operator:{SECRET}\n      second:{SECRET}",
            f'"env:A\\n{SECRET}"',
            f"!{SECRET}",
            f"!{SECRET} env:A",
            f"*{SECRET}",
            f"{SECRET}{'x' * 5000}",
        ],
    )
    def test_refused(self, tmp_path: Path, value: str) -> None:
        """Anything else is refused at its place, and what it is is not said."""
        error = refusal(written(tmp_path, value))
        (problem,) = error.problems

        assert (problem.line, problem.column) in ((6, 12), (6, 5))
        assert (problem.setting, problem.message) == (NAME, WANTED)
        assert SECRET not in str(error)

    @pytest.mark.parametrize(
        "value", ["73155084", "073155084", "0x73155084", "7.3155084", "73155084e5", "+073155084"]
    )
    @pytest.mark.parametrize("form", ["{}", "[{}]", "{{operator: {}}}"])
    def test_number(self, tmp_path: Path, value: str, form: str) -> None:
        """A password of digits is not repeated either, however its notation is objected to."""
        problems = refusal(written(tmp_path, form.format(value))).problems

        assert {problem.message for problem in problems} == {WANTED}

    def test_tag_that_is_not_declared(self, tmp_path: Path) -> None:
        """Text between two exclamation marks makes the file no YAML; it is not repeated."""
        error = refusal(written(tmp_path, f"!{SECRET.replace('-', '')}!more"))

        assert "a tag that is not declared; text that begins with '!' needs quotes" in str(error)
        assert SECRET.replace("-", "") not in str(error)

    def test_other_settings_are_repeated(self, tmp_path: Path) -> None:
        """What is no secret is shown, so that it can be mended."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {VALID}\ntraefik: {{dashboard: {{host: A b}}}}\n")

        assert 'not "A b"' in str(refusal(site))

    def test_declared_twice(self, tmp_path: Path) -> None:
        """What is wrong with the name, and not with the value, is said as it is."""
        site = written(tmp_path, "env:A\n    users: env:B")

        assert [p.message for p in refusal(site).problems] == ["is declared twice, first in line 6"]


class TestSecret:
    """What a site file hands over."""

    def test_names_the_setting(self, tmp_path: Path) -> None:
        """It is a secret of the setting's name, and shown as that."""
        secret = load(written(tmp_path, "env:EDGE_USERS")).secret(NAME)

        assert isinstance(secret, Secret)
        assert secret == f"[masked:{NAME}]"

    def test_is_read_when_it_is_revealed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Loading reads nothing, so what is set later is what is revealed."""
        secret = load(written(tmp_path, "env:EDGE_USERS")).secret(NAME)
        monkeypatch.setenv("EDGE_USERS", "short")

        assert secret is not None
        assert secret.reveal() == "short"

    def test_file_is_relative_to_the_one_that_names_it(self, tmp_path: Path) -> None:
        """It is found from there, also where another file extends that one."""
        (tmp_path / "sites").mkdir()
        written(tmp_path / "sites", "file:../keys/users", "base.yml")
        (tmp_path / "keys").mkdir()
        kept = tmp_path / "keys" / "users"
        kept.write_text("tiny\n")
        kept.chmod(0o600)
        top = tmp_path / "top.yml"
        top.write_text("extends: sites/base.yml\nname: top\n")
        secret = load(top).secret(NAME)

        assert secret is not None
        assert secret.reveal() == "tiny"

    def test_none(self, tmp_path: Path) -> None:
        """A site that names none has none; a file can take away what it extends."""
        written(tmp_path, "env:A", "base.yml")
        top = tmp_path / "top.yml"
        top.write_text("extends: base.yml\ntraefik:\n  dashboard:\n    users:\n")

        assert load(VALID).secret(NAME) is None
        assert load(top).secret(NAME) is None


class TestShow:
    """`runbook site show`."""

    def test_shows_the_reference(self, tmp_path: Path) -> None:
        """Where the secret is, is no secret."""
        site = written(tmp_path, "file:~/users")
        done = CliRunner().invoke(app, ["show", str(site), "--json"])

        assert {"name": NAME, "value": "file:~/users", "origin": f"{site}:6"} in json.loads(
            done.stdout
        )


def references(part: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of the settings of a JSON Schema whose values are references."""
    whole = schema()
    found = []
    for name, entry in part.get("properties", {}).items():
        kinds = [entry, *entry.get("anyOf", [])]
        if any(kind.get("pattern") == REFERENCE for kind in kinds):
            found.append((*path, name))
        for kind in kinds:
            if "$ref" in kind:
                below = whole["$defs"][kind["$ref"].rpartition("/")[2]]
                found += references(below, (*path, name))
    return found


class TestSettings:
    """Which settings are secrets."""

    def test_every_reference_is_discreet(self) -> None:
        """A setting whose value is a reference is on the list of those not repeated."""
        assert references(schema()) == list(SECRETS)
