"""The page of a run: its timeline, its notebooks and its nested values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from headless import entry
from nbformat.v4 import new_output
from pages import Elements, Record, said

from runbook.records.journal.entries import Entry
from runbook.records.page.page import flat
from runbook.records.page.timeline import timeline


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """The record of a run."""
    return Record(tmp_path)


class TestNotebooks:
    """Executed notebooks on the page."""

    def test_prose_source_and_outputs(self, record: Record) -> None:
        """In the notebook's order; headings below those of the page; colours of text dropped."""
        record.outputs = [
            new_output("display_data", data={"text/html": "<b>table</b>", "text/plain": "plain"}),
            new_output("stream", text="\x1b[31mred\x1b[0m"),
            new_output("error", ename="E", evalue="", traceback=["\x1b[1mE\x1b[0m: no"]),
            new_output("display_data", data={"text/markdown": "*so*", "text/plain": "plain"}),
            new_output("display_data", data={"application/json": {"a": 1}}),
        ]
        text = record.page()
        words = said(text)

        assert '<h3 class="name">20.ipynb</h3>' in text
        assert "<h4>Do it</h4>" in text
        assert "<td>1</td>" in text
        assert 'Do it a b 1 2 site = "lab" table red E: no so application/json' in words
        assert "plain" not in words

    def test_status_of_a_cell(self, record: Record) -> None:
        """A cell that did not complete says so."""
        text = record.page("timed out")

        assert '<p class="ended"><span class="chip bad">✗ timed out</span></p>' in text
        assert '<details class="notebook" open>' in text
        assert '<details class="notebook" open>' not in record.page()
        assert '<span class="chip good">✓ changed</span></p>' in record.page("changed")
        assert '<p class="ended">' not in record.page("unchanged")

    def test_links_and_pictures_of_prose(self, record: Record) -> None:
        """They stay as they are written: nothing leads out of the record."""
        record.prose = "[text](https://example.org) ![p](https://example.org/p.png) <https://e.org>"
        text = record.page()

        assert "[text](https://example.org)" in said(text)
        assert not [a for tag, a in Elements(text).found if tag == "img" or "https" in str(a)]


class TestTimeline:
    """From the journal."""

    @pytest.fixture
    def entries(self) -> Callable[..., list[Entry]]:
        """Entries at these seconds after the start."""

        def make(*told: tuple[float, str, dict[str, Any]]) -> list[Entry]:
            return [
                entry(kind, time=f"2026-11-23T06:00:{second:06.3f}Z", **more)
                for second, kind, more in told
            ]

        return make

    def test_steps_and_hosts(self, entries: Callable[..., Any]) -> None:
        """A bar ends when its event was told and began as long before as it took."""
        change = {"event": "outcome", "host": "docker01", "action": "install", "resource": "p"}
        made = {**change, "outcome": "done", "message": "", "duration_ms": 4000}
        failed = {**change, "outcome": "failed", "message": "", "duration_ms": 1000}
        progress = {"event": "progress", "host": "gateway", "message": "on"}
        found = timeline(
            entries(
                (0, "kernel started", {"folder": "f"}),
                (2, "step started", {"step": "a", "notebook": "a.ipynb"}),
                (5, "event", {"step": "a", "event": progress}),
                (
                    8,
                    "event",
                    {"step": "a", "event": made},
                ),
                (
                    9,
                    "event",
                    {"step": "a", "event": failed},
                ),
                (
                    10,
                    "step ended",
                    {"step": "a", "status": "failed", "reason": "", "duration_ms": 8000},
                ),
            )
        )
        assert found is not None
        step, docker01, gateway = found.rows

        assert (found.duration_ms, found.ticks[:2]) == (10_000, ((0.0, 0), (20.0, 2)))
        assert [(b.left, b.width, b.kind) for b in step.bars] == [(20.0, 80.0, "whole bad")]
        assert [(b.left, b.width, b.kind) for b in docker01.bars] == [
            (40.0, 40.0, "good"),
            (80.0, 10.0, "bad"),
        ]
        assert (docker01.duration_ms, docker01.status) == (5000, "failed")
        assert docker01.bars[0].label == "install p: done, 4000 ms"
        assert [(b.left, b.width, b.kind) for b in gateway.bars] == [(50.0, 0.0, "told")]

    def test_a_step_that_never_ended(self, entries: Callable[..., Any]) -> None:
        """Its bar goes to the last that was heard of the run."""
        found = timeline(
            entries(
                (0, "kernel started", {"folder": "f"}),
                (1, "step started", {"step": "a", "notebook": "a.ipynb"}),
                (4, "run killed", {"status": "killed", "reason": ""}),
            )
        )

        assert found is not None
        assert [(b.left, b.width) for b in found.rows[0].bars] == [(25.0, 75.0)]

    def test_no_step(self, entries: Callable[..., Any]) -> None:
        """A run without steps has none."""
        closed = {"status": "completed", "reason": ""}

        assert (
            timeline(entries((0, "interrupted", {"signal": "SIGINT"}), (1, "run closed", closed)))
            is None
        )


class TestFlat:
    """Nested values as a table."""

    def test_paths(self) -> None:
        """Mappings and lists of mappings are walked, plain lists are one value."""
        value = {"a": {"b": [1, 2], "c": [{"d": None}, {"d": "x"}]}, "e": {}, "f": True, "g": []}

        assert list(flat(value)) == [
            ("a · b", "1, 2"),
            ("a · c · 1 · d", "—"),
            ("a · c · 2 · d", "x"),
            ("e", "—"),
            ("f", "true"),
            ("g", "—"),
        ]
