"""The index: what statements and results say, in a SQLite file that can be built anew any time.

It is a cache for finding runs and never evidence: what it shows is verified where it matters.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from runbook.errors import BadInput
from runbook.events import others, words
from runbook.records.archive.ledger import FOLDER
from runbook.records.archive.statement import KILLED, STATEMENT
from runbook.records.journal.results import of_record

FILE = ".index.sqlite"
VERSION = 2
UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError),
    *(RecursionError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
)
"""What reading a record raises whose files are not what a run writes."""


@dataclass(frozen=True, slots=True)
class Run:
    """A sealed run, as the index has it; see the statement for the meaning of each."""

    run_id: str
    folder: str
    site: str | None
    mode: str | None
    operator: str | None
    signer: str | None
    ticket: str | None
    reason: str | None
    outcome: str
    started: str | None
    finished: str | None
    duration_ms: int | None
    approval: str | None
    approved_by: str | None
    review_due: str | None
    changed: int
    failed: int
    commit_sha: str | None
    dirty: int | None
    plan_sha256: str | None
    state_before_sha256: str | None
    state_after_sha256: str | None
    targets: str
    steps: str
    error: str | None


COLUMNS = tuple(field.name for field in fields(Run))
_SCHEMA = f"""
    CREATE TABLE runs ({", ".join(COLUMNS)}, PRIMARY KEY (folder));
    CREATE VIRTUAL TABLE words USING fts5 (folder UNINDEXED, text);
    PRAGMA user_version = {VERSION};
"""


def connect(archive: Path) -> sqlite3.Connection:
    """Return the index of an archive, with every sealed run that is there and no other.

    Args:
        archive: The archive's folder; where it cannot be written, the index is kept in memory.

    Raises:
        BadInput: It is no archive.
    """
    if not (archive / FOLDER).is_dir():
        raise BadInput(f"{archive} is not an archive of runs: it has no ledger")
    try:
        return _refreshed(archive)
    except sqlite3.DatabaseError:  # cut off, of another version, or something else altogether
        (archive / FILE).unlink(missing_ok=True)
        return _refreshed(archive)


def _refreshed(archive: Path) -> sqlite3.Connection:
    database = sqlite3.connect(archive / FILE if os.access(archive, os.W_OK) else ":memory:")
    try:
        database.row_factory = sqlite3.Row
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            database.executescript(_SCHEMA)
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"an index of version {version}")
        with database:
            _refresh(archive, database)
    except BaseException:
        database.close()
        raise
    return database


def _refresh(archive: Path, database: sqlite3.Connection) -> None:
    # Sealed runs do not change, so their folders' names say what is new.
    known = {row[0] for row in database.execute("SELECT folder FROM runs")}
    with os.scandir(archive) as found:
        there = {e.name for e in found if e.name[0] != "." and e.is_dir(follow_symlinks=False)}
    for folder in known - there:
        for table in ("runs", "words"):
            database.execute(f"DELETE FROM {table} WHERE folder = ?", (folder,))  # noqa: S608
    for folder in sorted(there - known - {FOLDER}):
        _add(archive / folder, database)


def _add(folder: Path, database: sqlite3.Connection) -> None:
    try:
        told = json.loads((folder / STATEMENT).read_bytes())["predicate"]
        row, words = _row(folder.name, told), _words(told)
        if folder.name.removesuffix(KILLED) != row["run_id"]:
            return  # a copy
        text = " ".join(dict.fromkeys(filter(None, [*words, *_words_of_steps(folder)])))
        text.encode()
        values = f"INSERT INTO runs VALUES ({', '.join('?' for _ in COLUMNS)})"  # noqa: S608
        database.execute(values, [row[name] for name in COLUMNS])
    except UNREADABLE:
        return  # no run, or a damaged one: verify says so
    database.execute("INSERT INTO words VALUES (?, ?)", (folder.name, text))


def _row(folder: str, told: Mapping[str, Any]) -> dict[str, Any]:
    approval, git = told["approval"] or {}, told["git"] or {}
    own = {
        "folder": folder,
        "operator": told["operator"]["principal"] or told["operator"]["os_user"],
        "approval": approval.get("kind"),
        "approved_by": approval.get("by"),
        "review_due": approval.get("review_due"),
        "changed": told["counts"]["changed"],
        "failed": told["counts"]["failed"],
        "commit_sha": git.get("commit"),
        "dirty": git.get("dirty"),
        "targets": " ".join(told["targets"]),
        "steps": " ".join(told["parameters"]["steps"]),
        "error": told["error"] and f"{told['error']['step']}: {told['error']['message']}",
    }
    return {name: own[name] if name in own else told[name] for name in COLUMNS}


def _words(told: Mapping[str, Any]) -> list[str]:
    names = ("run_id", "site", "mode", "outcome", "ticket", "reason")
    words = [told[name] for name in names] + [*told["operator"].values(), *told["targets"]]
    return [*words, *told["parameters"]["steps"], *(told["error"] or {}).values()]


def _words_of_steps(folder: Path) -> Iterator[str | None]:
    """Yield what was changed, or was only to be, what was checked, and what else was told."""
    try:
        results = of_record(folder)
    except (OSError, ValueError):
        return
    for step in results.steps if results else ():
        for change in (*step.outcomes, *step.changes):
            yield from change.key
        for check in step.checks:
            yield from (check.where, check.name)
        for name, one in others(step):
            yield from (name, words(one))
