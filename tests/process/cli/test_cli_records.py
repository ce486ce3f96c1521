"""``runbook records``: what it prints and ends with."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, BOB, RUNS, archive_in, edit, key, planned_in, run, signer
from typer import Typer
from typer.testing import CliRunner

from runbook import cli
from runbook.cli.records import app
from runbook.errors import BadInput
from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import heads
from runbook.records.archive.statement import Context
from runbook.records.keeping import prune

FIRST, SECOND, LAST = RUNS
NEXT = "20261123T130004Z-lab-00000d"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """An archive of three runs."""
    return archive_in(tmp_path)


def records_command(records: Path, *words: str, status: int = 0, of: Typer = app) -> str:
    """Run a command on an archive and return what it prints."""
    arguments = [words[0], "--archive", str(records), *words[1:]]
    done = CliRunner().invoke(of, arguments, env={"COLUMNS": "160", "RUNBOOK_KEY": ""})
    if isinstance(done.exception, BadInput):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.output


def from_json(text: str) -> Any:
    return json.loads(text)


class TestFinding:
    """list, search, show and open."""

    def test_list(self, records: Path) -> None:
        """Runs come as a table or as JSON, the newest first."""
        table = records_command(records, "list")
        found = from_json(records_command(records, "list", "--operator", BOB, "--json"))

        assert table.index(LAST) < table.index(FIRST)
        assert "3 runs" in table
        assert [run["run_id"] for run in found] == [SECOND]

    def test_ticket_that_steers_a_terminal(self, records: Path) -> None:
        """What a ticket says is shown, and does nothing."""
        context = Context(ticket="\x1b[2J\x9b1mCHG-1\u202e")
        run(Archive(records, signer(ALICE)), NEXT, context=context)

        for words in (["list"], ["show", NEXT], ["diff", FIRST, NEXT], ["report"]):
            printed = records_command(records, *words)
            assert "␛[2J<U+009B>1mCHG-1<U+202E>" in "".join(printed.split())
            assert not set("\x1b\x9b\u202e") & set(printed)

    def test_unsigned_is_said(self, records: Path) -> None:
        """A run that nobody signed says so."""
        run(Archive(records), NEXT)

        assert records_command(records, "list").count("nobody (") == 1

    def test_search(self, records: Path) -> None:
        """Words find runs."""
        found = from_json(records_command(records, "search", "bob", "frontend", "--json"))

        assert [run["run_id"] for run in found] == [SECOND]

    def test_show(self, records: Path) -> None:
        """A run is shown with its verification, whose status is the command's."""
        assert "tickets" not in records_command(records, "show", "last")
        told = from_json(records_command(records, "show", FIRST, "--json"))
        assert told["statement"]["predicate"]["ticket"] == "CHG-7"

        edit(records / FIRST / "report.html", "1 change", "0 changes")
        shown = records_command(records, "show", FIRST, status=1)
        assert f"BAD {FIRST}/report.html: altered" in shown

    def test_open(self, records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The page is opened, and its place printed for whoever has no browser here."""
        opened: list[str] = []
        monkeypatch.setattr("webbrowser.open", opened.append)
        printed = records_command(records, "open", "last")

        assert printed.strip() == str(records / LAST / "report.html")
        assert opened == [(records / LAST / "report.html").as_uri()]
        (records / LAST / "report.html").unlink()
        with pytest.raises(BadInput, match="has no page"):
            records_command(records, "open", "last")

    def test_diff(self, records: Path) -> None:
        """Facts that differ come with both values."""
        found = from_json(records_command(records, "diff", FIRST, SECOND, "--json"))

        assert found == [{"fact": "operator", "left": ALICE, "right": BOB}]
        assert "1 facts differ" in records_command(records, "diff", FIRST, SECOND)


class TestVerify:
    """What is wrong, and the exit status."""

    def test_sound(self, records: Path) -> None:
        """A sound archive ends with 0, and the heads to be kept are printed."""
        printed = records_command(records, "verify")

        assert "3 runs, 6 lines: as they were written" in printed
        assert f"head {ALICE} 3 {heads(records)[0].head}" in printed

    def test_altered(self, records: Path) -> None:
        """An altered one ends with 1; another run of it still with 0."""
        edit(records / FIRST / "report.html", "1 change", "0 changes")

        assert f"BAD {FIRST}/report.html" in records_command(records, "verify", status=1)
        records_command(records, "verify", SECOND)

    def test_incomplete(self, records: Path) -> None:
        """An unsigned run ends with 2."""
        run(Archive(records), NEXT)
        told = from_json(records_command(records, "verify", "--json", "--independent", status=2))

        assert told["exit_status"] == 2
        assert [finding["where"] for finding in told["findings"]] == [NEXT]

    def test_witness(self, records: Path, tmp_path: Path) -> None:
        """Heads that were kept elsewhere show that the tail was cut."""
        kept = tmp_path / "heads.json"
        kept.write_text(json.dumps([head.as_dict() for head in heads(records)]))
        shutil.rmtree(records / LAST)
        lines = (records / f"ledger/{ALICE}.jsonl").read_bytes().splitlines(keepends=True)
        (records / f"ledger/{ALICE}.jsonl").write_bytes(b"".join(lines[:2]))

        records_command(records, "verify")
        printed = records_command(records, "verify", "--witness", str(kept), status=1)
        assert "cut or dropped" in printed
        kept.write_text('[{"principal": 1}]')
        with pytest.raises(BadInput, match="is not a list of heads"):
            records_command(records, "verify", "--witness", str(kept))

    def test_export(self, records: Path, tmp_path: Path) -> None:
        """An export verifies by its name."""
        target = str(tmp_path / "a.zip")

        assert "3 runs in" in records_command(records, "export", target)
        assert "as they were written" in records_command(Path("absent"), "verify", target)
        assert "1 runs in" in records_command(records, "export", target, FIRST)


class TestReport:
    """The population and what stands out."""

    def test_tables(self, records: Path, tmp_path: Path) -> None:
        """Population, anomalies and verification follow each other; the CSV is written."""
        printed = records_command(records, "report", "--csv", str(tmp_path / "population.csv"))

        assert "3 runs from the first to" in printed
        assert "unapproved" in printed
        assert printed.rstrip().endswith("as they were written")
        assert len((tmp_path / "population.csv").read_text().splitlines()) == 4

    def test_json(self, records: Path) -> None:
        """Programs get the same."""
        told = from_json(records_command(records, "report", "--since", "2026-01-01", "--json"))

        assert [entry["run_id"] for entry in told["population"]] == list(RUNS)
        assert told["verification"]["exit_status"] == 0


class TestChanging:
    """Commands that write to the ledger."""

    def test_prune(self, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Runs are only shown unless told otherwise; the key's principal is found by itself."""
        later = datetime.now(UTC) + timedelta(days=8)
        due = prune.due
        monkeypatch.setattr(prune, "due", lambda *of_a_site: due(*of_a_site, later))
        site, lab = tmp_path / "site.yml", Path(__file__).parents[3] / "parameters" / "lab.yml"
        site.write_text(f"extends: {lab}\nrecords:\n  retention_days: 7\n")

        shown = records_command(records, "prune", str(site))
        assert "3 runs would be removed" in shown
        assert (records / FIRST).is_dir()

        options = (str(site), "--yes", "--key", str(key("bob")))
        assert "3 runs removed" in records_command(records, "prune", *options)
        assert f"was removed by {BOB}" in records_command(records, "verify")

    def test_hold_and_review(self, records: Path) -> None:
        """Both are entered under the signer's name."""
        own = ("--reason", "a dispute", "--key", str(key("bob")))
        records_command(records, "hold", FIRST, *own)
        records_command(records, "hold", FIRST, "--release", *own)
        records_command(records, "review", FIRST, *own)
        events = [line["event"] for line in Archive(records, signer(BOB)).ledger.lines()]

        assert events == ["opened", "closed", "held", "released", "review"]
        records_command(records, "verify")

    def test_approve(self, records: Path) -> None:
        """``runbook approve``: by whose key it is, for as long as said."""
        planned = planned_in(records)
        options = ("--key", str(key("carol")), "--reason", "looks right", "--hours", "2")
        words = ("approve", planned[-6:], *options)
        path = Path(records_command(records, *words, of=cli.app).strip())
        told = json.loads(path.read_text())

        assert (told["run_id"], told["by"]) == (planned, "carol@example")
        lasts = datetime.fromisoformat(told["expires"]) - datetime.fromisoformat(told["at"])
        assert lasts == timedelta(hours=2)

    def test_redact(self, records: Path, tmp_path: Path) -> None:
        """A file is replaced by another, and the ledger tells of it."""
        (tmp_path / "masked").write_text("[masked]\n")
        options = ("--with", str(tmp_path / "masked"), "--reason", "a password")
        words = ("redact", FIRST, "report.html", *options, "--key", str(key("alice")))
        records_command(records, *words)

        assert "redacted: superseded by" in records_command(records, "verify")

    def test_without_key(self, records: Path) -> None:
        """An entry that nobody signs is said to be so."""
        printed = records_command(records, "hold", FIRST, "--reason", "a dispute")

        assert "is not signed" in printed

    def test_anchor(self, records: Path) -> None:
        """The heads are signed by whose key it is."""
        printed = records_command(records, "anchor", "--key", str(key("carol")))

        assert json.loads(Path(printed.strip()).read_text())["by"] == "carol@example"
        records_command(records, "verify")
