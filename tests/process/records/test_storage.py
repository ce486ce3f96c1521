"""Copying an archive to S3-compatible storage: a real server on loopback, and boto3 as it is."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from archives import (
    ALICE,
    BOB,
    CAROL,
    CONTEXT,
    RUNS,
    allow,
    archive_in,
    by_both,
    edit,
    fill,
    run,
    scratch,
    signer,
    team,
    write,
)
from botocore.exceptions import ClientError
from botocore.loaders import JSONFileLoader
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from runbook.cli import storage as storage_cli
from runbook.errors import BadInput, ChangeFailed, Refused, RunbookError, Unreachable
from runbook.records.archive import anchors, statement
from runbook.records.archive.archive import Archive
from runbook.records.archive.chain import Chains
from runbook.records.copies import storage
from runbook.records.copies.storage import Copied, copy
from runbook.records.keeping import approve, prune
from runbook.records.reading import search
from runbook.records.verify.verify import verify

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
POLL_S = 0.01  # how often a server looks whether it is to end
SECRET = "correct-horse-battery-staple"  # noqa: S105  # of nobody


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a storage."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="module", autouse=True)
def models() -> Iterator[None]:
    """Let boto3 parse its description of S3 once, not for every client: half of the time."""
    load = JSONFileLoader.load_file
    parsed = cache(lambda path: load(JSONFileLoader(), path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: parsed(path))
        yield


@pytest.fixture(scope="module")
def witness(server: str) -> Iterator[Any]:
    """Another client than that of the copy."""
    keys = {"aws_access_key_id": "somebody", "aws_secret_access_key": SECRET}
    client = boto3.Session(**keys, region_name="us-east-1").client("s3", endpoint_url=server)
    yield client
    client.close()


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


@pytest.fixture
def settings(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
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


@cache
def _template() -> Path:
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


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive of three runs with few files."""
    return Path(shutil.copytree(_template(), tmp_path / "records"))


@pytest.fixture
def locking(store: Store) -> str:
    """A bucket with Object Lock."""
    store.client.create_bucket(Bucket="locking", ObjectLockEnabledForBucket=True)
    return "locking"


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Do something just before the first file is sent."""
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


Answering = Callable[[int, str], str]


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


class TestCopy:
    """What arrives."""

    def test_all_of_it(self, store: Store, tmp_path: Path) -> None:
        """Runs, ledgers and what verifies them arrive, and verify where they are downloaded."""
        records = archive_in(tmp_path)
        approval = records / approve.FOLDER / f"{FIRST}-{CAROL}.json"
        approval.parent.mkdir()
        approval.write_text("{}")
        anchor = anchors.anchor(records, signer(CAROL))
        files = [path for path in records.rglob("*") if path.is_file()]
        copied = copy(records, TARGET)
        there = store.download(tmp_path / "downloaded")

        assert copied == Copied(TARGET, len(files), 0, 0)
        for path in (approval, anchor):
            assert (there / path.relative_to(records)).read_bytes() == path.read_bytes()
        assert verify(there).exit_status == 0
        assert verify(there).runs == len(RUNS)
        assert by_both(there)[0] == 0

    @pytest.mark.parametrize(
        ("target", "prefix"),
        [
            ("s3://records", ""),
            ("s3://records/", ""),
            ("s3://records/a site/edge/", "a site/edge/"),
        ],
    )
    def test_prefix(self, store: Store, records: Path, target: str, prefix: str) -> None:
        """Names begin with the prefix, or with nothing."""
        copied = copy(records, target)

        assert copied.target == target.rstrip("/")
        assert store.names() >= {f"{prefix}{FIRST}/statement.json", f"{prefix}verify.sh"}
        assert copy(records, target).sent == 0

    def test_checksum(self, store: Store, records: Path) -> None:
        """The storage keeps the SHA-256 of every file."""
        copy(records, TARGET)

        assert [n for n in store.names() if "ChecksumSHA256" not in store.head(n, BUCKET)] == []

    def test_what_is_left_out(self, store: Store, records: Path) -> None:
        """Runs under way, strays, the index, locks and files being written stay here."""
        search.select(records)
        for name in (".lock", "notes.txt", "ledger/.bob@example.jsonl.7.new", "anchors/.new"):
            (records / name).parent.mkdir(exist_ok=True)
            (records / name).touch()
        archive = Archive(records, signer(BOB))
        archive.open_run(NEXT, site="lab", mode="apply", context=CONTEXT)
        fill(records / f".spool-{NEXT}", NEXT)
        archive.open_run(AFTER_NEXT, site="lab", mode="apply", context=CONTEXT)
        fill(records / AFTER_NEXT, AFTER_NEXT)
        shutil.copytree(records / FIRST, records / "stray")
        copied = copy(records, "s3://records")

        assert {name for name in store.names() if not name.startswith(RUNS)} == OTHERS
        assert copied.sent == ALL

    def test_killed(self, store: Store, records: Path, tmp_path: Path) -> None:
        """A run that was killed, and closed by another one, is a closed run."""
        archive, spool = Archive(records, signer(BOB)), records / f".spool-{NEXT}"
        archive.open_run(NEXT, site="lab", mode="apply", context=CONTEXT)
        fill(spool, NEXT, status="killed")
        archive.close_run(spool, NEXT, CONTEXT)
        spool.rename(records / f"{NEXT}{statement.KILLED}")
        copy(records, TARGET)

        assert f"edge/{NEXT}{statement.KILLED}/statement.json" in store.names()
        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0
        assert copy(records, TARGET).sent == 0

    def test_cut_off_ledger(self, store: Store, records: Path, tmp_path: Path) -> None:
        """A last line without its end is left out: the ledger goes on as if it were not there."""
        with (records / "ledger" / f"{BOB}.jsonl").open("ab") as opened:
            opened.write(b'{"event":"opened","run_')
        copy(records, TARGET)
        small_run(records)
        copy(records, TARGET)

        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_closed_while_looking(
        self, store: Store, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that is closed while the ledgers are read is in both of them or in none."""
        waiting = [NEXT]

        def closing(folder: Path) -> Chains:
            while waiting:
                small_run(records, waiting.pop())
            return Chains(folder)

        monkeypatch.setattr(storage, "Chains", closing)
        copy(records, TARGET)

        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_closed_while_sending(
        self,
        store: Store,
        records: Path,
        tmp_path: Path,
        meanwhile: Callable[[Callable[[], object]], None],
    ) -> None:
        """A run that is closed while others are sent is of the next copy, with its ledger line."""
        meanwhile(lambda: small_run(records))
        copied = copy(records, TARGET)
        there = store.download(tmp_path / "downloaded")

        assert copied.sent == ALL
        assert (records / NEXT).is_dir()
        assert verify(there).exit_status == 0
        assert copy(records, TARGET).sent == OF_A_RUN + 1


class TestSecondCopy:
    """What is there is not sent again."""

    def test_nothing(self, store: Store, records: Path) -> None:
        """A second copy writes nothing."""
        before = copied_once(store, records)

        assert copy(records, TARGET) == Copied(TARGET, 0, ALL, 0)
        assert store.versions() == before

    def test_what_is_new(self, store: Store, records: Path, tmp_path: Path) -> None:
        """A further run is sent, with the ledger that has grown; all else stays as it was."""
        before = copied_once(store, records)
        small_run(records)
        copied = copy(records, TARGET)
        after = store.versions()
        written = {name for name in after if after[name] != before.get(name)}

        assert copied.sent == len(written) == OF_A_RUN + 1
        assert {name.split("/")[1] for name in written} == {NEXT, "ledger"}
        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_who_may_sign(self, store: Store, records: Path) -> None:
        """Allowed signers change, and are replaced; revoked keys come later."""
        copy(records, TARGET)
        edit(records / "allowed_signers", "runbook-record,", "runbook-record,runbook-approval,")

        (records / "revoked_keys").write_bytes(b"a key")

        assert copy(records, TARGET).sent == 2
        assert store.get("edge/revoked_keys") == b"a key"
        assert b"record,runbook-approval" in store.get("edge/allowed_signers")

    def test_pruned(self, store: Store, records: Path, tmp_path: Path) -> None:
        """A run that has left the archive stays in the storage, and its removal is told there."""
        copy(records, TARGET)
        later = datetime.now(UTC) + timedelta(days=500)
        due = [d for d in prune.due(records, "lab", 400, later) if d.run_id == FIRST]
        prune.prune(Archive(records, signer(ALICE)), tuple(due), "kept for 400 days")
        copied = copy(records, TARGET)

        assert not (records / FIRST).exists()
        assert copied.sent == 3  # ledger, anchor and its signature
        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_pruned_before(self, store: Store, records: Path) -> None:
        """A run that was removed before the first copy is in no copy, which is no loss."""
        later = datetime.now(UTC) + timedelta(days=500)
        prune.prune(
            Archive(records, signer(ALICE)), prune.due(records, "lab", 400, later), "400 days"
        )
        copy(records, TARGET)

        assert not [name for name in store.names() if name.startswith("edge/2")]

    @pytest.mark.parametrize("how", ["another tool", "in parts"])
    def test_without_sha256(self, store: Store, records: Path, how: str) -> None:
        """A file whose SHA-256 the storage does not have, or has of its parts only, is read."""
        name, content = f"edge/{FIRST}/after.json", (records / FIRST / "after.json").read_bytes()
        self._store(store, how, name, content)
        copied = copy(records, TARGET)
        self._store(store, how, name, content + b" ")

        assert (copied.sent, copied.there) == (ALL - 1, 1)
        assert f"{FIRST}/after.json (another content)" in refusal(records).message

    def _store(self, store: Store, how: str, name: str, content: bytes) -> None:
        if how == "another tool":
            store.put(name, content)
            return
        key = {"Bucket": BUCKET, "Key": name}
        upload = store.client.create_multipart_upload(**key, ChecksumAlgorithm="SHA256")
        key["UploadId"] = upload["UploadId"]
        part = store.client.upload_part(
            **key, PartNumber=1, Body=content, ChecksumAlgorithm="SHA256"
        )
        parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}]
        store.client.complete_multipart_upload(**key, MultipartUpload={"Parts": parts})
        sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert store.head(name, BUCKET)["ChecksumSHA256"] != sha256


def forged(content: bytes) -> bytes:
    """Return a ledger whose first line says something else."""
    return content.replace(b"CHG-7", b"CHG-8", 1)


class TestRefused:
    """What was altered, here or there, is named, and nothing is sent."""

    @pytest.mark.parametrize(
        ("name", "content", "why"),
        [
            (f"{SECOND}/after.json", b"{}", "another content"),
            (f"{SECOND}/statement.json.sig", b"", "another content"),
            (f"{SECOND}/added.txt", b"", "not here"),
            (f"ledger/{ALICE}.jsonl", b"", ""),
        ],
    )
    def test_altered_there(
        self, store: Store, records: Path, name: str, content: bytes, why: str
    ) -> None:
        """A stored file of a run is not what it was; of a ledger, an empty one is a beginning."""
        copy(records, TARGET)
        store.put(f"edge/{name}", content)
        small_run(records)
        before = store.versions()
        if not why:
            assert copy(records, TARGET).sent > 1
            return
        error = refusal(records)

        assert isinstance(error, Refused)
        assert f": {name} ({why})" in error.message
        assert "runbook records verify" in error.todo
        assert store.versions() == before

    def test_altered_here(self, store: Store, records: Path) -> None:
        """A file of a run is altered here; the stored one is not lost."""
        before = copied_once(store, records)
        edit(records / LAST / "results.json", "docker01", "docker09")
        small_run(records)

        assert f"{LAST}/results.json (another content)" in refusal(records).message
        assert store.versions() == before

    def test_many(self, store: Store, records: Path) -> None:
        """Of many names, ten are given, and the number of the others."""
        copy(records, TARGET)
        for name in store.names():
            if name.startswith("edge/2"):
                store.put(name, b"altered")
        message = refusal(records).message
        assert message.count("another content") == 10
        assert message.endswith(f" and {FILES - 10} more")

    def test_anchor(self, store: Store, records: Path) -> None:
        """An anchor is not replaced either."""
        path = anchors.anchor(records, signer(CAROL))
        copy(records, TARGET)
        edit(path, '"seq": 3', '"seq": 2')

        assert f"anchors/{path.name} (another content)" in refusal(records).message

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (forged, "not the beginning of this one"),
            (lambda content: forged(content) + b"\n", "not the beginning of this one"),
            (lambda content: content[: content.index(b"\n") + 1], "longer there"),
            (lambda _: b"", "longer there"),
        ],
    )
    def test_ledger(
        self, store: Store, records: Path, change: Callable[[bytes], bytes], why: str
    ) -> None:
        """A ledger that was rewritten or cut here does not take the place of the stored one."""
        before = copied_once(store, records)
        path = records / "ledger" / f"{ALICE}.jsonl"
        write(path, change(path.read_bytes()))

        assert f"ledger/{ALICE}.jsonl ({why})" in refusal(records).message
        assert store.versions() == before

    def test_redacted(self, store: Store, records: Path, tmp_path: Path) -> None:
        """A file that was redacted here is named as such, and sent once the other is removed."""
        copy(records, TARGET)
        own, name = Archive(records, signer(BOB)), f"edge/{SECOND}/after.json"
        prune.redact(own, SECOND, "after.json", b"{}\n", "held a password")
        error = refusal(records)
        store.client.delete_object(Bucket=BUCKET, Key=name)
        copy(records, TARGET)

        assert f"{SECOND}/after.json (redacted here since)" in error.message
        assert "remove what is there" in error.todo
        assert store.get(name) == b"{}\n"
        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_lost(self, store: Store, records: Path) -> None:
        """A closed run that is in neither place is named, whether removed or not yet in place."""
        shutil.rmtree(records / FIRST)
        (records / SECOND).rename(records / f".spool-{SECOND}")
        error = refusal(records)

        assert isinstance(error, Refused)
        assert error.message.endswith(f"{FIRST}, {SECOND}")
        assert store.names() == set()

    def test_only_there(self, store: Store, records: Path) -> None:
        """A run that was lost here after it was copied does not stop later copies."""
        copy(records, TARGET)
        shutil.rmtree(records / FIRST)
        small_run(records)

        assert copy(records, TARGET).sent == OF_A_RUN + 1

    def test_no_plain_file(self, store: Store, records: Path) -> None:
        """A link in a run is none of its files."""
        (records / FIRST / "link").symlink_to("/")

        assert "'link' is no plain file" in refusal(records).message
        assert store.names() == set()


class TestCutShort:
    """A copy that ends before it is done."""

    def test_no_ledger(self, store: Store, records: Path, tmp_path: Path) -> None:
        """No ledger arrives before the last record has; the next copy sends the rest."""
        store.deny("s3:PutObject", f"{BUCKET}/edge/{LAST}/statement.json")
        error = refusal(records)
        arrived = store.names()
        store.client.delete_bucket_policy(Bucket=BUCKET)
        rest = copy(records, TARGET)

        assert isinstance(error, ChangeFailed)
        assert f"of {ALL} files" in error.message
        assert "403" in error.message
        assert "sends the rest" in error.todo
        assert f"edge/{FIRST}/statement.json" in arrived
        assert not [name for name in arrived if "ledger" in name]
        assert (rest.sent, rest.there) == (ALL - len(arrived), len(arrived))
        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_old_ledger(self, store: Store, records: Path, tmp_path: Path) -> None:
        """The ledgers that were there still name no run that is not."""
        copy(records, TARGET)
        small_run(records)
        store.deny("s3:PutObject", f"{BUCKET}/edge/{NEXT}/statement.json")
        refusal(records)
        there = store.download(tmp_path / "downloaded")

        assert NEXT not in Chains(there).runs("closed")
        assert (there / NEXT / "results.json").exists()

    def test_nothing_sent(self, store: Store, records: Path) -> None:
        """Where not even the first file could be sent, nothing was changed, and that is said."""
        store.deny("s3:PutObject", f"{BUCKET}/*")
        error = refusal(records)

        assert type(error) is Refused
        assert "what they may do" in error.todo

    def test_somebody_else(
        self,
        store: Store,
        records: Path,
        meanwhile: Callable[[Callable[[], object]], None],
    ) -> None:
        """What somebody else has written in the meantime is not overwritten, old or new."""
        name = f"edge/ledger/{BOB}.jsonl"
        meanwhile(lambda: store.put(name, b"theirs\n"))
        new = refusal(records)
        store.put(name, b"")
        small_run(records)
        meanwhile(lambda: store.put(name, b"theirs\n"))
        old = refusal(records)

        for error in (new, old):
            assert "PreconditionFailed" in error.message
            assert "something else has written there" in error.todo
        assert store.get(name) == b"theirs\n"

    def test_removed_meanwhile(
        self,
        store: Store,
        records: Path,
        meanwhile: Callable[[Callable[[], object]], None],
    ) -> None:
        """Ledgers are not sent where a record is not there any more."""
        copy(records, TARGET)
        small_run(records)
        name = f"edge/{FIRST}/after.json"
        meanwhile(lambda: store.client.delete_object(Bucket=BUCKET, Key=name))
        error = refusal(records)

        assert isinstance(error, ChangeFailed)
        assert f"not any more: {FIRST}/after.json" in error.message
        assert NEXT.encode() not in store.get(f"edge/ledger/{BOB}.jsonl")

    def test_file_vanishes(
        self,
        store: Store,
        records: Path,
        meanwhile: Callable[[Callable[[], object]], None],
    ) -> None:
        """A file that is gone once its turn comes is named."""
        meanwhile((records / "allowed_signers").unlink)
        error = refusal(records)

        assert f"{records / 'allowed_signers'} cannot be read" in error.message
        assert not [name for name in store.names() if "ledger" in name]


class TestRetention:
    """Object Lock."""

    def test_locked(self, store: Store, records: Path, locking: str) -> None:
        """Nobody can remove a file of a run; ledgers are not locked, as they are replaced."""
        copied = copy(records, f"s3://{locking}", retain_days=30)
        told = store.head(f"{FIRST}/statement.json", locking)
        left = told["ObjectLockRetainUntilDate"] - datetime.now(UTC)

        assert copied.sent == ALL
        assert told["ObjectLockMode"] == "COMPLIANCE"
        assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
        for name, (version,) in store.versions(locking).items():
            one = {"Bucket": locking, "Key": name, "VersionId": version}
            if name in OTHERS:
                store.client.delete_object(**one)
                continue
            with pytest.raises(ClientError, match="AccessDenied"):
                store.client.delete_object(**one, BypassGovernanceRetention=True)
        assert len(store.names(locking)) == FILES

    def test_afterwards(self, store: Store, records: Path, locking: str) -> None:
        """What was there without is locked as well; what was locked already keeps its date."""
        target = f"s3://{locking}"
        copy(records, target)
        afterwards = copy(records, target, retain_days=30)
        date = store.head(f"{FIRST}/after.json", locking)["ObjectLockRetainUntilDate"]
        again = copy(records, target, retain_days=60)

        assert afterwards == Copied(target, 0, ALL, FILES)
        assert again == Copied(target, 0, ALL, 0)
        assert store.head(f"{FIRST}/after.json", locking)["ObjectLockRetainUntilDate"] == date

    def test_no_object_lock(self, store: Store, records: Path) -> None:
        """A bucket that cannot retain files is refused before anything is sent."""
        error = refusal(records, retain_days=30)

        assert isinstance(error, Refused)
        assert "no Object Lock" in error.message
        assert "without --retain-days" in error.todo
        assert store.names() == set()

    @pytest.mark.parametrize("days", [-1, 0, 36501, 10**12])
    def test_days(self, records: Path, days: int) -> None:
        """Days that nothing can be retained for are wrong."""
        with pytest.raises(BadInput, match="for 1 to 36500 days"):
            copy(records, TARGET, retain_days=days)


def closed_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


class TestErrors:
    """Every error of boto3 is told as one of ours, without a secret."""

    @pytest.mark.parametrize(
        "target",
        ["records", "s3://", "s3:///edge", "http://records/edge", f"s3://key:{SECRET}@records"],
    )
    @pytest.mark.usefixtures("settings")
    def test_target(self, records: Path, target: str) -> None:
        """What is no target is not repeated either: it may hold a key."""
        error = refusal(records, target)

        assert isinstance(error, BadInput)
        assert error.message == "the target is not s3://BUCKET or s3://BUCKET/PREFIX"

    def test_no_archive(self, tmp_path: Path) -> None:
        """A folder without a ledger is none."""
        with pytest.raises(BadInput, match="is not an archive"):
            copy(tmp_path, TARGET)

    def test_no_boto3(self, records: Path, settings: pytest.MonkeyPatch) -> None:
        """Without boto3 the extra is named."""
        settings.setitem(sys.modules, "boto3", None)
        error = refusal(records)

        assert isinstance(error, BadInput)
        assert "pip install 'edge-runbook[s3]'" in error.todo

    def test_no_bucket(self, store: Store, records: Path) -> None:
        """A bucket that is not there is wrong."""
        error = refusal(records, "s3://absent/edge")

        assert isinstance(error, BadInput)
        assert error.message == "s3://absent/edge: there is no such bucket"

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"AWS_ENDPOINT_URL_S3": "nonsense"}, "ValueError"),
            ({"AWS_ENDPOINT_URL_S3": f"http://u:{SECRET}@127.0.0.1:99999"}, "EndpointResolution"),
            ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "NoCredentialsError"),
            ({"AWS_SECRET_ACCESS_KEY": ""}, "missing: AWS_SECRET_ACCESS_KEY"),
            ({"AWS_PROFILE": "absent"}, "profile (absent) could not be found"),
            ({"AWS_DEFAULT_REGION": "no region!"}, "'no region!' doesn't match"),
            ({"AWS_RETRY_MODE": "never"}, "InvalidRetryModeError"),
        ],
    )
    def test_settings(
        self, records: Path, settings: pytest.MonkeyPatch, wrong: dict[str, str], why: str
    ) -> None:
        """A setting that boto3 cannot use is bad input, and where it is read from is said."""
        for name, value in wrong.items():
            settings.setenv(name, value)
        error = refusal(records)

        assert isinstance(error, BadInput)
        assert why in error.message
        assert "~/.aws" in error.todo

    @pytest.mark.parametrize(
        ("config", "why"),
        [
            ("[default\n", "ConfigParseError"),
            (f"[default]\ncredential_process = sh -c 'echo {SECRET} >&2; exit 1'\n", "Retrieval"),
            (f"[default]\ncredential_process = echo {SECRET}\n", "JSONDecodeError"),
        ],
    )
    def test_config_file(
        self, records: Path, settings: pytest.MonkeyPatch, config: str, why: str
    ) -> None:
        """So is a file of settings; what a credential process prints is not repeated."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            settings.delenv(name)
        Path(os.environ["AWS_CONFIG_FILE"]).write_text(config)
        error = refusal(records)

        assert isinstance(error, BadInput)
        assert why in error.message
        assert "~/.aws" in error.todo

    def test_session_token(self, records: Path, settings: pytest.MonkeyPatch) -> None:
        """A token that is no header is not repeated, which the HTTP client does."""
        settings.setenv("AWS_SESSION_TOKEN", f"{SECRET}\nmore")

        assert "HTTPClientError" in refusal(records).message

    def test_unreachable(self, records: Path, settings: pytest.MonkeyPatch) -> None:
        """A storage that does not answer is named without what its URL may hold."""
        port = closed_port()
        settings.setenv("AWS_ENDPOINT_URL_S3", f"http://somebody:{SECRET}@127.0.0.1:{port}")
        error = refusal(records)

        assert isinstance(error, Unreachable)
        assert f"no answer from 127.0.0.1:{port} (EndpointConnectionError)" in error.message
        assert "AWS_ENDPOINT_URL_S3" in error.todo

    def test_keys(self, store: Store, records: Path) -> None:
        """Keys that the storage does not know are refused by it."""
        post(f"{store.url}/moto-api/reset-auth", b"0")
        try:
            error = refusal(records)
        finally:
            post(f"{store.url}/moto-api/reset-auth", b"inf")

        assert type(error) is Refused
        assert "S3 answers InvalidAccessKeyId" in error.message
        assert "~/.aws" in error.todo

    def test_denied(self, store: Store, records: Path) -> None:
        """What the keys may not do is refused before anything is sent."""
        before = copied_once(store, records)
        small_run(records)
        store.deny("s3:*", f"{BUCKET}/edge/{FIRST}/*")
        error = refusal(records)

        assert type(error) is Refused
        assert "what they may do" in error.todo
        assert store.versions() == before

    @pytest.mark.parametrize(
        "told",
        [
            (503, "SlowDown", Unreachable, "copy again later"),
            (501, "NotImplemented", Refused, "conditional writes"),
            (400, "ExpiredToken", Refused, "check the keys"),
            (409, "ConditionalRequestConflict", Refused, "copy again"),
            (400, "Any\x9b\u2028thing", Refused, ""),
        ],
    )
    def test_answers(
        self,
        records: Path,
        answering: Answering,
        settings: pytest.MonkeyPatch,
        told: tuple[int, str, type[RunbookError], str],
    ) -> None:
        """What the storage answers is told, with what to do; the terminal is not its to control."""
        status, code, kind, todo = told
        text = f"<Error><Code>{code}</Code><Message>in words</Message></Error>"
        settings.setenv("AWS_ENDPOINT_URL_S3", answering(status, text))
        error = refusal(records)
        printable = "".join(character for character in code if character.isprintable())

        assert type(error) is kind
        assert error.message == f"{TARGET}: S3 answers {printable}: in words"
        assert todo in error.todo

    @pytest.mark.parametrize(
        "answer",
        [
            (200, "<html><p>Welcome</html>", Unreachable),
            (200, "{}", Unreachable),
            (200, "cut off", Unreachable),
            (302, "", Unreachable),
            (404, "<html>There is no such page</html>", Refused),
            (200, "", ChangeFailed),
        ],
    )
    def test_no_storage(
        self,
        records: Path,
        answering: Answering,
        settings: pytest.MonkeyPatch,
        answer: tuple[int, str, type[RunbookError]],
    ) -> None:
        """A web server that is no storage is found out, even one that takes everything."""
        status, text, kind = answer
        settings.setenv("AWS_ENDPOINT_URL_S3", answering(status, text))

        assert type(refusal(records)) is kind

    def test_damaged(self, store: Store, records: Path) -> None:
        """A stored file that is not what the storage itself says of it is named."""
        copy(records, TARGET)
        name = f"edge/{FIRST}/after.json"
        wrong = base64.b64encode(b"\0" * 32).decode()
        store.put(name, b"{}", ChecksumAlgorithm="SHA256", ChecksumSHA256=wrong)
        error = refusal(records)

        assert isinstance(error, Refused)
        assert error.message.startswith(f"s3://{BUCKET}/{name}: damaged")


class TestCommand:
    """``runbook records copy``."""

    def test_line(self, store: Store, records: Path, locking: str) -> None:
        """One line tells how many files were sent, how many were there, and where."""

        def line(*words: str) -> str:
            arguments = [*words, "--archive", str(records)]
            done = CliRunner().invoke(storage_cli.app, arguments, catch_exceptions=False)
            assert done.exit_code == 0, done.output
            return done.output

        target = f"s3://{locking}/edge"
        assert line(target) == f"{ALL} files sent, 0 were there already: {target}\n"
        assert line(target, "--retain-days", "30") == (
            f"0 files sent, {ALL} were there already, {FILES} of them locked now: {target}\n"
        )

    def test_help(self) -> None:
        """The help says where keys and endpoint come from."""
        shown = CliRunner().invoke(storage_cli.app, ["--help"], env={"COLUMNS": "120"}).output

        for word in ("s3://BUCKET/PREFIX", "AWS_ENDPOINT_URL_S3", "~/.aws", "--retain-days"):
            assert word in shown
