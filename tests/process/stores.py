"""An S3-compatible storage as somebody else sees it, and small archives to be copied there."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
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


POLL_S = 0.01  # how often a server looks whether it is to end


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a storage."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="module")
def models() -> Iterator[None]:
    """Let boto3 parse its description of S3 once, not for every client: half of the time."""
    from botocore.loaders import JSONFileLoader

    load = JSONFileLoader.load_file
    parsed = cache(lambda path: load(JSONFileLoader(), path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: parsed(path))
        yield


@pytest.fixture(scope="module")
def witness(server: str, models: None) -> Iterator[Any]:
    """Another client than that of the copy."""
    import boto3

    keys = {"aws_access_key_id": "somebody", "aws_secret_access_key": SECRET}
    client = boto3.Session(**keys, region_name="us-east-1").client("s3", endpoint_url=server)
    yield client
    client.close()


@pytest.fixture
def settings(
    server: str, models: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> pytest.MonkeyPatch:
    """The settings of boto3, to be changed."""
    values = {
        "AWS_ENDPOINT_URL_S3": server,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws-credentials"),
    }
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def store(server: str, settings: pytest.MonkeyPatch, witness: Any) -> Store:
    """An empty storage, with a bucket that keeps every version."""
    post(f"{server}/moto-api/reset")
    witness.create_bucket(Bucket=BUCKET)
    kept = {"Status": "Enabled"}
    witness.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=kept)
    return Store(server, witness)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive of three runs with few files."""
    return Path(shutil.copytree(template(), tmp_path / "records"))


@pytest.fixture
def locking(store: Store) -> str:
    """A bucket with Object Lock."""
    store.client.create_bucket(Bucket="locking", ObjectLockEnabledForBucket=True)
    return "locking"


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Do something just before the first file is sent."""
    import boto3

    waiting: list[Callable[[], object]] = []

    class Session(boto3.Session):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.events.register("before-send.s3.PutObject", self._first)

        def _first(self, **_: Any) -> None:
            with suppress(IndexError):  # the other threads come here as well
                action = waiting.pop()
                action()

    def set_session(action: Callable[[], object]) -> None:
        waiting.append(action)
        monkeypatch.setattr(boto3, "Session", Session)

    return set_session


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Start a web server that gives every request the same answer."""
    started: list[tuple[ThreadingHTTPServer, Thread]] = []

    def start(status: int, text: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                content = text.encode()
                self.send_response(status)
                self.send_header("Location", "/")
                self.send_header("Content-Length", str(len(content) + (text == "cut off")))
                self.end_headers()
                self.wfile.write(content)

            do_HEAD = do_PUT = do_GET  # noqa: N815  # likewise

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, args=(POLL_S,))
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()
