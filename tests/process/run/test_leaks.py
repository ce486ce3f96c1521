"""Secrets in a run: whatever a notebook does with one that it has learned, no file has it.

A real kernel reads a secret from its environment and lets it out in every way that there is. The
files are read after each entry of the journal, after the run, and after the runner was killed.
"""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, allow, by_both, key, signer, team
from headless import WAIT_S, Workplace, agrees, own_temporary_files, plan, process
from leaks import BLOCK, CHANNELS, LEARN, RAISE, TOLD, TRANSCRIPT, VALUES, WIDGET
from rich.console import Console

from runbook.cli import summary
from runbook.masking.redact import MASKER, strip_ansi
from runbook.masking.secret import Registry
from runbook.masking.variants import variants
from runbook.records.archive.archive import Archive
from runbook.records.archive.ledger import Ledger
from runbook.records.journal.entries import Entry
from runbook.records.writing.closing import Withheld
from runbook.run import kernels

MASK = "[masked:edge.auth]"


def hits(folder: Path, value: str) -> list[str]:
    """Return the files below a folder whose name or content has the value in any form."""
    found = []
    for path in folder.rglob("*"):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # it was renamed meanwhile
            continue
        text = f"{path.name}\n{content.decode(errors='surrogateescape')}"
        texts = (text, strip_ansi(text))
        found += [path.name for form in variants(value) if any(form in each for each in texts)]
    return sorted(set(found))


@contextmanager
def nothing_known() -> Iterator[None]:
    """Have this process know no secret, and forget what it learns."""
    with pytest.MonkeyPatch.context() as patch:
        known = Registry()
        patch.setattr("runbook.run.papermill.engine.KNOWN", known)
        patch.setattr(MASKER, "_known", known)
        patch.setattr(MASKER, "_cached", (0, ()))
        patch.setattr(kernels, "PRELOAD", "json")
        # With it ipykernel does not catch what is written to the streams themselves.
        patch.delenv("PYTEST_CURRENT_TEST", raising=False)
        yield


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    """A folder for a site, its steps and its records, which the team signs."""
    place = Workplace(tmp_path)
    allow(place.records, team())
    with nothing_known(), own_temporary_files():
        yield place


def step(name: str, source: str) -> str:
    return source.replace("STEP", repr(name))


@dataclass
class Leaking:
    """A run that let a secret out in every way.

    Attributes:
        value: The secret.
        record: Its record.
        while_running: What was found in a file while it ran.
        looks: How often somebody looked.
        left: What was found among the temporary files.
        printed: What the command line printed.
    """

    value: str
    record: Path
    while_running: list[str]
    looks: int
    left: list[str]
    printed: str

    def outputs(self, cell: int) -> str:
        """Return what the executed notebook shows of a cell, joined as its reader sees it."""
        document = json.loads((self.record / "00_leaks.ipynb").read_text())
        (found,) = (c for c in document["cells"] if c["id"] == f"cell-{cell}")
        return json.dumps(found["outputs"])

    def told(self, event: str) -> list[Any]:
        """Return the events of a kind, as the journal has them."""
        lines = (self.record / "journal.jsonl").read_text().splitlines()
        events = [json.loads(line).get("event", {}) for line in lines]
        return [e for e in events if e.get("event") == event]


@pytest.fixture(scope="module", params=VALUES)
def leaking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Leaking:
    """A run with every channel, which ends on an error that has the value, too."""
    place, value = Workplace(tmp_path_factory.mktemp("leaks")), VALUES[request.param]
    allow(place.records, team())
    told = [step("leaks", source) for source in TOLD.values()]
    sources = [LEARN, *CHANNELS.values(), *told, TRANSCRIPT, WIDGET, RAISE]
    place.cells("leaks", *sources)
    seen: list[str] = []
    looks = 0
    console = Console(file=io.StringIO(), width=200)
    with nothing_known(), own_temporary_files() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AUTH", value)

        def look(entry: Entry) -> None:
            nonlocal looks
            looks += 1
            progress(entry)
            for folder in (place.records, temporary):
                seen.extend(hits(folder, value))

        with summary.Progress(console) as progress:
            result = place.run(mode="apply", key=key("alice"), listener=look)
        left = hits(temporary, value)
    summary.show(result, console)
    console.print(summary.as_json(result.results))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    return Leaking(value, result.record, seen, looks, left, printed)


class TestEveryChannel:
    """One run that leaks in every way."""

    @pytest.mark.parametrize("channel", CHANNELS)
    def test_shows_the_mask(self, leaking: Leaking, channel: str) -> None:
        """What the cell shows is there, with the mask in place of the value."""
        cell = 1 + list(CHANNELS).index(channel)
        if channel == "clean-up":  # said when no cell is there to show it
            assert (leaking.record / "kernel-1.log").read_text().rstrip().endswith(MASK)
        else:
            assert MASK in leaking.outputs(cell)

    def test_kernel_log(self, leaking: Leaking) -> None:
        """What went to the streams themselves is in the kernel's log, masked each time."""
        log = (leaking.record / "kernel-1.log").read_text()

        assert log.count(MASK) >= 5

    @pytest.mark.parametrize("event", ["progress", "check", "outcome", "state", "plan", "error"])
    def test_tells_the_mask(self, leaking: Leaking, event: str) -> None:
        """What the notebook told is in the journal, with the mask in place of the value."""
        told = leaking.told(event)

        assert len(told) == {"progress": 2, "state": 2}.get(event, 1)
        assert all(MASK in json.dumps(each) for each in told)

    @pytest.mark.parametrize(
        "name",
        [
            "after.json",
            "before.json",
            "changes.diff",
            "plan.json",
            "report.html",
            "results.json",
            "statement.json",
            "transcript.jsonl",
        ],
    )
    def test_reaches_every_file(self, leaking: Leaking, name: str) -> None:
        """Each file that is made from it has the mask, so there was something to be masked."""
        assert MASK in (leaking.record / name).read_text()

    def test_widget(self, leaking: Leaking) -> None:
        """The password field is shown without its state."""
        document = json.loads((leaking.record / "00_leaks.ipynb").read_text())
        cell = len(CHANNELS) + len(TOLD) + 2

        assert "widgets" not in document["metadata"]
        assert "application/vnd.jupyter.widget-view+json" in leaking.outputs(cell)

    def test_error(self, leaking: Leaking) -> None:
        """Its value, its traceback and the reason of the step have the mask."""
        results = agrees(leaking.record, 1)
        (error,) = json.loads(leaking.outputs(len(CHANNELS) + len(TOLD) + 3))

        assert error["evalue"] == MASK
        assert any(MASK in line for line in error["traceback"])
        assert results["steps"][0]["reason"] == f"ValueError: {MASK}"

    def test_no_file_has_it(self, leaking: Leaking) -> None:
        """No file of the archive has it in any form, and none among the temporary files had."""
        assert hits(leaking.record.parent, leaking.value) == []
        assert leaking.left == []

    def test_no_file_ever_had_it(self, leaking: Leaking) -> None:
        """So it was at each of many looks while the run was under way."""
        assert leaking.looks > 2 * (len(CHANNELS) + len(TOLD))
        assert leaking.while_running == []

    def test_command_line(self, leaking: Leaking) -> None:
        """Progress, tables and JSON of the command line show the mask."""
        assert MASK in leaking.printed
        assert not [form for form in variants(leaking.value) if form in leaking.printed]

    def test_sealed(self, leaking: Leaking) -> None:
        """The record is published, and both verifiers find it as it was written."""
        assert by_both(leaking.record.parent) == (0, [])

    def test_search_finds_leaks(self, leaking: Leaking, tmp_path: Path) -> None:
        """What these tests search with would have found each form of it."""
        for number, form in enumerate(variants(leaking.value)):
            (tmp_path / f"{number}").write_text(f"… {form} …")

        assert len(hits(tmp_path, leaking.value)) == len(variants(leaking.value)) > 5


class TestGoodEnd:
    """A run that ends well with a secret in hand."""

    def test_no_file_has_it(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        """The notebook that came to its end is masked like one that failed."""
        monkeypatch.setenv("EDGE_AUTH", VALUES["plain"])
        place.cells("leaks", LEARN, step("leaks", TOLD["plan"]), "print(value)", "value")
        result = place.run(key=key("alice"))

        assert result.exit_status == 4
        assert agrees(result.record, 4)["steps"][0]["status"] == "unchanged"
        assert MASK in (result.record / "00_leaks.ipynb").read_text()
        assert hits(place.records, VALUES["plain"]) == []


class TestKilledRunner:
    """A runner that is killed with a secret in hand."""

    def test_spool_has_nothing(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither what it left nor what the next run makes of it has the value."""
        value = VALUES["awkward"]
        told = [step("leaks", source) for source in TOLD.values()]
        place.cells("leaks", LEARN, *CHANNELS.values(), *told, TRANSCRIPT, WIDGET, BLOCK)
        own = {"EDGE_AUTH": value, "RUNBOOK_KEY": str(key("alice"))}
        with process(place.folder, "00_leaks.ipynb", started="waits", **own) as runner:
            assert (place.folder / "waits").exists()
            runner.kill()
            runner.wait(WAIT_S)
            printed = runner.stdout.read() + runner.stderr.read()  # type: ignore[union-attr]
        (spool,) = place.records.glob(".spool-*")

        assert MASK in (spool / "00_leaks.ipynb").read_text()
        assert MASK in (spool / "journal.jsonl").read_text()
        assert hits(place.records, value) == []
        assert hits(Path(os.environ["TMPDIR"]), value) == []
        assert not [form for form in variants(value) if form.encode() in printed]

        place.steps.clear()
        place.cells("next", f"tell(**{plan()})")
        assert place.run(key=key("bob")).exit_status == 0
        (killed,) = place.records.glob("*-killed")
        assert agrees(killed, None)["status"] == "killed"
        assert hits(place.records, value) == []
        assert by_both(place.records) == (0, [])


PLANT = """
import os
from pathlib import Path

(Path(os.environ["RUNBOOK_RECORD"]) / "notes.txt").write_text("with " + value)
"""


class TestWithheld:
    """A secret that got past the masks, found before the record is published."""

    @pytest.fixture
    def withheld(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> Withheld:
        """The error of a run whose notebook wrote a file of its own into the record."""
        monkeypatch.setenv("EDGE_AUTH", VALUES["plain"])
        place.cells("leaks", LEARN, f"tell(**{plan()})", PLANT)
        with pytest.raises(Withheld) as caught:
            place.run(key=key("alice"))
        return caught.value

    def test_says_where(self, place: Workplace, withheld: Withheld) -> None:
        """The error has the file and the secret's name, and not the value."""
        said = str(withheld)

        assert "is not published: notes.txt holds edge.auth" in said
        assert "the run itself ended as completed" in said
        assert "change a secret that was found" in withheld.todo
        assert VALUES["plain"] not in said
        assert withheld.exit_code == 1

    def test_publishes_nothing(self, place: Workplace, withheld: Withheld) -> None:
        """There is no record; what was found is put aside for its owner, who is told where."""
        (aside,) = place.records.glob(".withheld-*")
        others = [path for path in place.records.iterdir() if path.is_dir() and path != aside]

        assert [path.name for path in others] == ["ledger"]
        assert hits(place.records, VALUES["plain"]) == ["notes.txt"]
        assert stat.S_IMODE(aside.stat().st_mode) == 0o700
        assert str(aside) in withheld.todo

    def test_ledger(self, place: Workplace, withheld: Withheld) -> None:
        """The run was opened, and the ledger says why it is not closed, without the value."""
        lines = Ledger(place.records, ALICE).lines()
        (note,) = lines[1:]

        assert [line["event"] for line in lines] == ["opened", "note"]
        assert note["reason"] == "withheld: notes.txt holds edge.auth"
        assert not Archive(place.records, signer(ALICE)).is_closed(lines[0]["run_id"])

    def test_verification(self, place: Workplace, withheld: Withheld) -> None:
        """Both verifiers say that the run was opened and never closed."""
        status, found = by_both(place.records)

        assert (status, len(found)) == (2, 1)
        assert found[0].startswith(f"INCOMPLETE ledger/{ALICE}.jsonl:1: ")
        assert "was opened and never closed" in found[0]

    def test_next_run(self, place: Workplace, withheld: Withheld) -> None:
        """It does not publish it either, though it knows nothing of the secret."""
        (aside,) = place.records.glob(".withheld-*")
        place.steps.clear()
        place.cells("next", f"tell(**{plan()})")
        with nothing_known():
            result = place.run(key=key("alice"))

        assert result.exit_status == 0
        assert aside.is_dir()
        assert [path.name for path in place.records.glob("2*")] == [result.record.name]
        assert by_both(place.records)[0] == 2


class TestTwoRuns:
    """Two runs, each with a secret of its own."""

    def test_no_cross_talk(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each record has its own mask only, and neither value is anywhere."""
        records = {}
        for name, value in (("edge.auth", VALUES["plain"]), ("vault", VALUES["awkward"])):
            monkeypatch.setenv("EDGE_AUTH", value)
            place.steps.clear()
            place.cells("leaks", LEARN.replace("edge.auth", name), "print(value)", "value")
            with nothing_known():
                records[name] = place.run(key=key("alice")).record
        texts = {name: (record / "00_leaks.ipynb").read_text() for name, record in records.items()}

        assert (MASK in texts["edge.auth"], "[masked:vault]" in texts["edge.auth"]) == (True, False)
        assert (MASK in texts["vault"], "[masked:vault]" in texts["vault"]) == (False, True)
        assert [hits(place.records, value) for value in VALUES.values()] == [[], []]

    def test_next_notebook_of_a_kernel(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What one notebook has learned, the run knows for the notebooks after it."""
        monkeypatch.setenv("EDGE_AUTH", VALUES["plain"])
        place.cells("learns", LEARN, f"tell(**{plan()})")
        leak = "import os\nprint(os.environ['EDGE_AUTH'])"
        place.cells("leaks", f"tell(**{plan()})", leak, after=("learns",))
        result = place.run(key=key("alice"))

        assert [s.status for s in result.results.steps] == ["unchanged", "unchanged"]
        assert MASK in (result.record / "10_leaks.ipynb").read_text()
        assert hits(place.records, VALUES["plain"]) == []


LIMITS: dict[str, tuple[str, Callable[[str], str]]] = {
    "upper case": ("print(value.upper())", str.upper),
    "spaces": ("print(' '.join(value))", " ".join),
    "a part": ("print(value[:-1])", lambda value: value[:-1]),
}


class TestLimits:
    """What is not caught, by decision; see redact_variants."""

    @pytest.mark.parametrize("limit", LIMITS)
    def test_is_not_masked(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        """It stands in the record as the notebook showed it, and the record is published."""
        source, form = LIMITS[limit]
        monkeypatch.setenv("EDGE_AUTH", VALUES["plain"])
        place.cells("leaks", LEARN, source)
        result = place.run()

        assert form(VALUES["plain"]) in (result.record / "00_leaks.ipynb").read_text()
