"""The ledger: how it is written, and what of it is read back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from archives import ALICE, BOB, PYTHON, RUNS, archive_in, by_both

from runbook.errors import Refused
from runbook.records.archive import canonical
from runbook.records.archive.chain import Chains, read
from runbook.records.archive.ledger import FIRST, Head, Ledger, heads

APPEND = """
import sys
from pathlib import Path
from runbook.records.archive.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), "alice@example")
for number in range(25):
    ledger.append("note", reason=f"{sys.argv[2]}-{number}")
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path, ALICE)


class TestAppend:
    """One line after another."""

    def test_chain(self, ledger: Ledger) -> None:
        """Each line holds the digest of the one before it, the first one zeros."""
        ledger.append("opened", run_id="a")
        head = ledger.append("closed", run_id="a", outcome="ok")
        one, other = ledger.path.read_bytes().splitlines()

        assert json.loads(one)["prev"] == FIRST
        assert json.loads(other)["prev"] == canonical.sha256(one)
        assert head == ledger.head() == Head(ALICE, 1, canonical.sha256(other))
        assert 250 < len(other) < 550

    def test_every_key_is_there(self, ledger: Ledger) -> None:
        """What a line does not say is null, in every line alike."""
        ledger.append("note", reason="a")
        ledger.append("opened", run_id="a", site="lab", mode="plan")
        one, other = ledger.lines()

        assert one.keys() == other.keys()
        assert one["run_id"] is None

    def test_unknown(self, ledger: Ledger) -> None:
        """An event or a field that no ledger has is a mistake of the program."""
        with pytest.raises(ValueError, match="no started"):
            ledger.append("started")
        with pytest.raises(ValueError, match="colour"):
            ledger.append("note", colour="red")

    def test_line_feed_in_a_value(self, ledger: Ledger) -> None:
        """A reason of several lines is one line of the ledger."""
        ledger.append("note", reason="a\nb\u2028c\r")

        assert [line["reason"] for line in ledger.lines()] == ["a\nb\u2028c\r"]
        assert len(read(ledger.path).lines) == 1

    def test_processes(self, ledger: Ledger) -> None:
        """Four processes at once leave one unbroken chain."""
        argv = [PYTHON, "-c", APPEND, str(ledger.path.parents[1])]
        running = [subprocess.Popen([*argv, str(number)]) for number in range(4)]
        assert [process.wait(60) for process in running] == [0] * 4

        chain = read(ledger.path)
        assert len(chain.lines) == 100
        assert list(chain.check()) == []

    def test_long_ledger(self, ledger: Ledger) -> None:
        """The head is found without reading the whole file."""
        for number in range(200):
            ledger.append("note", reason=f"{number:0500}")

        assert ledger.path.stat().st_size > 65536
        assert ledger.head() == read(ledger.path).head


class TestDamage:
    """What a power failure or a hand leaves."""

    def test_cut_off_line(self, ledger: Ledger) -> None:
        """A last line that was never acknowledged is removed, and that is entered."""
        ledger.append("note", reason="a")
        with ledger.path.open("ab") as file:
            file.write(b'{"dsse_sha256":nul')
        assert read(ledger.path).cut_off
        ledger.append("note", reason="b")

        said = [line["reason"] for line in ledger.lines()]
        assert said == ["a", "a last line cut off after 18 bytes was removed", "b"]
        assert list(read(ledger.path).check()) == []

    def test_cut_off_line_is_said(self, tmp_path: Path) -> None:
        """Until then both verifiers say that it is cut off."""
        records = archive_in(tmp_path)
        with (records / f"ledger/{ALICE}.jsonl").open("ab") as file:
            file.write(b'{"dsse')

        assert by_both(records) == (2, [f"INCOMPLETE ledger/{ALICE}.jsonl:5: the line is cut off"])

    def test_damaged_last_line(self, ledger: Ledger) -> None:
        """Nothing is appended to a broken chain."""
        ledger.append("note", reason="a")
        ledger.path.write_bytes(ledger.path.read_bytes() + b"\0\0\n")

        with pytest.raises(Refused, match="its last line is damaged"):
            ledger.append("note", reason="b")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"null",
            b"[]",
            b'{"v":1}',
            b'{"v":1,"seq":"2"}',
            b"\xff\xfe",
            b'{"v":1,"seq":2,"x":',
        ],
    )
    def test_anything_for_a_line(self, tmp_path: Path, content: bytes) -> None:
        """Whatever stands in place of a line, both verifiers name it."""
        records = archive_in(tmp_path)
        path = records / f"ledger/{ALICE}.jsonl"
        lines = path.read_bytes().split(b"\n")
        lines[2] = content
        path.write_bytes(b"\n".join(lines))

        status, found = by_both(records)

        assert status == 1
        assert f"BAD ledger/{ALICE}.jsonl:3: not a line of a ledger" in found


class TestHeads:
    """How far the ledgers have come."""

    def test_of_all(self, tmp_path: Path) -> None:
        """There is one head a signer."""
        records = archive_in(tmp_path)

        assert [(head.principal, head.seq) for head in heads(records)] == [(ALICE, 3), (BOB, 1)]

    def test_lines_of_a_run(self, tmp_path: Path) -> None:
        """All ledgers together say of a run what happened to it."""
        chains = Chains(archive_in(tmp_path))

        assert chains.runs("opened") == sorted(RUNS)
        assert [chain.where(index) for chain, index, _ in chains.of("closed", RUNS[2])] == [
            f"ledger/{ALICE}.jsonl:4"
        ]

    @pytest.mark.parametrize("value", [{}, {"principal": ALICE, "seq": "1", "head": ""}, None])
    def test_not_a_head(self, value: object) -> None:
        """A head of another shape is refused."""
        with pytest.raises(TypeError):
            Head.of(value)
