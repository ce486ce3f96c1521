"""The report for an auditor: every run that there was, without gaps, and what stands out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.errors import BadInput, Refused
from runbook.records.archive.archive import Archive
from runbook.records.archive.chain import Chains
from runbook.records.archive.findings import Verification
from runbook.records.archive.ledger import Line
from runbook.records.archive.statement import KILLED, SPOOL
from runbook.records.journal.journal import now
from runbook.records.reading import compare, search
from runbook.records.reading.index import Run
from runbook.records.reading.search import Filter
from runbook.records.signing.sign import UNSIGNED
from runbook.records.verify import verify


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of the population, as the ledger opened it.

    Attributes:
        ledger: File and line of its opening; the numbers of a ledger have no gaps.
        run_id: The run.
        opened: When, by the operator's clock in UTC.
        closed: When it was closed; ``None``: never.
        operator: Who opened it.
        site: The site.
        mode: plan or apply.
        ticket: The change request.
        reason: Why.
        outcome: How it ended.
        approved_by: Who approved it beforehand.
        signed: Whether its statement is signed.
        record: ``present``, ``pruned`` or ``missing``.
        statement_sha256: Digest of its statement.
    """

    ledger: str
    run_id: str
    opened: str
    closed: str | None
    operator: str
    site: str | None
    mode: str | None
    ticket: str | None
    reason: str | None
    outcome: str | None
    approved_by: str | None
    signed: bool
    record: str
    statement_sha256: str | None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something about a run that an auditor will ask about; not necessarily a fault."""

    run_id: str
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """The population of a period, its anomalies, and whether the archive is as it was written."""

    made: str
    since: str | None
    until: str | None
    entries: tuple[Entry, ...]
    anomalies: tuple[Anomaly, ...]
    verification: Verification

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "made": self.made,
            "since": self.since,
            "until": self.until,
            "population": [asdict(entry) for entry in self.entries],
            "anomalies": [asdict(anomaly) for anomaly in self.anomalies],
            "verification": self.verification.as_dict(),
        }


def report(archive: Path, since: str | None = None, until: str | None = None) -> Report:
    """Return every run opened in a period, and what stands out.

    Args:
        archive: The archive's folder.
        since: The first day, such as 2026-11-01; ``None``: from the beginning.
        until: The last day; ``None``: until now.

    Raises:
        BadInput: It is no archive, or a day is not written like one.
    """
    period = Filter(since=since, until=until)
    sealed = {run.run_id: run for run in search.select(archive)}
    chains = Chains(archive)
    entries = tuple(_entries(archive, chains, sealed, period))
    anomalies = (*_anomalies(entries, chains, sealed), *_drift(archive, entries))
    verification = verify.verify(archive)
    return Report(now(), since, until, entries, anomalies, verification)


def population(entries: tuple[Entry, ...]) -> str:
    """Return the population as CSV with a heading, one run a line."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(Entry)], lineterminator="\n")
    table.writeheader()
    for entry in entries:
        table.writerow({name: _cell(value) for name, value in asdict(entry).items()})
    return text.getvalue()


def entries_of(archive: Path, period: Filter) -> tuple[Entry, ...]:
    """Return the population of a period without judging it."""
    sealed = {run.run_id: run for run in search.select(archive)}
    return tuple(_entries(archive, Chains(archive), sealed, period))


def review(archive: Archive, run_id: str, reason: str) -> None:
    """Enter that an emergency was looked at afterwards.

    Args:
        archive: The archive, with the reviewer as its signer.
        run_id: The run.
        reason: What the review came to.

    Raises:
        BadInput: No ledger knows the run.
        Refused: The key cannot be used, or the reviewer is the operator.
    """
    opened = next(archive.events("opened", run_id), None)
    if opened is None or not archive.is_closed(run_id):
        raise BadInput(f"no ledger has closed the run {run_id}")
    if archive.signer is not None and archive.signer.principal == opened["operator"]:
        raise Refused(f"{opened['operator']} ran it", todo="have somebody else review it")
    archive.enter("review", (run_id,), reason=reason)


def _entries(
    archive: Path, chains: Chains, sealed: dict[str, Run], period: Filter
) -> Iterator[Entry]:
    opened = [chains.of("opened", run_id)[0] for run_id in chains.runs("opened")]
    for chain, index, line in sorted(opened, key=lambda found: found[2]["time"]):
        if not period.covers(line["time"]):
            continue
        run_id = line["run_id"]
        run = sealed.get(run_id)
        closed: Line = next((found[2] for found in chains.of("closed", run_id)), {})
        pruned = bool(chains.of("pruned", run_id))
        names = (run_id, run_id + KILLED, SPOOL + run_id)
        there = run is not None or any((archive / name).is_dir() for name in names)
        yield Entry(
            ledger=chain.where(index),
            run_id=run_id,
            opened=line["time"],
            closed=closed.get("time"),
            operator=f"{line['os_user']}@{line['host']}"
            if line["operator"] == UNSIGNED
            else line["operator"],
            site=line["site"],
            mode=line["mode"],
            ticket=line["ticket"],
            reason=line["reason"],
            outcome=closed.get("outcome"),
            approved_by=run.approved_by if run and run.approval == "pre" else None,
            signed=closed.get("sig_sha256") is not None,
            record="present" if there else "pruned" if pruned else "missing",
            statement_sha256=closed.get("statement_sha256"),
        )


def _anomalies(
    entries: tuple[Entry, ...], chains: Chains, sealed: dict[str, Run]
) -> Iterator[Anomaly]:
    for entry in entries:
        run = sealed.get(entry.run_id)
        found = {
            "unclosed": entry.closed is None and "opened and never closed",
            "unsigned": entry.closed is not None and not entry.signed and "nobody signed it",
            "missing": entry.record == "missing" and "its folder is not there",
            "no ticket": entry.ticket is None and "it names no ticket",
        }
        if run is not None and run.mode == "apply":
            found["unapproved"] = run.approval is None and "applied without an approval"
        if run is not None:
            found["uncommitted"] = bool(run.dirty) and "the checkout had uncommitted changes"
            found["review"] = _review(run, chains)
        for kind, what in found.items():
            if what:
                yield Anomaly(entry.run_id, kind, what)


def _review(run: Run, chains: Chains) -> str:
    if run.approval != "emergency" or run.review_due is None:
        return ""
    reviewed = [line for _, _, line in chains.of("review", run.run_id)]
    if any(line["operator"] != run.operator for line in reviewed):
        return ""
    overdue = datetime.fromisoformat(run.review_due) < datetime.now(UTC)
    own = ", reviewed by nobody but the operator" if reviewed else ""
    return f"an emergency whose review {'was' if overdue else 'is'} due {run.review_due}{own}"


def _drift(archive: Path, entries: tuple[Entry, ...]) -> Iterator[Anomaly]:
    shown = {entry.run_id for entry in entries}
    for drift in compare.drift(archive):
        if drift.found_by in shown:
            names = ", ".join(difference.fact for difference in drift.differences[:5])
            what = f"changed outside any run since {drift.left_by}: {names}"
            yield Anomaly(drift.found_by, "drift", what)


def _cell(value: Any) -> Any:
    """Return a value for a spreadsheet, which must not take it for a formula."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
