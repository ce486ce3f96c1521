"""A step as its notebook opens it: connections, transcript and folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import TOP

from runbook.errors import BadInput
from runbook.notebook import walk as notebook
from runbook.notebook.walk import open_step

ARTICLE = str(TOP / "parameters" / "article.yml")


class TestOpen:
    """The first cell."""

    def test_unknown_step(self) -> None:
        """The steps there are, are named."""
        with pytest.raises(BadInput, match="no step 'trafik'") as caught:
            open_step("trafik", ARTICLE, "plan")
        assert "traefik, keepalived" in caught.value.todo

    @pytest.mark.parametrize("folder", [".", "notebooks"])
    def test_folder(self, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
        """A site is found from the top folder and from that of the notebooks."""
        monkeypatch.chdir(TOP / folder)
        site = open_step("traefik", "parameters/article.yml", "plan").site

        assert site.caption.startswith("Site article: ")

    def test_connections_are_kept(self) -> None:
        """The next notebook in a kernel uses those of the last one; another site has its own."""
        first = open_step("traefik", ARTICLE, "plan").live.fleet

        assert open_step("keepalived", ARTICLE, "apply").live.fleet is first
        other = open_step("keepalived", str(TOP / "parameters" / "production.yml"), "plan")
        assert other.live.fleet is not first

    def test_transcript(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """In a run the commands are kept in the record."""
        monkeypatch.setenv("RUNBOOK_RECORD", str(tmp_path))
        notebook._fleet.cache_clear()
        fleet = open_step("traefik", ARTICLE, "plan").live.fleet
        notebook._fleet.cache_clear()

        assert fleet.transcript.path == tmp_path / "transcript.jsonl"
