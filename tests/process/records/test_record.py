"""The record: opened before anything is contacted, sealed at its end, or closed by the next run."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, BOB, CAROL, allow, by_both, key, signer, team
from headless import (
    VERDICT,
    Workplace,
    agrees,
    check,
    entry,
    made,
    own_temporary_files,
    plan,
    statuses,
    without_privileges,
)

from runbook.errors import BadInput, Refused
from runbook.events import to_json
from runbook.records.archive import canonical
from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import Ledger
from runbook.records.archive.statement import KILLED, SPOOL, Context
from runbook.records.journal.entries import DeclaredStep, Entry, RunOpened, read
from runbook.records.journal.status import Status
from runbook.records.keeping import approve
from runbook.records.reading.report import report
from runbook.records.signing.sign import Signer
from runbook.records.writing import record as module
from runbook.records.writing.closing import JOURNAL, RESULTS, Withheld, publish
from runbook.records.writing.record import Record, close_killed
from runbook.run import RunResult, kernels
from runbook.run.opening import prepare

CONTEXT = Context(ticket="CHG-7", reason="the edge is to be highly available")
STEPS = [{"step": n, "notebook": f"{n}.ipynb", "skipped": False} for n in ("network", "traefik")]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A folder of records in which nothing was recorded yet, and who may sign there."""
    allow(tmp_path / "records", team())
    return tmp_path / "records"


@pytest.fixture(autouse=True)
def _quick_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels do not load ahead what these notebooks do not use, and leave nothing behind."""
    assert tmp_path.exists()
    monkeypatch.setattr(kernels, "PRELOAD", "json")
    with own_temporary_files():
        yield


def ignore(_entry: Entry) -> None:
    """Listen to nothing."""


def opened(records: Path, by: str = ALICE) -> Record:
    """Return a record whose run was opened and has written its first line."""
    record = Record(Archive(records, signer(by)), "lab", ignore)
    record.archive.open_run(record.run_id, site="lab", mode="apply", context=CONTEXT)
    record.journal.write(
        entry(
            "run opened",
            run_id=record.run_id,
            site="lab",
            site_file="lab.yml",
            settings={"name": "lab", "traefik.image": "traefik:v3.7.1"},
            mode="apply",
            context=asdict(CONTEXT),
            emergency=False,
            steps=STEPS,
        )
    )
    return record


def executed(folder: Path, *cells: str, ended: str = "running") -> None:
    """Write a notebook of the step network as the engine saves it."""
    written = [
        {
            "cell_type": "code",
            "id": name,
            "source": "",
            "outputs": [],
            "execution_count": None,
            "metadata": {"papermill": {"status": cell, "exception": False}},
        }
        for name, cell in zip("abcdef", cells, strict=False)
    ]
    about = {"papermill": {"exception": None}, "runbook": {"status": ended, "reason": ""}}
    notebook = {"cells": written, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    (folder / "network.ipynb").write_text(json.dumps(notebook))


def in_its_first_step(record: Record) -> None:
    """Have a record be in the middle of its first step."""
    executed(record.folder, "unchanged", "running", "never ran")
    record.journal.write(entry("step started", step="network", notebook="network.ipynb"))
    cell = {"cell": "a", "index": 0, "status": "unchanged", "duration_ms": 1}
    record.journal.write(entry("cell ended", step="network", **cell))


def at_its_end(record: Record) -> None:
    """Have a record be that of a run whose one step is over, and that only wants its seal."""
    executed(record.folder, "changed", ended="changed")
    event = {"step": "network", **made("docker01")}
    cell = {"cell": "a", "index": 0, "status": "changed", "duration_ms": 1}
    end = {"status": "changed", "reason": ""}
    told: list[tuple[str, dict[str, Any]]] = [
        ("step started", {"notebook": "network.ipynb"}),
        ("event", {"event": event}),
        ("cell ended", cell),
        ("notebook ended", {**end, "cells": [cell]}),
        ("step ended", {**end, "duration_ms": 2}),
    ]
    for kind, particulars in told:
        record.journal.write(entry(kind, step="network", **particulars))
    over = {"status": "completed", "reason": "", "exit_status": 0, "duration_ms": 3}
    record.journal.write(entry("run closed", **over))


def killed(record: Record) -> Path:
    """Leave a record as a runner does that is killed now; the system lets go of its journal."""
    record.journal.close()
    return record.folder


def told(record: Path) -> dict[str, Any]:
    """Return what the statement of a record says."""
    predicate: dict[str, Any] = json.loads((record / "statement.json").read_text())["predicate"]
    return predicate


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


class TestRecord:
    """The folder of one run."""

    def test_names(self, records: Path) -> None:
        """Its id has start, site and chance; until it is closed its folder says so."""
        one, other = opened(records), opened(records)

        assert one.run_id != other.run_id
        assert one.run_id.split("-")[1] == "lab"
        assert one.folder == records / f".spool-{one.run_id}"
        at_its_end(one)
        one.close()
        assert one.folder == records / one.run_id
        other.journal.close()

    def test_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        """It is said, with what to do."""
        (tmp_path / "records").write_text("a file")
        with pytest.raises(BadInput, match=r"no record can be kept in .*records") as refused:
            Record(Archive(tmp_path / "records" / "below"), "lab", ignore)

        assert refused.value.todo == "name a folder that can be written"

    def test_discarded(self, records: Path) -> None:
        """Of a run that could not be opened nothing is left."""
        record = Record(Archive(records, signer(ALICE)), "lab", ignore)
        record.discard()

        assert not record.folder.exists()

    def test_settled(self, records: Path) -> None:
        """An executed notebook says how its step ended; one that was never served is none."""
        record = opened(records)
        executed(record.folder, "unchanged", ended="unchanged")
        record.settle("network.ipynb", Status.FAILED, "no plan was shown")
        record.settle("traefik.ipynb", Status.FAILED, "the kernel did not start")
        about = json.loads((record.folder / "network.ipynb").read_text())["metadata"]

        assert about["runbook"] == {"status": "failed", "reason": "no plan was shown"}
        assert {path.name for path in record.folder.iterdir()} == {JOURNAL, "network.ipynb"}
        record.journal.close()


class TestPublish:
    """What is written when a run is over."""

    def test_everything_is_from_the_journal(self, records: Path) -> None:
        """Results, states, differences, plan and page are there, and are what the journal says."""
        record = opened(records)
        at_its_end(record)
        results, sealed = record.close()

        assert json.loads((record.folder / RESULTS).read_text()) == to_json(results)
        assert json.loads((record.folder / "plan.json").read_text()) == {
            "schema": 1,
            "site": {"name": "lab", "traefik.image": "traefik:v3.7.1"},
            "image": "traefik:v3.7.1",
            "steps": {},
        }
        assert json.loads((record.folder / "before.json").read_text()) == {}
        assert (record.folder / "changes.diff").read_text() == ""
        assert "<title>Applied to lab: completed" in (record.folder / "report.html").read_text()
        assert sealed.run_id == results.run_id == record.run_id

    def test_key_that_cannot_sign_any_more(
        self, records: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The record is kept as it is, and the next run closes it."""

        def refuse(*_arguments: Any) -> str:
            raise Refused("the agent is gone")

        record = opened(records)
        at_its_end(record)
        with monkeypatch.context() as patch:
            patch.setattr(Signer, "sign", refuse)
            with pytest.raises(Refused, match="the agent is gone"):
                record.close()
        assert by_both(records)[0] == 2
        (closed,) = close_killed(Archive(records, signer(ALICE)))

        assert (closed.name, told(closed)["outcome"]) == (record.run_id, "changed")
        assert by_both(records) == (0, [])

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda folder: (folder / "elsewhere").symlink_to("/etc/hostname"), "'elsewhere'"),
            (lambda folder: (folder / "two\nlines").touch(), r"'two\\nlines'"),
            (lambda folder: os.mkfifo(folder / "pipe"), "'pipe'"),
        ],
        ids=["link", "name", "pipe"],
    )
    def test_what_cannot_be_recorded(
        self, records: Path, spoil: Callable[[Path], Any], said: str
    ) -> None:
        """What is no plain file is in no record, and does not stand in the way of the next one."""
        record = opened(records)
        at_its_end(record)
        spoil(record.folder)
        with pytest.raises(Withheld, match=f"not published: .*{said} is no plain file"):
            record.close()

        assert not record.folder.exists()
        assert (records / f".withheld-{record.run_id}").is_dir()
        assert close_killed(Archive(records, signer(ALICE))) == []


def begin(place: Workplace) -> None:
    """Give a workplace one step that plans a change and makes it."""
    done = [f"    tell(**{event})" for event in (made("docker01"), check("holds"), VERDICT)]
    apply = "\n".join(["if mode == 'apply':", *done])
    place.cells("network", f"tell(**{plan('docker01')})", apply, checks=("holds",))


@pytest.fixture
def place(tmp_path: Path, records: Path) -> Workplace:
    """A site with one step, whose records the team signs."""
    place = Workplace(tmp_path)
    assert place.records == records
    begin(place)
    return place


GIVEN: dict[str, dict[str, Any]] = {
    "signature": {"key": key("alice")},
    "ticket": {"ticket": "CHG-7"},
    "reason": {"reason": "the edge is to be highly available"},
    "approval": {"emergency": True, "reason": "the edge is down"},
}


class TestRequirements:
    """What a site requires of a run that changes something."""

    @pytest.mark.parametrize("need", GIVEN)
    def test_missing(self, place: Workplace, need: str) -> None:
        """It is named, with how to give it, and nothing is entered or begun."""
        place.require = (need,)
        with pytest.raises(Refused, match=f"changes something: {need}") as refused:
            place.run(mode="apply")

        assert refused.value.exit_code == 3
        assert refused.value.todo
        assert [path.name for path in place.records.iterdir()] == ["allowed_signers"]
        assert place.entries == []

    @pytest.mark.parametrize("need", GIVEN)
    def test_given(self, place: Workplace, need: str) -> None:
        """With it the run is begun, and its statement says it."""
        place.require = (need,)
        result = place.run(mode="apply", **GIVEN[need])
        said = told(result.record)

        assert result.exit_status == 0
        assert said["signer"] == (ALICE if need == "signature" else None)
        assert said["ticket"] == GIVEN[need].get("ticket")
        assert said["reason"] == GIVEN[need].get("reason")
        assert (said["approval"] or {}).get("kind") == ("emergency" if need == "approval" else None)

    def test_all_at_once(self, place: Workplace) -> None:
        """Every one that is missing is named, each with how to give it."""
        place.require = ("ticket", "approval", "signature")
        with pytest.raises(Refused, match="ticket, approval, signature") as refused:
            place.run(mode="apply", reason="why")

        assert all(word in refused.value.todo for word in ("--ticket", "--approved", "--key"))

    def test_planning_needs_none(self, place: Workplace) -> None:
        """A plan changes nothing, so nothing is asked."""
        place.require = tuple(GIVEN)

        assert place.run().exit_status == 4

    @pytest.mark.parametrize("text", ["", None])
    def test_empty_is_missing(self, place: Workplace, text: str | None) -> None:
        """An empty ticket is none."""
        place.require = ("ticket",)
        with pytest.raises(Refused, match="ticket"):
            place.run(mode="apply", ticket=text)


class TestKey:
    """Whose key signs."""

    @pytest.mark.parametrize(
        "names",
        [
            ("alice", "bob", "carol", "alice"),
            (None, "bob", "carol", "bob"),
            (None, "", "alice", "alice"),
            (None, None, "alice", "alice"),
            (None, None, None, None),
        ],
    )
    def test_order(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch, names: tuple[str | None, ...]
    ) -> None:
        """The one that is asked for, else RUNBOOK_KEY, else the site's; else nobody's."""
        asked, variable, site, expected = names
        monkeypatch.delenv("RUNBOOK_KEY", raising=False)
        if variable is not None:
            monkeypatch.setenv("RUNBOOK_KEY", variable and str(key(variable)))
        place.key = key(site) if site else None
        own = key(asked) if asked else None
        found = prepare(place.declared, place.request(key=own)).archive.signer

        assert (found and found.key) == (key(expected) if expected else None)
        assert (found and found.principal) == (f"{expected}@example" if expected else None)

    @pytest.mark.parametrize("is_new", [True, False])
    def test_that_cannot_sign(
        self, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
    ) -> None:
        """A key that nobody holds leaves no record and no line, and is allowed nowhere."""
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        absent = tmp_path / "absent.pub"
        absent.write_text(key("alice").with_name(key("alice").name + ".pub").read_text())
        if is_new:
            place.records = tmp_path / "new"
        before = sorted(place.records.rglob("*"))
        with pytest.raises(Refused, match="did not sign"):
            place.run(mode="apply", key=absent)

        assert sorted(place.records.rglob("*")) == before
        assert place.records.exists() is not is_new

    def test_that_may_not(self, place: Workplace) -> None:
        """A key for approvals alone leaves no record and no line either."""
        with pytest.raises(Refused, match="may not sign records here"):
            place.run(mode="apply", key=key("carol"))

        assert not [path for path in place.records.iterdir() if path.is_dir()]

    def test_that_is_not_there(self, place: Workplace, tmp_path: Path) -> None:
        """A key that cannot be read is bad input."""
        with pytest.raises(BadInput, match="there is no public key in"):
            place.run(key=tmp_path / "no-key")

        assert place.entries == []

    def test_refused_after_the_folder_was_made(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the ledger cannot be written on, the folder is removed again."""

        def refuse(*_arguments: Any, **_fields: Any) -> None:
            raise Refused("its last line is damaged")

        monkeypatch.setattr(Ledger, "append", refuse)
        with pytest.raises(Refused, match="its last line is damaged"):
            place.run(key=key("alice"))

        assert not list(place.records.glob(".spool-*"))


class TestOpening:
    """What is settled and entered before anything is contacted."""

    def test_is_entered_first(self, place: Workplace) -> None:
        """When the first kernel starts, ledger and journal have the run."""
        entered: list[tuple[str, list[Any]]] = []

        def listen(entry: Entry) -> None:
            lines = Ledger(place.records, ALICE).lines()
            entered.append((entry.kind, [line["event"] for line in lines]))

        place.run(mode="apply", key=key("alice"), listener=listen)

        assert entered[:2] == [("run opened", ["opened"]), ("kernel started", ["opened"])]
        assert {tuple(events) for _, events in entered} == {("opened",)}

    def test_journal(self, place: Workplace) -> None:
        """The first line has all that the record's other files will not say."""
        place.settings = {"keepalived.vip": "10.0.0.2"}
        place.run(mode="apply", ticket="CHG-7", reason="why", key=key("alice"))
        opened = place.entries[0]

        assert isinstance(opened, RunOpened)
        assert opened.settings == {"name": "testsite", "keepalived.vip": "10.0.0.2"}
        assert (opened.context["ticket"], opened.context["reason"]) == ("CHG-7", "why")
        assert opened.context["site_sha256"] == canonical.sha256(canonical.line(opened.settings))
        assert opened.context["tool"]["name"]
        assert (opened.emergency, opened.mode) == (False, "apply")
        assert opened.steps == (DeclaredStep("network", "00_network.ipynb", skipped=False),)

    def test_secret_in_a_reason(self, place: Workplace) -> None:
        """What looks like a secret in ticket or reason is in no file, the ledger included."""
        words = {"ticket": "password=hunter2hunter2", "reason": "new token: hunter2hunter2"}
        result = place.run(mode="apply", key=key("alice"), **words)
        files = [path for path in place.records.rglob("*") if path.is_file()]

        assert told(result.record)["ticket"] == "password=[masked:password]"
        assert [path for path in files if b"hunter2hunter2" in path.read_bytes()] == []
        assert by_both(place.records) == (0, [])

    def test_closes_what_was_killed(self, place: Workplace) -> None:
        """The run that finds a killed one tells of it, after its own opening."""
        record = opened(place.records)
        in_its_first_step(record)
        killed(record)
        place.run(key=key("bob"))

        assert [entry.kind for entry in place.entries[:2]] == ["run opened", "record closed"]
        assert place.entries[1].record == record.run_id + KILLED
        assert by_both(place.records) == (0, [])


def planned(place: Workplace, by: str = "alice") -> str:
    """Plan, and return the run's id."""
    return place.run(key=key(by)).record.name


def approved(place: Workplace, run_id: str) -> Path:
    """Have carol approve a plan."""
    return approve.approve(place.records, run_id, signer(CAROL), reason="looks right")


def applied(place: Workplace, **options: Any) -> RunResult:
    return place.run(mode="apply", key=key("alice"), **options)


class TestApproved:
    """A run under an approval that was given beforehand."""

    def test_holds(self, place: Workplace) -> None:
        """Plan and approval are part of its record, byte for byte, and both verifiers agree."""
        place.require = ("signature", "approval")
        run_id = planned(place)
        approval = approved(place, run_id)
        result = applied(place, approved=run_id[-6:])
        plan_of = (place.records / run_id / "plan.json").read_bytes()
        said = told(result.record)

        assert result.exit_status == 0
        assert (result.record / "plan.json").read_bytes() == plan_of
        assert (result.record / "approval.json").read_bytes() == approval.read_bytes()
        assert (said["approval"]["kind"], said["approval"]["by"]) == ("pre", CAROL)
        assert said["approval"]["plan_sha256"] == said["plan_sha256"] == canonical.sha256(plan_of)
        assert by_both(place.records) == (0, [])
        assert "unapproved" not in {
            a.kind for a in report(place.records).anomalies if a.run_id == result.record.name
        }

    def test_reaches_the_notebooks(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        """The kernels are told where the approved plan is, and only then, and by the run alone."""
        monkeypatch.setenv("RUNBOOK_APPROVED", "of the operator")
        ask = f"tell(**{plan()})\nimport os\nos.environ['RUNBOOK_APPROVED'] or None"
        place.cells("asks", ask)
        run_id = planned(place)
        approved(place, run_id)
        result = applied(place, approved=run_id, only="network")
        other = place.run(key=key("alice"), only="asks")
        shown = [
            json.loads(path.read_text())["cells"][-1]["outputs"]
            for path in (other.record / "10_asks.ipynb", result.record / "00_network.ipynb")
        ]
        assert shown == [[], []]

        asked = applied(place, approved=run_id, only="asks")
        (output,) = json.loads((asked.record / "10_asks.ipynb").read_text())["cells"][-1]["outputs"]
        assert "".join(output["data"]["text/plain"]).strip("'").endswith("/plan.json")

    def test_nobody_approved(self, place: Workplace) -> None:
        """A plan that waits for somebody is not applied."""
        run_id = planned(place)
        with pytest.raises(Refused, match="nobody has approved this plan"):
            applied(place, approved=run_id)

        assert len(list(place.records.glob("2*"))) == 1

    def test_another_site(self, place: Workplace) -> None:
        """A setting that moved since is named with both values, and nothing is begun."""
        place.settings = {"keepalived.vip": "10.0.0.2", "shorewall.net_zone": "net"}
        run_id = planned(place)
        approved(place, run_id)
        place.settings = {"keepalived.vip": "10.0.0.3", "traefik.image": "traefik:v3"}
        entries = len(place.entries)
        with pytest.raises(Refused, match="not the one whose plan was approved") as refused:
            applied(place, approved=run_id)

        assert refused.value.message.splitlines()[1:] == [
            "  keepalived.vip: 10.0.0.2 → 10.0.0.3",
            "  shorewall.net_zone: net → None",
            "  traefik.image: None → traefik:v3",
        ]
        assert len(place.entries) == entries

    def test_without_a_key(self, place: Workplace) -> None:
        """Nobody knows whether the approver is the operator."""
        run_id = planned(place)
        approved(place, run_id)
        with pytest.raises(Refused, match="held against the operator's key"):
            place.run(mode="apply", approved=run_id)

    def test_unknown_run(self, place: Workplace) -> None:
        """A run that there is not cannot have been approved."""
        planned(place)
        with pytest.raises(BadInput, match="names 0 runs"):
            applied(place, approved="999999")

    def test_run_without_a_plan(self, place: Workplace) -> None:
        """One that was killed before it planned has none."""
        record = Record(Archive(place.records, signer(ALICE)), "lab", ignore)
        record.archive.open_run(record.run_id, site="lab", mode="plan", context=CONTEXT)
        killed(record)
        (closed,) = close_killed(Archive(place.records, signer(ALICE)))
        with pytest.raises(BadInput, match=f"{closed.name} has no plan.json"):
            applied(place, approved=record.run_id)


class TestEmergency:
    """A run that cannot wait for an approval."""

    def test_is_recorded_as_one(self, place: Workplace) -> None:
        """The statement says who took it upon themselves, why, and until when to review it."""
        place.require = ("approval", "signature")
        result = applied(place, emergency=True, reason="the edge is down")
        said = told(result.record)
        digest = canonical.sha256_of(result.record / "plan.json")

        assert said["approval"]["kind"] == "emergency"
        assert (said["approval"]["by"], said["approval"]["reason"]) == (ALICE, "the edge is down")
        assert said["approval"]["plan_sha256"] == said["plan_sha256"] == digest
        assert said["approval"]["at"] == said["started"] < said["approval"]["review_due"]
        assert by_both(place.records) == (0, [])

    def test_unsigned(self, place: Workplace) -> None:
        """Where nobody signs, it is the account's."""
        said = told(place.run(mode="apply", emergency=True, reason="the edge is down").record)
        account = said["operator"]

        assert said["approval"]["by"] == f"{account['os_user']}@{account['host']}"

    def test_of_a_run_that_was_killed(self, records: Path, bobs: Archive) -> None:
        """It stays one, and the operator's, whoever closes it."""
        record = opened(records)
        lines = read(record.folder / JOURNAL)
        record.journal.close()
        (record.folder / JOURNAL).write_text(
            json.dumps(to_json(lines[0]) | {"emergency": True}) + "\n"
        )
        (closed,) = close_killed(bobs)

        assert told(closed)["approval"]["kind"] == "emergency"
        assert (told(closed)["approval"]["by"], told(closed)["signer"]) == (ALICE, BOB)
        assert by_both(records) == (0, [])

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"emergency": True}, "an emergency needs a reason"),
            ({"emergency": True, "reason": ""}, "an emergency needs a reason"),
            (
                {"emergency": True, "reason": "why", "approved": "x"},
                "an emergency is not approved beforehand",
            ),
            ({"emergency": True, "reason": "why", "mode": "plan"}, "a plan needs no approval"),
            ({"approved": "x", "mode": "plan"}, "a plan needs no approval"),
        ],
    )
    def test_contradictions(self, place: Workplace, options: dict[str, Any], said: str) -> None:
        """Options that do not go together are refused before anything is written."""
        with pytest.raises(BadInput, match=said) as refused:
            place.run(**{"mode": "apply", "key": key("alice"), **options})

        assert refused.value.todo
        assert [path.name for path in place.records.iterdir()] == ["allowed_signers"]
