"""The engine: whatever happens to a run, the executed notebook tells the truth about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from headless import NOTEBOOKS, VERDICT, Workplace, check, made, statuses

from runbook.errors import BadInput
from runbook.masking.redact import Masker
from runbook.masking.secret import Registry
from runbook.records.journal.entries import CellStarted, EventTold, NotebookEnded, OfStep
from runbook.run import kernels
from runbook.run.kernels import Kernel
from runbook.run.papermill import engine, manager
from runbook.run.serving import PapermillException, papermill, serve

NEVER_RAN = "never ran"

Told = list[OfStep]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel of the runner that survives the tests which share it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "PRELOAD", "json")
        kernel = Kernel({}, tmp_path_factory.mktemp("kernel") / "kernel.log")
        yield kernel
    kernel.close()()


@pytest.fixture
def told() -> Told:
    """What the engine reported."""
    return []


@pytest.fixture
def served(kernel: Kernel, tmp_path: Path, told: Told) -> Callable[..., Path]:
    """Serve a notebook in the shared kernel: ``served("raises")`` is the executed notebook."""

    def serve_one(name: str, site: str = "site.yml", **options: Any) -> Path:
        output = tmp_path / f"{name}.ipynb"
        supervision = {
            "kernel": kernel,
            "save_to": output,
            "report": told.append,
        } | options
        parameters = {"site": site, "mode": "plan"}
        kernel.submit(
            lambda: serve(NOTEBOOKS / f"{name}.ipynb", parameters, 10, **supervision)
        ).result()
        return output

    return serve_one


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A folder for a notebook of one's own."""
    return Workplace(tmp_path)


def run(notebook: Path, output: Path | None, **options: Any) -> Any:
    """Run a notebook as papermill's own users do, with a kernel for this notebook only."""
    return papermill.execute_notebook(
        notebook, output, engine_name="runbook", progress_bar=False, **options
    )


def metadata(path: Path) -> Any:
    return json.loads(path.read_text())["metadata"]


class TestTruth:
    """Statuses of cells and notebook, after each way in which a run can end."""

    @pytest.mark.parametrize("name", ["raises", "exits"])
    def test_end_of_the_cells(self, served: Callable[..., Path], tmp_path: Path, name: str) -> None:
        """An error and a premature exit fail, and papermill's own fields say the same."""
        with pytest.raises(PapermillException):
            served(name)
        output = tmp_path / f"{name}.ipynb"
        marks = {c.id: c.metadata.papermill for c in nbformat.read(output, as_version=4).cells}

        assert {cell: mark["status"] for cell, mark in marks.items()} == {
            "title": "unchanged",
            "parameters": "unchanged",
            "injected-parameters": "unchanged",
            "fault": "failed",
            "after": NEVER_RAN,
        }
        assert [mark["exception"] for mark in marks.values()] == [False, False, False, True, None]
        assert marks["fault"]["end_time"] >= marks["fault"]["start_time"]
        assert marks["after"]["start_time"] is None
        assert metadata(output)["papermill"]["exception"] is True
        assert metadata(output)["runbook"]["status"] == "failed"

    def test_success(self, served: Callable[..., Path]) -> None:
        """A notebook that came to its end without a change or a proof says so, and is valid."""
        output = served("completes")
        nbformat.validate(nbformat.read(output, as_version=nbformat.NO_CONVERT))

        assert set(statuses(output).values()) == {"unchanged"}
        assert metadata(output)["runbook"] == {"status": "unchanged", "reason": ""}
        assert metadata(output)["papermill"]["exception"] is False

    def test_next_notebook(self, served: Callable[..., Path], tmp_path: Path) -> None:
        """The second notebook of a kernel does not find what the first has left behind."""
        for name in ("first", "second"):
            served("leaves", save_to=tmp_path / f"{name}.ipynb")

            assert set(statuses(tmp_path / f"{name}.ipynb").values()) == {"unchanged"}


DONE, FAILED = made("docker01"), made("docker01", "failed")
PROOF = VERDICT | {"checks_passed": 2, "checks_failed": 0}


class TestAchievement:
    """What a cell that came to its end came to."""

    @pytest.mark.parametrize(
        ("events", "status"),
        [
            ([], "unchanged"),
            ([DONE], "changed"),
            ([DONE, FAILED], "changed"),
            ([FAILED], "unchanged"),
            ([PROOF], "verified"),
            ([PROOF, DONE], "changed"),
            ([PROOF | {"checks_failed": 1}], "unchanged"),
            ([{"event": "verdict", "mode": "plan", "changes": 2}], "unchanged"),
            ([check("holds")], "unchanged"),
            ([PROOF | {"checks_passed": "2"}], "unchanged"),
        ],
    )
    def test_is_what_it_told(
        self,
        served: Callable[..., Path],
        tmp_path: Path,
        events: list[dict[str, Any]],
        status: str,
    ) -> None:
        """A change that was made, or a verdict without a failure; the next cell begins anew."""
        (tmp_path / "events.json").write_text(json.dumps(events))
        output = served("tells", site=str(tmp_path / "events.json"))

        assert statuses(output)["tell"] == status
        assert statuses(output)["after"] == "unchanged"
        assert metadata(output)["runbook"] == {"status": status, "reason": ""}

    def test_with_a_kernel_of_its_own(self, place: Workplace) -> None:
        """With papermill alone notebooks tell it, too."""
        code = (
            "from runbook.events import ChangeEnded, emit\n"
            "emit('own', ChangeEnded('h', 'file /etc/f', 'update', 'done', ''))"
        )
        place.cells("own", code)
        output = place.folder / "out.ipynb"
        run(place.folder / place.steps[0].notebook, output)

        assert statuses(output)["cell-0"] == "changed"
        assert json.loads(output.read_text())["cells"][2]["outputs"] == []


class TestSecrets:
    """What the engine writes, and gives back, holds no secret."""

    VALUE = "correct-horse-battery-staple"

    @pytest.fixture
    def registry(self, monkeypatch: pytest.MonkeyPatch) -> Registry:
        """What this process knows, and nothing that other tests made known."""
        registry = Registry()
        monkeypatch.setattr(engine, "KNOWN", registry)
        monkeypatch.setattr(manager, "MASKER", Masker(registry))
        return registry

    def test_are_told_first(
        self, served: Callable[..., Path], tmp_path: Path, told: Told, registry: Registry
    ) -> None:
        """The event that tells of one goes no further, and what follows is masked."""
        events = [
            {"event": "secret", "name": "vault", "value": self.VALUE},
            {"event": "progress", "step": "x", "message": "on"},
        ]
        (tmp_path / "events.json").write_text(json.dumps(events))
        output = served("tells", site=str(tmp_path / "events.json"))

        assert registry.values == ((self.VALUE, "vault"),)
        assert [entry.event for entry in told if isinstance(entry, EventTold)] == events[1:]
        assert self.VALUE not in output.read_text()

    @pytest.mark.parametrize("place_of_it", range(480, 505, 3))
    def test_reason_that_is_cut(
        self, place: Workplace, registry: Registry, place_of_it: int
    ) -> None:
        """A value at the end of a long reason is masked before it could be cut in two."""
        registry.add("vault", self.VALUE)
        (place.folder / "value").write_text(self.VALUE)
        fault = f"raise ValueError('x' * {place_of_it} + open('value').read() + 'y' * 500)"
        place.cells("own", fault)
        output = place.folder / "out.ipynb"
        with pytest.raises(PapermillException):
            run(place.folder / place.steps[0].notebook, output, cwd=place.folder)
        reason = metadata(output)["runbook"]["reason"]

        assert len(reason) == 500
        assert self.VALUE[:4] not in output.read_text()

    def test_notebook_that_is_given_back(self, place: Workplace, registry: Registry) -> None:
        """papermill, which writes it once more, gets a masked one."""
        registry.add("vault", self.VALUE)
        place.cells("own", f"'{self.VALUE}'")
        given = run(place.folder / place.steps[0].notebook, None)

        assert self.VALUE not in json.dumps(given)
        assert "[masked:vault]" in json.dumps(given)

    @pytest.mark.parametrize("option", ["log_output", "stdout_file", "stderr_file"])
    def test_copies_are_refused(self, tmp_path: Path, option: str) -> None:
        """Outputs that papermill would copy piece by piece could hold half a value."""
        with (tmp_path / "copy").open("w") as copy, pytest.raises(BadInput, match=option):
            run(NOTEBOOKS / "completes.ipynb", tmp_path / "out.ipynb", **{option: copy})

        assert not (tmp_path / "out.ipynb").exists()


class TestOutput:
    """The file that is written."""

    def test_is_whole_and_current_at_any_time(
        self, served: Callable[..., Path], tmp_path: Path
    ) -> None:
        """While a cell runs the file is a whole notebook that says so."""
        seen: list[list[str]] = []

        def report(entry: OfStep) -> None:
            if isinstance(entry, CellStarted) and entry.cell == "fault":
                seen.append(list(statuses(tmp_path / "completes.ipynb").values()))

        served("completes", report=report)

        assert seen == [["unchanged", "unchanged", "unchanged", "running", NEVER_RAN]]
        assert [path.name for path in tmp_path.iterdir()] == ["completes.ipynb"]

    def test_holds_no_folder_and_no_chance(self, served: Callable[..., Path]) -> None:
        """Paths are names, and the cell with the parameters has the same id in every run."""
        output = served("completes")
        marks = metadata(output)["papermill"]

        assert (marks["input_path"], marks["output_path"]) == (output.name, output.name)
        assert "injected-parameters" in statuses(output)


class TestEvents:
    """What a notebook tells the runner."""

    def test_are_reported_and_not_stored(
        self, served: Callable[..., Path], tmp_path: Path, told: Told
    ) -> None:
        """Events reach the report in order, between the marks of their cell."""
        events = [{"event": "progress", "step": "x", "message": str(n)} for n in range(3)]
        (tmp_path / "events.json").write_text(json.dumps(events))
        output = served("tells", site=str(tmp_path / "events.json"))
        cell = json.loads(output.read_text())["cells"][3]

        assert [entry.event for entry in told if isinstance(entry, EventTold)] == events
        assert cell["id"] == "tell"
        assert cell["outputs"] == []
        assert [entry.kind for entry in told][4:9] == ["cell started"] + 3 * ["event"] + [
            "cell ended"
        ]

    def test_the_end_lists_every_code_cell(self, served: Callable[..., Path], told: Told) -> None:
        """The last report names the cells that never ran, too."""
        with pytest.raises(PapermillException):
            served("raises")
        last = told[-1]

        assert isinstance(last, NotebookEnded)
        assert last.reason == "ValueError: no such VIP"
        assert [(c.cell, c.status) for c in last.cells][-2:] == [
            ("fault", "failed"),
            ("after", NEVER_RAN),
        ]
