"""A record whose runner was killed: the next run closes it, as what it is."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, BOB, allow, by_both, key, signer, team
from headless import agrees, entry, statuses, without_privileges
from spooled import CONTEXT, at_its_end, executed, ignore, in_its_first_step, killed, opened, told

from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import Ledger
from runbook.records.archive.statement import KILLED, SPOOL
from runbook.records.journal.entries import read
from runbook.records.writing import record as module
from runbook.records.writing.closing import JOURNAL, publish
from runbook.records.writing.record import Record, close_killed

pytestmark = pytest.mark.usefixtures("quick_kernels")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A folder of records in which nothing was recorded yet, and who may sign there."""
    allow(tmp_path / "records", team())
    return tmp_path / "records"


@pytest.fixture
def left_over(records: Path) -> Path:
    """The spool folder of a run that was killed in its first step."""
    record = opened(records)
    in_its_first_step(record)
    return killed(record)


@pytest.fixture
def bobs(records: Path) -> Archive:
    """The archive, of which the next run is bob's."""
    return Archive(records, signer(BOB))


class TestKilledRuns:
    """A spool folder that nobody holds belongs to a run that was killed."""

    def test_is_closed_as_killed(self, left_over: Path, bobs: Archive) -> None:
        """The next run renames it, and everything that tells of it says what happened."""
        run_id = left_over.name.removeprefix(SPOOL)
        (record,) = close_killed(bobs)
        results = agrees(record, None)
        notebook = json.loads((record / "network.ipynb").read_text())

        assert record.name == run_id + KILLED
        assert not left_over.exists()
        assert read(record / JOURNAL)[-1].kind == "run killed"
        assert [step["status"] for step in results["steps"]] == ["killed", "never ran"]
        assert (results["status"], results["exit_status"]) == ("killed", None)
        assert list(statuses(record / "network.ipynb").values()) == [
            "unchanged",
            "killed",
            "never ran",
        ]
        assert notebook["metadata"]["runbook"]["status"] == "killed"
        assert notebook["metadata"]["papermill"]["exception"] is True

    def test_is_sealed_by_who_found_it(self, left_over: Path, bobs: Archive) -> None:
        """The operator stays, the signer is another, and both verifiers find it in order."""
        (record,) = close_killed(bobs)
        said = told(record)

        assert (said["outcome"], said["mode"], said["site"]) == ("killed", "apply", "lab")
        assert (said["operator"]["principal"], said["signer"]) == (ALICE, BOB)
        assert (said["ticket"], said["reason"]) == (CONTEXT.ticket, CONTEXT.reason)
        assert by_both(bobs.folder) == (0, [])
        assert not left_over.exists()

    @pytest.mark.usefixtures("left_over")
    def test_is_closed_once(self, bobs: Archive) -> None:
        """A second look finds nothing."""
        assert len(close_killed(bobs)) == 1
        assert close_killed(bobs) == []
        assert by_both(bobs.folder) == (0, [])

    @pytest.mark.parametrize("sources", [True, False])
    def test_killed_before_the_first_line(
        self, records: Path, bobs: Archive, sources: bool
    ) -> None:
        """What its ledger says of it is all there is, and that is not lost."""
        record = Record(Archive(records, signer(ALICE)), "lab", ignore)
        record.archive.open_run(record.run_id, site="lab", mode="apply", context=CONTEXT)
        record.keep_sources(())
        if not sources:
            (record.folder / "source").rmdir()
            (record.folder / JOURNAL).unlink()
        killed(record)
        (closed,) = close_killed(bobs)
        said = told(closed)

        assert closed.name == record.run_id + KILLED
        assert (said["outcome"], said["ticket"], said["mode"]) == ("killed", "CHG-7", "apply")
        assert (said["site"], said["reason"]) == ("lab", CONTEXT.reason)
        assert "killed" in (closed / "report.html").read_text()
        assert by_both(records) == (0, [])

    def test_killed_before_it_was_entered(self, records: Path, bobs: Archive) -> None:
        """A folder that no ledger knows is removed: nothing was contacted yet."""
        left = killed(Record(Archive(records, signer(ALICE)), "lab", ignore))

        assert close_killed(bobs) == []
        assert not left.exists()
        assert not (records / "ledger").exists()

    def test_what_no_ledger_knows_is_left_alone(self, records: Path, bobs: Archive) -> None:
        """What did something is nobody's to remove, whoever wrote it."""
        record = Record(Archive(records, signer(ALICE)), "lab", ignore)
        record.journal.write(entry("run opened", run_id=record.run_id))
        left = killed(record)

        assert close_killed(bobs) == []
        assert (left / JOURNAL).exists()

    def test_a_run_under_way_is_left_alone(self, records: Path, bobs: Archive) -> None:
        """The journal's writer still holds it."""
        record = opened(records)

        assert close_killed(bobs) == []
        assert record.folder.name == f".spool-{record.run_id}"
        record.journal.close()

    def test_a_run_that_closes_is_left_alone(
        self, records: Path, bobs: Archive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Until it has its final name it is nobody else's, so that it is closed once only."""
        others: list[list[Path]] = []

        def publish_meanwhile(*arguments: Any) -> Any:
            others.append(close_killed(bobs))
            done = publish(*arguments)
            others.append(close_killed(bobs))
            return done

        record = opened(records)
        at_its_end(record)
        monkeypatch.setattr(module, "publish", publish_meanwhile)
        record.close()

        assert others == [[], []]
        assert record.folder.name == record.run_id
        assert by_both(records) == (0, [])

    def test_a_run_that_has_just_closed(
        self, left_over: Path, bobs: Archive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that gets its final name between a look and the next is no error."""
        there = list(bobs.folder.glob(f"{SPOOL}*"))
        monkeypatch.setattr(Path, "glob", lambda _folder, _pattern: iter(there))
        left_over.rename(left_over.with_name("renamed"))

        assert close_killed(bobs) == []

    def test_step_that_was_not_judged(self, records: Path, bobs: Archive) -> None:
        """A notebook that had come to its end is part of a step that was killed."""
        record = opened(records)
        executed(record.folder, "unchanged", "verified", ended="verified")
        record.journal.write(entry("step started", step="network", notebook="network.ipynb"))
        cells = [
            {"cell": name, "index": index, "status": status, "duration_ms": 1}
            for index, (name, status) in enumerate((("a", "unchanged"), ("b", "verified")))
        ]
        end = {"status": "verified", "reason": "", "cells": cells}
        record.journal.write(entry("notebook ended", step="network", **end))
        killed(record)
        (closed,) = close_killed(bobs)

        assert agrees(closed, None)["steps"][0]["status"] == "killed"
        assert list(statuses(closed / "network.ipynb").values()) == ["unchanged", "verified"]

    def test_cell_that_ended_after_the_last_save(self, records: Path, bobs: Archive) -> None:
        """A cell that the journal knows to have ended was not killed."""
        record = opened(records)
        in_its_first_step(record)
        cell = {"cell": "b", "index": 1, "status": "changed", "duration_ms": 1}
        record.journal.write(entry("cell ended", step="network", **cell))
        killed(record)
        (closed,) = close_killed(bobs)

        assert agrees(closed, None)["steps"][0]["status"] == "killed"
        assert list(statuses(closed / "network.ipynb").values()) == [
            "unchanged",
            "changed",
            "never ran",
        ]

    def test_finder_that_was_killed(
        self, left_over: Path, bobs: Archive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who finds what a finder left goes on from there, and the journal says killed once."""

        def die(*_arguments: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "publish", die)
            with pytest.raises(KeyboardInterrupt):
                close_killed(bobs)
        assert left_over.exists()
        (record,) = close_killed(bobs)

        assert [e.kind for e in read(record / JOURNAL)].count("run killed") == 1
        assert by_both(bobs.folder) == (0, [])

    def test_cut_off_line(self, left_over: Path, bobs: Archive) -> None:
        """A last line that was cut off with the power is no part of the record."""
        with (left_over / JOURNAL).open("a") as journal:
            journal.write('{"seq":9,"kind":"step en')
        (record,) = close_killed(bobs)

        assert [e.seq for e in read(record / JOURNAL)] == [0, 1, 2, 3]
        assert agrees(record, None)["status"] == "killed"

    def test_what_was_half_written(self, left_over: Path, bobs: Archive) -> None:
        """Half a file does not come into the record."""
        (left_over / ".network.ipynb.new").write_text("half")
        (record,) = close_killed(bobs)

        assert not list(record.rglob(".*"))

    def test_that_holds_a_secret(self, left_over: Path, bobs: Archive) -> None:
        """It is put aside, and the run that finds it is told and goes on."""
        (left_over / "notes.txt").write_text("SWMTKN-1-" + 50 * "a" + "-" + 25 * "b")
        finder = Record(bobs, "lab", ignore)
        finder.discard()
        assert [path.name[:10] for path in finder.killed] == [".withheld-"]
        assert finder.killed[0].is_dir()
        status, (found,) = by_both(bobs.folder)

        assert not left_over.exists()
        assert len(list(bobs.folder.glob(".withheld-*/notes.txt"))) == 1
        assert not list(bobs.folder.glob("2*"))
        assert (status, "was opened and never closed" in found) == (2, True)

    def test_sockets(self, records: Path, bobs: Archive) -> None:
        """What its kernels left among the temporary files goes, and nothing else."""
        temporary = Path(os.environ["TMPDIR"])
        folders = [temporary / "runbook-abc", temporary / "other", records.parent / "runbook-x"]
        for folder in folders:
            folder.mkdir()
        record = opened(records)
        for name in ("runbook-abc", "other", f"runbook-/../../{records.parent}/runbook-x"):
            record.journal.write(entry("kernel started", folder=name))
        killed(record)
        close_killed(bobs)

        assert [folder.exists() for folder in folders] == [False, True, True]
        folders[1].rmdir()


class TestKilledWhileClosing:
    """A run that was over, and killed before its record was."""

    def test_before_the_seal(self, records: Path, bobs: Archive) -> None:
        """Its own end counts: it was not killed, and the next run seals what it had come to."""
        record = opened(records)
        at_its_end(record)
        killed(record)
        (closed,) = close_killed(bobs)

        assert closed.name == record.run_id
        assert agrees(closed, 0)["steps"][0]["status"] == "changed"
        assert [e.kind for e in read(closed / JOURNAL)][-1] == "run closed"
        assert (told(closed)["outcome"], told(closed)["signer"]) == ("changed", BOB)
        assert by_both(records) == (0, [])

    CLOSE = (
        "import sys; from pathlib import Path\n"
        "from runbook.records.writing.record import close_killed\n"
        "from runbook.records.archive.archive import Archive\n"
        "from runbook.records.signing.sign import Signer\n"
        "archive = Archive(Path(sys.argv[1]), Signer(Path(sys.argv[2]), sys.argv[3]))\n"
        "print(*[path.name for path in close_killed(archive)])"
    )

    def close(self, records: Path) -> Path:
        """Close what was killed as somebody who may not write to what is sealed."""
        name = without_privileges(self.CLOSE, records, key("bob"), BOB).strip()
        return records / name

    def test_before_the_ledger_had_it(self, records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A statement that no ledger knows is made anew by who finds it."""
        record = opened(records)
        at_its_end(record)

        def die(*_arguments: Any, **_fields: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "append", die)
            with pytest.raises(KeyboardInterrupt):
                record.close()
        sealed = (record.folder / "statement.json").read_bytes()
        assert stat.S_IMODE((record.folder / JOURNAL).stat().st_mode) == 0o444
        closed = self.close(records)

        assert closed.name == record.run_id
        assert (closed / "statement.json").read_bytes() != sealed
        assert told(closed)["signer"] == BOB
        assert agrees(closed, 0)["status"] == "completed"
        assert by_both(records) == (0, [])

    @pytest.mark.parametrize("ended", [True, False])
    def test_before_its_final_name(self, records: Path, ended: bool) -> None:
        """What is sealed only gets its name; nothing of it is made anew."""
        record = opened(records)
        (at_its_end if ended else in_its_first_step)(record)
        if not ended:
            record.journal.write(
                entry("run killed", status="killed", reason="the runner was killed")
            )
        publish(record.folder, record.run_id, record.archive)
        sealed = (record.folder / "statement.json").read_bytes()
        killed(record)
        said = f"INCOMPLETE .spool-{record.run_id}: closed, and not yet given its name"
        assert by_both(records) == (2, [said])
        closed = self.close(records)

        assert closed.name == record.run_id + ("" if ended else KILLED)
        assert (closed / "statement.json").read_bytes() == sealed
        assert {stat.S_IMODE(f.stat().st_mode) for f in closed.iterdir()} == {0o444}
        assert by_both(records) == (0, [])
