"""Approval: a second person signs the digest of a plan before it is applied.

A plan is sealed as the bytes of ``plan.json``: the site, what was observed, the files as they would
be written and the image. Whatever of these moves makes another digest, and the approval void.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook.errors import BadInput, Refused
from runbook.records import allowed_signers, canonical, sign, sshsig, verify
from runbook.records.approval import SCHEMA, Approval, Use, objections, read
from runbook.records.archive import ALLOWED, REVOKED
from runbook.records.findings import Level
from runbook.records.sign import Signer
from runbook.records.sshsig import Unverified
from runbook.records.statement import APPROVAL, APPROVAL_SIGNATURE, PLAN
from runbook.records.trust import Trust

FOLDER = "approvals"
VALID_FOR = timedelta(hours=24)
REVIEW_WITHIN = timedelta(days=5)
_PARTS = frozenset({"site", "observed", "files", "image"})


def seal(plan: Mapping[str, Any]) -> bytes:
    """Return the bytes of ``plan.json``, whose digest is approved.

    Args:
        plan: What would be done: site, observed, files and image, and whatever else is part of it.

    Raises:
        BadInput: One of these is missing.
    """
    missing = _PARTS - plan.keys()
    if missing:
        raise BadInput(f"a plan without {', '.join(sorted(missing))} cannot be sealed")
    return canonical.document({"schema": SCHEMA, **plan})


def approve(
    archive: Path, run_id: str, signer: Signer, *, reason: str, valid_for: timedelta = VALID_FOR
) -> Path:
    """Sign the plan of a sealed run, and return the approval's file.

    Args:
        archive: The archive's folder.
        run_id: A run that only planned.
        signer: The approver.
        reason: Why, in a few words.
        valid_for: How long it may be applied.

    Raises:
        BadInput: There is no such run, or it has no plan.
        Refused: The run is not as it was written, or the key may not approve.
    """
    found = verify.verify(archive, verify.Options(runs=(run_id,))).findings
    bad = [finding for finding in found if finding.level is Level.BAD]
    if bad:
        raise Refused(f"{run_id} cannot be approved: {bad[0]}")
    path = archive / run_id / PLAN
    if not path.is_file():
        raise BadInput(f"{run_id} has no {PLAN}", todo="approve a run that only planned")
    now = datetime.now(UTC)
    digest = canonical.sha256_of(path)
    approval = Approval(run_id, digest, signer.principal, _rfc(now), _rfc(now + valid_for), reason)
    content = canonical.document({"schema": SCHEMA, **asdict(approval)})
    signature = signer.sign(content, sshsig.APPROVAL)
    try:
        sign.verify(content, signature, sshsig.APPROVAL, _allowed(archive), (signer.principal, now))
    except Unverified as error:
        raise Refused(f"{signer.principal} may not approve: {error}") from error
    target = archive / FOLDER / f"{run_id}-{signer.principal}.json"
    target.parent.mkdir(exist_ok=True)
    canonical.write(target.with_name(target.name + ".sig"), signature.encode())
    canonical.write(target, content)
    return target


def require(archive: Path, plan: bytes, operator: Signer, at: datetime | None = None) -> Path:
    """Return the approval under which this operator may apply this plan now.

    Args:
        archive: The archive's folder.
        plan: The bytes of ``plan.json``, made anew from what is observed now.
        operator: Who is about to apply it.
        at: The time; absent: now.

    Raises:
        Refused: Nobody approved it, or no approval holds; the message says why.
    """
    others: list[str] = []
    refused: Refused | None = None
    for path in sorted((archive / FOLDER).glob("*.json")):
        try:
            if read(path).plan_sha256 != canonical.sha256(plan):
                others.append(path.name)
                continue
            check(path, plan, operator, _allowed(archive), at or datetime.now(UTC))
        except Refused as error:
            refused = error
        else:
            return path
    if refused is not None:
        raise refused
    if others:
        raise Refused(
            f"wrong plan: what was approved is another one ({', '.join(others)})",
            todo="the site or its hosts have moved since: plan anew, and have that approved",
        )
    raise Refused(
        "nobody has approved this plan", todo="have it approved: runbook records approve RUN"
    )


def check(
    path: Path, plan: bytes, operator: Signer, allowed: allowed_signers.AllowedSigners, at: datetime
) -> Approval:
    """Return an approval that lets this operator apply this plan at this time.

    Args:
        path: The approval; its signature lies beside it.
        plan: The bytes of ``plan.json``.
        operator: Who is about to apply it.
        allowed: Who may approve.
        at: The time.

    Raises:
        Refused: It is missing, of another plan, the operator's own, foreign, or expired.
    """
    use = Use(operator.principal, operator.public, canonical.sha256(plan), _rfc(at))
    for name, what in objections(path, use, Trust(allowed, sign.verify)):
        raise Refused(f"{name}: {what}", todo="have the plan as it is now approved")
    return read(path)


def place(path: Path, folder: Path) -> None:
    """Copy an approval and its signature into the record of the run that it allows."""
    shutil.copyfile(path, folder / APPROVAL)
    shutil.copyfile(path.with_name(path.name + ".sig"), folder / APPROVAL_SIGNATURE)


def emergency(plan: bytes, operator: Signer, reason: str) -> dict[str, Any]:
    """Return what a statement says of a plan that is applied before anybody approved it.

    Args:
        plan: The bytes of ``plan.json``.
        operator: Who takes it upon themselves.
        reason: Why it cannot wait.

    Raises:
        Refused: There is no reason.
    """
    if not reason.strip():
        raise Refused("an emergency needs a reason", todo="give it: --reason")
    now = datetime.now(UTC)
    return {
        "kind": "emergency",
        "by": operator.principal,
        "plan_sha256": canonical.sha256(plan),
        "at": _rfc(now),
        "expires": None,
        "reason": reason,
        "review_due": _rfc(now + REVIEW_WITHIN),
    }


def _allowed(archive: Path) -> allowed_signers.AllowedSigners:
    return allowed_signers.read(archive / ALLOWED, archive / REVOKED)


def _rfc(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
