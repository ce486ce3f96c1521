"""Commands that root has to run on the operator's machine."""

import pytest

from runbook.lab import LabError, workstation


class TestEngine:
    """Which engine is used, and what is said where there is none."""

    def test_an_ordinary_user_goes_through_sudo(self, monkeypatch, tmp_path):
        """Root runs the command itself; anybody else has sudo run it, never asking."""
        sudo = tmp_path / "sudo"
        sudo.write_text('#!/bin/sh\necho "sudo $*"\n')
        sudo.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setattr("os.geteuid", lambda: 1000)

        assert workstation.as_root("ip", "link") == "sudo -n ip link\n"

    def test_a_command_that_fails_is_told(self):
        """The message has the command, its status and what it said."""
        with pytest.raises(LabError, match=r"^false failed \(1\)"):
            workstation.as_root("false")
