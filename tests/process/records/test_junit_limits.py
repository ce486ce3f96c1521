"""A JUnit file that cannot be written: whole or not at all."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from headless import check, entry, plan

from runbook.records.journal.results import collect
from runbook.records.journal.status import Status

OPENED = {"run_id": "r", "site": "lab", "site_file": "lab.yml", "mode": "apply"}
STARTED = "2026-11-23T13:01:47.123Z"


def step(name: str, status: str = "verified", *events: dict[str, Any], **particulars: Any) -> Any:
    """Return the results of one step, as a journal with these events amounts to."""
    declared = {"step": name, "notebook": f"20_{name}.ipynb"}
    ended = {"status": status, "reason": "", "duration_ms": 2536}
    journal = [
        entry("run opened", time=STARTED, steps=[declared], **OPENED),
        entry("step started", **declared, time=STARTED),
        *(entry("event", step=name, event={"step": name, **event}) for event in events),
        entry("step ended", step=name, time=STARTED, **ended),
    ]
    return replace(collect(journal).steps[0], **particulars)


def results(*steps: Any, status: str = "completed", reason: str = "", **particulars: Any) -> Any:
    """Return the results of a run."""
    run = collect([entry("run opened", time=STARTED, steps=[], **OPENED)])
    told = {"status": Status(status), "reason": reason, "steps": steps, **particulars}
    return replace(run, **{"run_id": "20261123T130147Z-lab-3e71bb", "duration_ms": 24904, **told})


MIXED = [
    step("preflight", "verified", plan(), check("fit")),
    step("network", "failed", plan("a"), check("it exists"), check("it is global", passed=False)),
    step("traefik", "timed out", plan("a", "b"), reason="cell verify: 60 s"),
    step("keepalived", "never ran", started=None, duration_ms=None),
]


LIMITED = """
import os, pathlib, pickle, resource, sys
from runbook.errors import BadInput
from runbook.records.reading import junit
path, values = pathlib.Path(sys.argv[1]), pickle.load(sys.stdin.buffer)
{limit}
try:
    junit.write(path, values)
except BadInput as error:
    print(error.message)
"""


def limited(limit: str, path: Path) -> str:
    """Write the file in a process of its own that is limited, and return what it was told."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit), path],
        input=pickle.dumps(results(*MIXED)),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


class TestWrite:
    """The file."""

    def test_whole_or_not_at_all(self, tmp_path: Path) -> None:
        """On a system that takes only the first bytes, as a full disk does, the old one stays."""
        path = tmp_path / "junit.xml"
        path.write_text("before")

        said = limited("resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))", path)
        assert "junit.xml cannot be written: File too large" in said
        assert path.read_text() == "before"
        assert list(tmp_path.iterdir()) == [path]

    def test_not_writable(self, tmp_path: Path) -> None:
        """A folder that is closed to the operator, who is not root, is refused."""
        tmp_path.chmod(0o500)

        said = limited("os.seteuid(os.geteuid() or 65534)", tmp_path / "junit.xml")
        assert "junit.xml cannot be written: Permission denied" in said
