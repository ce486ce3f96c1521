"""Records of before, which have a DSSE envelope; two are in ``tests/data/records/enveloped``."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, BOB, CAROL, RECORD, RUNS, by_both, edit, key, run, write

from runbook.records.archive import archive, canonical
from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import heads
from runbook.records.signing.sign import Signer

FIRST, LAST, NEXT = RUNS
ENVELOPE = "statement.dsse.json"
NEWEST = Path(LAST, ENVELOPE)
ONLY = f"BAD {NEWEST}: not an envelope of statement.json alone"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive of two runs, as an earlier version has left it."""
    folder = Path(shutil.copytree(RECORD.with_name("enveloped"), tmp_path / "records"))
    for name in archive.SHIPPED:
        write(folder / name, archive.shipped(name))
    return folder


def envelope(records: Path) -> Any:
    return json.loads((records / NEWEST).read_bytes())


def name_in_ledger(records: Path, run_id: str, content: bytes) -> None:
    """Put an envelope into the newest run, and have the newest line name it: this needs no key."""
    write(records / run_id / ENVELOPE, content)
    path = records / f"ledger/{BOB}.jsonl"
    *before, last, _ = path.read_bytes().split(b"\n")
    told = json.loads(last) | {"dsse_sha256": canonical.sha256(content)}
    assert told["run_id"] == run_id
    write(path, b"\n".join([*before, canonical.line(told), b""]))


class TestEnveloped:
    """They verify as ever, and the envelope is good for nothing."""

    def test_untouched(self, records: Path) -> None:
        """Both verifiers find nothing, with the heads of then, too."""
        assert by_both(records, heads(records)) == (0, [])

    def test_goes_on(self, records: Path) -> None:
        """A run of today is entered into the same ledgers, and has no envelope."""
        own = Signer(key("bob"), BOB)
        with (records / "allowed_signers").open("a") as opened:
            opened.write(f"{BOB} {own.public_line}\n")
        run(Archive(records, own), NEXT)

        assert by_both(records) == (0, [])
        assert not (records / NEXT / ENVELOPE).exists()

    def test_edited(self, records: Path) -> None:
        """An envelope is the one that the ledger's line names."""
        edit(records / NEWEST, '"sig": "', '"sig": "AA')

        named = f"BAD {NEWEST}: not the envelope that ledger/{BOB}.jsonl:2 names"
        assert by_both(records) == (1, [named, ONLY])

    def test_deleted(self, records: Path) -> None:
        """It cannot go either."""
        (records / FIRST / ENVELOPE).unlink()

        missing = f"BAD {FIRST}/{ENVELOPE}: missing: ledger/{ALICE}.jsonl:2 names it"
        assert by_both(records) == (1, [missing])

    @pytest.mark.parametrize(
        "forge",
        [
            lambda told: told | {"payload": base64.b64encode(b"{}").decode()},
            lambda told: told | {"payload": told["payload"] + "IA=="},
            lambda told: told | {"payload": 7},
            lambda told: told | {"payloadType": "text/plain"},
            lambda told: told | {"signatures": []},
            lambda told: told | {"signatures": told["signatures"] * 2},
            lambda told: told | {"signatures": [{"keyid": "SHA256:x", "sig": "all is well"}]},
            lambda told: told | {"more": "all is well"},
            lambda told: [told],
        ],
    )
    def test_forged_with_the_newest_line(self, records: Path, forge: Any) -> None:
        """Nothing vouches for the newest line, so an envelope has no room for anything to read."""
        name_in_ledger(records, LAST, canonical.document(forge(envelope(records))))

        assert by_both(records) == (1, [ONLY])

    @pytest.mark.parametrize(
        "content", [b"\xff\xfe", b"\0", b"", b'{ "payload": "\0", ', b"all\tis\twell\n"]
    )
    def test_no_json(self, records: Path, content: bytes) -> None:
        """Nor is it anything else."""
        name_in_ledger(records, LAST, content)

        assert by_both(records) == (1, [ONLY])

    def test_said_twice(self, records: Path) -> None:
        """What a reader of JSON would overlook is seen."""
        content = (records / NEWEST).read_bytes()
        name_in_ledger(records, LAST, content.replace(b"{\n", b'{\n "payload": "well",\n', 1))

        assert by_both(records) == (1, [ONLY])

    def test_of_another_run(self, records: Path) -> None:
        """An envelope is of its own statement."""
        name_in_ledger(records, LAST, (records / FIRST / ENVELOPE).read_bytes())

        assert by_both(records) == (1, [ONLY])

    def test_of_another_statement(self, records: Path) -> None:
        """A statement that was altered is not covered by its envelope."""
        edit(records / LAST / "statement.json", "CHG-7", "CHG-8")

        status, found = by_both(records)
        assert (status, ONLY in found) == (1, True)

    def test_not_asked_for(self, records: Path) -> None:
        """No record of before may lose its statement's signature for an envelope."""
        (records / LAST / "statement.json.sig").unlink()

        status, found = by_both(records)
        assert status == 1
        assert found == [f"BAD {LAST}/statement.json.sig: missing: ledger/{BOB}.jsonl:2 names it"]

    def test_untrusted(self, records: Path) -> None:
        """It is no second signature: without its signer, the record is refused."""
        edit(records / "allowed_signers", BOB, CAROL)

        status, found = by_both(records)
        assert status == 1
        assert [line for line in found if line.startswith(f"BAD {LAST}/statement.json.sig: ")]
