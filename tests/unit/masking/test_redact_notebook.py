"""Masking notebooks: every channel of one that really ran, and the joints between its parts."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from runbook.masking.redact import Masker
from runbook.masking.secret import Registry

CANARY = "Tr0ub4dor&3 'x' \"y\" <z>"


@pytest.fixture
def masker() -> Masker:
    """A masker of the canary."""
    known = Registry()
    known.add("canary", CANARY)
    return Masker(known)


def masked_by(masker: Masker, notebook: NotebookNode) -> NotebookNode:
    """Return a masked copy as nbformat holds it."""
    copy: NotebookNode = nbformat.from_dict(masker.mask_notebook(notebook))
    return copy


def stream(name: str, text: str) -> Any:
    """Return a chunk of a stream."""
    return new_output("stream", name=name, text=text)


def with_outputs(*outputs: Any) -> Any:
    """Return a notebook with one cell of these outputs."""
    return new_notebook(cells=[new_code_cell("x", outputs=list(outputs))])


class TestJoints:
    """Texts in parts."""

    def test_a_value_over_chunks(self, masker: Masker) -> None:
        """The chunks of that stream become one, at the place of the first."""
        shown = new_output("display_data", data={"text/plain": "table"})
        notebook = with_outputs(
            stream("stdout", f"a {CANARY[:4]}"),
            stream("stderr", "e"),
            shown,
            stream("stdout", f"{CANARY[4:]} b"),
        )
        outputs = masked_by(masker, notebook).cells[0].outputs

        assert [output.get("text") for output in outputs] == ["a [masked:canary] b", "e", None]

    def test_chunks_that_hide_nothing(self, masker: Masker) -> None:
        """Chunks stay where they are, so that a table stays between its lines."""
        notebook = with_outputs(
            stream("stdout", "one\n"),
            new_output("display_data", data={"text/plain": "table"}),
            stream("stdout", f"{CANARY}\n"),
        )
        outputs = masked_by(masker, notebook).cells[0].outputs

        assert [output.get("text") for output in outputs] == ["one\n", None, "[masked:canary]\n"]

    def test_a_key_and_its_value_over_chunks(self) -> None:
        """Rules see the joined stream, too."""
        notebook = with_outputs(stream("stdout", "password="), stream("stdout", "hunter2\n"))
        (output,) = masked_by(Masker(Registry()), notebook).cells[0].outputs

        assert output.text == "password=[masked:password]\n"

    def test_a_traceback(self, masker: Masker) -> None:
        """A value over lines of a traceback is masked; one without a secret keeps its colours."""
        known = Registry()
        known.add("key", "first-line\nsecond-line")
        coloured = ["\x1b[31mValueError\x1b[0m", "no such VIP"]
        error = {"ename": "E", "evalue": ""}
        notebook = with_outputs(
            new_output("error", traceback=["at first-line", "second-line, end"], **error),
            new_output("error", traceback=coloured, **error),
        )
        outputs = masked_by(Masker(known), notebook).cells[0].outputs

        assert ["".join(output.traceback) for output in outputs] == [
            "at [masked:key], end",
            "".join(coloured),
        ]

    def test_as_it_is_in_the_file(self, masker: Masker) -> None:
        """Lists of lines, as a file holds them, are joined as nbformat joins them."""
        lines = [f"{CANARY}\n", "SWMKEY-1-", "7c37Cc86" * 5]
        data = {"text/html": lines, "application/json": ["a", CANARY]}
        notebook = json.loads(nbformat.writes(with_outputs(new_output("display_data", data=data))))
        (output,) = masked_by(masker, notebook).cells[0].outputs

        assert output.data["text/html"] == "[masked:canary]\n[masked:swarm-key]"

    def test_widget_state_is_dropped(self, masker: Masker) -> None:
        """It holds what was typed, whether it is known or not."""
        notebook = new_notebook(metadata={"widgets": {"state": {"value": "typed-in"}}, "a": 1})

        assert masked_by(masker, notebook).metadata == {"a": 1}

    def test_metadata_and_attachments(self, masker: Masker) -> None:
        """They are masked as the rest; what identifies a cell stays."""
        cell = new_markdown_cell("", id="about", metadata={"note": CANARY})
        cell["attachments"] = {"a.txt": {"text/plain": CANARY}}
        masked = masked_by(masker, new_notebook(cells=[cell], metadata={CANARY: CANARY}))

        assert masked.metadata == {"[masked:canary]": "[masked:canary]"}
        assert masked.cells[0].metadata.note == "[masked:canary]"
        assert masked.cells[0].attachments == {"a.txt": {"text/plain": "[masked:canary]"}}
        assert masked.cells[0].id == "about"
