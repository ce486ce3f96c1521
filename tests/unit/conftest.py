"""Fixtures that several subjects share: what is said of a site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import TOP

import runbook.run.serving  # noqa: F401  # the first to import nbformat, it does so in less time
from runbook.site import SiteInvalid, load

VALID = TOP / "tests" / "data" / "sites" / "valid.yml"
Changed = Callable[[str], list[str]]


@pytest.fixture
def problems(tmp_path: Path) -> Changed:
    """What is wrong with a valid site once these lines are added to it or replace others."""

    def changed(text: str) -> list[str]:
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {VALID}\n{text}")
        with pytest.raises(SiteInvalid) as caught:
            load(site)
        lines = caught.value.problems
        return [
            str(line).replace(f"{site}:", "").replace(str(VALID), "valid.yml") for line in lines
        ]

    return changed


@pytest.fixture
def warnings(tmp_path: Path) -> Changed:
    """What had better be otherwise in a valid site with these lines."""

    def changed(text: str) -> list[str]:
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {VALID}\n{text}")
        lines = load(site).warnings
        return [
            str(line).replace(f"{site}:", "").replace(str(VALID), "valid.yml") for line in lines
        ]

    return changed
