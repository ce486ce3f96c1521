"""Results of a run, as made up for a JUnit file."""

from __future__ import annotations

from dataclasses import replace
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
