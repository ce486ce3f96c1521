"""One step's part of a sealed plan, and whether it is still what was approved."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.changes import Plan
from runbook.differences import differences, flat
from runbook.errors import Refused
from runbook.events import State
from runbook.masking.redact import MASKER

if TYPE_CHECKING:
    from runbook.site import SiteFile
    from runbook.steps.step import F, Files, Row, Step


def state(rows: Iterable[Row]) -> State:
    """Return observations by host, resource and field."""
    seen: State = {}
    for row in rows:
        seen.setdefault(row.host, {}).setdefault(row.resource, {})[row.field] = _text(row.seen)
    return seen


def part(step: Step[F], site_file: SiteFile, facts: F, plan: Plan) -> dict[str, Any]:
    """Return what a step saw, the files as it would write them, and its changes, masked."""
    changes = [
        {name: _text(value) for name, value in change.as_dict().items()} for change in plan.changes
    ]
    seen = state(step.rows(facts))
    told = {
        "digest": plan.digest,
        "observed": seen,
        "files": _files(step, site_file, facts),
        "changes": changes,
    }
    masked: dict[str, Any] = MASKER.mask_json(told)
    return masked


def files(step: Step[F], site_file: SiteFile, facts: F) -> Files:
    """Return the files as the step would write them, masked."""
    masked: Files = MASKER.mask_json(_files(step, site_file, facts))
    return masked


def _files(step: Step[F], site_file: SiteFile, facts: F) -> Files:
    return {
        host: {path: _text(content) for path, content in written.items()}
        for host, written in step.files(site_file, facts).items()
    }


def _text(value: str) -> str:
    """Return a text as every reader of a record has it: bytes that are no UTF-8 are shown so."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def moved(step: str, now: dict[str, Any], plan: str) -> list[str]:
    """Return how a step's part differs from the approved one, a line a difference.

    Args:
        step: The step.
        now: Its part, made from what was just read.
        plan: The file with the approved plan; empty: nothing has to be approved.
    """
    if not plan:
        return []
    approved = json.loads(Path(plan).read_text(encoding="utf-8"))["steps"].get(step)
    if approved is None:
        return ["what was approved has no plan of this step"]
    if approved == now:
        return []
    return list(_differences(approved, now)) or ["the changes are not those that were approved"]


def refuse_moved(step: str, now: dict[str, Any], plan: str) -> None:
    """Refuse to go on where a step's part is not the approved one.

    Raises:
        Refused: It is not; the message names what moved.
    """
    found = moved(step, now, plan)
    if found:
        raise Refused(
            "the world has moved since the plan was approved:\n"
            + "\n".join(f"  {m}" for m in found),
            step=step,
            todo="plan it as it is now (--plan), and have that approved",
        )


def _differences(approved: dict[str, Any], now: dict[str, Any]) -> Iterable[str]:
    for found in differences(*(flat("", part["observed"]) for part in (approved, now))):
        fact = found.fact.removeprefix("/")
        yield f"{fact}: {found.left or 'absent'} → {found.right or 'absent'}"
    for found in differences(*(flat("", part["files"]) for part in (approved, now))):
        yield f"{found.fact.removeprefix('/')}: would be written otherwise"
