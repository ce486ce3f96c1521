"""What tests of headless runs share: steps that are notebooks with faults, and a runner to signal.

As a program: ``headless.py FOLDER NOTEBOOK...`` runs the notebooks one after another as steps of
a site in FOLDER and exits as a run does. A name ending in ``.ipynb`` is one in FOLDER itself.
"""

from __future__ import annotations

import gc
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from archives import scratch

from runbook.events import as_text, to_json
from runbook.records.journal.entries import Entry, parse, read
from runbook.records.journal.journal import Listener
from runbook.records.journal.results import collect
from runbook.records.journal.status import ENDED_WELL, NOT_RUN, Status, together
from runbook.records.reading.junit import document
from runbook.run import ExitStatus, Request, RunResult, kernels, run
from runbook.site import Setting
from runbook.waiting import until

NOTEBOOKS = Path(__file__).parent / "data" / "notebooks"
WAIT_S = 120

EMIT = """
from IPython.display import display

def tell(event, **values):
    values = {"event": event, "step": STEP, **values}
    display({"application/vnd.runbook.event+json": values}, raw=True)
"""
"""What a cell begins with that tells the runner something of its own."""


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
    """A folder with a site and the notebooks of its steps.

    Attributes:
        require: What the site requires of a run that changes something.
        settings: The site's settings besides its name.
        key: The key that the site names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / "records"
        self.site_file = folder / "site.yml"
        self.told: list[dict[str, Any]] = []
        self.entries: list[Any] = []
        self.steps: list[Step] = []
        self.require: tuple[str, ...] = ()
        self.settings: dict[str, Any] = {}
        self.key: Path | None = None

    def step(self, name: str, copy_of: str, **particulars: Any) -> None:
        """Add a step whose notebook is a copy of one of the test notebooks."""
        source = NOTEBOOKS / f"{copy_of}.ipynb"
        shutil.copy(source, self._add(name, particulars))

    def cells(
        self, name: str, *cells: str, tags: Mapping[int, list[str]] | None = None, **options: Any
    ) -> None:
        """Add a step whose notebook has these cells after its parameters; they may ``tell``."""
        document = json.loads((NOTEBOOKS / "completes.ipynb").read_text())
        preamble = EMIT.replace("STEP", repr(name))
        sources = [preamble, *cells] if any("tell(" in cell for cell in cells) else list(cells)
        shift = len(sources) - len(cells)
        document["cells"][2:] = [
            {
                "cell_type": "code",
                "id": f"cell-{number - shift}" if number >= shift else "tells",
                "metadata": {"tags": (tags or {}).get(number - shift, [])},
                "source": source.strip("\n"),
                "execution_count": None,
                "outputs": [],
            }
            for number, source in enumerate(sources)
        ]
        self._add(name, options).write_text(json.dumps(document))

    def tells(self, name: str, *events: dict[str, Any], **particulars: Any) -> None:
        """Add a step whose notebook tells these events."""
        self.step(name, "tells", **particulars)
        self.told += [{"step": name, **event} for event in events]

    def _add(self, name: str, particulars: dict[str, Any]) -> Path:
        notebook = f"{len(self.steps)}0_{name}.ipynb"
        self.steps.append(Step(name, notebook, **particulars))
        return self.folder / notebook

    @property
    def declared(self) -> Any:
        """The site as the runner is given it."""
        records = SimpleNamespace(require=self.require, witness=False)
        site = SimpleNamespace(name="testsite", managers={}, records=records)
        values = {"name": "testsite", **self.settings}
        settings = [Setting(name, value, "site.yml:1") for name, value in values.items()]
        return SimpleNamespace(path=self.site_file, site=site, settings=settings, key_path=self.key)

    def request(self, **options: Any) -> Request:
        """Return a request for a run here."""
        return Request(notebooks=self.folder, records=self.records, **options)

    def run(self, listener: Listener | None = None, **options: Any) -> RunResult:
        """Run the steps; without a listener, its entries are kept."""
        self.site_file.write_text(json.dumps(self.told))
        return run(
            self.declared,
            self.request(**options),
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


def made(host: str, word: str = "done") -> dict[str, Any]:
    """An outcome event of the change that :func:`plan` planned."""
    outcome = {"event": "outcome", "host": host, "resource": "file /etc/f", "action": "update"}
    return outcome | {"outcome": word, "duration_ms": 7, "message": ""}


def check(name: str, *, passed: bool = True) -> dict[str, Any]:
    """A check event."""
    seen = "one" if passed else "two"
    return {"event": "check", "name": name, "where": "docker01", "expected": "one"} | {
        "seen": seen,
        "passed": passed,
    }


def entry(kind: str, **particulars: Any) -> Entry:
    """Return a line of a journal, made from the plain values that it has there."""
    return parse(as_text({"kind": kind, **particulars}))


VERDICT = {"event": "verdict", "mode": "apply", "changes": 0, "checks_passed": 1}


def statuses(path: Path) -> dict[str, str]:
    """Return the status of each cell of an executed notebook, by cell id."""
    cells = [
        cell for cell in json.loads(path.read_text())["cells"] if "papermill" in cell["metadata"]
    ]
    return {cell["id"]: cell["metadata"]["papermill"]["status"] for cell in cells}


def agrees(record: Path, exit_status: int | None) -> dict[str, Any]:
    """Return the results of a record, all of whose files tell the same of how the run ended."""
    results: dict[str, Any] = json.loads((record / "results.json").read_text())
    collected = collect(read(record / "journal.jsonl"))
    assert results == to_json(collected)
    assert results["exit_status"] == exit_status
    assert (results["status"] == "completed") == (exit_status in (0, ExitStatus.DIFFERENCES))
    page = (record / "report.html").read_text()
    assert _chips(page, "h1") == [results["status"]]
    assert _chips(page, 'td class="ended"') == [step["status"] for step in results["steps"]]
    root = ElementTree.fromstring(document(collected))  # noqa: S314  # our own
    suites = {suite.get("name"): suite for suite in root}
    for step in results["steps"]:
        _agrees_in_notebook(record / step["notebook"], step)
        _agrees_in_suite(suites.pop(step["step"]), step)
        assert step["reason"] in html.unescape(page)
    shared = {step["status"] for step in results["steps"]} | ENDED_WELL
    assert list(suites) == ([] if results["status"] in shared else ["run"])
    return results


def _chips(page: str, element: str) -> list[str]:
    """Return the status words that a page shows in its elements of one kind."""
    name = element.partition(" ")[0]
    within = re.findall(f"<{element}>(.*?)</{name}>", page, re.DOTALL)
    return [re.findall(r'<span class="chip \w+">\S+ ([^<]+)</span>', text)[0] for text in within]


def _agrees_in_notebook(path: Path, step: Mapping[str, Any]) -> None:
    if not path.exists():  # what was not served has no copy
        assert (step["status"] in NOT_RUN, step["cells"]) == (True, [])
        return
    executed = json.loads(path.read_text())
    told = {"status": step["status"], "reason": step["reason"]}
    assert executed["metadata"]["runbook"] == told
    code = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    marks = [cell["metadata"]["papermill"] for cell in code]
    own = {cell["cell"]: cell["status"] for cell in step["cells"]}
    assert own.items() <= statuses(path).items()
    for mark in marks:
        broken = mark["status"] not in ENDED_WELL | NOT_RUN
        assert bool(mark["exception"]) == broken, mark
    ends = [Status(mark["status"]) for mark in marks]
    whole = all(end in ENDED_WELL for end in ends)
    if step["status"] in ENDED_WELL:
        assert whole
        assert step["status"] == together(ends)
    elif whole:  # every cell came to its end, and the evidence did not suffice
        assert step["status"] == "killed" or (step["status"] == "failed" and step["reason"])
    else:
        assert executed["metadata"]["papermill"]["exception"] is True
        reached = [end for end in ends if end not in ENDED_WELL]
        assert all(end in NOT_RUN for end in reached[1:])


def _agrees_in_suite(suite: ElementTree.Element, step: Mapping[str, Any]) -> None:
    told = {prop.get("name"): prop.get("value") for prop in suite.iter("property")}
    assert told["status"] == step["status"]
    case = suite.find("testcase")
    assert case is not None
    ends = [(child.tag, child.get("type")) for child in case]
    status = step["status"]
    tag = "skipped" if status in NOT_RUN else "failure" if status == "failed" else "error"
    assert ends == ([] if status in ENDED_WELL else [(tag, status)])
    failed = [case for case in suite.iter("testcase") if case.find("failure[@type='check']")]
    assert len(failed) == 0 or status not in ENDED_WELL


@contextmanager
def process(
    folder: Path, *notebooks: str, started: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run test notebooks in a process of its own; begin when a file says that one is at work."""
    runner = subprocess.Popen(
        [sys.executable, __file__, folder, *notebooks],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    there = (folder / started).exists
    until(lambda: there() or runner.poll() is not None, holds=bool, timeout_s=WAIT_S, every_s=0.05)
    try:
        yield runner
    finally:
        runner.kill()
        runner.communicate()


@contextmanager
def own_temporary_files() -> Iterator[Path]:
    """Give temporary files a folder of their own, and find nothing left in it."""
    scratch()  # what all tests share is no part of it
    folder = Path(tempfile.mkdtemp())  # pytest's own is too long a path for a socket
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("TMPDIR", str(folder))
        yield folder
    gc.collect()  # a kernel of one notebook only goes with its manager
    folder.rmdir()


def without_privileges(code: str, *arguments: object) -> str:
    """Run Python as who owns the files and is not root, and return what it prints."""
    # Modes do not bind root, unless it is without this capability (capabilities(7)).
    drop = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*drop, sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kernel_is_gone(folder: Path) -> bool:
    """Return whether the kernel that wrote its number here has ended."""
    try:
        os.kill(int((folder / "kernel.pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def send_on(kind: str, place: Workplace, *numbers: int) -> Listener:
    """Return a listener that sends this process a signal for each entry of a kind it hears."""
    left = list(numbers)

    def listen(entry: Any) -> None:
        place.entries.append(entry)
        if entry.kind == kind and left:
            os.kill(os.getpid(), signal.Signals(left.pop(0)))

    return listen


def main(folder: str, names: Iterable[str]) -> int:
    """Run test notebooks as steps, each after the one before it."""
    kernels.PRELOAD = "json"
    place = Workplace(Path(folder))
    for name in names:
        after = tuple(step.name for step in place.steps[-1:])
        if name.endswith(".ipynb"):
            place.steps.append(Step(Path(name).stem.partition("_")[2], name, after))
        else:
            place.step(name, name, after=after)
    return place.run(mode="apply" if "RUNBOOK_TEST_APPLY" in os.environ else "plan").exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
