"""Find runs: by what they were, by words, or by the beginning of their id."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.errors import BadInput
from runbook.records.reading import index
from runbook.records.reading.index import COLUMNS, Run

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?Z?)?")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs; ``None`` leaves a matter open.

    Attributes:
        since: A day or a time in UTC, such as 2026-11-01; runs that started then or later.
        until: Likewise; runs that started then or earlier, on that whole day.
        site: The site.
        mode: plan or apply.
        operator: Who ran it.
        ticket: The change request.
        outcome: ok, changed, failed, partial, aborted or killed.
        host: A host on which commands were run.
    """

    since: str | None = None
    until: str | None = None
    site: str | None = None
    mode: str | None = None
    operator: str | None = None
    ticket: str | None = None
    outcome: str | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        for text in (self.since, self.until):
            if text is not None and not _DAY.fullmatch(text):
                raise BadInput(f"{text!r} is no day or time", todo="write it as 2026-11-01")

    def covers(self, time: str) -> bool:
        """Return whether a time is neither before ``since`` nor after ``until``."""
        return _begin(self.since) <= time <= _end(self.until)


def select(archive: Path, wanted: Filter | None = None) -> list[Run]:
    """Return the runs that a filter lets pass, the newest first.

    Raises:
        BadInput: It is no archive.
    """
    wanted = wanted or Filter()
    same = {
        name: getattr(wanted, name) for name in ("site", "mode", "operator", "ticket", "outcome")
    }
    clauses = [f"{name} = :{name}" for name, value in same.items() if value is not None]
    clauses += ["coalesce(started, '') >= :since"] if wanted.since else []
    clauses += ["coalesce(started, '') <= :end"] if wanted.until else []
    clauses += ["' ' || targets || ' ' LIKE :host"] if wanted.host else []
    values = {
        **same,
        "since": _begin(wanted.since),
        "end": _end(wanted.until),
        "host": f"% {wanted.host} %",
    }
    where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    return _runs(archive, f"SELECT * FROM runs {where} ORDER BY run_id DESC", values)  # noqa: S608


def search(archive: Path, words: Iterable[str]) -> list[Run]:
    """Return the runs that hold all these words, or words that begin so, the newest first.

    Raises:
        BadInput: It is no archive, or there are no words.
    """
    quoted = ['"' + word.replace('"', '""') + '"*' for word in words if word.strip()]
    if not quoted:
        raise BadInput("no words to search for")
    query = "SELECT runs.* FROM words JOIN runs USING (folder) WHERE words MATCH :words"
    query += " ORDER BY run_id DESC"
    return _runs(archive, query, {"words": " ".join(quoted)})


def find(archive: Path, beginning: str) -> Run:
    """Return the one run whose id begins, or ends, like this; ``last`` is the newest.

    Raises:
        BadInput: There is none, or more than one.
    """
    if beginning == "last":
        found = _runs(archive, "SELECT * FROM runs ORDER BY run_id DESC LIMIT 1", {})
    else:
        query = "SELECT * FROM runs WHERE substr(run_id, 1, length(:id)) = :id"
        query += " OR substr(run_id, -length(:id)) = :id ORDER BY run_id"
        found = _runs(archive, query, {"id": beginning})
    exact = [run for run in found if run.run_id == beginning] or found
    if not exact:
        raise BadInput(f"no run is called {beginning!r}", todo="see runbook records list")
    if len(exact) > 1:
        known = ", ".join(run.run_id for run in exact[:5])
        raise BadInput(f"{beginning!r} names {len(exact)} runs: {known}", todo="give the whole id")
    return exact[0]


def _runs(archive: Path, query: str, values: dict[str, Any]) -> list[Run]:
    database = index.connect(archive)
    try:
        rows: list[sqlite3.Row] = database.execute(query, values).fetchall()
        return [Run(*(row[name] for name in COLUMNS)) for row in rows]
    finally:
        database.close()


def _begin(since: str | None) -> str:
    """Return what sorts before every time from then on, milliseconds or not."""
    return (since or "").removesuffix("Z")


def _end(until: str | None) -> str:
    """Return what sorts after every time of that day or second, or of all days."""
    return (until or "").removesuffix("Z") + "~"
