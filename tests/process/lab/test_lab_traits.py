"""What the shell makes of the commands by which a machine of the lab differs."""

import subprocess

import pytest

from runbook.lab import VARIED_LAB, ssh, traits
from runbook.lab.state import State
from runbook.lab.traits import VARIED


@pytest.fixture(name="state")
def fixture_state(tmp_path):
    """Return the state of a varied lab that has its keys."""
    state = State.of("varied", tmp_path)
    ssh.make_keys(VARIED_LAB, state)
    return state


class TestScript:
    """The commands that make a machine differ."""

    @pytest.mark.parametrize("name", VARIED)
    def test_the_shell_can_read_it(self, name):
        """No quote is left open. Source: sh(1), -n."""
        done = subprocess.run(
            ["sh", "-n"], input=traits.script(VARIED[name]), text=True, check=False
        )

        assert done.returncode == 0
