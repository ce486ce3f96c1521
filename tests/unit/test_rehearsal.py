"""The rehearsal in docs/: a record that verifies, its page and its picture as they are today."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import rehearsal

LARGEST_BYTES = 200_000
HOMES = re.compile(r"(?<![\w./~-])/(?:home|root|tmp|work|Users)/")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The record, unpacked."""
    return rehearsal.unpack(tmp_path)


class TestRecord:
    """rehearsal.zip."""

    def test_is_of_a_run_that_made_and_verified_an_edge(self, run: Path) -> None:
        """Every step was run on a bare lab, made its changes and proved them."""
        results = json.loads((run / "results.json").read_text())
        made = ["changed"] * 4

        assert results["site_file"] == "parameters/lab.yml"
        assert [step["status"] for step in results["steps"]] == ["verified", *made, "verified"]

    def test_names_no_machine_of_ours(self, run: Path) -> None:
        """Who made it where is told as of anybody, and no path leads to a home or a checkout."""
        said = rehearsal.predicate(run)["operator"]
        texts = [path.read_text() for path in run.parent.rglob("*") if path.is_file()]

        assert (said["os_user"], said["host"]) == ("operator", "workstation")
        assert len(texts) > 20
        assert [found for text in texts for found in HOMES.findall(text)] == []


class TestPage:
    """rehearsal.html and rehearsal.png."""

    def test_page_is_what_the_package_draws(self) -> None:
        """A change to the page is a change to this one, too: ``make docs``."""
        assert rehearsal.PAGE.read_text(encoding="utf-8") == rehearsal.draw()

    def test_picture_is_of_the_page(self) -> None:
        """It was taken of the page as it is: ``make docs``; and README can afford it."""
        picture = rehearsal.PICTURE.read_bytes()

        assert rehearsal.mark() in picture
        assert len(picture) < LARGEST_BYTES
