"""What may leave the archive, and how: the ledger tells of it and stays whole for ever."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runbook.errors import BadInput, Refused
from runbook.records.archive import canonical
from runbook.records.archive.archive import Archive
from runbook.records.archive.chain import Chains
from runbook.records.archive.findings import Level
from runbook.records.archive.ledger import moment
from runbook.records.archive.statement import KILLED, OWN, files
from runbook.records.verify.verify import Options, verify


@dataclass(frozen=True, slots=True)
class Due:
    """A run whose time is over.

    Attributes:
        run_id: The run.
        folder: Its record.
        closed: When it was closed.
    """

    run_id: str
    folder: Path
    closed: str


def due(
    archive: Path, site: str, retention_days: int, at: datetime | None = None
) -> tuple[Due, ...]:
    """Return the runs of a site that were closed longer ago than this and are not held.

    Args:
        archive: The archive's folder.
        site: The site's name; each says for itself for how long its runs are kept.
        retention_days: For how long.
        at: The time; absent: now.

    Raises:
        BadInput: A negative number of days.
    """
    if retention_days < 0:
        raise BadInput("runs are kept for a number of days")
    before = (at or datetime.now(UTC)) - timedelta(days=retention_days)
    chains = Chains(archive)
    runs = [r for r in chains.runs("closed") if chains.of("closed", r)[0][2]["site"] == site]
    return tuple(_due(archive, chains, runs, before))


def prune(archive: Archive, runs: tuple[Due, ...], reason: str) -> None:
    """Enter the runs as pruned, then remove their folders.

    Args:
        archive: The archive, with a signer where it is a signed one.
        runs: What :func:`due` returned.
        reason: Why, such as the number of days that runs are kept.

    Raises:
        Refused: The key cannot be used, or one of the runs or a ledger is not as it was written,
            which had better be looked into first; nothing was removed.
    """
    if not runs:
        return
    found = verify(archive.folder, Options(runs=tuple(run.run_id for run in runs))).findings
    bad = [finding for finding in found if finding.level is Level.BAD]
    if bad:
        raise Refused(f"nothing is removed before this is looked into: {bad[0]}")
    archive.enter("pruned", [run.run_id for run in runs], reason=reason)
    for run in runs:
        shutil.rmtree(run.folder)


def hold(archive: Archive, run_id: str, reason: str, *, release: bool = False) -> None:
    """Keep a run beyond its time, or no longer.

    Args:
        archive: The archive.
        run_id: The run.
        reason: Why.
        release: Whether a hold ends.

    Raises:
        BadInput: No ledger knows the run.
        Refused: The key cannot be used.
    """
    _known(archive, run_id)
    archive.enter("released" if release else "held", (run_id,), reason=reason)


def redact(archive: Archive, run_id: str, name: str, content: bytes, reason: str) -> None:
    """Replace a file in which a secret was found later; rotate that secret first.

    Digests of the old file stay in the statement and in the ledger, so that the archive verifies.

    Args:
        archive: The archive.
        run_id: The run.
        name: The file, seen from the run's folder.
        content: What takes its place.
        reason: Why; without the secret.

    Raises:
        BadInput: There is no such run or file, or it is one of those that say what the run was.
        Refused: The key cannot be used; nothing was replaced.
    """
    _known(archive, run_id)
    folder = next(
        (f for f in (archive.folder / run_id, archive.folder / (run_id + KILLED)) if f.is_dir()),
        None,
    )
    if folder is None or name in OWN or name not in files(folder):
        raise BadInput(f"{run_id} has no file {name!r} that could be replaced")
    path = folder / name
    digests = {"old_sha256": canonical.sha256_of(path), "new_sha256": canonical.sha256(content)}
    archive.enter("redacted", (run_id,), file=name, reason=reason, **digests)
    canonical.write(path, content)
    path.chmod(0o444)


def _due(archive: Path, chains: Chains, runs: list[str], before: datetime) -> Iterator[Due]:
    there = {path.name: path for path in archive.iterdir() if path.is_dir()}  # and nowhere else
    for run_id in runs:
        _, _, line = chains.of("closed", run_id)[0]
        if moment(line["time"]) >= before or _is_held(chains, run_id):
            continue
        for name in (run_id, run_id + KILLED):
            if name in there and not there[name].is_symlink():
                yield Due(run_id, there[name], line["time"])


def _is_held(chains: Chains, run_id: str) -> bool:
    """Return whether the newest of its holds and releases is a hold; ledgers share no numbers."""
    entered = [line for event in ("held", "released") for _, _, line in chains.of(event, run_id)]
    newest = max(entered, key=lambda line: line["time"], default=None)
    return newest is not None and newest["event"] == "held"


def _known(archive: Archive, run_id: str) -> None:
    if not archive.is_closed(run_id):
        raise BadInput(f"no ledger has closed the run {run_id}")
