"""Copying an archive to S3-compatible storage: a real server on loopback, and boto3 as it is."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from archives import (
    ALICE,
    BOB,
    CAROL,
    CONTEXT,
    RUNS,
    archive_in,
    by_both,
    edit,
    fill,
    signer,
    write,
)
from stores import (
    AFTER_NEXT,
    ALL,
    BUCKET,
    FILES,
    FIRST,
    LAST,
    NEXT,
    OF_A_RUN,
    OTHERS,
    SECOND,
    TARGET,
    Store,
    copied_once,
    refusal,
    small_run,
)

from runbook.errors import Refused
from runbook.records.archive import anchors, statement
from runbook.records.archive.archive import Archive
from runbook.records.archive.chain import Chains
from runbook.records.copies import storage
from runbook.records.copies.storage import copy
from runbook.records.keeping import approve, prune
from runbook.records.reading import search
from runbook.records.verify.verify import chains_of, verify


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

        assert copied == (len(files), 0)
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
        copy(records, target)

        assert store.names() >= {f"{prefix}{FIRST}/statement.json", f"{prefix}verify.sh"}
        assert copy(records, target) == (0, ALL)

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
        assert copied == (ALL, 0)

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
        assert copy(records, TARGET)[0] == 0

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
            return chains_of(folder)

        monkeypatch.setattr(storage, "chains_of", closing)
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

        assert copied == (ALL, 0)
        assert (records / NEXT).is_dir()
        assert verify(there).exit_status == 0
        assert copy(records, TARGET)[0] == OF_A_RUN + 1


class TestSecondCopy:
    """What is there is not sent again."""

    def test_nothing(self, store: Store, records: Path) -> None:
        """A second copy writes nothing."""
        before = copied_once(store, records)

        assert copy(records, TARGET) == (0, ALL)
        assert store.versions() == before

    def test_what_is_new(self, store: Store, records: Path, tmp_path: Path) -> None:
        """A further run is sent, with the ledger that has grown; all else stays as it was."""
        before = copied_once(store, records)
        small_run(records)
        copied = copy(records, TARGET)
        after = store.versions()
        written = {name for name in after if after[name] != before.get(name)}

        assert copied[0] == len(written) == OF_A_RUN + 1
        assert {name.split("/")[1] for name in written} == {NEXT, "ledger"}
        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_who_may_sign(self, store: Store, records: Path) -> None:
        """Allowed signers change, and are replaced; revoked keys come later."""
        copy(records, TARGET)
        edit(records / "allowed_signers", "runbook-record,", "runbook-record,runbook-approval,")

        (records / "revoked_keys").write_bytes(b"a key")

        assert copy(records, TARGET)[0] == 2
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
        assert copied[0] == 3  # ledger, anchor and its signature
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

        assert copied == (ALL - 1, 1)
        assert refusal(records).message.endswith(f" than here: {FIRST}/after.json")

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
        ("name", "content"),
        [
            (f"{SECOND}/after.json", b"{}"),
            (f"{SECOND}/statement.json.sig", b""),
            (f"{SECOND}/added.txt", b""),
            (f"ledger/{ALICE}.jsonl", b"{}"),
        ],
    )
    def test_altered_there(self, store: Store, records: Path, name: str, content: bytes) -> None:
        """A stored file is not what it was, or is one more."""
        copy(records, TARGET)
        store.put(f"edge/{name}", content)
        small_run(records)
        before = store.versions()
        error = refusal(records)

        assert isinstance(error, Refused)
        assert error.message.endswith(f": {name}")
        assert "runbook records verify" in error.todo
        assert store.versions() == before

    def test_altered_here(self, store: Store, records: Path) -> None:
        """A file of a run is altered here; the stored one is not lost."""
        before = copied_once(store, records)
        edit(records / LAST / "results.json", "docker01", "docker09")
        small_run(records)

        assert f": {LAST}/results.json" in refusal(records).message
        assert store.versions() == before

    def test_many(self, store: Store, records: Path) -> None:
        """Of many names, ten are given, and the number of all."""
        copy(records, TARGET)
        for name in store.names():
            if name.startswith("edge/2"):
                store.put(name, b"altered")
        message = refusal(records).message
        assert message.count(", ") == 9
        assert f" has {FILES} other files than here: " in message

    def test_anchor(self, store: Store, records: Path) -> None:
        """An anchor is not replaced either."""
        path = anchors.anchor(records, signer(CAROL))
        copy(records, TARGET)
        edit(path, '"seq": 3', '"seq": 2')

        assert f": anchors/{path.name}" in refusal(records).message

    @pytest.mark.parametrize(
        "change",
        [
            forged,
            lambda content: forged(content) + b"\n",
            lambda content: content[: content.index(b"\n") + 1],
            lambda _: b"",
        ],
    )
    def test_ledger(self, store: Store, records: Path, change: Callable[[bytes], bytes]) -> None:
        """A ledger that was rewritten or cut here does not take the place of the stored one."""
        before = copied_once(store, records)
        path = records / "ledger" / f"{ALICE}.jsonl"
        write(path, change(path.read_bytes()))

        assert f": ledger/{ALICE}.jsonl" in refusal(records).message
        assert store.versions() == before

    def test_redacted(self, store: Store, records: Path, tmp_path: Path) -> None:
        """A file that was redacted here is named, and sent once the other is removed."""
        copy(records, TARGET)
        own, name = Archive(records, signer(BOB)), f"edge/{SECOND}/after.json"
        prune.redact(own, SECOND, "after.json", b"{}\n", "held a password")
        error = refusal(records)
        store.client.delete_object(Bucket=BUCKET, Key=name)
        copy(records, TARGET)

        assert f": {SECOND}/after.json" in error.message
        assert "remove what is there" in error.todo
        assert store.get(name) == b"{}\n"
        assert verify(store.download(tmp_path / "downloaded")).exit_status == 0

    def test_only_there(self, store: Store, records: Path) -> None:
        """A run that was lost here after it was copied does not stop later copies."""
        copy(records, TARGET)
        shutil.rmtree(records / FIRST)
        small_run(records)

        assert copy(records, TARGET)[0] == OF_A_RUN + 1

    def test_no_plain_file(self, store: Store, records: Path) -> None:
        """A link in a run is none of its files."""
        (records / FIRST / "link").symlink_to("/")

        assert "'link' is no plain file" in refusal(records).message
        assert store.names() == set()
