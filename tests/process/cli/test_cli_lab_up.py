"""Which lab is brought up, and by which options."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from runbook.cli import lab as cli
from runbook.lab import VARIED_LAB, Topology


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    """Run in a folder without a lab, and with no engine to be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


class TestUp:
    """Which lab is brought up."""

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ([], Topology()),
            (["--varied"], VARIED_LAB),
            (["--varied", "--name", "two"], replace(VARIED_LAB, name="two")),
            (["--workers", "1"], Topology(workers=1)),
        ],
    )
    def test_by_its_options(self, monkeypatch, options, expected):
        """Options say which; what they leave open is the article's, or the varied lab's."""
        asked = []
        monkeypatch.setattr(cli.Lab, "up", lambda self, _: asked.append(self) or [])

        result = CliRunner().invoke(cli.app, ["up", *options])

        assert result.exit_code == 0
        assert [replace(lab.topology, ssh_port=0) for lab in asked] == [expected]
