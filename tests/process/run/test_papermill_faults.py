"""What papermill gets wrong by itself: each fault is injected, and the record tells the truth.

One class a fault. What a run of the runbook leaves is read from every file that tells of it, and
both verifiers find the archive sealed as that; what papermill itself leaves with the runbook's
engine is read from the executed notebook.
"""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from archives import allow, key, team
from headless import (
    NOTEBOOKS,
    VERDICT,
    WAIT_S,
    Workplace,
    check,
    kernel_is_gone,
    plan,
    statuses,
)
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermills import NEVER_RAN, Program, ended, engine, run, told

from runbook.errors import BadInput
from runbook.run.serving import PapermillException
from runbook.waiting import until

pytestmark = pytest.mark.usefixtures("quick_kernels")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A folder for a site, its steps and its records, which the team signs."""
    place = Workplace(tmp_path)
    allow(place.records, team())
    return place


class TestCellThatIsBrokenOff:
    """papermill saves the broken cell, and all that never ran, as completed and unexcepted."""

    @pytest.mark.parametrize(
        ("name", "error", "status"),
        [
            ("times_out", CellTimeoutError, "timed out"),
            ("dies", DeadKernelError, "kernel died"),
        ],
    )
    def test_by_the_kernel(self, tmp_path: Path, name: str, error: type, status: str) -> None:
        """The cell at fault has its status, later ones never ran, and papermill raises."""
        output = tmp_path / "out.ipynb"
        with pytest.raises(error):
            engine(NOTEBOOKS / f"{name}.ipynb", output, execution_timeout=1)

        assert statuses(output) == {
            "title": "unchanged",
            "parameters": "unchanged",
            "fault": status,
            "after": NEVER_RAN,
        }
        assert told(output)["exception"] is True
        assert told(output)["status"] == status
        assert told(output)["reason"]

    @pytest.mark.parametrize(
        ("name", "status"), [("times_out", "timed out"), ("dies", "kernel died")]
    )
    def test_in_a_run(self, place: Workplace, name: str, status: str) -> None:
        """So it is in every file of a run, whose next step never ran."""
        place.step("fault", name)
        place.step("next", "completes", after=("fault",))
        results = run(place, cell_timeout_s=1)

        assert results["status"] == status
        assert [step["status"] for step in results["steps"]] == [status, NEVER_RAN]
        assert [cell["status"] for cell in results["steps"][0]["cells"]][-2:] == [status, NEVER_RAN]

    def test_by_an_interrupt(self, program: Program, tmp_path: Path) -> None:
        """SIGINT to papermill: the cell cleans up and is interrupted, and the kernel is gone."""
        output = tmp_path / "out.ipynb"
        process = program(
            NOTEBOOKS / "cleans_up.ipynb", output, "-p", "site", tmp_path / "site.yml"
        )
        until((tmp_path / "waits").exists, holds=bool, timeout_s=WAIT_S, every_s=0.05)
        process.send_signal(signal.SIGINT)

        assert ended(process)[0] != 0
        assert (tmp_path / "cleaned").exists()
        assert (statuses(output)["fault"], statuses(output)["after"]) == ("interrupted", NEVER_RAN)
        assert (told(output)["status"], told(output)["exception"]) == ("interrupted", True)
        assert kernel_is_gone(tmp_path)


class TestOutputThatExists:
    """papermill empties the notebook at the output path before it looks for the kernel."""

    @pytest.mark.parametrize("name", ["foreign", "completes"])
    def test_is_refused(self, tmp_path: Path, name: str) -> None:
        """Evidence of an earlier run is not touched, whatever is wrong with this one."""
        output = tmp_path / "out.ipynb"
        output.write_text("evidence")
        with pytest.raises(BadInput, match="exists"):
            engine(NOTEBOOKS / f"{name}.ipynb", output)

        assert output.read_text() == "evidence"

    def test_by_the_command(self, program: Program, tmp_path: Path) -> None:
        """The command ends with an error that names the file."""
        output = tmp_path / "out.ipynb"
        output.write_text("evidence")
        status, said = ended(program(NOTEBOOKS / "foreign.ipynb", output))

        assert status == 1
        assert f"{output} exists; the evidence in it is not overwritten" in said
        assert output.read_text() == "evidence"

    def test_missing_kernel(self, program: Program, tmp_path: Path) -> None:
        """On a new path no cell ran, and none is said to have."""
        output = tmp_path / "out.ipynb"
        status, said = ended(program(NOTEBOOKS / "foreign.ipynb", output))

        assert status == 1
        assert "No such kernel named no-such-kernel" in said
        assert set(statuses(output).values()) == {NEVER_RAN}
        assert (told(output)["status"], told(output)["exception"]) == ("failed", True)

    def test_in_a_run(self, place: Workplace) -> None:
        """A run refuses such a notebook before there is a record, and no run is entered."""
        place.step("foreign", "foreign")
        with pytest.raises(BadInput, match="no-such-kernel"):
            place.run(key=key("alice"))

        assert [path.name for path in place.records.iterdir()] == ["allowed_signers"]


class TestExitBeforeTheChecks:
    """papermill takes ``sys.exit(0)`` for success, though the checks after it never ran."""

    @pytest.mark.parametrize("status", ["", "0", "2"])
    def test_in_a_run(self, place: Workplace, status: str) -> None:
        """Whatever it exits with, the step failed and its checks never ran."""
        proof = [f"tell(**{event})" for event in (check("holds"), VERDICT)]
        leave = f"import sys; sys.exit({status})"
        place.cells("network", f"tell(**{plan()})", leave, *proof, checks=("holds",))
        (step,) = run(place, mode="apply")["steps"]

        assert (step["status"], step["checks"], step["verdict"]) == ("failed", [], None)
        assert step["reason"].startswith("SystemExit")
        assert [cell["status"] for cell in step["cells"]][-3:] == ["failed", NEVER_RAN, NEVER_RAN]

    def test_by_the_command(self, program: Program, tmp_path: Path) -> None:
        """What papermill alone takes for success ends with 1, and the notebook says so."""
        output = tmp_path / "out.ipynb"
        status, said = ended(program(NOTEBOOKS / "exits.ipynb", output, "-p", "mode", "apply"))

        assert status == 1
        assert "SystemExit" in said
        assert (statuses(output)["fault"], statuses(output)["after"]) == ("failed", NEVER_RAN)
        assert (told(output)["status"], told(output)["exception"]) == ("failed", True)


class TestTaggedCell:
    """papermill leaves out a cell tagged ``skip-execution``, and goes on after an excused error."""

    @pytest.mark.parametrize("tag", ["skip-execution", "raises-exception"])
    def test_error_counts(self, place: Workplace, tag: str) -> None:
        """The cell is run, its error ends the step, and nothing after it ran."""
        place.cells("network", "raise ValueError('was run')", "1 + 1", tags={0: [tag]})
        (step,) = run(place)["steps"]

        assert (step["status"], step["reason"]) == ("failed", "ValueError: was run")
        assert [cell["status"] for cell in step["cells"]][-2:] == ["failed", NEVER_RAN]

    def test_proof_is_not_skipped(self, place: Workplace) -> None:
        """A check that is tagged away leaves its evidence all the same."""
        cells = [f"tell(**{event})" for event in (plan(), check("holds"), VERDICT)]
        tags = {1: ["skip-execution"]}
        place.cells("network", *cells, tags=tags, checks=("holds",))
        (step,) = run(place, mode="apply")["steps"]

        assert (step["status"], step["counts"]["checks_passed"]) == ("verified", 1)

    def test_with_papermill(self, tmp_path: Path) -> None:
        """With both tags at once it is no different."""
        output = tmp_path / "out.ipynb"
        with pytest.raises(PapermillException, match="was run"):
            engine(NOTEBOOKS / "tagged.ipynb", output)

        assert statuses(output)["skipped"] == "failed"
        assert statuses(output)["excused"] == NEVER_RAN


class TestFrozenCell:
    """papermill runs a frozen cell, which Jupyter would not, and says nothing of it."""

    @pytest.mark.parametrize(
        "mark",
        [
            {"run_control": {"frozen": True}},
            {"run_through_control": {"frozen": True}},
            {"editable": False, "deletable": False},
        ],
    )
    def test_counts_as_any_other(self, place: Workplace, mark: dict[str, Any]) -> None:
        """No mark of a cell keeps it from running, or its error from counting."""
        place.cells("network", "raise ValueError('was run')", "1 + 1")
        path = place.folder / place.steps[0].notebook
        document = json.loads(path.read_text())
        document["cells"][2]["metadata"].update(mark)
        path.write_text(json.dumps(document))
        (step,) = run(place)["steps"]

        assert (step["status"], step["reason"]) == ("failed", "ValueError: was run")


LOST = {
    "shell line": "!false",
    "bash cell": "%%bash\nfalse\necho done",
    "thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()",
    "task": "import asyncio\n\nasync def fail():\n    1 / 0\n\ntask = asyncio.create_task(fail())",
    "subprocess": "import subprocess\nsubprocess.run(['false'])",
    "printed traceback": "try: 1 / 0\nexcept ArithmeticError: get_ipython().showtraceback()",
}


class TestLostStatus:
    """papermill calls a cell completed whose command, thread or task failed."""

    @pytest.mark.parametrize("how", LOST)
    def test_step_fails_without_its_evidence(self, place: Workplace, how: str) -> None:
        """What was lost left no check, so the step failed; no cell claims a change or a proof."""
        cells = (f"tell(**{plan()})", LOST[how], f"tell(**{VERDICT | {'checks_passed': 0}})")
        place.cells("network", *cells, checks=("holds",))
        (step,) = run(place, mode="apply")["steps"]

        assert (step["status"], step["checks"]) == ("failed", [])
        assert {cell["status"] for cell in step["cells"]} == {"unchanged"}
        if how == "printed traceback":  # papermill finds its output, whatever the cell came to
            assert "ZeroDivisionError: division by zero" in step["reason"]
        else:
            assert step["reason"] == "check 'holds' left no evidence"


class TestPasswordWidget:
    """papermill saves the state of widgets, and so the value of a password field, in clear."""

    VALUE = "correct-horse-battery"
    SHOW = "import base64, ipywidgets\nvalue = base64.b64decode('{}').decode()\n"

    def test_is_not_in_the_record(self, place: Workplace) -> None:
        """The value is in no file, though nobody ever said that it is a secret."""
        hidden = base64.b64encode(self.VALUE[::-1].encode()).decode()
        code = self.SHOW.format(hidden) + "ipywidgets.Password(value=value[::-1])"
        place.cells("network", code)
        run(place)
        files = [path for path in place.records.rglob("*") if path.is_file()]

        assert [path for path in files if self.VALUE.encode() in path.read_bytes()] == []

    def test_with_papermill(self, tmp_path: Path) -> None:
        """Nor is it anywhere but in the source of the cell that names it."""
        output = tmp_path / "out.ipynb"
        engine(NOTEBOOKS / "widget.ipynb", output)
        source = json.dumps(f'ipywidgets.Password(value="{self.VALUE}")')

        assert self.VALUE not in output.read_text().replace(source, "")
        assert "widgets" not in json.loads(output.read_text())["metadata"]


class TestPrompt:
    """A prompt has nobody to answer it in a run without a person."""

    @pytest.mark.parametrize("prompt", ["input('sure? ')", "__import__('getpass').getpass()"])
    def test_fails_at_once(self, place: Workplace, prompt: str) -> None:
        """It does not wait: the cell failed, and says why."""
        place.cells("network", prompt, "1 + 1")
        (step,) = run(place)["steps"]

        assert step["status"] == "failed"
        assert step["reason"].startswith("StdinNotImplementedError")
        assert [cell["status"] for cell in step["cells"]][-2:] == ["failed", NEVER_RAN]


class TestTermination:
    """papermill ended by SIGTERM leaves cells running for ever, and its kernel behind."""

    def test_of_the_command(self, program: Program, tmp_path: Path) -> None:
        """The cell cleans up and is interrupted, none is left running, and the kernel is gone."""
        output = tmp_path / "out.ipynb"
        process = program(
            NOTEBOOKS / "cleans_up.ipynb", output, "-p", "site", tmp_path / "site.yml"
        )
        until((tmp_path / "waits").exists, holds=bool, timeout_s=WAIT_S, every_s=0.05)
        process.terminate()

        assert ended(process)[0] == 143
        assert (tmp_path / "cleaned").exists()
        assert (statuses(output)["fault"], statuses(output)["after"]) == ("interrupted", NEVER_RAN)
        assert (told(output)["status"], told(output)["exception"]) == ("interrupted", True)
        assert kernel_is_gone(tmp_path)
