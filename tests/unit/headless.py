"""What tests of headless runs share: steps that are notebooks with faults, and a runner to signal.

As a program: ``headless.py FOLDER NOTEBOOK...`` runs the notebooks one after another as steps of
a site in FOLDER and exits as a run does.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from runbook.execute import Request, RunResult, kernels, run
from runbook.execute.journal import Listener

NOTEBOOKS = Path(__file__).parents[1] / "data" / "notebooks"


@dataclass(frozen=True)
class Step:
    """A step as the runner sees it."""

    name: str
    notebook: str
    after: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    proves_when_planning: bool = False

    def needs(self, _site: Any) -> frozenset[str]:
        """Return the steps before it."""
        return frozenset(self.after)

    def required_checks(self, _site: Any) -> tuple[str, ...]:
        """Return the checks it owes."""
        return self.checks


class Workplace:
    """A folder with a site and the notebooks of its steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / "records"
        self.site_file = folder / "site.yml"
        self.told: list[dict[str, Any]] = []
        self.entries: list[Any] = []
        self.steps: list[Step] = []

    def step(self, name: str, copy_of: str, **particulars: Any) -> None:
        """Add a step whose notebook is a copy of one of the test notebooks."""
        notebook = f"{len(self.steps)}0_{name}.ipynb"
        shutil.copy(NOTEBOOKS / f"{copy_of}.ipynb", self.folder / notebook)
        self.steps.append(Step(name, notebook, **particulars))

    def tells(self, name: str, *events: dict[str, Any], **particulars: Any) -> None:
        """Add a step whose notebook tells these events."""
        self.step(name, "tells", **particulars)
        self.told += [{"step": name, **event} for event in events]

    def run(self, listener: Listener | None = None, **options: Any) -> RunResult:
        """Run the steps; without a listener, its entries are kept."""
        self.site_file.write_text(json.dumps(self.told))
        request = Request(notebooks=self.folder, records=self.records, **options)
        return run(
            SimpleNamespace(path=self.site_file, site=SimpleNamespace(name="testsite")),
            request,
            steps=self.steps,
            listener=listener or self.entries.append,
        )


def plan(*hosts: str) -> dict[str, Any]:
    """A plan event, with one change a host."""
    change = {"resource": "file /etc/f", "action": "update", "summary": "update file /etc/f"}
    change |= {"before": "a\n", "after": "b\n", "diff": "-a\n+b", "undo": "restore"}
    return {
        "event": "plan",
        "digest": "0" * 64,
        "changes": [{"host": host, **change} for host in hosts],
    }


def check(name: str, *, passed: bool = True) -> dict[str, Any]:
    """A check event."""
    seen = "one" if passed else "two"
    return {"event": "check", "name": name, "where": "docker01", "expected": "one"} | {
        "seen": seen,
        "passed": passed,
    }


VERDICT = {"event": "verdict", "mode": "apply", "changes": 0, "checks_passed": 1}


def statuses(path: Path) -> dict[str, str]:
    """Return the status of each cell of an executed notebook, by cell id."""
    cells = [
        cell for cell in json.loads(path.read_text())["cells"] if "papermill" in cell["metadata"]
    ]
    return {cell["id"]: cell["metadata"]["papermill"]["status"] for cell in cells}


def main(folder: str, names: Iterable[str]) -> int:
    """Run test notebooks as steps, each after the one before it."""
    kernels.PRELOAD = "json"
    place = Workplace(Path(folder))
    for name in names:
        place.step(name, name, after=tuple(step.name for step in place.steps[-1:]))
    return place.run().exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
