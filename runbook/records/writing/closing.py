"""Closing a record: what its journal amounts to is written, searched for secrets, and sealed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from runbook.events import to_json
from runbook.masking.gate import gate
from runbook.masking.redact import MASKER
from runbook.records.archive import canonical
from runbook.records.archive.archive import Archive, Sealed
from runbook.records.archive.statement import PLAN, STATEMENT, WITHHELD, Context, Links, compose
from runbook.records.journal.entries import Entry, RunOpened, read
from runbook.records.journal.results import Results, collect
from runbook.records.keeping import approve
from runbook.records.verify import witness
from runbook.records.writing import evidence

if TYPE_CHECKING:
    from runbook.hosts.fleet import Fleet
    from runbook.site import SiteFile

JOURNAL, RESULTS, PAGE = "journal.jsonl", "results.json", "report.html"


@dataclass(frozen=True, slots=True)
class Testimony:
    """Who keeps the ledger's head out of the operator's reach.

    Attributes:
        keepers: The managers that have it in their journals.
        errors: Why the others have not.
    """

    keepers: tuple[str, ...]
    errors: tuple[str, ...]


class Withheld(RunbookError):
    """A record is not published: it holds a secret, or what cannot be recorded."""


def warm() -> None:
    """Import what closing takes, so that it is there when the run is over."""
    for name in (
        "runbook.hosts.fleet",
        "runbook.records.page.page",
        "markdown_it",
        "pygments.lexers",
    ):
        import_module(name)


def publish(folder: Path, run_id: str, archive: Archive) -> tuple[Results | None, Sealed]:
    """Write what the journal amounts to, look for secrets once more, and seal the folder.

    Args:
        folder: The record; its journal is complete.
        run_id: The run.
        archive: Where it was opened.

    Raises:
        Withheld: A file of it holds a secret or is no plain file; the folder is put aside.
        Refused: The key cannot sign.
    """
    entries = read(folder / JOURNAL)
    results = None
    context = archive.context(run_id)
    if entries:  # else it was killed before it wrote a line
        results = collect(entries)
        _write(folder, entries, results)
        context = _context(folder, entries, archive)
    try:
        _draw(folder, run_id, archive, context)
    except RunbookError as error:  # no later run could close it either
        found = MASKER.mask(error.message)
        raise _withheld(folder, run_id, archive, found, results) from error
    leaks = gate(folder, MASKER)
    if leaks:
        found = "; ".join(f"{leak.file} holds {leak.secret}" for leak in leaks)
        raise _withheld(folder, run_id, archive, found, results)
    return results, archive.close_run(folder, run_id, context)


def testify(site_file: SiteFile, folder: Path, sealed: Sealed) -> Testimony | None:
    """Write the ledger's head to the journals of the managers.

    Args:
        site_file: The declared site.
        folder: The published record.
        sealed: What closed it.

    Returns:
        Who has it now; ``None`` where none is wanted: the site declares no witness, the run only
        planned, or it reached no host.
    """
    told = json.loads((folder / STATEMENT).read_bytes())["predicate"]
    if not site_file.site.records.witness or told["mode"] == "plan" or not told["targets"]:
        return None
    from runbook.hosts.fleet import Fleet
    from runbook.hosts.transcript import Transcript

    begun = witness.begun(folder.parent, sealed.head.principal)
    text = witness.text("closed", sealed.run_id, sealed.head, begun)
    managers = tuple(site_file.site.managers)
    with Fleet(site_file, Transcript(None)) as fleet, ThreadPoolExecutor(len(managers)) as pool:
        said = dict(zip(managers, pool.map(partial(_told, fleet, text), managers), strict=True))
    keepers = tuple(host for host in managers if not said[host])
    return Testimony(keepers, tuple(said[host] for host in managers if said[host]))


def _told(fleet: Fleet, text: str, host: str) -> str:
    """Have one manager keep a text, and return why it does not; empty where it does."""
    try:
        witness.write(fleet[host], text)
    except RunbookError as error:
        return str(error)
    return ""


def _write(folder: Path, entries: Sequence[Entry], results: Results) -> None:
    before, after = evidence.states(entries)
    documents = {RESULTS: to_json(results), "before.json": before, "after.json": after}
    for name, content in documents.items():
        canonical.write(folder / name, canonical.document(content))
    canonical.write(folder / "changes.diff", evidence.changes_diff(results).encode())
    if not (folder / PLAN).exists():  # else it is the one that was approved
        canonical.write(folder / PLAN, approve.seal(evidence.plan(entries)))


def _context(folder: Path, entries: Sequence[Entry], archive: Archive) -> Context:
    """Return what the files of a run do not say, as its journal tells it."""
    opened = entries[0]
    assert isinstance(opened, RunOpened)
    told = {**opened.context, "links": Links(**opened.context["links"])}
    context = replace(Context(**told), host_keys=evidence.host_keys(entries) or None)
    if not opened.emergency:
        return context
    who = archive.identity(opened.run_id)
    by = who.principal or f"{who.account['os_user']}@{who.account['host']}"
    plan = (folder / PLAN).read_bytes()
    approval = approve.emergency(plan, by, str(context.reason), opened.time)
    return replace(context, approval=approval)


def _draw(folder: Path, run_id: str, archive: Archive, context: Context) -> None:
    from runbook.records.page.page import page

    facts = compose(folder, archive.identity(run_id), context, ())["predicate"]
    try:
        drawn = page(folder, facts)
    except Exception as error:  # a fault of ours here must not keep the evidence from being sealed
        drawn = f"<!DOCTYPE html><title>{run_id}</title><p>The page could not be made "
        drawn += f"({type(error).__name__}). The record is complete without it: see results.json."
    canonical.write(folder / PAGE, drawn.encode())


def _withheld(
    folder: Path, run_id: str, archive: Archive, found: str, results: Results | None
) -> Withheld:
    """Put the record aside, for its owner alone, and return the error that says so."""
    aside = folder.replace(folder.with_name(WITHHELD + run_id))
    aside.chmod(0o700)
    archive.ledger.append("note", run_id=run_id, reason=f"withheld: {found}"[:500])
    return Withheld(
        f"the record of {run_id} is not published: {found}; the run itself ended as "
        f"{results.status if results else 'killed'}",
        todo="find out what wrote it, and change a secret that was found; it is in "
        f"{aside}, which only you can read",
    )
