"""The engine: whatever happens to a run, the executed notebook tells the truth about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from headless import NOTEBOOKS, statuses
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from runbook.errors import BadInput
from runbook.execute import kernels
from runbook.execute.kernels import Kernel
from runbook.execute.serving import PapermillException, papermill, serve

TOP = Path(__file__).parents[2]
NEVER_RAN = "never ran"

Told = list[tuple[str, dict[str, Any]]]


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
            "report": lambda kind, **particulars: told.append((kind, particulars)),
        } | options
        parameters = {"site": site, "mode": "plan"}
        kernel.submit(
            lambda: serve(NOTEBOOKS / f"{name}.ipynb", parameters, 10, **supervision)
        ).result()
        return output

    return serve_one


def run(name: str, output: Path, **options: Any) -> None:
    """Run a notebook as papermill's own users do, with a kernel for this notebook only."""
    papermill.execute_notebook(
        NOTEBOOKS / f"{name}.ipynb", output, engine_name="runbook", progress_bar=False, **options
    )


def metadata(path: Path) -> Any:
    return json.loads(path.read_text())["metadata"]


class TestTruth:
    """Statuses of cells and notebook, after each way in which a run can end."""

    @pytest.mark.parametrize(
        ("name", "error", "status"),
        [
            ("times_out", CellTimeoutError, "timed out"),
            ("dies", DeadKernelError, "kernel died"),
        ],
    )
    def test_end_of_the_kernel(self, tmp_path: Path, name: str, error: type, status: str) -> None:
        """The cell at fault has its status, later ones never ran, and papermill raises."""
        output = tmp_path / "out.ipynb"
        with pytest.raises(error):
            run(name, output, execution_timeout=1)

        assert statuses(output) == {
            "title": "completed",
            "parameters": "completed",
            "fault": status,
            "after": NEVER_RAN,
        }
        assert metadata(output)["papermill"]["exception"] is True
        assert metadata(output)["runbook"]["status"] == status
        assert metadata(output)["runbook"]["reason"]

    @pytest.mark.parametrize("name", ["raises", "exits"])
    def test_end_of_the_cells(self, served: Callable[..., Path], tmp_path: Path, name: str) -> None:
        """An error and a premature exit fail, and papermill's own fields say the same."""
        with pytest.raises(PapermillException):
            served(name)
        output = tmp_path / f"{name}.ipynb"
        marks = {c.id: c.metadata.papermill for c in nbformat.read(output, as_version=4).cells}

        assert {cell: mark["status"] for cell, mark in marks.items()} == {
            "title": "completed",
            "parameters": "completed",
            "injected-parameters": "completed",
            "fault": "failed",
            "after": NEVER_RAN,
        }
        assert [mark["exception"] for mark in marks.values()] == [False, False, False, True, None]
        assert marks["fault"]["end_time"] >= marks["fault"]["start_time"]
        assert marks["after"]["start_time"] is None
        assert metadata(output)["papermill"]["exception"] is True
        assert metadata(output)["runbook"]["status"] == "failed"

    def test_success(self, served: Callable[..., Path]) -> None:
        """A notebook that came to its end is completed, and is a valid notebook."""
        output = served("completes")
        nbformat.validate(nbformat.read(output, as_version=nbformat.NO_CONVERT))

        assert set(statuses(output).values()) == {"completed"}
        assert metadata(output)["runbook"] == {"status": "completed", "reason": ""}
        assert metadata(output)["papermill"]["exception"] is False

    def test_missing_kernel(self, tmp_path: Path) -> None:
        """Without a kernel no cell ran, and none is said to have."""
        output = tmp_path / "out.ipynb"
        with pytest.raises(Exception, match="no-such-kernel"):
            run("foreign", output)

        assert set(statuses(output).values()) == {NEVER_RAN}
        assert metadata(output)["runbook"]["status"] == "failed"

    def test_tags_do_not_hide_a_cell(self, served: Callable[..., Path], tmp_path: Path) -> None:
        """A cell tagged as skipped or excused is run, and its error counts."""
        with pytest.raises(PapermillException, match="was run"):
            served("tagged")

        assert statuses(tmp_path / "tagged.ipynb")["skipped"] == "failed"
        assert statuses(tmp_path / "tagged.ipynb")["excused"] == NEVER_RAN

    @pytest.mark.parametrize(
        ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
    )
    def test_signal(self, tmp_path: Path, number: int, error: type) -> None:
        """A signal to papermill interrupts the cell, which cleans up, and ends the kernel."""
        output = tmp_path / "out.ipynb"

        def send(kind: str, **_particulars: Any) -> None:
            if kind == "event":
                signal.raise_signal(number)

        with pytest.raises(error):
            run("cleans_up", output, parameters={"site": str(tmp_path / "site")}, report=send)

        assert (tmp_path / "cleaned").exists()
        assert statuses(output)["fault"] == "interrupted"
        assert statuses(output)["after"] == NEVER_RAN
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "kernel.pid").read_text()), 0)


class TestOutput:
    """The file that is written."""

    def test_existing_output_is_refused(self, tmp_path: Path) -> None:
        """Evidence of an earlier run is not touched, whatever is wrong with this one."""
        output = tmp_path / "out.ipynb"
        output.write_text("evidence")
        with pytest.raises(BadInput, match="exists"):
            run("foreign", output)

        assert output.read_text() == "evidence"

    def test_unknown_parameter_is_refused(self, tmp_path: Path) -> None:
        """A misspelt parameter is an error that names the known ones, before anything ran."""
        output = tmp_path / "out.ipynb"
        with pytest.raises(BadInput, match=r"unknown parameter moode.* mode, site"):
            run("completes", output, parameters={"moode": "apply"})

        assert not output.exists()

    def test_is_whole_and_current_at_any_time(
        self, served: Callable[..., Path], tmp_path: Path
    ) -> None:
        """While a cell runs the file is a whole notebook that says so."""
        seen: list[list[str]] = []

        def report(kind: str, **particulars: Any) -> None:
            if kind == "cell started" and particulars["cell"] == "fault":
                seen.append(list(statuses(tmp_path / "completes.ipynb").values()))

        served("completes", report=report)

        assert seen == [["completed", "completed", "completed", "running", NEVER_RAN]]
        assert [path.name for path in tmp_path.iterdir()] == ["completes.ipynb"]

    def test_holds_no_folder_and_no_chance(self, served: Callable[..., Path]) -> None:
        """Paths are names, and the cell with the parameters has the same id in every run."""
        output = served("completes")
        marks = metadata(output)["papermill"]

        assert (marks["input_path"], marks["output_path"]) == (output.name, output.name)
        assert "injected-parameters" in statuses(output)

    def test_widget_state_is_not_stored(self, served: Callable[..., Path]) -> None:
        """The value of a password field is nowhere in the notebook."""
        assert "correct-horse-battery" not in served("widget").read_text().replace(
            json.dumps('ipywidgets.Password(value="correct-horse-battery")'), ""
        )


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

        assert [particulars["event"] for kind, particulars in told if kind == "event"] == events
        assert cell["id"] == "tell"
        assert cell["outputs"] == []
        assert [kind for kind, _ in told][4:9] == ["cell started"] + 3 * ["event"] + ["cell ended"]

    def test_the_end_lists_every_code_cell(self, served: Callable[..., Path], told: Told) -> None:
        """The last report names the cells that never ran, too."""
        with pytest.raises(PapermillException):
            served("raises")
        kind, particulars = told[-1]

        assert kind == "notebook ended"
        assert particulars["reason"] == "ValueError: no such VIP"
        assert [(c["cell"], c["status"]) for c in particulars["cells"]][-2:] == [
            ("fault", "failed"),
            ("after", NEVER_RAN),
        ]


class TestCommand:
    """``papermill --engine runbook``, as pyproject.toml registers it."""

    def test_premature_exit(self, tmp_path: Path) -> None:
        """What papermill alone takes for success is a failure, and the notebook says so."""
        project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
        (tmp_path / "edge_runbook-0.dist-info").mkdir()
        lines = [
            f"[{group}]\n{name} = {point}"
            for group, points in project["entry-points"].items()
            for name, point in points.items()
        ]
        (tmp_path / "edge_runbook-0.dist-info" / "entry_points.txt").write_text("\n".join(lines))
        options = ["--engine", "runbook", "-p", "mode", "apply"]
        paths = [NOTEBOOKS / "exits.ipynb", tmp_path / "out.ipynb"]
        done = subprocess.run(
            [sys.executable, "-m", "papermill", *options, *paths],
            env=os.environ | {"PYTHONPATH": f"{TOP}:{tmp_path}"},
            capture_output=True,
            check=False,
        )

        assert done.returncode == 1
        assert b"SystemExit" in done.stderr
        assert statuses(tmp_path / "out.ipynb")["after"] == NEVER_RAN
