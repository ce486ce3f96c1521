"""What a run needs before it may begin: who signs, why, and under which approval."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.context import RunContext
from runbook.differences import differences
from runbook.errors import BadInput, Refused, RunbookError
from runbook.masking.redact import MASKER
from runbook.records.archive import canonical, provenance
from runbook.records.archive.archive import Archive, identify
from runbook.records.archive.statement import PLAN, Context
from runbook.records.journal.entries import DeclaredStep, RecordClosed, RunOpened
from runbook.records.verify import witness
from runbook.records.writing.record import Record
from runbook.run.selection import Request

if TYPE_CHECKING:
    from runbook.site import SiteFile
    from runbook.steps import Step

KEY = "RUNBOOK_KEY"
"""The environment variable that names the operator's key."""

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Opening:
    """What is settled when a run begins.

    Attributes:
        archive: Receives the record, and knows who signs.
        settings: The effective settings of the site by name, masked.
        context: What the record's files will not say.
        approved: The folder of the run whose plan was approved, and the approval.
    """

    archive: Archive
    settings: Mapping[str, Any]
    context: Context
    approved: tuple[Path, Path] | None = None


def prepare(site_file: SiteFile, request: Request) -> Opening:
    """Return what is settled before anything is contacted or written.

    Raises:
        BadInput: The key cannot be read, no such run was planned, or options contradict each other.
        Refused: The site requires a signature, a ticket, a reason or an approval that is missing,
            or what was approved is not what the site says now.
    """
    key = request.key or _key(site_file)
    folder = request.records
    archive = Archive(folder, identify(folder, key) if key else None)
    settings = MASKER.mask_json({s.name: s.value for s in site_file.settings})
    context = Context(
        ticket=MASKER.mask_json(request.ticket),  # the ledger keeps both for ever
        reason=MASKER.mask_json(request.reason),
        site_sha256=canonical.sha256(canonical.line(settings)),
        git=provenance.git(CHECKOUT),
        tool=provenance.tool(CHECKOUT),
    )
    _refuse_missing(site_file, request, archive)
    approved = _approved(request, archive, settings) if request.approved else None
    return Opening(archive, settings, context, approved)


def begin(
    record: Record,
    site_file: SiteFile,
    request: Request,
    opening: Opening,
    steps: Mapping[Step[Any], bool],
) -> RunContext:
    """Enter the run into ledger and journal, before anything is contacted.

    Args:
        record: The new record.
        site_file: The declared site.
        request: What is run.
        opening: What is settled.
        steps: Every step there is, and whether it was asked for.

    Returns:
        What the kernels are told.

    Raises:
        Refused: The key cannot sign; no record is left.
    """
    name = site_file.site.name
    try:
        head = record.archive.open_run(
            record.run_id, site=name, mode=request.mode, context=opening.context
        )
    except RunbookError:
        record.discard()
        raise
    approved, opened = "", ""
    if opening.approved is not None:
        from runbook.records.keeping import approve

        planned, approval = opening.approved
        shutil.copyfile(planned / PLAN, record.folder / PLAN)
        approve.place(approval, record.folder)
        approved = str(record.folder / PLAN)
    if site_file.site.records.witness:
        begun = witness.begun(record.archive.folder, head.principal)
        opened = witness.text("opened", record.run_id, head, begun)
    record.keep_sources(request.notebooks / step.notebook for step in steps if steps[step])
    record.journal.write(
        RunOpened(
            run_id=record.run_id,
            site=name,
            site_file=str(site_file.path),
            settings=dict(opening.settings),
            mode=request.mode,
            context=asdict(opening.context),
            emergency=request.emergency,
            steps=tuple(DeclaredStep(s.name, s.notebook, not steps[s]) for s in steps),
        )
    )
    for killed in record.killed:
        record.journal.write(RecordClosed(record=killed.name))
    record.journal.sync()
    return RunContext(record.run_id, str(record.folder), approved, opened)


def _key(site_file: SiteFile) -> Path | None:
    own = os.environ.get(KEY)
    return Path(os.path.expanduser(own)) if own else site_file.key_path


def _refuse_missing(site_file: SiteFile, request: Request, archive: Archive) -> None:
    if request.mode == "plan" and (request.approved or request.emergency):
        raise BadInput(
            "a plan needs no approval", todo="leave out --plan, or --approved and --emergency"
        )
    if request.emergency and request.approved:
        raise BadInput("an emergency is not approved beforehand", todo="give one of the two")
    if request.emergency and not request.reason:
        raise BadInput("an emergency needs a reason", todo="give it: --reason")
    if request.approved and archive.signer is None:
        raise Refused(
            "an approval is held against the operator's key, and this run has none",
            todo=_HOW["signature"],
        )
    given = {
        "signature": archive.signer is not None,
        "ticket": bool(request.ticket),
        "reason": bool(request.reason),
        "approval": bool(request.approved or request.emergency),
    }
    missing = [need for need in site_file.site.records.require if not given[need]]
    if request.mode == "apply" and missing:
        raise Refused(
            f"the site requires of every run that changes something: {', '.join(missing)}",
            todo="; ".join(_HOW[need] for need in missing),
        )


_HOW = {
    "signature": "name your SSH key: --key, RUNBOOK_KEY, or records.key in the site",
    "ticket": "name the change request: --ticket",
    "reason": "say why: --reason",
    "approval": "plan it (--plan), have it approved (runbook approve RUN), then --approved RUN; "
    "what cannot wait: --emergency --reason",
}


def _approved(request: Request, archive: Archive, settings: Mapping[str, Any]) -> tuple[Path, Path]:
    from runbook.records.keeping import approve
    from runbook.records.reading import search

    assert archive.signer is not None  # refused before
    planned = archive.folder / search.find(archive.folder, str(request.approved)).folder
    if not (planned / PLAN).is_file():
        raise BadInput(f"{planned.name} has no {PLAN}", todo="name a run that only planned")
    plan = (planned / PLAN).read_bytes()
    approval = approve.require(archive.folder, plan, archive.signer)
    _refuse_other_site(json.loads(plan)["site"], settings)
    return planned, approval


def _refuse_other_site(approved: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    moved = differences(dict(approved), dict(settings))
    if moved:
        told = "\n".join(f"  {d.fact}: {d.left} → {d.right}" for d in moved)
        raise Refused(
            f"the site is not the one whose plan was approved:\n{told}",
            todo="plan it as it is now (--plan), and have that approved",
        )
