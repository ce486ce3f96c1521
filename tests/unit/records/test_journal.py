"""The journal: whole lines, in order, by one writer, and without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headless import entry

from runbook.masking.redact import Masker
from runbook.masking.secret import Registry
from runbook.records.journal import journal as module
from runbook.records.journal.entries import Entry, EventTold, parse, read
from runbook.records.journal.journal import Journal
from runbook.records.writing.closing import JOURNAL

OPENED = {
    "run_id": "20261123T060204Z-lab-317606",
    "site": "lab",
    "site_file": "parameters/lab.yml",
    "settings": {"name": "lab"},
    "mode": "apply",
    "context": {"ticket": "CHG-7", "reason": None},
    "emergency": False,
    "steps": [
        {"step": name, "notebook": f"{name}.ipynb", "skipped": False}
        for name in ("network", "traefik")
    ],
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
        journal.write(entry("run opened", **OPENED))
        journal.write(entry("step started", step="network", notebook="10_network.ipynb"))
        lines = (tmp_path / JOURNAL).read_text().splitlines()

        assert [parse(line.encode()) for line in lines] == heard == journal.entries
        assert [entry.seq for entry in heard] == [0, 1]
        assert heard[0].time.endswith("Z")
        assert [list(json.loads(line))[:3] for line in lines] == [["seq", "time", "kind"]] * 2
        assert json.loads(lines[0]).items() >= OPENED.items()

    def test_text_stays_one_line(self, journal: Journal, tmp_path: Path) -> None:
        """Line breaks of a message do not break the journal, nor do bytes that are no UTF-8."""
        told = {"event": "error", "message": "one\ntwo\u2028\udcfc"}
        journal.write(EventTold(step="network", event=told))

        assert read(tmp_path / JOURNAL) == journal.entries

    def test_a_cut_off_line_is_left_out(self, journal: Journal, tmp_path: Path) -> None:
        """A writer that lost power in mid-line leaves the lines before it readable."""
        journal.write(entry("run opened", **OPENED))
        with (tmp_path / JOURNAL).open("a") as file:
            file.write('{"seq":1,"kind":"step st')

        assert read(tmp_path / JOURNAL) == journal.entries

    @pytest.mark.parametrize("cut", [b'{"seq":1,"kind":"step st', '{"a":"ü'.encode()[:-1]])
    def test_a_cut_off_line_is_replaced(self, tmp_path: Path, cut: bytes) -> None:
        """Who goes on after it begins a new line, even where a character was cut in two."""
        path = tmp_path / JOURNAL
        for kind, rest in (("record closed", cut), ("interrupted", b"")):
            journal = Journal(path, lambda _entry: None)
            journal.write(entry(kind, record="r", signal="SIGINT"))
            journal.close()
            with path.open("ab") as file:
                file.write(rest)

        assert [(entry.seq, entry.kind) for entry in read(path)] == [
            (0, "record closed"),
            (1, "interrupted"),
        ]

    def test_what_nobody_could_read_is_not_written(self, journal: Journal, tmp_path: Path) -> None:
        """What a kernel tells can be nested too deeply; the journal stays one that is read."""
        told: dict[str, Any] = {}
        for _ in range(300):
            told = {"more": told}
        with pytest.raises(ValueError, match="recursion"):
            journal.write(EventTold(step="network", event=told))

        assert read(tmp_path / JOURNAL) == journal.entries == []

    @pytest.mark.parametrize("line", [{"kind": "opinion"}, {"kind": "step ended"}, {}])
    def test_what_is_not_known_is_a_bare_entry(self, line: dict[str, Any]) -> None:
        """A line of another version, or without what its kind has, is passed over."""
        assert parse(json.dumps({"seq": 3, "time": "T", **line, "words": 1}).encode()) == Entry(
            seq=3, time="T", **line
        )

    def test_holds_no_secret(
        self,
        journal: Journal,
        tmp_path: Path,
        heard: list[Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The file, the listener and the memory get an entry with the secret masked."""
        registry = Registry()
        registry.add("vault", "correct-horse-battery")
        monkeypatch.setattr(module, "MASKER", Masker(registry))
        told = {"correct-horse-battery": ["correct-horse-battery"]}
        journal.write(EventTold(step="x", event=told))

        assert heard[0].event == {"[masked:vault]": ["[masked:vault]"]}
        assert read(tmp_path / JOURNAL) == journal.entries == heard

    def test_a_listener_that_has_gone_stops_nothing(self, tmp_path: Path) -> None:
        """A closed terminal or pipe is told no more, and the journal goes on."""
        told = []

        def listen(entry: Any) -> None:
            told.append(entry)
            raise BrokenPipeError

        journal = Journal(tmp_path / JOURNAL, listen)
        journal.write(entry("run opened", **OPENED))
        journal.write(entry("step started", step="network", notebook="10_network.ipynb"))
        journal.close()

        assert len(told) == 1
        assert len(read(tmp_path / JOURNAL)) == 2

    @pytest.mark.usefixtures("journal")
    def test_has_one_writer(self, tmp_path: Path) -> None:
        """A second one is refused as long as the first is there."""
        with pytest.raises(BlockingIOError):
            Journal(tmp_path / JOURNAL, lambda _entry: None)
