"""An S3-compatible storage as somebody else sees it, and small archives to be copied there."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, BOB, RUNS, allow, run, scratch, signer, team

from runbook.errors import RunbookError
from runbook.records.archive import statement
from runbook.records.archive.archive import Archive
from runbook.records.copies.storage import copy

FIRST, SECOND, LAST = RUNS
NEXT, AFTER_NEXT = "20261123T130004Z-lab-00000d", "20261123T130005Z-lab-00000e"
KEPT = ("after.json", "results.json", "source/10_network.ipynb")
OF_A_RUN = len(KEPT) + 2  # statement and signature
FILES = len(RUNS) * OF_A_RUN

OTHERS = {
    "README.txt",
    "allowed_signers",
    "ledger/alice@example.jsonl",
    "ledger/bob@example.jsonl",
    "verify.sh",
}
ALL = FILES + len(OTHERS)
BUCKET, TARGET = "records", "s3://records/edge"
Answering = Callable[[int, str], str]
"""Starts a web server that gives every request the same answer."""

SECRET = "correct-horse-battery-staple"  # noqa: S105  # of nobody


@dataclass(frozen=True, slots=True)
class Store:
    """The storage as somebody else sees it.

    Attributes:
        url: Its URL.
        client: Another client than that of the copy.
    """

    url: str
    client: Any

    def names(self, bucket: str = BUCKET) -> set[str]:
        """Return the names of all that is there."""
        return {entry["Key"] for entry in self._versions(bucket) if entry["IsLatest"]}

    def versions(self, bucket: str = BUCKET) -> dict[str, list[str]]:
        """Return every version that there ever was: what was not written has no new one."""
        found: dict[str, list[str]] = {}
        for entry in self._versions(bucket):
            found.setdefault(entry["Key"], []).append(entry["VersionId"])
        return found

    def get(self, name: str, bucket: str = BUCKET) -> bytes:
        """Return a file's content."""
        content: bytes = self.client.get_object(Bucket=bucket, Key=name)["Body"].read()
        return content

    def put(self, name: str, content: bytes, **options: Any) -> None:
        """Write a file, as anybody with the right to do so can."""
        self.client.put_object(Bucket=BUCKET, Key=name, Body=content, **options)

    def head(self, name: str, bucket: str) -> Any:
        """Return what the storage says of a file."""
        return self.client.head_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED")

    def download(self, folder: Path, prefix: str = "edge/") -> Path:
        """Return a folder with what is there."""
        for name in self.names():
            path = folder / name.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(name))
        return folder

    def deny(self, action: str, name: str) -> None:
        """Let the bucket refuse an action on names like this one."""
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": action,
            "Resource": f"arn:aws:s3:::{name}",
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    def _versions(self, bucket: str) -> list[Any]:
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=bucket)
        return [entry for page in pages for entry in page.get("Versions", ())]


@cache
def template() -> Path:
    folder = scratch() / "small-archive"
    allow(folder, team())
    for name, run_id in zip((ALICE, BOB, ALICE), RUNS, strict=True):
        small_run(folder, run_id, name)
    return folder


def small_run(archive: Path, run_id: str = NEXT, by: str = BOB) -> None:
    """Record a run that leaves few files."""
    run(Archive(archive, signer(by)), run_id, before_close=thin_out)


def thin_out(folder: Path) -> None:
    for name in list(statement.files(folder)):
        if name not in KEPT:
            (folder / name).unlink()


def post(url: str, content: bytes = b"") -> None:
    request = urllib.request.Request(url, content, {"Content-Type": "text/plain"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310  # loopback
        pass


def refusal(records: Path, target: str = TARGET, **options: Any) -> RunbookError:
    """Return the error that a copy ends with; it tells no secret."""
    with pytest.raises(RunbookError) as caught:
        copy(records, target, **options)
    assert SECRET not in str(caught.value)
    return caught.value


def copied_once(store: Store, records: Path) -> dict[str, list[str]]:
    """Copy an archive, and return the versions that are there now."""
    copy(records, TARGET)
    return store.versions()
