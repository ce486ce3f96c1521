"""The engine that the lab starts, and stops."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runbook.lab import engine, workstation
from runbook.waiting import until

# As dockerd, whose pid file goes first. What a script is called is what its process is called.
SLOW = """#!/bin/sh
trap 'rm {0}; sleep 0.7; exit' TERM
echo $$ > {0}
while :; do sleep 0.05; done
"""


def test_stopped_engine_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts one right afterwards finds none that is about to end."""
    program, pid_file = tmp_path / "dockerd", tmp_path / "pid"
    program.write_text(SLOW.format(pid_file))
    program.chmod(0o755)
    monkeypatch.setattr(engine, "PID_FILE", pid_file)
    subprocess.run(["sh", "-c", f"setsid {program} </dev/null >/dev/null 2>&1 &"], check=True)
    number = until(lambda: pid_file.exists() and pid_file.read_text(), holds=bool, timeout_s=10)
    assert number

    assert engine.stop() == f"stopped the lab's own engine (process {number.strip()})"
    assert workstation.running(number, "dockerd") is None
