"""The journal: whole lines, in order, by one writer; and the records of killed runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook.execute.journal import Journal, read
from runbook.execute.record import JOURNAL, RESULTS, Record, close_killed

OPENED = {
    "run_id": "20261123T060204Z-lab-317606",
    "site": "lab",
    "site_file": "parameters/lab.yml",
    "mode": "apply",
    "steps": [{"step": name, "notebook": f"{name}.ipynb"} for name in ("network", "traefik")],
}


@pytest.fixture
def heard() -> list[Any]:
    """What the listener was told."""
    return []


@pytest.fixture
def journal(tmp_path: Path, heard: list[Any]) -> Iterator[Journal]:
    """An open journal."""
    journal = Journal(tmp_path / JOURNAL, heard.append)
    yield journal
    journal.close()


class TestJournal:
    """The file and its writer."""

    def test_one_line_an_entry(self, journal: Journal, tmp_path: Path, heard: list[Any]) -> None:
        """The file, the listener and the memory hold the same entries in the same order."""
        journal.write("run opened", **OPENED)
        journal.write("step started", step="network", notebook="10_network.ipynb")
        lines = (tmp_path / JOURNAL).read_text().splitlines()

        assert [json.loads(line) for line in lines] == heard == journal.entries
        assert [entry["seq"] for entry in heard] == [0, 1]
        assert heard[0]["time"].endswith("Z")

    def test_text_stays_one_line(self, journal: Journal, tmp_path: Path) -> None:
        """Line breaks of a message do not break the journal."""
        journal.write(
            "event", step="network", event={"event": "error", "message": "one\ntwo\u2028"}
        )

        assert read(tmp_path / JOURNAL) == journal.entries

    def test_a_cut_off_line_is_left_out(self, journal: Journal, tmp_path: Path) -> None:
        """A writer that lost power in mid-line leaves the lines before it readable."""
        journal.write("run opened", **OPENED)
        with (tmp_path / JOURNAL).open("a") as file:
            file.write('{"seq":1,"kind":"step st')

        assert read(tmp_path / JOURNAL) == journal.entries

    def test_a_listener_that_has_gone_stops_nothing(self, tmp_path: Path) -> None:
        """A closed terminal or pipe is told no more, and the journal goes on."""
        told = []

        def listen(entry: Any) -> None:
            told.append(entry)
            raise BrokenPipeError

        journal = Journal(tmp_path / JOURNAL, listen)
        journal.write("run opened", **OPENED)
        journal.write("step started", step="network")
        journal.close()

        assert len(told) == 1
        assert len(read(tmp_path / JOURNAL)) == 2

    @pytest.mark.usefixtures("journal")
    def test_has_one_writer(self, tmp_path: Path) -> None:
        """A second one is refused as long as the first is there."""
        with pytest.raises(BlockingIOError):
            Journal(tmp_path / JOURNAL, lambda _entry: None)


def executed(folder: Path, *statuses: str) -> None:
    """Write a notebook as the engine leaves it when its runner is killed."""
    cells = [{"metadata": {"papermill": {"status": s, "exception": None}}} for s in statuses]
    metadata = {"papermill": {"exception": None}, "runbook": {"status": "running", "reason": ""}}
    (folder / "network.ipynb").write_text(json.dumps({"cells": cells, "metadata": metadata}))


@pytest.fixture
def left_over(tmp_path: Path) -> Path:
    """The spool folder of a run that was killed in its first step."""
    spool = tmp_path / ".spool-20261123T060204Z-lab-317606"
    spool.mkdir()
    executed(spool, "completed", "running", "never ran")
    journal = Journal(spool / JOURNAL, lambda _entry: None)
    journal.write("run opened", **OPENED)
    journal.write("step started", step="network", notebook="network.ipynb")
    journal.write(
        "cell ended", step="network", cell="a", index=0, status="completed", duration_ms=1
    )
    journal.close()
    return spool


class TestKilledRuns:
    """A spool folder that nobody holds belongs to a run that was killed."""

    def test_is_closed_as_killed(self, left_over: Path, tmp_path: Path) -> None:
        """The next run renames it, and its journal, notebook and results say what happened."""
        (record,) = close_killed(tmp_path)
        results = json.loads((record / RESULTS).read_text())
        notebook = json.loads((record / "network.ipynb").read_text())

        assert record.name == "20261123T060204Z-lab-317606-killed"
        assert not left_over.exists()
        assert read(record / JOURNAL)[-1]["kind"] == "run killed"
        assert [step["status"] for step in results["steps"]] == ["killed", "never ran"]
        assert (results["status"], results["exit_status"]) == ("killed", None)
        assert [cell["metadata"]["papermill"]["status"] for cell in notebook["cells"]] == [
            "completed",
            "killed",
            "never ran",
        ]
        assert notebook["metadata"]["runbook"]["status"] == "killed"
        assert notebook["metadata"]["papermill"]["exception"] is True

    @pytest.mark.usefixtures("left_over")
    def test_is_closed_once(self, tmp_path: Path) -> None:
        """A second look finds nothing."""
        assert len(close_killed(tmp_path)) == 1
        assert close_killed(tmp_path) == []

    def test_killed_before_the_first_line(self, tmp_path: Path) -> None:
        """An empty spool folder is closed too."""
        (tmp_path / ".spool-20261123T060204Z-lab-317606").mkdir()

        assert [record.name for record in close_killed(tmp_path)] == [
            "20261123T060204Z-lab-317606-killed"
        ]

    def test_a_run_under_way_is_left_alone(self, tmp_path: Path) -> None:
        """The journal's writer still holds it."""
        record = Record(tmp_path, "lab", lambda _entry: None)

        assert close_killed(tmp_path) == []
        assert record.folder.name == f".spool-{record.run_id}"
        record.journal.close()
