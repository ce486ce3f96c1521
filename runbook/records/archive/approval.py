"""An approval as a file: what it says, and whether it holds for a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import Refused
from runbook.records.archive.ledger import moment
from runbook.records.signing import sshsig
from runbook.records.signing.sshsig import Unverified
from runbook.records.signing.trust import Trust

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Approval:
    """What was approved, by whom and until when.

    Attributes:
        run_id: The run that showed the plan.
        plan_sha256: Digest of its ``plan.json``.
        by: The approver's principal.
        at: When, RFC 3339 in UTC.
        expires: Until when it may be applied, likewise.
        reason: Why, in the approver's words.
    """

    run_id: str
    plan_sha256: str
    by: str
    at: str
    expires: str
    reason: str


@dataclass(frozen=True, slots=True)
class Use:
    """What an approval is held against.

    Attributes:
        operator: The principal who applies the plan; ``None`` where the run is unsigned.
        key: Their key; ``None`` where it is not known.
        plan_sha256: Digest of the plan.
        at: When it is applied; ``None`` where that was never reached.
    """

    operator: str | None
    key: bytes | None
    plan_sha256: str | None
    at: str | None


def objections(path: Path, use: Use, trust: Trust) -> Iterator[tuple[str, str]]:
    """Yield why an approval does not hold for a use of it: the file's name and the objection.

    Args:
        path: The approval; its signature lies beside it.
        use: What it is held against.
        trust: Who may approve.
    """
    try:
        approval = read(path)
    except Refused as error:
        yield path.name, error.message
        return
    if approval.plan_sha256 != use.plan_sha256:
        yield path.name, f"wrong plan: it approves {approval.plan_sha256}"
    if approval.by == use.operator:
        yield path.name, f"self-approved: {approval.by} is the operator"
    signature_path = path.with_name(path.name + ".sig")
    try:
        who = (approval.by, moment(approval.at))
        signature = trust.signature(path.read_bytes(), signature_path, sshsig.APPROVAL, who)
    except Unverified as error:
        yield signature_path.name, str(error)
    else:
        if signature.key == use.key and approval.by != use.operator:
            yield path.name, f"self-approved: {approval.by} signs with the operator's key"
    if use.at is not None and use.at < approval.at:
        yield path.name, f"it is of {approval.at}, after {use.at}"
    if use.at is not None and use.at > approval.expires:
        yield path.name, f"it expired at {approval.expires}, before {use.at}"


def read(path: Path) -> Approval:
    """Return what an approval says, whoever signed it.

    Raises:
        Refused: It is missing, or none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        approval = Approval(**{name: value[name] for name in Approval.__slots__})
        moment(approval.at), moment(approval.expires)
    except FileNotFoundError:
        raise Refused(f"missing: there is no approval {path.name}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("not an approval") from error
    return approval
