"""The record: opened before anything is contacted, sealed at its end, or closed by the next run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, allow, by_both, key, signer, team
from headless import Workplace
from spooled import at_its_end, begin, executed, ignore, in_its_first_step, killed, opened, told

from runbook.errors import BadInput, Refused
from runbook.events import to_json
from runbook.records.archive import canonical
from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import Ledger
from runbook.records.archive.statement import KILLED
from runbook.records.journal.entries import DeclaredStep, Entry, RunOpened
from runbook.records.journal.status import Status
from runbook.records.signing.sign import Signer
from runbook.records.writing.closing import JOURNAL, RESULTS, Withheld
from runbook.records.writing.record import Record, close_killed

pytestmark = pytest.mark.usefixtures("quick_kernels")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A folder of records in which nothing was recorded yet, and who may sign there."""
    allow(tmp_path / "records", team())
    return tmp_path / "records"


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


@pytest.fixture
def place(tmp_path: Path, records: Path) -> Workplace:
    """A site with one step, whose records the team signs."""
    place = Workplace(tmp_path)
    assert place.records == records
    begin(place)
    return place


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
