"""The commands of the lab, without a lab."""

import pytest
from typer.testing import CliRunner

from runbook.cli import lab as cli
from runbook.errors import BadInput
from runbook.lab import LabError, Topology

COMMANDS = ("up", "down", "status", "reset", "shell", "logs")


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    """Run in a folder without a lab, and with no engine to be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


class TestHelp:
    """Every command explains itself."""

    @pytest.mark.parametrize("command", COMMANDS)
    def test_a_command_has_help(self, command):
        """The first line says what it does."""
        result = CliRunner().invoke(cli.app, [command, "--help"])

        assert result.exit_code == 0
        assert "Usage" in result.output

    def test_there_is_no_other_command(self):
        """The list above is complete."""
        names = {
            command.name or command.callback.__name__ for command in cli.app.registered_commands
        }

        assert set(COMMANDS) == names


class TestRefused:
    """Bad input ends with exit status 2 and one message."""

    @pytest.mark.parametrize(
        "arguments", [["status"], ["reset"], ["logs", "docker01"], ["shell", "docker01"]]
    )
    def test_no_lab_here(self, arguments):
        """What needs a lab says that there is none."""
        result = CliRunner().invoke(cli.app, arguments)

        assert isinstance(result.exception, BadInput)
        assert "run lab up first" in str(result.exception)

    def test_options_are_checked_before_anything_is_made(self, tmp_path):
        """A wrong option leaves no trace on the disk."""
        result = CliRunner().invoke(cli.app, ["up", "--managers", "0"])

        assert isinstance(result.exception, BadInput)
        assert list(tmp_path.iterdir()) == []

    def test_a_varied_lab_is_checked_too(self, tmp_path):
        """Its options are the same ones."""
        result = CliRunner().invoke(cli.app, ["up", "--varied", "--managers", "0"])

        assert isinstance(result.exception, BadInput)
        assert list(tmp_path.iterdir()) == []


class TestDown:
    """What was made is removed; where nothing was, that is said."""

    def test_nothing_was_made_and_no_engine_answers(self):
        """That is no error, however often it is asked for."""
        result = CliRunner().invoke(cli.app, ["down"])

        assert result.exit_code == 0
        assert "no engine answers, and no lab of this name was made here" in result.output

    def test_engine_of_a_lab_does_not_answer(self, tmp_path, monkeypatch):
        """What is left in it cannot be removed; it is stopped none the less, if asked."""
        (tmp_path / ".lab" / "lab").mkdir(parents=True)
        (tmp_path / ".lab" / "lab" / "lab.json").write_text(Topology().to_json())
        monkeypatch.setattr(cli.engine, "stop", lambda: "stopped the lab's own engine")
        result = CliRunner().invoke(cli.app, ["down", "--engine"])

        assert isinstance(result.exception, LabError)
        assert "no Docker Engine answers" in str(result.exception)
        assert "stopped the lab's own engine" in result.output
