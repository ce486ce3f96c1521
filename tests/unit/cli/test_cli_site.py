"""The commands of `runbook site`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from runbook.cli.site import app
from runbook.site.schema import schema_text

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name files as an operator does."""
    monkeypatch.chdir(ROOT)


def run(*arguments: str) -> Result:
    """Return what a command of `runbook site` does."""
    return CliRunner().invoke(app, arguments)


class TestCheck:
    """`runbook site check`."""

    def test_valid(self) -> None:
        """A valid site ends with 0 and says so."""
        result = run("check", "parameters/production.yml")

        assert (result.exit_code, result.stdout) == (
            0,
            "parameters/production.yml is a valid site\n",
        )

    def test_warnings(self) -> None:
        """Warnings are shown with their place and do not fail the check."""
        result = run("check", "parameters/article.yml")

        assert result.exit_code == 0
        assert "warning: parameters/article.yml:" in result.stdout

    def test_unaccepted_risk(self, tmp_path: Path) -> None:
        """A risk that a run will refuse is told before the run."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {ROOT}/parameters/article.yml\naccepted_risks: []\n")
        result = run("check", str(site))

        assert result.exit_code == 0
        assert "not accepted: insecure-dashboard: Traefik's API" in result.stdout
        assert "not accepted: public-dashboard: the gateway forwards" in result.stdout

    def test_invalid(self) -> None:
        """An invalid site ends with 2 and every problem on standard error."""
        result = run("check", "tests/data/sites/many.yml")

        assert result.exit_code == 2
        assert result.stderr.startswith(
            "tests/data/sites/many.yml is not a valid site, 23 problems:"
        )
        assert len(result.stderr.splitlines()) == 24


class TestShow:
    """`runbook site show`."""

    def test_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each setting is a row with its value and where it is declared."""
        monkeypatch.setenv("COLUMNS", "160")
        rows = [line.split() for line in run("show", "parameters/lab.yml").stdout.splitlines()]

        assert ["│", "name", "│", "lab", "│", "parameters/lab.yml:7", "│"] in rows
        assert ["│", "keepalived.version", "│", "2", "│", "default", "│"] in rows

    def test_narrow_table_is_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is cut short in a narrow terminal."""
        monkeypatch.setenv("COLUMNS", "60")

        assert "…" not in run("show", "parameters/lab.yml").stdout

    def test_json(self) -> None:
        """The same settings are there for programs, with their types."""
        settings = json.loads(run("show", "parameters/lab.yml", "--json").stdout)

        assert {"name": "name", "value": "lab", "origin": "parameters/lab.yml:7"} in settings
        assert {"name": "keepalived.version", "value": 2, "origin": "default"} in settings

    def test_invalid(self) -> None:
        """There is nothing to show of an invalid site."""
        result = run("show", "parameters/nowhere.yml")

        assert (result.exit_code, result.stdout) == (2, "")
        assert "parameters/nowhere.yml: there is no such file" in result.stderr


class TestSchemaCommand:
    """`runbook site schema`."""

    def test_prints_the_schema(self) -> None:
        """The output is the committed file, byte for byte."""
        assert run("schema").stdout == schema_text()


class TestHelp:
    """What the commands say of themselves."""

    @pytest.mark.parametrize("command", ["check", "show", "schema"])
    def test_every_command_has_help(self, command: str) -> None:
        """Each command has a sentence of help."""
        assert run(command, "--help").exit_code == 0
        assert command in run("--help").stdout
