"""Export: a zip that verifies anywhere, and that is the same bytes whenever it is made."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from runbook.errors import BadInput
from runbook.records.archive import anchors, archive, canonical, statement
from runbook.records.archive.ledger import FOLDER, heads
from runbook.records.keeping import approve
from runbook.records.reading import report, search
from runbook.records.reading.search import Filter
from runbook.records.verify.verify import EXPORT, POPULATION

SCHEMA = 1
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_TOP = (*archive.SHIPPED, archive.ALLOWED, archive.REVOKED)
_SHARED = (FOLDER, anchors.FOLDER, approve.FOLDER)


def export(
    folder: Path, target: Path, runs: tuple[str, ...] = (), period: Filter | None = None
) -> tuple[str, ...]:
    """Write runs, all ledgers and what verifies them into a zip, and return the runs in it.

    Args:
        folder: The archive's folder.
        target: The zip; replaced if it exists.
        runs: These runs; none: all of the period.
        period: From when to when; absent: all.

    Raises:
        BadInput: It is no archive, a run is not there, or the zip cannot be written.
    """
    period = period or Filter()
    chosen = [search.find(folder, run) for run in runs] or search.select(folder, period)
    if not chosen:
        raise BadInput("there is no run to export")
    names = sorted({run.folder for run in chosen})
    run_ids = tuple(sorted({run.run_id for run in chosen}))
    told = {
        "schema": SCHEMA,
        "runs": run_ids,
        "count": len(run_ids),
        "since": period.since,
        "until": period.until,
        "heads": [head.as_dict() for head in heads(folder)],
    }
    entries = tuple(e for e in report.entries_of(folder, period) if not runs or e.run_id in run_ids)
    made = {EXPORT: canonical.document(told), POPULATION: report.population(entries).encode()}
    try:
        _write(folder, target, sorted([*made, *files(folder, names)]), made)
    except OSError as error:
        raise BadInput(f"{target} cannot be written: {error.strerror}") from error
    return run_ids


def files(folder: Path, runs: Iterable[str]) -> Iterator[str]:
    """Yield the names of what verifies an archive, and of the files of these runs of it."""
    yield from (name for name in _TOP if (folder / name).is_file())
    for part in (*_SHARED, *runs):
        if (folder / part).is_dir():
            yield from (f"{part}/{name}" for name in statement.files(folder / part))


def _write(folder: Path, target: Path, names: list[str], made: dict[str, bytes]) -> None:
    spare = target.with_name(f".{target.name}.new")
    with zipfile.ZipFile(spare, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in names:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is made: the modes below are Unix's
            entry.external_attr = (0o100755 if name.endswith(".sh") else 0o100444) << 16
            packed.writestr(entry, made[name] if name in made else (folder / name).read_bytes())
    os.replace(spare, target)
