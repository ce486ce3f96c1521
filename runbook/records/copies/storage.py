"""Copy closed records to S3-compatible storage, where they stay as they first arrived.

Source: Amazon S3 API Reference, PutObject (If-None-Match, If-Match, checksums, Object Lock).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from runbook.errors import BadInput, ChangeFailed, Refused, RunbookError
from runbook.records.archive import anchors, statement
from runbook.records.archive.ledger import FOLDER
from runbook.records.copies import export
from runbook.records.verify.verify import chains_of

_REMEDY = "check endpoint, keys and what they may do; boto3 reads AWS_… variables and ~/.aws"


def copy(folder: Path, target: str, *, retain_days: int | None = None) -> tuple[int, int]:
    """Copy closed runs, ledgers and what verifies them; return how many were sent, and were there.

    Nothing is sent unless what is there agrees: files of runs and anchors are the same, ledgers
    are a beginning of those here. Ledgers go last: where a copy was cut short, none names what
    has not arrived.

    Args:
        folder: The archive's folder.
        target: ``s3://BUCKET[/PREFIX]``; every archive has its own.
        retain_days: For how many days nobody can remove runs and anchors that are sent.

    Raises:
        BadInput: Target or archive are wrong, or boto3 is not installed.
        Refused: The two do not agree, or boto3 or the storage refuse; nothing was sent.
        ChangeFailed: It was cut short; the next copy sends the rest.
    """
    bucket, (once, shared, ledgers) = _Bucket(target), _files(folder)
    names, lock, done = [*once, *shared, *ledgers], dict[str, Any](), list[str]()
    if retain_days:
        until = datetime.now(UTC) + timedelta(days=retain_days)
        lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
        bucket.ask("get_object_lock_configuration")  # refused where there is none
    there = bucket.names()

    def content(name: str) -> bytes:
        with _telling(name):
            return ledgers[name] if name in ledgers else (folder / name).read_bytes()

    def condition(name: str) -> dict[str, str] | None:
        """Return on what a file is sent; empty: it is there; ``None``: something else is."""
        if name not in there:
            return {"IfNoneMatch": "*"}
        own, seen = content(name), bucket.ask("head_object", name, ChecksumMode="ENABLED")
        # Another tool may have stored it without the digest, or in parts with a digest of theirs.
        same = seen.get("ChecksumSHA256") == _digest(own)
        stored = own if same else bucket.ask("get_object", name)
        grown = own.startswith(stored) if name in ledgers else name in shared
        return {} if stored == own else {"IfMatch": seen["ETag"]} if grown else None

    def send(name: str) -> None:
        own = content(name)
        more = (plan[name] or {}) | (lock if name in once else {})
        # In a header: the trailer that boto3 would send is not understood by every storage.
        more |= {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _digest(own)}
        bucket.ask("put_object", name, Body=own, **more)
        done.append(name)

    with ThreadPoolExecutor(8) as pool:  # a client of boto3 keeps 10 connections
        plan = dict(zip(names, pool.map(condition, names), strict=True))
        sealed = {name.split("/")[0] for name in once}
        added = {name for name in there - plan.keys() if name.split("/")[0] in sealed}
        if other := sorted(added.union(name for name in names if plan[name] is None)):
            raise Refused(
                f"{bucket.where} has {len(other)} other files than here: {', '.join(other[:10])}",
                todo="find out which were altered: runbook records verify, here and there; "
                "of a redacted file, remove what is there",
            )
        due = [name for name in names if plan[name]]
        try:
            list(pool.map(send, [name for name in due if name not in ledgers]))
            if gone := {*once, *shared} - bucket.names():
                raise Refused(f"{bucket.where}: not there, or not any more: {min(gone)}")
            list(pool.map(send, [name for name in due if name in ledgers]))
        except RunbookError as error:
            if not done:
                raise
            todo = f"{error.todo or 'mend that'}; the next copy sends the rest"
            raise ChangeFailed(f"cut short: {error.message}", todo=todo) from error
    return len(due), len(names) - len(due)


def _files(folder: Path) -> tuple[set[str], set[str], dict[str, bytes]]:
    """Return what is written once, what is replaced, and the ledgers, all of one moment."""

    def read() -> dict[str, bytes]:
        found = {f"{FOLDER}/{p.name}": p.read_bytes() for p in (folder / FOLDER).glob("*.jsonl")}
        # The next entry takes a cut-off last line away, so it is no beginning of a later ledger.
        return {name: found[name][: found[name].rfind(b"\n") + 1] for name in found}

    with _telling(str(folder)):
        ledgers, chains = read(), chains_of(folder)
        ended = [run + end for run in chains.runs("closed") for end in ("", statement.KILLED)]
        kept = {run for run in ended if (folder / run).is_dir()}
        found = {n for n in export.files(folder, sorted(kept)) if "/." not in n}
        once = {name for name in found if name.split("/")[0] in {*kept, anchors.FOLDER}}
        shared = {name for name in found - once if not name.startswith(f"{FOLDER}/")}
        return (once, shared, ledgers) if read() == ledgers else _files(folder)  # one was closed


class _Bucket:
    def __init__(self, target: str) -> None:
        matched = re.fullmatch(r"s3://([A-Za-z0-9._-]+)(?:/(.*))?", target)
        if matched is None:  # it is not repeated: somebody may have written a key into it
            raise BadInput("the target is not s3://BUCKET or s3://BUCKET/PREFIX")
        self.where = f"s3://{matched[1]}/{(matched[2] or '').strip('/')}".rstrip("/")
        self.name, slash, prefix = self.where[5:].partition("/")
        self.prefix = prefix + slash
        with _telling(self.where):
            import boto3  # type: ignore[import-untyped]

            self.client = boto3.Session().client("s3")

    def ask(self, operation: str, name: str = "", **options: Any) -> Any:
        key = {"Key": self.prefix + name} if name else {}
        with _telling(f"{self.where}/{name}"):
            told = getattr(self.client, operation)(Bucket=self.name, **key, **options)
            return told["Body"].read() if operation == "get_object" else told

    def names(self) -> set[str]:
        with _telling(self.where):
            listing = self.client.get_paginator("list_objects_v2")
            pages = listing.paginate(Bucket=self.name, Prefix=self.prefix)
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key.removeprefix(self.prefix) for key in keys}


@contextmanager
def _telling(where: str) -> Iterator[None]:
    """Tell errors as ours; those of boto3 not in its own words, which may quote keys."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        yield
    except ImportError as error:
        raise BadInput("S3 needs boto3: pip install 'edge-runbook[s3]'") from error
    except OSError as error:
        raise BadInput(f"{error.filename or where} cannot be read: {error.strerror}") from error
    except (BotoCoreError, ClientError, RecursionError, ValueError) as error:
        told = (getattr(error, "response", None) or {}).get("Error", {"Code": type(error).__name__})
        said = f"{where}: S3 fails: {told.get('Code')} {told.get('Message', '')}".strip()
        raise Refused("".join(filter(str.isprintable, said)), todo=_REMEDY) from error


def _digest(content: bytes) -> str:
    return b64encode(sha256(content).digest()).decode()
