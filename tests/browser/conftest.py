"""A browser, and the page of a run that was really made: on the lab, as an operator makes it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from runbook.records.page.page import page

TOP = Path(__file__).parents[2]
RUNBOOK = Path(sys.executable).with_name("runbook")
RUN_TIMEOUT_S = 240
CHROMIUM = "/usr/bin/chromium"
# The first is what root needs; the others keep the browser from asking the network by itself.
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
ARGUMENTS += ["--disable-gpu", "--disable-quic", "--disable-sync", "--no-first-run"]
CHANGE = {
    "host": "a-manager-with-a-long-name.internal.example.org",
    "resource": "file /etc/" + "long/" * 30,
    "action": "update",
    "summary": "update",
    "before": "a",
    "after": "b",
    "diff": "\n".join(["--- f (now)", "+++ f (planned)", "@@ -1,40 +1,40 @@", *["-a", "+b"] * 40]),
    "undo": "restore it",
}
FINDING = {"level": "blocking", "host": "gateway", "subject": "rules"}
FINDING |= {"what": "w" * 200, "why": "so", "todo": "do"}
CHECK = {
    "name": "it is there",
    "where": "gateway" * 9,
    "expected": "one",
    "seen": "two " + "y" * 99,
}


@dataclass
class Visit:
    """A page that is open, what it asked for and what the browser had to say against it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


Visitor = Callable[..., Visit]


@pytest.fixture(scope="session")
def record_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page in the record of a run on the lab."""
    records = tmp_path_factory.mktemp("records")
    done = subprocess.run(
        [RUNBOOK, "run", "parameters/lab.yml", "--records", records],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = records.glob("*/report.html")
    return found


@pytest.fixture(scope="session")
def failed_page(record_page: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the same run as if its second step had failed, long words and all; unsigned."""
    folder = tmp_path_factory.mktemp("failed") / "record"
    shutil.copytree(record_page.parent, folder)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    step = results["steps"][1]
    failure = {"status": "failed", "reason": f"no {'x' * 200}"}
    made = {"outcome": "failed", "duration_ms": 5, "message": "m" * 200}
    step |= {**failure, "changes": [CHANGE], "outcomes": [{**CHANGE, **made}]}
    step |= {"findings": [FINDING], "checks": [{**CHECK, "passed": False}]}
    return redrawn(folder, results | failure)


def redrawn(folder: Path, results: dict[str, Any] | None = None) -> Path:
    """Draw the page of a record anew, with other results if there are any."""
    if results is not None:
        rewrite(folder / "results.json", json.dumps(results))
    return rewrite(folder / "report.html", page(folder, {}))


def rewrite(path: Path, text: str) -> Path:
    """Replace a file; those of a record are read-only."""
    path.unlink()
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(params=["completed", "failed"])
def report(request: pytest.FixtureRequest) -> Path:
    """The page of a run: of the real one, and of one that failed."""
    name = {"completed": "record_page", "failed": "failed_page"}[request.param]
    path: Path = request.getfixturevalue(name)
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visitor]:
    """Open a file with the network off; keywords are those of a browser context."""
    contexts: list[BrowserContext] = []

    def go(path: Path, **options: Any) -> Visit:
        options = {"viewport": {"width": 1280, "height": 900}} | options
        contexts.append(context := chromium.new_context(offline=True, **options))
        seen = Visit(context.new_page())
        context.on("request", lambda request: seen.requests.append(request.url))
        context.on("weberror", lambda error: seen.complaints.append(str(error.error)))
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.goto(path.as_uri())
        return seen

    yield go
    for context in contexts:
        context.close()
