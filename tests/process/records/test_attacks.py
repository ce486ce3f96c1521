"""What somebody may do to an archive, and that both verifiers name it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    key,
    run,
    signer,
    write,
)

from runbook.records.archive import canonical, ledger
from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import Ledger
from runbook.records.signing import sshsig
from runbook.records.signing.sign import Signer
from runbook.records.verify.verify import verify

FIRST, SECOND, LAST = RUNS


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive of three runs: alice's, bob's and alice's again."""
    return archive_in(tmp_path)


def lines_of(records: Path, principal: str) -> list[bytes]:
    return (records / f"ledger/{principal}.jsonl").read_bytes().split(b"\n")[:-1]


def put_lines(records: Path, principal: str, lines: list[bytes]) -> None:
    write(records / f"ledger/{principal}.jsonl", b"".join(line + b"\n" for line in lines))


def rechained(lines: list[bytes]) -> list[bytes]:
    """Return lines as one unbroken chain again, which needs no key."""
    done: list[bytes] = []
    for seq, line in enumerate(lines):
        prev = canonical.sha256(done[-1]) if done else ledger.FIRST
        done.append(canonical.line(json.loads(line) | {"seq": seq, "prev": prev}))
    return done


def reseal(records: Path, run_id: str, own_key: Signer) -> None:
    """Make a run's statement fit its files again, sign it, and make its ledger fit."""
    folder = records / run_id
    told = json.loads((folder / "statement.json").read_text())
    for entry in told["subject"]:
        entry["digest"]["sha256"] = canonical.sha256_of(folder / entry["name"])
    content = canonical.document(told)
    signature = own_key.sign(content, sshsig.RECORD).encode()
    write(folder / "statement.json", content)
    write(folder / "statement.json.sig", signature)
    digests = {
        "statement_sha256": canonical.sha256(content),
        "sig_sha256": canonical.sha256(signature),
    }
    lines = lines_of(records, ALICE)
    at = next(i for i, line in enumerate(lines) if is_line(line, "closed", run_id))
    lines[at] = canonical.line(json.loads(lines[at]) | digests)
    put_lines(records, ALICE, rechained(lines))


def is_line(line: bytes, event: str, run_id: str) -> bool:
    told = json.loads(line)
    return (told["event"], told["run_id"]) == (event, run_id)


def swap_signatures(records: Path) -> None:
    one, other = (records / name / "statement.json.sig" for name in (FIRST, LAST))
    first, last = one.read_bytes(), other.read_bytes()
    write(one, last)
    write(other, first)


def drop_line(records: Path) -> None:
    lines = lines_of(records, ALICE)
    put_lines(records, ALICE, lines[:1] + lines[2:])


def replace_by_link(records: Path) -> None:
    report = records / FIRST / "report.html"
    copy = records.parent / "report.html"
    shutil.copy(report, copy)
    report.unlink()
    report.symlink_to(copy)


ATTACKS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "a notebook is edited": (
        lambda records: edit(records / FIRST / "10_network.ipynb", "Site", "Sight"),
        [f"BAD {FIRST}/10_network.ipynb: altered"],
    ),
    "a page is edited": (
        lambda records: edit(records / FIRST / "report.html", "1 change", "0 changes"),
        [f"BAD {FIRST}/report.html: altered"],
    ),
    "a snapshot is edited": (
        lambda records: edit(records / SECOND / "before.json", "0640", "0644"),
        [f"BAD {SECOND}/before.json: altered"],
    ),
    "a statement is edited": (
        lambda records: edit(records / FIRST / "statement.json", "CHG-7", "CHG-8"),
        [
            f"BAD {FIRST}/statement.json: not the statement that ledger/{ALICE}.jsonl:2 names",
            f"BAD {FIRST}/statement.json: ticket is",
            f"BAD {FIRST}/statement.json.sig: ",
        ],
    ),
    "signatures are swapped": (
        swap_signatures,
        [
            f"BAD {FIRST}/statement.json.sig: not the signature that ledger/{ALICE}.jsonl:2 names",
            f"BAD {LAST}/statement.json.sig: not the signature that ledger/{ALICE}.jsonl:4 names",
        ],
    ),
    "a file is deleted": (
        lambda records: (records / SECOND / "source/10_network.ipynb").unlink(),
        [f"BAD {SECOND}/source/10_network.ipynb: dropped"],
    ),
    "a file is added": (
        lambda records: write(records / SECOND / "source/extra.txt", "see"),
        [f"BAD {SECOND}/source/extra.txt: added"],
    ),
    "a hidden file is added": (
        lambda records: write(records / SECOND / ".extra", "see"),
        [f"BAD {SECOND}/.extra: added"],
    ),
    "a folder is deleted": (
        lambda records: shutil.rmtree(records / SECOND),
        [f"BAD {SECOND}: the folder is missing; ledger/{BOB}.jsonl:2 has closed the run"],
    ),
    "a folder is copied": (
        lambda records: shutil.copytree(records / FIRST, records / "20261123T140000Z-lab-ffffff"),
        [
            "BAD 20261123T140000Z-lab-ffffff: added: no ledger knows it,"
            f" and its statement is that of {FIRST}"
        ],
    ),
    "a folder is copied under a name that a killed run would have": (
        lambda records: shutil.copytree(records / FIRST, records / f"{FIRST}-killed"),
        [f"BAD {FIRST}-killed: added: no ledger knows it"],
    ),
    "two folders change names": (
        lambda records: [
            (records / FIRST).rename(records / "third"),
            (records / LAST).rename(records / FIRST),
            (records / "third").rename(records / LAST),
        ],
        [
            f"BAD {FIRST}/statement.json: not the statement that ledger/{ALICE}.jsonl:2 names",
            f"BAD {LAST}/statement.json: run_id is",
        ],
    ),
    "a ledger line is dropped": (
        drop_line,
        [
            f"BAD {FIRST}: no ledger has closed it, which ledger/{ALICE}.jsonl:1 opened",
            f"BAD ledger/{ALICE}.jsonl:2: dropped before it: 1",
        ],
    ),
    "a ledger line is dropped and the chain made whole": (
        lambda records: put_lines(
            records,
            ALICE,
            rechained(lines_of(records, ALICE)[:1] + lines_of(records, ALICE)[2:]),
        ),
        [f"BAD {FIRST}: no ledger has closed it", f"BAD ledger/{ALICE}.jsonl:2: rewritten"],
    ),
    "a run is dropped from ledger and archive, and the chain made whole": (
        lambda records: (
            shutil.rmtree(records / FIRST),
            put_lines(records, ALICE, rechained(lines_of(records, ALICE)[2:])),
        ),
        [
            f"BAD ledger/{ALICE}.jsonl:2: rewritten: not the line that {SECOND}/statement.json",
            f"BAD ledger/{ALICE}.jsonl: cut or dropped: it lacks line 3",
        ],
    ),
    "ledger lines are reordered": (
        lambda records: put_lines(
            records, ALICE, [lines_of(records, ALICE)[i] for i in (0, 2, 1, 3)]
        ),
        [
            f"BAD ledger/{ALICE}.jsonl:2: out of order",
            f"BAD ledger/{ALICE}.jsonl:3: out of order",
        ],
    ),
    "a ledger line is edited": (
        lambda records: edit(
            records / f"ledger/{ALICE}.jsonl", '"outcome":"changed"', '"outcome":"ok"'
        ),
        [
            f"BAD ledger/{ALICE}.jsonl:2: altered after the next line was written",
            f'BAD {FIRST}/statement.json: outcome is "changed", and "ok" in',
        ],
    ),
    "a ledger is deleted": (
        lambda records: (records / f"ledger/{BOB}.jsonl").unlink(),
        [f"BAD {SECOND}: added", f"BAD ledger/{BOB}.jsonl: missing: {LAST}/statement.json"],
    ),
    "a run is rewritten and signed with a foreign key": (
        lambda records: (
            edit(records / FIRST / "report.html", "1 change", "0 changes"),
            reseal(records, FIRST, Signer(key("mallory"), ALICE)),
        ),
        [
            f"BAD {FIRST}/statement.json.sig: key ",
            f"BAD ledger/{ALICE}.jsonl:2: rewritten: not the line that {SECOND}/statement.json",
        ],
    ),
    "a run is rewritten and signed by a colleague": (
        lambda records: (
            edit(records / FIRST / "report.html", "1 change", "0 changes"),
            reseal(records, FIRST, Signer(key("bob"), ALICE)),
        ),
        [f"BAD {FIRST}/statement.json.sig: key "],
    ),
    "an operator rewrites an earlier run, and others ran since": (
        lambda records: (
            edit(records / FIRST / "report.html", "1 change", "0 changes"),
            reseal(records, FIRST, signer(ALICE)),
        ),
        [f"BAD ledger/{ALICE}.jsonl:2: rewritten: not the line that {SECOND}/statement.json"],
    ),
    "a signature is stripped, to pass for unsigned": (
        lambda records: (records / LAST / "statement.json.sig").unlink(),
        [f"BAD {LAST}/statement.json.sig: missing: ledger/{ALICE}.jsonl:4 names it"],
    ),
    "an envelope is added, as records had one once": (
        lambda records: write(records / LAST / "statement.dsse.json", "{}"),
        [
            f"BAD {LAST}/statement.dsse.json: added: ledger/{ALICE}.jsonl:4 names none",
            f"BAD {LAST}/statement.dsse.json: not an envelope of statement.json alone",
        ],
    ),
    "a file is replaced by a link to the same content": (
        replace_by_link,
        [f"BAD {FIRST}/report.html: replaced by something that is no plain file"],
    ),
    "a folder without a run is added": (
        lambda records: (records / "20261123T150000Z-lab-eeeeee").mkdir(),
        ["BAD 20261123T150000Z-lab-eeeeee: added: no ledger knows it"],
    ),
    "a removal is made up": (
        lambda records: (
            shutil.rmtree(records / LAST),
            Ledger(records, ALICE).append("pruned", run_id=LAST, reason="its time was over"),
        ),
        [
            f"INCOMPLETE ledger/{ALICE}.jsonl:5: pruned: nothing signed vouches for this line",
        ],
    ),
    "a redaction is made up": (
        lambda records: (
            Ledger(records, ALICE).append(
                "redacted",
                run_id=LAST,
                file="report.html",
                old_sha256=canonical.sha256_of(records / LAST / "report.html"),
                new_sha256=canonical.sha256(b"all is well\n"),
                reason="a secret",
            ),
            write(records / LAST / "report.html", "all is well\n"),
        ),
        [
            f"INCOMPLETE ledger/{ALICE}.jsonl:5: redacted: nothing signed vouches for this line",
        ],
    ),
}


class TestAttacks:
    """Whoever has the disk, and the keys that they have."""

    def test_untouched(self, records: Path) -> None:
        """Nothing is found where nothing was done."""
        assert by_both(records) == (0, [])

    @pytest.mark.parametrize("name", ATTACKS)
    def test_named(self, records: Path, name: str) -> None:
        """Both verifiers name the file or the line."""
        attack, expected = ATTACKS[name]

        attack(records)
        status, found = by_both(records)

        assert status == (2 if expected[0].startswith("INCOMPLETE") else 1)
        for start in expected:
            assert [line for line in found if line.startswith(start)], (start, found)

    @pytest.mark.parametrize("name", [f"{SECOND}/statement.json", f"ledger/{BOB}.jsonl"])
    def test_nested_too_deep(self, records: Path, name: str) -> None:
        """What no parser takes is named like anything else that is not as it was written."""
        write(records / name, b"[" * 100_000 + b"\n")

        status, found = by_both(records)

        assert status == 1
        assert [line for line in found if line.startswith(f"BAD {name}")], found

    def test_one_bit_anywhere(self, records: Path) -> None:
        """One bit flipped in any file that a run has left is noticed, and the file is named."""
        for path in sorted(path for path in records.rglob("*") if path.is_file()):
            name = str(path.relative_to(records))
            content = path.read_bytes()
            if path.parent == records:
                continue  # explanations, and what is compared with a reviewed copy
            middle = len(content) // 2
            write(path, content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            found = verify(records)
            write(path, content)

            assert found.exit_status == 1, name
            assert [f for f in found.findings if f.where.startswith(name)], (name, found.findings)


class TestInsiders:
    """What the holder of a key does to the newest lines, which nobody else has seen."""

    def rewrite(self, records: Path) -> None:
        """Rewrite the last run with the operator's own key."""
        edit(records / LAST / "report.html", "1 change", "0 changes")
        reseal(records, LAST, signer(ALICE))

    def cut(self, records: Path) -> None:
        """Remove the last run and its lines."""
        shutil.rmtree(records / LAST)
        put_lines(records, ALICE, lines_of(records, ALICE)[:2])

    @pytest.mark.parametrize(
        ("attack", "named"),
        [
            (rewrite, f"BAD ledger/{ALICE}.jsonl:4: rewritten: not the line that the witness has"),
            (cut, f"BAD ledger/{ALICE}.jsonl: cut or dropped: it lacks line 4, which the witness"),
        ],
        ids=["rewrite", "cut"],
    )
    def test_witness(
        self, records: Path, attack: Callable[[TestInsiders, Path], None], named: str
    ) -> None:
        """Without a witness nothing is noticed; with the heads that it kept, the line is named."""
        witness = ledger.heads(records)
        attack(self, records)

        assert by_both(records) == (0, [])
        status, found = by_both(records, witness)
        assert status == 1
        assert [line for line in found if line.startswith(named)], found

    @pytest.mark.parametrize("attack", [rewrite, cut], ids=["rewrite", "cut"])
    def test_later_run_of_another(
        self, records: Path, attack: Callable[[TestInsiders, Path], None]
    ) -> None:
        """A statement holds the heads of all ledgers, so a colleague's next run is a witness."""
        run(Archive(records, signer(BOB)), "20261123T130004Z-lab-00000d", context=CONTEXT)
        attack(self, records)

        status, found = by_both(records)

        assert status == 1
        assert "20261123T130004Z-lab-00000d/statement.json has seen" in "".join(found)

    @pytest.mark.parametrize("attack", [rewrite, cut], ids=["rewrite", "cut"])
    def test_anchor_of_another(
        self, records: Path, attack: Callable[[TestInsiders, Path], None]
    ) -> None:
        """An anchor signed by somebody who does not operate is a witness, too."""
        from runbook.records.archive.anchors import anchor

        path = anchor(records, signer(CAROL))
        assert by_both(records) == (0, [])
        attack(self, records)

        status, found = by_both(records)

        assert status == 1
        assert f"anchors/{path.name} has seen" in "".join(found)

    def test_forged_anchor(self, records: Path) -> None:
        """An anchor whose signature does not hold is named, and witnesses nothing."""
        from runbook.records.archive.anchors import anchor

        path = anchor(records, signer(CAROL))
        edit(path, '"seq": 1', '"seq": 0')

        status, found = by_both(records)

        assert status == 1
        assert found[0].startswith(f"BAD anchors/{path.name}.sig: ")
