"""Copy closed records to S3-compatible storage, where they stay as they first arrived.

Runs go first and ledgers last: a copy that was cut short has no ledger that names a run that is not
there. Everything is compared before anything is sent, and each write holds only for what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TypeVar

from runbook.errors import BadInput, ChangeFailed, Refused, RunbookError
from runbook.records.archive import anchors, archive, canonical, statement
from runbook.records.archive.chain import Chains
from runbook.records.archive.ledger import FOLDER
from runbook.records.copies.bucket import COMPLIANCE, Bucket, Stored, checksum
from runbook.records.keeping import approve

WORKERS = 8  # requests under way at once; a client of boto3 keeps 10 connections
MAX_RETAIN_DAYS = 36500  # the longest that Object Lock knows: 100 years
_NAMED = 10  # as many files as a message names
_TOP = (*archive.SHIPPED, archive.ALLOWED, archive.REVOKED)

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy came to.

    Attributes:
        target: Where the records are now.
        sent: Files that were sent.
        there: Files that were there already, with the same content.
        locked: Those of them that were not under retention before, and are now.
    """

    target: str
    sent: int
    there: int
    locked: int


class _Kind(Enum):
    RUN = "of a closed run: written once"
    ANCHOR = "signed heads: written once"
    SHARED = "replaced by what is here"
    LEDGER = "replaced by what begins with it"


@dataclass(frozen=True, slots=True)
class _File:
    name: str  # seen from the archive's folder, and from the target
    kind: _Kind


@dataclass(frozen=True, slots=True)
class _Step:
    file: _File
    seen: Stored | None
    send: bool
    objection: str = ""

    @property
    def lock(self) -> bool:
        """Return whether it stays there, and without the retention that a run may be given."""
        mode = self.seen.mode if self.seen else None
        return not self.send and self.file.kind is _Kind.RUN and mode != COMPLIANCE


def copy(folder: Path, target: str, *, retain_days: int | None = None) -> Copied:
    """Copy every closed record, the ledgers and what verifies them; send only what is new.

    Files of runs and anchors are never replaced, and ledgers only by what they are the beginning
    of. What verifies them is replaced: allowed signers, revoked keys, approvals, README.txt and
    verify.sh. Nothing is ever removed. Files are compared by the SHA-256 that the storage keeps.

    Args:
        folder: The archive's folder.
        target: ``s3://BUCKET[/PREFIX]``; every archive has its own.
        retain_days: For how many days from now nobody can remove the files of runs (Object Lock,
            COMPLIANCE), those included that are there without it; one that has it keeps its own.

    Raises:
        BadInput: Target, days or settings are wrong, boto3 or the bucket is missing, or a file
            cannot be read.
        Refused: What is there is not what is here, a closed run is in neither place, the storage
            does not allow it, or it has no Object Lock; nothing was sent.
        Unreachable: The storage does not answer; nothing was sent.
        ChangeFailed: It was cut short; the next copy sends the rest.
    """
    until = _until(retain_days)
    with _reading(folder):
        local = _Local(folder)
    with closing(Bucket(target)) as bucket:
        if until is not None:
            bucket.require_object_lock()
        steps = _plan(local, bucket)
        to_send = [step for step in steps if step.send]
        to_lock = [step for step in steps if step.lock and until is not None]
        _carry_out(local, bucket, [*to_lock, *to_send], until)
    return Copied(bucket.where, len(to_send), len(steps) - len(to_send), len(to_lock))


def _until(retain_days: int | None) -> datetime | None:
    if retain_days is None:
        return None
    if not 1 <= retain_days <= MAX_RETAIN_DAYS:
        raise BadInput(f"files are retained for 1 to {MAX_RETAIN_DAYS} days, not {retain_days}")
    return datetime.now(UTC) + timedelta(days=retain_days)


class _Local:
    """What of an archive is copied, as it was at one moment."""

    def __init__(self, folder: Path) -> None:
        if not (folder / FOLDER).is_dir():
            raise BadInput(f"{folder} is not an archive of runs: it has no ledger")
        self.folder = folder
        # Before the ledgers, which so reach as far as any anchor says.
        shared = [*self._below(anchors.FOLDER, _Kind.ANCHOR)]
        shared += self._below(approve.FOLDER, _Kind.SHARED)
        shared += [_File(name, _Kind.SHARED) for name in _TOP if (folder / name).is_file()]
        self.ledgers, self.chains = self._at_one_moment()
        closed = {run_id: self._folder(run_id) for run_id in self.chains.runs("closed")}
        self.runs = [name for name in closed.values() if name is not None]
        self.absent = [run_id for run_id, name in closed.items() if name is None]
        sealed = [_File(f"{run}/{name}", _Kind.RUN) for run in self.runs for name in self._all(run)]
        self.files = (*sealed, *shared, *(_File(name, _Kind.LEDGER) for name in self.ledgers))

    def content(self, file: _File) -> bytes:
        """Return what is copied of a file."""
        if file.kind is _Kind.LEDGER:
            return self.ledgers[file.name]
        with _reading(self.folder):
            return (self.folder / file.name).read_bytes()

    def is_redacted(self, name: str, stored: bytes) -> bool:
        """Return whether a ledger tells that the stored file was replaced here."""
        folder, _, below = name.partition("/")
        lines = self.chains.of("redacted", folder.removesuffix(statement.KILLED))
        there = (below, canonical.sha256(stored))
        return any((line["file"], line["old_sha256"]) == there for _, _, line in lines)

    def _at_one_moment(self) -> tuple[Mapping[str, bytes], Chains]:
        """Return the ledgers and what they say, whoever closes a run while they are read."""
        while True:
            ledgers, chains = self._ledgers(), Chains(self.folder)
            if self._ledgers() == ledgers:
                return ledgers, chains

    def _ledgers(self) -> dict[str, bytes]:
        found = sorted((self.folder / FOLDER).glob("*.jsonl"))
        read = {f"{FOLDER}/{path.name}": path.read_bytes() for path in found}
        # The next entry takes a cut-off last line away, so it is no beginning of a later ledger.
        return {name: content[: content.rfind(b"\n") + 1] for name, content in read.items()}

    def _folder(self, run_id: str) -> str | None:
        names = (run_id, run_id + statement.KILLED)
        return next((name for name in names if (self.folder / name).is_dir()), None)

    def _all(self, name: str) -> list[str]:
        return sorted(statement.files(self.folder / name))

    def _below(self, name: str, kind: _Kind) -> Iterator[_File]:
        """Yield the files of a folder, but for one that is just being written."""
        found = self._all(name) if (self.folder / name).is_dir() else []
        return (_File(f"{name}/{below}", kind) for below in found if not below.startswith("."))


def _plan(local: _Local, bucket: Bucket) -> list[_Step]:
    """Return what becomes of every file, in the archive's order.

    Raises:
        Refused: A file there is not what it should be, or a closed run is in neither place.
    """
    names = bucket.names()
    _require_runs(local, bucket, names)

    def judge(file: _File) -> _Step:
        if file.name not in names:
            return _Step(file, None, send=True)
        return _judge(local, bucket, file)

    steps = _at_once(judge, local.files)
    here = {file.name for file in local.files}
    own = tuple(f"{run}/" for run in local.runs)
    added = [n for n in sorted(names - here) if n.startswith(own)]
    objections = [f"{name} (not here)" for name in added]
    objections += [f"{step.file.name} ({step.objection})" for step in steps if step.objection]
    if objections:
        raise Refused(
            f"nothing was sent: {bucket.where} has other files than {local.folder}: "
            f"{_enumerated(objections)}",
            todo="find out which of the two was altered: runbook records verify, here and there; "
            "of a redacted file, remove what is there",
        )
    return steps


def _require_runs(local: _Local, bucket: Bucket, names: Iterable[str]) -> None:
    there = {name.partition("/")[0].removesuffix(statement.KILLED) for name in names}
    pruned = local.chains.runs("pruned")
    lost = [run_id for run_id in local.absent if run_id not in {*there, *pruned}]
    if lost:
        raise Refused(
            f"nothing was sent: closed, and neither in {local.folder} nor in {bucket.where}: "
            f"{_enumerated(lost)}",
            todo="runbook records verify says more; a run that was killed while it was closed is "
            "given its name by the next run",
        )


def _enumerated(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _judge(local: _Local, bucket: Bucket, file: _File) -> _Step:
    """Compare a file with the one that is there."""
    content, seen = local.content(file), bucket.stored(file.name)
    if seen.checksum == checksum(content):
        return _Step(file, seen, send=False)
    # Another tool may have stored it without the digest, or in parts with a digest of theirs.
    stored = bucket.content(file.name)
    if stored == content:
        return _Step(file, seen, send=False)
    if file.kind is _Kind.SHARED or (file.kind is _Kind.LEDGER and content.startswith(stored)):
        return _Step(file, seen, send=True)
    return _Step(file, seen, send=False, objection=_objection(local, file, content, stored))


def _objection(local: _Local, file: _File, content: bytes, stored: bytes) -> str:
    if file.kind is _Kind.LEDGER:
        return "longer there" if stored.startswith(content) else "not the beginning of this one"
    return "redacted here since" if local.is_redacted(file.name, stored) else "another content"


def _carry_out(local: _Local, bucket: Bucket, steps: list[_Step], until: datetime | None) -> None:
    done: list[str] = []

    def act(step: _Step) -> None:
        retain = until if step.file.kind is _Kind.RUN else None
        if step.send:
            bucket.put(step.file.name, local.content(step.file), step.seen, retain)
        elif retain is not None:
            bucket.retain(step.file.name, retain)
        done.append(step.file.name)

    try:
        _at_once(act, [step for step in steps if step.file.kind is not _Kind.LEDGER])
        if steps:
            _require_arrived(local, bucket)
        _at_once(act, [step for step in steps if step.file.kind is _Kind.LEDGER])
    except RunbookError as error:
        if not done:
            raise
        raise ChangeFailed(
            f"{error.message}; cut short after {len(done)} of {len(steps)} files",
            todo=f"{error.todo or 'mend that'}; the next copy sends the rest",
        ) from error


def _require_arrived(local: _Local, bucket: Bucket) -> None:
    """Raise ChangeFailed unless all that the ledgers tell of is there: it may be no S3 at all."""
    names = bucket.names()
    files = [file.name for file in local.files if file.kind is not _Kind.LEDGER]
    gone = [name for name in files if name not in names]
    if gone:
        raise ChangeFailed(
            f"{bucket.where}: not there, or not any more: {_enumerated(gone)}",
            todo="find out who removes it, or whether the endpoint is the right one",
        )


def _at_once(act: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Return what becomes of each, in order; what did not begin before an error is left out."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(act, items))


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise BadInput(f"{where} cannot be read: {error.strerror}") from error
