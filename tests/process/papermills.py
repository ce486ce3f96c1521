"""Papermill as its own users start it, with the runbook's engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import by_both, key
from fakes import TOP
from headless import WAIT_S, Workplace, agrees

from runbook.run.serving import papermill

NEVER_RAN = "never ran"
Program = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Start papermill's own command with the runbook's engine, as pyproject.toml registers it."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    (tmp_path / "edge_runbook-0.dist-info").mkdir()
    lines = [
        f"[{group}]\n{name} = {point}"
        for group, points in project["entry-points"].items()
        for name, point in points.items()
    ]
    (tmp_path / "edge_runbook-0.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    started = []

    def start(*arguments: object) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "papermill", "--no-progress-bar", "--engine", "runbook"]
        started.append(
            subprocess.Popen(
                [*words, *map(str, arguments)],
                env=os.environ | {"PYTHONPATH": f"{TOP}:{tmp_path}"},
                stderr=subprocess.PIPE,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Return status and complaints of a program, once it has ended."""
    _, said = process.communicate(timeout=WAIT_S)
    return process.returncode, said.decode()


def run(place: Workplace, **options: Any) -> dict[str, Any]:
    """Run the steps, and return results that every file agrees on and both verifiers accept."""
    result = place.run(key=key("alice"), **options)
    assert by_both(place.records) == (0, [])
    return agrees(result.record, result.exit_status)


def engine(notebook: Path, output: Path, **options: Any) -> None:
    """Run a notebook as papermill's own users do, with a kernel for this notebook only."""
    papermill.execute_notebook(
        notebook, output, engine_name="runbook", progress_bar=False, **options
    )


def told(path: Path) -> dict[str, Any]:
    """Return what an executed notebook says of itself."""
    metadata: dict[str, Any] = json.loads(path.read_text())["metadata"]
    return {"exception": metadata["papermill"]["exception"], **metadata["runbook"]}
