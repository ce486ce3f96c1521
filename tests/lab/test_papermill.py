"""Each notebook by itself, with papermill's own command, from the top of the checkout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Operator, finished, started
from witnesses import snapshot, touched

from runbook.lab import Lab
from runbook.steps import STEPS


def papermill(site: str, notebook: str, output: Path, *options: str) -> Done:
    """Run papermill as an operator types it, with nothing set up."""
    words = [f"notebooks/{notebook}", output, "-p", "site", site, *options]
    return finished(started("papermill", *words))


def tables(output: Path) -> str:
    """Return the text of every output of an executed notebook.

    Raises:
        AssertionError: A code cell was not run, or one with a value has no HTML of it.
    """
    cells: list[dict[str, Any]] = json.loads(output.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    shown = [out["data"] for cell in code for out in cell["outputs"] if "data" in out]
    assert all("text/html" in each for each in shown if "text/plain" in each)
    return "\n".join("".join(each.get("text/plain", "")) for each in shown)


def test_plans_when_told_nothing_but_the_site(
    edge: Lab, operator: Operator, tmp_path: Path
) -> None:
    """``papermill notebooks/20_traefik.ipynb out.ipynb -p site parameters/varied.yml``."""
    before = snapshot(edge)
    output = tmp_path / "out.ipynb"
    done = papermill(operator.site, "20_traefik.ipynb", output)
    assert done.status == 0, done.text
    text = tables(output)
    assert "--providers.swarm.network=frontend" in text
    assert "Not applied: the mode is plan." in text
    assert touched(before, snapshot(edge)) == set()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_applies_by_itself(edge: Lab, operator: Operator, tmp_path: Path, step: Any) -> None:
    """On an edge that is as declared, each has 0 changes to make and proves its part."""
    before = snapshot(edge)
    output = tmp_path / step.notebook
    done = papermill(operator.site, step.notebook, output, "-p", "mode", "apply")
    assert done.status == 0, done.text
    assert "0 changes" in tables(output)
    assert touched(before, snapshot(edge)) == set()
