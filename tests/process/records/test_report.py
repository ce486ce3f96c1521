"""The report, the export, and what leaves the archive."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from archives import (
    ALICE,
    BOB,
    CAROL,
    CONTEXT,
    RUNS,
    allow,
    archive_in,
    by_both,
    by_script,
    edit,
    planned_in,
    run,
    signer,
    team,
)

from runbook.errors import BadInput, Refused
from runbook.records.archive.archive import Archive
from runbook.records.archive.statement import Context
from runbook.records.copies.export import export
from runbook.records.keeping import approve, prune
from runbook.records.reading.report import Report, population, report, review
from runbook.records.reading.search import Filter, select
from runbook.records.verify.verify import verify

FIRST, SECOND, LAST = RUNS
NEXT = "20261123T130004Z-lab-00000d"
PLAN = b"{}\n"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive of three runs."""
    return archive_in(tmp_path)


def kinds(made: Report, run_id: str) -> list[str]:
    return sorted(anomaly.kind for anomaly in made.anomalies if anomaly.run_id == run_id)


class TestPopulation:
    """Every run that there was."""

    def test_without_gaps(self, records: Path) -> None:
        """Runs that were never closed, were pruned or are missing are in it."""
        archive = Archive(records, signer(ALICE))
        archive.open_run(NEXT, site="lab", mode="apply", context=CONTEXT)
        later = datetime.now(UTC) + timedelta(days=1)
        due = [d for d in prune.due(records, "lab", 0, later) if d.run_id == FIRST]
        prune.prune(archive, tuple(due), "kept for 0 days")
        shutil.rmtree(records / SECOND)
        entries = report(records).entries

        assert [(entry.run_id, entry.record) for entry in entries] == [
            (FIRST, "pruned"),
            (SECOND, "missing"),
            (LAST, "present"),
            (NEXT, "missing"),
        ]
        assert [entry.ledger for entry in entries] == [
            f"ledger/{ALICE}.jsonl:1",
            f"ledger/{BOB}.jsonl:1",
            f"ledger/{ALICE}.jsonl:3",
            f"ledger/{ALICE}.jsonl:5",
        ]
        assert entries[3].closed is None

    def test_csv(self, records: Path) -> None:
        """As CSV it is one line a run, and no cell is a formula."""
        context = Context(ticket="=1+1", reason="a, b")
        run(Archive(records, signer(ALICE)), NEXT, context=context)
        rows = list(csv.DictReader(io.StringIO(population(report(records).entries))))

        assert [row["run_id"] for row in rows] == [*RUNS, NEXT]
        assert (rows[3]["ticket"], rows[3]["reason"], rows[3]["signed"]) == ("'=1+1", "a, b", "yes")

    def test_period(self, records: Path) -> None:
        """A period takes the runs that were opened in it."""
        assert len(report(records, since="2026-01-01").entries) == 3
        assert report(records, until="2020-01-01").entries == ()


class TestAnomalies:
    """What an auditor will ask about."""

    def test_unapproved(self, records: Path) -> None:
        """A run that applied without an approval stands out; one that planned does not."""
        run(Archive(records, signer(BOB)), NEXT, mode="plan")
        made = report(records)

        assert "unapproved" in kinds(made, FIRST)
        assert "unapproved" not in kinds(made, NEXT)

    def test_approved(self, records: Path) -> None:
        """One with an approval does not stand out."""
        planned = planned_in(records)
        path = approve.approve(records, planned, signer(CAROL), reason="looks right")
        archive = Archive(records, signer(BOB))
        run(archive, NEXT, before_close=lambda folder: approve.place(path, folder))
        made = report(records)

        assert "unapproved" not in kinds(made, NEXT)
        assert {e.run_id: e.approved_by for e in made.entries}[NEXT] == CAROL

    def test_unclosed_and_unsigned(self, records: Path) -> None:
        """Runs that were never closed, and those that nobody signed, stand out."""
        run(Archive(records), NEXT)
        Archive(records, signer(BOB)).open_run("gone", site="lab", mode="plan", context=Context())
        made = report(records)

        assert "unsigned" in kinds(made, NEXT)
        assert kinds(made, "gone") == ["missing", "no ticket", "unclosed"]
        assert made.verification.exit_status == 2

    @pytest.mark.parametrize("damaged", [b"", b"\xff", b"[" * 100_000])
    def test_snapshot_that_cannot_be_read(self, records: Path, damaged: bytes) -> None:
        """The report is made all the same, and its verification names the run."""
        path = records / SECOND / "before.json"
        path.chmod(0o644)
        path.write_bytes(damaged)
        made = report(records)

        assert [entry.run_id for entry in made.entries] == [FIRST, SECOND, LAST]
        assert SECOND in str(made.verification)

    def test_drift_and_uncommitted(self, records: Path) -> None:
        """State that no run made, and code that no commit holds, stand out."""
        git = {"commit": "0" * 40, "branch": "main", "dirty": True}
        run(Archive(records, signer(BOB)), NEXT, context=Context(ticket="CHG-7", git=git))
        made = report(records)

        assert {"drift", "uncommitted"} <= set(kinds(made, NEXT))

    def test_review(self, records: Path) -> None:
        """An emergency stands out until somebody else than the operator has reviewed it."""
        told = approve.emergency(PLAN, ALICE, "the edge is down", "2025-12-27T00:00:00.000Z")
        run(Archive(records, signer(ALICE)), NEXT, context=Context(ticket="I", approval=told))
        (found,) = (a for a in report(records).anomalies if a.kind == "review")
        assert found.what == "an emergency whose review was due 2026-01-01T00:00:00.000Z"

        with pytest.raises(Refused, match="have somebody else review it"):
            review(Archive(records, signer(ALICE)), NEXT, "fine")
        review(Archive(records, signer(BOB)), NEXT, "justified")

        assert "review" not in kinds(report(records), NEXT)
        assert by_both(records) == (0, [])
        with pytest.raises(BadInput, match="no ledger has closed the run other"):
            review(Archive(records, signer(BOB)), "other", "")


class TestExport:
    """A zip for somebody else."""

    def test_verifies_elsewhere(self, records: Path, tmp_path: Path) -> None:
        """As a zip and unpacked, by the package and by the script, it is as it was written."""
        target = tmp_path / "export.zip"
        assert export(records, target) == RUNS

        assert verify(target).findings == ()
        elsewhere = tmp_path / "elsewhere"
        with zipfile.ZipFile(target) as packed:
            packed.extractall(elsewhere)
        assert by_both(elsewhere) == (0, [])

    def test_same_bytes(self, records: Path, tmp_path: Path) -> None:
        """Made again, later and from a copy, it is the same file."""
        one, other = tmp_path / "one.zip", tmp_path / "other.zip"
        export(records, one)
        copy = Path(shutil.copytree(records, tmp_path / "copy"))
        for path in copy.rglob("*"):
            os.utime(path, (1, 1))
        export(copy, other)

        assert one.read_bytes() == other.read_bytes()

    def test_some_runs(self, records: Path, tmp_path: Path) -> None:
        """An export of some runs says how many more there are, and misses none that was asked."""
        target, elsewhere = tmp_path / "some.zip", tmp_path / "elsewhere"
        assert export(records, target, runs=("00000b",)) == (SECOND,)
        with zipfile.ZipFile(target) as packed:
            packed.extractall(elsewhere)

        note = "NOTE export.json: an export: 2 more runs are in the ledgers only"
        assert by_both(elsewhere) == (0, [note])
        told = json.loads((elsewhere / "export.json").read_text())
        assert (told["runs"], told["count"]) == ([SECOND], 1)
        shutil.rmtree(elsewhere / SECOND)
        assert by_both(elsewhere)[0] == 1

    def test_period(self, records: Path, tmp_path: Path) -> None:
        """A period and its population come along."""
        target = tmp_path / "period.zip"
        export(records, target, period=Filter(since="2026-11-01"))

        with zipfile.ZipFile(target) as packed:
            assert len(packed.read("population.csv").splitlines()) == 4
            assert json.loads(packed.read("export.json"))["since"] == "2026-11-01"
        with pytest.raises(BadInput, match="no run to export"):
            export(records, target, period=Filter(since="2030-01-01"))

    def test_tampered(self, records: Path, tmp_path: Path) -> None:
        """A file altered in the zip is named."""
        export(records, tmp_path / "a.zip")
        with (
            zipfile.ZipFile(tmp_path / "a.zip") as old,
            zipfile.ZipFile(tmp_path / "b.zip", "w") as new,
        ):
            for name in old.namelist():
                content = old.read(name)
                new.writestr(name, content + b" " if name == f"{FIRST}/report.html" else content)

        found = verify(tmp_path / "b.zip").findings
        assert [finding.where for finding in found] == [f"{FIRST}/report.html"]

    def test_nothing_of_the_cache(self, records: Path, tmp_path: Path) -> None:
        """The index and locks stay where they are."""
        select(records)
        (records / ".lock").touch()
        export(records, tmp_path / "a.zip")

        with zipfile.ZipFile(tmp_path / "a.zip") as packed:
            assert not [name for name in packed.namelist() if name.startswith(".")]

    def test_not_an_export(self, tmp_path: Path) -> None:
        """Anything else is refused as one."""
        (tmp_path / "a.zip").write_text("no")
        for name in ("a.zip", "absent.zip"):
            with pytest.raises(BadInput, match="neither an archive's folder nor an export"):
                verify(tmp_path / name)


class TestPrune:
    """Runs whose time is over."""

    LATER = datetime.now(UTC) + timedelta(days=401)

    def test_due(self, records: Path) -> None:
        """Runs are due once they were closed longer ago than they are kept."""
        assert prune.due(records, "lab", 400) == ()
        assert prune.due(records, "other", 400, self.LATER) == ()
        assert [due.run_id for due in prune.due(records, "lab", 400, self.LATER)] == list(RUNS)
        with pytest.raises(BadInput):
            prune.due(records, "lab", -1)

    def test_removed(self, records: Path) -> None:
        """Folders go, the ledger tells of it, and both verifiers find all in order."""
        archive = Archive(records, signer(BOB))
        prune.prune(archive, prune.due(records, "lab", 400, self.LATER), "kept for 400 days")

        status, found = by_both(records)
        assert status == 0
        assert sorted(found) == [
            f"NOTE ledger/{BOB}.jsonl:{line}: {name} was removed by {BOB}: kept for 400 days"
            for line, name in zip((3, 4, 5), RUNS, strict=True)
        ]
        assert not (records / FIRST).exists()

    def test_hold(self, records: Path) -> None:
        """A held run stays until it is released."""
        archive = Archive(records, signer(ALICE))
        prune.hold(archive, FIRST, "a dispute")
        assert FIRST not in [due.run_id for due in prune.due(records, "lab", 400, self.LATER)]
        prune.hold(Archive(records, signer(BOB)), FIRST, "settled", release=True)

        assert FIRST in [due.run_id for due in prune.due(records, "lab", 400, self.LATER)]
        assert by_both(records) == (0, [])
        with pytest.raises(BadInput, match="no ledger has closed"):
            prune.hold(archive, "other", "")

    def test_evidence_stays(self, records: Path) -> None:
        """A run that is not as it was written is not removed."""
        edit(records / FIRST / "report.html", "1 change", "0 changes")
        archive = Archive(records, signer(ALICE))

        with pytest.raises(Refused, match=f"{FIRST}/report.html: altered"):
            prune.prune(archive, prune.due(records, "lab", 400, self.LATER), "")
        assert (records / FIRST).is_dir()

    def test_only_within(self, records: Path, tmp_path: Path) -> None:
        """A forged line does not lead out of the archive."""
        (tmp_path / "precious").mkdir()
        archive = Archive(records, signer(ALICE))
        for name in ("../precious", str(tmp_path / "precious")):
            archive.ledger.append("closed", run_id=name)

        assert [due.run_id for due in prune.due(records, "lab", 400, self.LATER)] == list(RUNS)

    def test_unsigned(self, records: Path) -> None:
        """Without a key a removal is entered, and nobody vouches for it."""
        prune.prune(Archive(records), prune.due(records, "lab", 400, self.LATER)[:1], "")

        status, found = by_both(records)
        assert status == 2
        assert found[0].startswith("INCOMPLETE ledger/unsigned.jsonl:1: pruned: nothing signed")


class TestRedact:
    """A secret that was found later."""

    def test_superseded(self, records: Path) -> None:
        """The file is replaced, and the line that tells of it takes the place of an error."""
        archive = Archive(records, signer(ALICE))
        prune.redact(archive, FIRST, "report.html", b"[masked]\n", "a password was shown")

        note = f"NOTE {FIRST}/report.html: redacted: superseded by ledger/{ALICE}.jsonl:5"
        assert by_both(records) == (0, [f"{note}: a password was shown"])
        assert (records / FIRST / "report.html").read_bytes() == b"[masked]\n"

    def test_twice(self, records: Path) -> None:
        """A file may be redacted again; altering it afterwards is found."""
        archive = Archive(records, signer(ALICE))
        for content in (b"[masked]\n", b"[masked] again\n"):
            prune.redact(archive, FIRST, "report.html", content, "a password")
        assert by_both(records)[0] == 0

        edit(records / FIRST / "report.html", "again", "once more")
        status, found = by_both(records)
        assert status == 1
        assert found[0].startswith(f"BAD {FIRST}/report.html: altered")

    @pytest.mark.parametrize("name", ["statement.json", "absent", "../allowed_signers"])
    def test_not_these(self, records: Path, name: str) -> None:
        """What says what the run was is not replaced, nor anything outside the run."""
        with pytest.raises(BadInput, match="has no file"):
            prune.redact(Archive(records, signer(ALICE)), FIRST, name, b"", "")


class TestAll:
    """Everything that may rightly happen to an archive, one after another."""

    def test_clean(self, records: Path, tmp_path: Path) -> None:
        """Approvals, holds, reviews, redactions, removals and exports leave it verified."""
        allow(records, team())
        alice, bob = (Archive(records, signer(name)) for name in (ALICE, BOB))
        approve.approve(records, planned_in(records), signer(CAROL), reason="looks right")
        prune.hold(alice, SECOND, "a dispute")
        prune.redact(bob, LAST, "report.html", b"[masked]\n", "a password")
        later = datetime.now(UTC) + timedelta(days=401)
        prune.prune(alice, prune.due(records, "lab", 400, later)[:1], "kept for 400 days")
        run(bob, NEXT)
        export(records, tmp_path / "all.zip")

        assert by_both(records)[0] == verify(tmp_path / "all.zip").exit_status == 0
        assert by_script(records)[1][-1] == "4 runs, 13 lines: as they were written"
