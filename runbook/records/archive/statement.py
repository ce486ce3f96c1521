"""The statement of a run: what every file of its record is, and what the run was.

It is an in-toto Statement v1 whose subject is every other file of the folder. Its exact bytes are
signed; nobody parses and writes it again.

Source: in-toto Attestation Framework, spec/v1/statement.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runbook.errors import RunbookError
from runbook.records.archive import canonical
from runbook.records.journal.status import ENDED_WELL, NOT_RUN

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://edge-runbook.invalid/runbook-run/v1"  # a name; nothing is fetched from it
STATEMENT, SIGNATURE, DSSE = "statement.json", "statement.json.sig", "statement.dsse.json"
OWN = frozenset({STATEMENT, SIGNATURE, DSSE})
"""The files that are not in the subject: they are written about it; the last in older records."""

SPOOL, WITHHELD, KILLED = ".spool-", ".withheld-", "-killed"
"""What a folder's name begins with while the run is under way, and where it holds a secret and is
not published; and what it ends with if the run was killed."""

PLAN, APPROVAL, APPROVAL_SIGNATURE = "plan.json", "approval.json", "approval.json.sig"

MESSAGE_LENGTH = 500
_NAME = re.compile(r"[^\x00-\x1f\x7f\\]+")
_OUTCOMES = {"interrupted": "aborted", "killed": "killed", "running": "killed"}


@dataclass(frozen=True, slots=True)
class Links:
    """Earlier runs that this one is about, by their ids."""

    rollback_of: str | None = None
    retry_of: str | None = None
    supersedes: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a run's files do not say; settled before it starts.

    Attributes:
        ticket: The change request.
        reason: Why, in the operator's words.
        approval: Of an emergency, see :func:`runbook.records.keeping.approve.emergency`. An
            approval that was given beforehand is a file of the record.
        site_sha256: Digest of the effective site.
        host_keys: Fingerprints of the hosts' keys, by host.
        git: Commit, branch and dirty; see :func:`runbook.records.archive.provenance.git`.
        tool: Versions; see :func:`runbook.records.archive.provenance.tool`.
        links: Earlier runs.
    """

    ticket: str | None = None
    reason: str | None = None
    approval: Mapping[str, Any] | None = None
    site_sha256: str | None = None
    host_keys: Mapping[str, str] | None = None
    git: Mapping[str, Any] | None = None
    tool: Mapping[str, Any] | None = None
    links: Links = field(default_factory=Links)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who ran it and who signs: the same, unless the run was killed and another one closed it.

    Attributes:
        run_id: The run.
        principal: The operator's; ``None`` where the run is unsigned.
        account: The operator's ``os_user`` and ``host``.
        signer: Who vouches for the statement; ``None``: nobody.
        site: The site, where there are no results that name it.
        mode: Likewise.
    """

    run_id: str
    principal: str | None
    account: Mapping[str, str | None]
    signer: str | None
    site: str | None = None
    mode: str | None = None


def compose(
    folder: Path, identity: Identity, context: Context, ledgers: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the statement of the run whose files are in this folder.

    Args:
        folder: The record; its files are final.
        identity: Who ran it and who signs.
        context: What its files do not say.
        ledgers: The heads of all ledgers known now: the signature vouches for them, too.

    Raises:
        RunbookError: Something in the folder is no plain file.
    """
    results = _results(folder / "results.json")
    steps = results.get("steps", [])
    predicate = {
        "run_id": identity.run_id,
        "runbook_version": (context.tool or {}).get("version"),
        "mode": results.get("mode", identity.mode),
        "site": results.get("site", identity.site),
        # The Engine's API is no command, but it is asked over the same proven connection.
        "targets": sorted({*_commanded(folder / "transcript.jsonl"), *(context.host_keys or {})}),
        "operator": {"principal": identity.principal, **identity.account},
        "signer": identity.signer,
        "ticket": context.ticket,
        "reason": context.reason,
        "approval": _approval(folder / APPROVAL) or context.approval,
        "started": results.get("started"),
        "finished": results.get("finished"),
        "duration_ms": results.get("duration_ms"),
        "outcome": outcome(results),
        "counts": counts(steps),
        "error": _error(steps),
        "parameters": {"site_file": results.get("site_file"), "steps": [s["step"] for s in steps]},
        "git": context.git,
        "site_sha256": context.site_sha256,
        "plan_sha256": _digest(folder / PLAN),
        "state_before_sha256": _digest(folder / "before.json"),
        "state_after_sha256": _digest(folder / "after.json"),
        "tool": context.tool,
        "host_keys": context.host_keys,
        "links": asdict(context.links),
        "ledgers": list(ledgers),
    }
    return {
        "_type": TYPE,
        "subject": subject(folder),
        "predicateType": PREDICATE,
        "predicate": predicate,
    }


def subject(folder: Path) -> list[dict[str, Any]]:
    """Return name and digest of every file in the folder but the statement's own, by name.

    Raises:
        RunbookError: A link, a socket or a name with control characters is in it.
    """
    named = {name: canonical.sha256_of(folder / name) for name in files(folder) if name not in OWN}
    return [{"name": name, "digest": {"sha256": named[name]}} for name in sorted(named)]


def files(folder: Path) -> Iterator[str]:
    """Yield the names of the plain files in a folder and those below it.

    Raises:
        RunbookError: A link, a socket or a name with control characters is in it.
    """
    for name, is_file in entries(folder):
        if not is_file or not _NAME.fullmatch(name):
            raise RunbookError(f"{folder.name}: {name!r} is no plain file and cannot be recorded")
        yield name


def entries(folder: Path, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield what is in a folder and those below it, and whether it is a plain file."""
    with os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from entries(folder / entry.name, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name, entry.is_file(follow_symlinks=False)


def outcome(results: Mapping[str, Any]) -> str:
    """Return the run's outcome: ok, changed, failed, partial, aborted or killed."""
    status = results.get("status", "killed")
    if status in _OUTCOMES:
        return _OUTCOMES[status]
    made = any(step["counts"]["done"] for step in results["steps"])
    if status != "completed":
        return "partial" if made else "failed"
    return "changed" if made else "ok"


def counts(steps: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the run's totals: checks passed, changes made, what failed, steps that did not run."""
    totals = {"ok": 0, "changed": 0, "failed": 0, "skipped": 0, "unreachable": 0}
    for step in steps:
        own = step["counts"]
        totals["ok"] += own["checks_passed"]
        totals["changed"] += own["done"]
        totals["failed"] += own["failed"] + own["checks_failed"]
        totals["skipped"] += step["status"] in NOT_RUN
        totals["unreachable"] += sum(e.get("kind") == "Unreachable" for e in step["errors"])
    return totals


def _error(steps: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    for step in steps:
        if step["status"] not in ENDED_WELL | NOT_RUN:
            first: Mapping[str, Any] = next(iter(step["errors"]), {})
            message = first.get("message") or step["reason"]
            return {
                "step": step["step"],
                "host": first.get("host"),
                "type": first.get("kind", step["status"]),
                "message": message[:MESSAGE_LENGTH],
            }
    return None


def _approval(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    given = json.loads(path.read_text(encoding="utf-8"))
    names = ("by", "plan_sha256", "at", "expires", "reason")
    return {"kind": "pre", **{name: given[name] for name in names}, "review_due": None}


def _results(path: Path) -> dict[str, Any]:
    """Return a run's results; empty where it was killed before there were any."""
    if not path.exists():
        return {}
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def _commanded(path: Path) -> set[str]:
    """Return the hosts on which commands ended; a last line that was cut off is left out."""
    if not path.exists():
        return set()
    *lines, _cut_off = path.read_bytes().split(b"\n")
    return {json.loads(line)["host"] for line in lines}


def _digest(path: Path) -> str | None:
    return canonical.sha256_of(path) if path.is_file() else None
