"""The transcript of commands."""

from __future__ import annotations

import json
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runbook.hosts import transcript as module
from runbook.hosts.ssh.command import Result
from runbook.hosts.transcript import STDERR_TAIL, Transcript
from runbook.masking.redact import Masker
from runbook.masking.secret import Registry


def result(host: str = "docker01", stderr: str = "", stdout: str = "") -> Result:
    """Return a command that was run."""
    return Result(
        host=host,
        argv=("printf", "a b"),
        sudo=True,
        status=3,
        stdout=stdout,
        stderr=stderr,
        started=datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        duration_ms=12,
    )


class TestTranscript:
    """What is kept, and how."""

    def test_line(self, tmp_path: Path) -> None:
        """One command is one JSON line with what was run, where, and what came of it."""
        Transcript(tmp_path / "transcript.jsonl").add(result(stderr="gone\n"))

        assert json.loads((tmp_path / "transcript.jsonl").read_text()) == {
            "time": "2025-01-02T03:04:05.678+00:00",
            "host": "docker01",
            "sudo": True,
            "argv": ["printf", "a b"],
            "status": 3,
            "duration_ms": 12,
            "stderr": "gone\n",
        }

    def test_output_stays_out(self, tmp_path: Path) -> None:
        """What a command printed may be secret and is not kept; of its errors, the end is."""
        transcript = Transcript(tmp_path / "transcript.jsonl")
        transcript.add(result(stdout="secret", stderr="x" * 2 * STDERR_TAIL + "end"))

        assert "secret" not in (tmp_path / "transcript.jsonl").read_text()
        assert len(transcript.entries[0].stderr) == STDERR_TAIL
        assert transcript.entries[0].stderr.endswith("end")

    def test_holds_no_secret(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A value is masked in the words and in what was complained, before that is cut."""
        registry = Registry()
        registry.add("vault", "correct-horse-battery")
        monkeypatch.setattr(module, "MASKER", Masker(registry))
        complaint = "correct-horse-battery" + "x" * (STDERR_TAIL - 5)
        command = replace(
            result(stderr=complaint), argv=("curl", "--password", "other", "correct-horse-battery")
        )
        transcript = Transcript(tmp_path / "transcript.jsonl")
        transcript.add(command)
        (entry,) = transcript.entries

        assert entry.argv == ("curl", "--password", "[masked:option]", "[masked:vault]")
        assert entry.stderr == "ault]" + "x" * (STDERR_TAIL - 5)
        assert "battery" not in (tmp_path / "transcript.jsonl").read_text()

    def test_without_file(self, tmp_path: Path) -> None:
        """Without a file the entries are kept in memory alone."""
        transcript = Transcript(None)
        transcript.add(result())

        assert [entry.host for entry in transcript.entries] == ["docker01"]
        assert list(tmp_path.iterdir()) == []

    def test_appended(self, tmp_path: Path) -> None:
        """Another kernel's lines are kept; the file is the owner's alone."""
        path = tmp_path / "transcript.jsonl"
        for host in ("docker01", "docker02"):
            Transcript(path).add(result(host))

        assert [json.loads(line)["host"] for line in path.read_text().splitlines()] == [
            "docker01",
            "docker02",
        ]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_threads(self, tmp_path: Path) -> None:
        """Lines of several writers never mix."""
        path = tmp_path / "transcript.jsonl"
        writers = [Transcript(path) for _ in range(4)]

        def write(transcript: Transcript) -> None:
            for _ in range(50):
                transcript.add(result(stderr="ü\n" * 500))

        threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        lines = path.read_text().splitlines()
        assert len([json.loads(line) for line in lines]) == 200
        assert [len(writer.entries) for writer in writers] == [50] * 4
