"""Records in the making, as a run that is killed leaves them, and a workplace with one step."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archives import ALICE, CAROL, key, signer
from headless import VERDICT, Workplace, check, entry, made, plan

from runbook.records.archive.archive import Archive
from runbook.records.archive.statement import Context
from runbook.records.journal.entries import Entry
from runbook.records.keeping import approve
from runbook.records.writing.record import Record
from runbook.run import RunResult

CONTEXT = Context(ticket="CHG-7", reason="the edge is to be highly available")
STEPS = [{"step": n, "notebook": f"{n}.ipynb", "skipped": False} for n in ("network", "traefik")]


def ignore(_entry: Entry) -> None:
    """Listen to nothing."""


def opened(records: Path, by: str = ALICE) -> Record:
    """Return a record whose run was opened and has written its first line."""
    record = Record(Archive(records, signer(by)), "lab", ignore)
    record.archive.open_run(record.run_id, site="lab", mode="apply", context=CONTEXT)
    record.journal.write(
        entry(
            "run opened",
            run_id=record.run_id,
            site="lab",
            site_file="lab.yml",
            settings={"name": "lab", "traefik.image": "traefik:v3.7.1"},
            mode="apply",
            context=asdict(CONTEXT),
            emergency=False,
            steps=STEPS,
        )
    )
    return record


def executed(folder: Path, *cells: str, ended: str = "running") -> None:
    """Write a notebook of the step network as the engine saves it."""
    written = [
        {
            "cell_type": "code",
            "id": name,
            "source": "",
            "outputs": [],
            "execution_count": None,
            "metadata": {"papermill": {"status": cell, "exception": False}},
        }
        for name, cell in zip("abcdef", cells, strict=False)
    ]
    about = {"papermill": {"exception": None}, "runbook": {"status": ended, "reason": ""}}
    notebook = {"cells": written, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    (folder / "network.ipynb").write_text(json.dumps(notebook))


def in_its_first_step(record: Record) -> None:
    """Have a record be in the middle of its first step."""
    executed(record.folder, "unchanged", "running", "never ran")
    record.journal.write(entry("step started", step="network", notebook="network.ipynb"))
    cell = {"cell": "a", "index": 0, "status": "unchanged", "duration_ms": 1}
    record.journal.write(entry("cell ended", step="network", **cell))


def at_its_end(record: Record) -> None:
    """Have a record be that of a run whose one step is over, and that only wants its seal."""
    executed(record.folder, "changed", ended="changed")
    event = {"step": "network", **made("docker01")}
    cell = {"cell": "a", "index": 0, "status": "changed", "duration_ms": 1}
    end = {"status": "changed", "reason": ""}
    told: list[tuple[str, dict[str, Any]]] = [
        ("step started", {"notebook": "network.ipynb"}),
        ("event", {"event": event}),
        ("cell ended", cell),
        ("notebook ended", {**end, "cells": [cell]}),
        ("step ended", {**end, "duration_ms": 2}),
    ]
    for kind, particulars in told:
        record.journal.write(entry(kind, step="network", **particulars))
    over = {"status": "completed", "reason": "", "exit_status": 0, "duration_ms": 3}
    record.journal.write(entry("run closed", **over))


def killed(record: Record) -> Path:
    """Leave a record as a runner does that is killed now; the system lets go of its journal."""
    record.journal.close()
    return record.folder


def told(record: Path) -> dict[str, Any]:
    """Return what the statement of a record says."""
    predicate: dict[str, Any] = json.loads((record / "statement.json").read_text())["predicate"]
    return predicate


def begin(place: Workplace) -> None:
    """Give a workplace one step that plans a change and makes it."""
    done = [f"    tell(**{event})" for event in (made("docker01"), check("holds"), VERDICT)]
    apply = "\n".join(["if mode == 'apply':", *done])
    place.cells("network", f"tell(**{plan('docker01')})", apply, checks=("holds",))


def planned(place: Workplace, by: str = "alice") -> str:
    """Plan, and return the run's id."""
    return place.run(key=key(by)).record.name


def approved(place: Workplace, run_id: str) -> Path:
    """Have carol approve a plan."""
    return approve.approve(place.records, run_id, signer(CAROL), reason="looks right")


def applied(place: Workplace, **options: Any) -> RunResult:
    return place.run(mode="apply", key=key("alice"), **options)
