"""The notebooks: documents first, without outputs, and with nothing that could hide a failure."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import nbformat
import pytest

from runbook.steps import STEPS, Step

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
(NO_FILES,) = (field.default for field in fields(Step) if field.name == "files")
PARTS = ["The site", "What is there now", "What will change", "Apply", "Verify"]
# Each hides a failure from the runner or stops a headless run (papermill issues 435 and 539).
FORBIDDEN = ("!", "%", "sys.exit", "input(", "getpass", "Password(", "print(", "def ")


@pytest.fixture(params=[step.notebook for step in STEPS])
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    """Each step's notebook."""
    return nbformat.read(NOTEBOOKS / request.param, as_version=nbformat.NO_CONVERT)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


class TestNotebooks:
    """Every notebook in notebooks/."""

    def test_each_belongs_to_a_step(self) -> None:
        """There is one notebook a step and no other file."""
        assert sorted(p.name for p in NOTEBOOKS.glob("*")) == [step.notebook for step in STEPS]

    def test_is_valid_with_ids(self, notebook: nbformat.NotebookNode) -> None:
        """It is nbformat 4.5, whose cells have ids, and the ids say what the cells are."""
        nbformat.validate(notebook)

        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
        assert {"title", "parameters", "site", "observe", "plan", "apply", "verify"} <= {
            cell.id for cell in notebook.cells
        }

    def test_has_no_outputs(self, notebook: nbformat.NotebookNode) -> None:
        """It is committed as it was written, not as it was run."""
        assert all(not cell.outputs and cell.execution_count is None for cell in code(notebook))

    def test_metadata_is_kernel_language_and_tags(self, notebook: nbformat.NotebookNode) -> None:
        """Nothing of the machine on which it was edited is in it."""
        assert notebook.metadata == {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        tagged = {cell.id: dict(cell.metadata) for cell in notebook.cells if cell.metadata}
        assert tagged == {"parameters": {"tags": ["parameters"]}}

    def test_has_the_seven_parts_in_order(self, notebook: nbformat.NotebookNode) -> None:
        """Title and parameters come first, then the five headings."""
        headings = [
            line[3:]
            for cell in notebook.cells
            if cell.cell_type == "markdown"
            for line in cell.source.splitlines()
            if line.startswith("## ")
        ]

        assert notebook.cells[0].source.startswith("# ")
        assert notebook.cells[1].id == "parameters"
        assert headings == PARTS

    def test_shows_what_it_installs(self, notebook: nbformat.NotebookNode) -> None:
        """Where a step installs files, its first part ends on them, before anything is planned."""
        ids = [cell.id for cell in notebook.cells]
        (step,) = [step for step in STEPS if f'"{step.name}"' in notebook.cells[3].source]
        first_part = ids[: ids.index("about-plan")]

        installs = step.files is not NO_FILES

        assert (first_part[-1] == "recipe") == installs
        assert ("recipe" in ids) == installs

    def test_parameters_are_safe_scalars(self, notebook: nbformat.NotebookNode) -> None:
        """The defaults are the lab, and only planning."""
        values: dict[str, object] = {}
        exec(notebook.cells[1].source, values)  # noqa: S102

        assert {k: v for k, v in values.items() if not k.startswith("__")} == {
            "site": "parameters/lab.yml",
            "mode": "plan",
        }

    def test_prose_before_every_cell(self, notebook: nbformat.NotebookNode) -> None:
        """Each code cell but the parameters is introduced by prose, and is three lines at most."""
        for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
            if cell.cell_type == "code":
                assert before.cell_type == "markdown"
                assert len([line for line in cell.source.splitlines() if line]) <= 3

    def test_nothing_hides_a_failure(self, notebook: nbformat.NotebookNode) -> None:
        """No shell line, no exit, no prompt, no function, no print."""
        lines = [line for cell in code(notebook) for line in cell.source.splitlines()]

        assert not [line for line in lines for word in FORBIDDEN if word in line]
