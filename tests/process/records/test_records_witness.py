"""What the journals of the managers tell of the ledgers, and what is held against them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from archives import ALICE, BOB, CAROL, RUNS, archive_in, by_both, edit, run, signer, write
from servers import Client, free_port
from test_attacks import lines_of, put_lines, rechained, reseal
from typer.testing import CliRunner

from runbook.cli.records import app
from runbook.errors import BadInput, RunbookError, Unreachable
from runbook.records.archive.archive import Archive
from runbook.records.archive.chain import Chains
from runbook.records.archive.findings import Verification
from runbook.records.archive.ledger import Head, Ledger
from runbook.records.verify import witness
from runbook.records.verify.verify import Options, verify
from runbook.records.verify.witness import Journals, parse, text

FIRST, SECOND, LAST = RUNS
NEXT = "20261123T130004Z-lab-00000d"
HEAD = Head(ALICE, 3, "5" * 64)
LINE = text("closed", LAST, HEAD, "0123456789abcdef")
HOSTS = ("docker01", "docker02")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive of three runs: alice's, bob's and alice's again."""
    return archive_in(tmp_path)


def journal(records: Path) -> str:
    """Return the entries that the runs of an archive have left."""
    return "".join(
        text(line["event"], line["run_id"], Head(name, line["seq"], digest), begun) + "\n"
        for name, chain in Chains(records).by_principal.items()
        for begun in [witness.begun(records, name)]
        for line, digest in zip(chain.lines, chain.digests, strict=True)
        if line is not None and line["event"] in ("opened", "closed")
    )


def told(*entries: str, hosts: Iterable[str] = HOSTS, site: str = "lab") -> Journals:
    """Return what managers tell whose journals all hold these entries."""
    return Journals(site, tuple(seen for host in hosts for seen in parse(host, "".join(entries))))


def verified(records: Path, journals: Journals) -> Verification:
    return verify(records, Options(journals=journals))


def found(records: Path, journals: Journals) -> list[str]:
    return [str(finding) for finding in verified(records, journals).findings]


class TestEntry:
    """One entry of a journal."""

    def test_text(self) -> None:
        """It says what happened to which run, and how far whose ledger had come."""
        expected = f"closed run={LAST} ledger={ALICE} begun=0123456789abcdef seq=3 head={'5' * 64}"

        assert expected == LINE

    def test_read_back(self) -> None:
        """What was written is read, and who has it is known."""
        (seen,) = parse("docker01", f"{LINE}\n")

        assert (seen.host, seen.event, seen.run_id) == ("docker01", "closed", LAST)
        assert (seen.head, seen.begun) == (HEAD, "0123456789abcdef")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("closed", "pruned"),
            ("closed run", "closed  run"),
            ("closed", "was closed"),
            (LAST, "../../etc"),
            (ALICE, "alice bob"),
            (ALICE, "\x1b[31malice"),
            ("0123456789abcdef", "0123456789abcde"),
            ("0123456789abcdef", "0123456789ABCDEF"),
            ("seq=3", "seq=-3"),
            ("seq=3", "seq=03"),
            ("seq=3", "seq=٣"),
            ("5" * 64, "5" * 63),
            ("5" * 64, "5" * 64 + " "),
        ],
    )
    def test_strict(self, old: str, new: str) -> None:
        """Whatever is written otherwise is passed over, and what follows it is not."""
        assert old in LINE
        assert parse("docker01", f"{LINE.replace(old, new)}\n[98B blob data]\n\n{LINE}\n") == parse(
            "docker01", LINE
        )


class TestBegun:
    """What tells two archives of one operator apart."""

    def test_first_line(self, records: Path) -> None:
        """It is the beginning of the digest of the first line, whatever follows that."""
        before = witness.begun(records, ALICE)
        Ledger(records, ALICE).append("note", reason="one more line")

        assert before == hashlib.sha256(lines_of(records, ALICE)[0]).hexdigest()[:16]
        assert before == witness.begun(records, ALICE) != witness.begun(records, BOB)

    def test_changed(self, records: Path) -> None:
        """With another first line it is another one."""
        before = witness.begun(records, ALICE)
        edit(records / f"ledger/{ALICE}.jsonl", "CHG-7", "CHG-8")

        assert witness.begun(records, ALICE) != before

    def test_no_line(self, records: Path) -> None:
        """A ledger that is not there, or has half a line, is an error that names it."""
        write(records / f"ledger/{BOB}.jsonl", lines_of(records, BOB)[0][:-9])

        for name, why in ((CAROL, "cannot be read"), (BOB, "has no whole line")):
            with pytest.raises(RunbookError, match=why):
                witness.begun(records, name)


class TestInsiders:
    """What the holder of a key does to the newest lines, and the managers remember."""

    def rewrite(self, records: Path) -> None:
        """Rewrite the last run with the operator's own key."""
        edit(records / LAST / "report.html", "1 change", "0 changes")
        reseal(records, LAST, signer(ALICE))

    def cut(self, records: Path) -> None:
        """Remove the last run and its lines."""
        shutil.rmtree(records / LAST)
        put_lines(records, ALICE, lines_of(records, ALICE)[:2])

    def test_untouched(self, records: Path) -> None:
        """An archive that is as the managers have seen it is as it was written."""
        assert found(records, told(journal(records))) == []

    @pytest.mark.parametrize(
        ("attack", "where", "what"),
        [
            (rewrite, f"ledger/{ALICE}.jsonl:4", "rewritten: not the line that"),
            (cut, f"ledger/{ALICE}.jsonl", "cut or dropped: it lacks line 4, which"),
        ],
        ids=["rewrite", "cut"],
    )
    def test_named(
        self, records: Path, attack: Callable[[TestInsiders, Path], None], where: str, what: str
    ) -> None:
        """The line, the managers that have seen it and the run that it was about are named."""
        entries = journal(records)
        attack(self, records)

        assert verify(records).findings == ()
        for hosts, who in ((HOSTS, "each of docker01, docker02"), (HOSTS[1:], "docker02")):
            verification = verified(records, told(entries, hosts=hosts))
            assert verification.exit_status == 1
            assert [str(finding) for finding in verification.findings] == [
                f"BAD {where}: {what} {who} has seen (closed {LAST})"
            ]

    @pytest.mark.parametrize("attack", [rewrite, cut], ids=["rewrite", "cut"])
    def test_for_a_stranger(
        self, records: Path, attack: Callable[[TestInsiders, Path], None]
    ) -> None:
        """The heads alone, as a list, let verify.sh find the same."""
        journals = told(journal(records))
        attack(self, records)
        heads = witness.heads(journals, Chains(records))

        assert len(heads) == 6
        status, named = by_both(records, heads)
        places = {finding.where for finding in verified(records, journals).findings}
        assert (status, {line.split()[1].removesuffix(":") for line in named}) == (1, places)

    def test_does_not_vouch(self, records: Path) -> None:
        """A removal that is made up and told to the managers stays one that nothing vouches for."""
        entries = journal(records)
        shutil.rmtree(records / LAST)
        head = Ledger(records, ALICE).append("pruned", run_id=LAST, reason="its time was over")
        more = text("closed", LAST, head, witness.begun(records, ALICE))

        assert found(records, told(entries, more))[0] == (
            f"INCOMPLETE ledger/{ALICE}.jsonl:5: pruned: nothing signed vouches for this line"
        )


class TestOtherLedgers:
    """Heads that are not of these ledgers."""

    def another(self, folder: Path, name: str = ALICE) -> Path:
        """Return another archive of the same operator, with one run."""
        archive = Archive(folder / "another", signer(name))
        run(archive, NEXT)
        return archive.folder

    def test_another_archive(self, records: Path, tmp_path: Path) -> None:
        """They are not held against these, and said once, whoever has how many of them."""
        other = self.another(tmp_path)
        journals = told(journal(records), journal(other))

        assert found(records, journals) == [
            f"INCOMPLETE ledger/{ALICE}.jsonl: each of docker01, docker02 has seen another ledger "
            f"of {ALICE}, begun {witness.begun(other, ALICE)}: "
            "of another archive, or of this one before it was replaced whole"
        ]
        heads = witness.heads(journals, Chains(records))
        assert heads == witness.heads(told(journal(records)), Chains(records))

    def test_rewritten_whole(self, records: Path) -> None:
        """A ledger that is new from its first line on is found by the runs that are still in it."""
        entries, begun = journal(records), witness.begun(records, BOB)
        lines = [json.loads(line) | {"ticket": "CHG-8"} for line in lines_of(records, BOB)]
        put_lines(records, BOB, rechained([json.dumps(line).encode() for line in lines]))

        assert (
            f"BAD ledger/{BOB}.jsonl:1: rewritten: docker03 has seen another ledger of {BOB}, "
            f"begun {begun}, with this run"
        ) in found(records, told(entries, hosts=["docker03"]))

    def test_under_another_name(self, tmp_path: Path) -> None:
        """A run that has come into another ledger is found, though nobody has the old one here."""
        folder = tmp_path / "records"
        run(Archive(folder), NEXT)
        entries = journal(folder)
        shutil.rmtree(folder)
        run(Archive(folder, signer(ALICE)), NEXT)

        assert found(folder, told(entries))[0].startswith(
            f"BAD ledger/{ALICE}.jsonl:1: rewritten: each of docker01, docker02 has seen another "
            "ledger of unsigned, begun "
        )

    def test_replaced_whole(self, records: Path, tmp_path: Path) -> None:
        """A ledger with other runs is one that nobody has seen, and the one before it is missed."""
        alone = self.another(tmp_path)
        entries = journal(alone)
        shutil.rmtree(alone)
        run(Archive(alone, signer(ALICE)), LAST)

        assert verify(alone).exit_status == 0
        missed, unseen = found(alone, told(entries))
        assert missed.startswith(f"INCOMPLETE ledger/{ALICE}.jsonl: each of docker01, docker02 has")
        assert unseen == f"INCOMPLETE ledger/{ALICE}.jsonl: no witness has seen it"

    def test_removed_whole(self, records: Path, tmp_path: Path) -> None:
        """A ledger that is gone with all its runs is missed, if its signer may sign here."""
        alone = self.another(tmp_path)
        entries = journal(alone)
        (alone / f"ledger/{ALICE}.jsonl").unlink()
        shutil.rmtree(alone / NEXT)

        assert verify(alone).exit_status == 0
        (said,) = found(alone, told(entries))
        assert said.startswith(f"INCOMPLETE ledger/{ALICE}.jsonl: each of docker01, docker02 has")

    def test_of_strangers(self, records: Path, tmp_path: Path) -> None:
        """Those of whom this archive knows nothing, or who only approve here, are passed over."""
        strangers = [
            journal(self.another(tmp_path / name, name)) for name in ("eve@example", CAROL)
        ]

        assert found(records, told(journal(records), *strangers)) == []


class TestUnseen:
    """Ledgers of which the managers know nothing."""

    def test_named(self, records: Path) -> None:
        """What applied runs have told nobody cannot be said to be whole."""
        entries = journal(records).splitlines(keepends=True)
        own = [entry for entry in entries if f"ledger={ALICE}" in entry]
        verification = verified(records, told(*own))

        assert verification.exit_status == 2
        assert [str(finding) for finding in verification.findings] == [
            f"INCOMPLETE ledger/{BOB}.jsonl: no witness has seen it"
        ]
        assert len(found(records, told())) == 2

    def test_nothing_to_tell(self, records: Path) -> None:
        """Runs on another site, plans and reviews have told these managers nothing."""
        own = Archive(records, signer(BOB))
        put_lines(records, BOB, [])
        shutil.rmtree(records / SECOND)
        run(own, NEXT, mode="plan")
        own.ledger.append("review", run_id=FIRST, reason="it was right")
        entries = [e for e in journal(records).splitlines(True) if f"ledger={ALICE}" in e]

        assert f"ledger/{BOB}.jsonl: no witness" not in "".join(found(records, told(*entries)))
        assert "no witness" not in "".join(found(records, told(site="elsewhere")))


class TestAsking:
    """The way to the managers; the rest of it needs a lab."""

    def test_unreachable(self, client: Client) -> None:
        """A manager that does not answer is an error, as anywhere else."""
        with pytest.raises(Unreachable, match=r"^docker0[123]: "):
            witness.read_back(client.site(f"Host *\n  Port {free_port()}\n"))

    def test_bad_input(self, records: Path, tmp_path: Path) -> None:
        """A folder that is no archive, and a site that is none, end it before anybody is asked."""
        (tmp_path / "site.yml").write_text("name: lab\n")
        site = str(tmp_path / "site.yml")

        for words, why in (
            (["witness", site, "--archive", str(tmp_path)], "is not an archive"),
            (["witness", site, "--archive", str(records)], "site.yml"),
            (["verify", "--witness", site, "--archive", str(records)], "site.yml"),
        ):
            done = CliRunner().invoke(app, words)
            assert isinstance(done.exception, BadInput)
            assert why in str(done.exception)
