"""Approval: a second person signs the digest of a plan before it is applied.

A plan is sealed as the bytes of ``plan.json``: the site and its image, and for each step what was
observed, the files as they would be written and the changes. Whatever of these moves makes another
digest, and the approval void.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook.errors import BadInput, Refused
from runbook.records.archive import canonical
from runbook.records.archive.approval import SCHEMA, Approval, Use, objections, read
from runbook.records.archive.archive import ALLOWED, REVOKED
from runbook.records.archive.findings import Level
from runbook.records.archive.ledger import moment
from runbook.records.archive.statement import APPROVAL, APPROVAL_SIGNATURE, PLAN, STATEMENT
from runbook.records.signing import allowed_signers, sign, sshsig
from runbook.records.signing.sign import Signer
from runbook.records.signing.sshsig import Unverified
from runbook.records.signing.trust import Trust
from runbook.records.verify import verify

FOLDER = "approvals"
VALID_FOR = timedelta(hours=24)
REVIEW_WITHIN = timedelta(days=5)


def seal(plan: Mapping[str, Any]) -> bytes:
    """Return the bytes of ``plan.json``, whose digest is approved.

    Args:
        plan: What would be done, see :func:`runbook.records.writing.evidence.plan`.
    """
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
    told = json.loads((archive / run_id / STATEMENT).read_bytes())["predicate"]
    if (told["mode"], told["outcome"]) != ("plan", "ok") or not path.is_file():
        raise BadInput(
            f"{run_id} ({told['mode']}, {told['outcome']}) is no plan that came to its end",
            todo="approve one: runbook run SITE --plan",
        )
    if told["operator"]["principal"] == signer.principal:
        raise Refused(
            f"{signer.principal} made this plan and cannot approve it", todo="ask somebody else to"
        )
    now = datetime.now(UTC)
    digest = canonical.sha256_of(path)
    approval = Approval(run_id, digest, signer.principal, _rfc(now), _rfc(now + valid_for), reason)
    content = canonical.document({"schema": SCHEMA, **asdict(approval)})
    signature = signer.sign(content, sshsig.APPROVAL)
    try:
        sign.verify(content, signature, sshsig.APPROVAL, _allowed(archive), (signer.principal, now))
    except Unverified as error:
        line = f'{signer.principal} namespaces="{sshsig.APPROVAL}" {signer.public_line}'
        raise Refused(
            f"{signer.principal} may not approve: {error}",
            todo=f"have this line reviewed and added to {archive / ALLOWED}: {line}",
        ) from error
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
    raise Refused("nobody has approved this plan", todo="have it approved: runbook approve RUN")


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


def emergency(plan: bytes, by: str, reason: str, at: str) -> dict[str, Any]:
    """Return what a statement says of a plan that is applied before anybody approved it.

    Args:
        plan: The bytes of ``plan.json``.
        by: Who takes it upon themselves: a principal, or an account where nobody signs.
        reason: Why it cannot wait.
        at: When the run was opened, RFC 3339 in UTC.
    """
    return {
        "kind": "emergency",
        "by": by,
        "plan_sha256": canonical.sha256(plan),
        "at": at,
        "expires": None,
        "reason": reason,
        "review_due": _rfc(moment(at) + REVIEW_WITHIN),
    }


def _allowed(archive: Path) -> allowed_signers.AllowedSigners:
    return allowed_signers.read(archive / ALLOWED, archive / REVOKED)


def _rfc(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
