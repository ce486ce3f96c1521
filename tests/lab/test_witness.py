"""What the journals of the managers remember of runs, when the records have been written anew."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Break, Operator
from witnesses import must

from runbook.lab import Lab

MANAGERS = ("docker01", "docker02", "docker03")
READ = "journalctl -t runbook-audit _UID=0 -o cat -q"


@pytest.fixture
def forgotten(edge: Lab) -> Lab:
    """The edge, whose journals hold nothing of what other tests ran with other archives."""
    for host in MANAGERS:
        must(edge, host, "journalctl -q --rotate --vacuum-size=1")
        assert must(edge, host, READ) == ""
    return edge


def applied(operator: Operator) -> str:
    """Apply one step, and return the run."""
    done = operator("run", "--only", "keepalived", "--json")
    assert done.status == 0, done.text
    run_id: str = done.results["run_id"]
    return run_id


def cut(operator: Operator, run_id: str) -> None:
    """Remove the newest run and its two lines, as whoever can write the records can."""
    (ledger,) = (operator.records / "ledger").iterdir()
    lines = ledger.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["run_id"] for line in lines[-2:]] == [run_id, run_id]
    ledger.write_bytes(b"".join(lines[:-2]))
    shutil.rmtree(operator.records / run_id)


class TestJournals:
    """The entries on the managers."""

    def test_before_and_after(self, bare: Lab, operator: Operator) -> None:
        """Each manager knows of a run before its first change, and of its record."""
        done = operator("run", "--only", "keepalived", "--json")
        assert done.status == 0, done.text
        assert done.step("keepalived")["counts"]["done"] > 0
        for host in MANAGERS:
            entries = [e.split() for e in must(bare, host, READ).splitlines()]
            own = [e[0] for e in entries if f"run={done.results['run_id']}" in e]
            assert own == ["opened", "closed"], host

    @pytest.mark.leaves("edge")
    def test_journal_that_takes_nothing(
        self, forgotten: Lab, operator: Operator, broken: Break
    ) -> None:
        """The run says which manager will not remember it; the others do."""
        broken("docker01", "mv /dev/log /dev/log.away", "mv /dev/log.away /dev/log")
        done = operator("run", "--only", "keepalived")
        assert done.status == 0, done.text
        assert "docker01: nothing can be written to the journal" in done.text
        assert must(forgotten, "docker01", READ) == ""
        assert operator.archive("records", "verify", "--witness", operator.site).status == 0


class TestVerify:
    """``records verify --witness operator.site``."""

    @pytest.mark.leaves("edge")
    def test_cut(self, forgotten: Lab, operator: Operator, tmp_path: Path) -> None:
        """A run that was cut off is missed by the managers, and by nobody else."""
        applied(operator)
        last = applied(operator)
        sound = operator.archive("records", "verify", "--witness", operator.site)
        assert sound.status == 0, sound.text

        cut(operator, last)
        assert operator.archive("records", "verify").status == 0
        missed = operator.archive("records", "verify", "--witness", operator.site)
        assert missed.status == 1
        who = ", ".join(MANAGERS)
        assert f", which each of {who} has seen (closed {last})" in missed.text

        heads = tmp_path / "heads.json"
        heads.write_text(operator.archive("records", "witness", operator.site).stdout)
        assert operator.archive("records", "verify", "--witness", heads).status == 1
        script = ["sh", operator.records / "verify.sh", "--witness", heads]
        stranger = subprocess.run(script, capture_output=True, text=True, check=False)
        assert stranger.returncode == 1
        assert "cut or dropped" in stranger.stdout

    @pytest.mark.leaves("edge")
    def test_entry_of_somebody_else(self, forgotten: Lab, operator: Operator) -> None:
        """What anybody but root has logged accuses nobody."""
        applied(operator)
        entry = must(forgotten, "docker01", READ).splitlines()[-1]
        head = entry.split("head=")[1]
        forged = f"logger -t runbook-audit -p auth.notice -- {entry.replace(head, '0' * 64)}"
        must(forgotten, "docker01", forged, user="gerard")
        must(forgotten, "docker01", "journalctl --sync")

        assert "0" * 64 in must(forgotten, "docker01", "journalctl -t runbook-audit -o cat -q")
        verified = operator.archive("records", "verify", "--witness", operator.site)
        assert verified.status == 0, verified.text
