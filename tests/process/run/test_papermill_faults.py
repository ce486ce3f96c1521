"""What papermill gets wrong by itself: each fault is injected, and the record tells the truth.

One class a fault. What a run of the runbook leaves is read from every file that tells of it, and
both verifiers find the archive sealed as that; what papermill itself leaves with the runbook's
engine is read from the executed notebook.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import allow, by_both, key, team
from fakes import TOP
from headless import (
    NOTEBOOKS,
    VERDICT,
    WAIT_S,
    Workplace,
    agrees,
    check,
    kernel_is_gone,
    own_temporary_files,
    plan,
    statuses,
)
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from runbook.errors import BadInput
from runbook.notebook import open_step
from runbook.records.journal.entries import OfStep
from runbook.run import kernels
from runbook.run.serving import PapermillException, papermill
from runbook.site import load
from runbook.site.problems import SiteInvalid
from runbook.waiting import until

NEVER_RAN = "never ran"
SITE = TOP / "tests" / "data" / "sites" / "valid.yml"

Program = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A folder for a site, its steps and its records, which the team signs."""
    place = Workplace(tmp_path)
    allow(place.records, team())
    return place


@pytest.fixture(autouse=True)
def _quick_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Kernels do not load ahead what these notebooks do not use, and leave nothing behind."""
    monkeypatch.setattr(kernels, "PRELOAD", "json")
    del tmp_path  # made before: it is no part of what is left
    with own_temporary_files():
        yield


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Start papermill's own command with the runbook's engine, as pyproject.toml registers it."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    (tmp_path / "edge_runbook-0.dist-info").mkdir()
    lines = [
        f"[{group}]\n{name} = {point}"
        for group, points in project["entry-points"].items()
        for name, point in points.items()
    ]
    (tmp_path / "edge_runbook-0.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    started = []

    def start(*arguments: object) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "papermill", "--no-progress-bar", "--engine", "runbook"]
        started.append(
            subprocess.Popen(
                [*words, *map(str, arguments)],
                env=os.environ | {"PYTHONPATH": f"{TOP}:{tmp_path}"},
                stderr=subprocess.PIPE,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Return status and complaints of a program, once it has ended."""
    _, said = process.communicate(timeout=WAIT_S)
    return process.returncode, said.decode()


def run(place: Workplace, **options: Any) -> dict[str, Any]:
    """Run the steps, and return results that every file agrees on and both verifiers accept."""
    result = place.run(key=key("alice"), **options)
    assert by_both(place.records) == (0, [])
    return agrees(result.record, result.exit_status)


def engine(notebook: Path, output: Path, **options: Any) -> None:
    """Run a notebook as papermill's own users do, with a kernel for this notebook only."""
    papermill.execute_notebook(
        notebook, output, engine_name="runbook", progress_bar=False, **options
    )


def told(path: Path) -> dict[str, Any]:
    """Return what an executed notebook says of itself."""
    metadata: dict[str, Any] = json.loads(path.read_text())["metadata"]
    return {"exception": metadata["papermill"]["exception"], **metadata["runbook"]}


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


class TestSecretParameter:
    """papermill writes parameters into the notebook, twice, before the first cell runs."""

    def test_is_not_taken(self, program: Program, tmp_path: Path) -> None:
        """The notebooks declare none, so one that is given is refused and written nowhere."""
        output = tmp_path / "out.ipynb"
        words = ("-p", "token", "correct-horse-battery")
        status, said = ended(program(NOTEBOOKS / "completes.ipynb", output, *words))

        assert (status, output.exists()) == (1, False)
        assert "unknown parameter token; the notebook declares mode, site" in said

    def test_is_masked_where_a_notebook_declares_it(self, place: Workplace) -> None:
        """A notebook of one's own keeps it out of every version of the file."""
        place.cells("own", "1 + 1")
        path, output = place.folder / place.steps[0].notebook, place.folder / "out.ipynb"
        path.write_text(path.read_text().replace("mode: str =", "token: str ="))
        seen: list[str] = []

        def report(_entry: OfStep) -> None:
            seen.append(output.read_text())

        parameters = {"token": "correct-horse-battery"}
        engine(path, output, parameters=parameters, report=report)
        seen.append(output.read_text())

        assert len(seen) > 3
        assert not [text for text in seen if "correct-horse-battery" in text]
        assert json.loads(seen[-1])["metadata"]["papermill"]["parameters"] == {
            "token": "[masked:token]"
        }


class TestNumbersInYaml:
    """papermill's parameter files are YAML 1.1: 051 becomes 41, and 51 on its command line."""

    def test_leading_zero(self, tmp_path: Path) -> None:
        """A site in which two readers would see two numbers is refused, with the one to write."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {SITE}\nkeepalived: {{virtual_router_id: 051}}\n")
        with pytest.raises(SiteInvalid, match=r"051 starts with a zero.*write 51"):
            load(site)

        site.write_text(f"extends: {SITE}\nkeepalived: {{virtual_router_id: 51}}\n")
        assert load(site).site.keepalived.virtual_router_id == 51

    def test_parameter_file(self, program: Program, tmp_path: Path) -> None:
        """A parameter file brings none of the site's values into a notebook."""
        (tmp_path / "parameters.yml").write_text("vrid: 051\n")
        output = tmp_path / "out.ipynb"
        words = ("-f", tmp_path / "parameters.yml")
        status, said = ended(program(NOTEBOOKS / "completes.ipynb", output, *words))

        assert (status, output.exists()) == (1, False)
        assert "unknown parameter vrid" in said


class TestWordsInYaml:
    """papermill's parameter files turn 22:22, no and 3.10 into 1342, False and 3.1."""

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            ("traefik: {dashboard: {port: 22:22}}", '"22:22"'),
            ("records: {witness: no}", 'must be true or false, not "no"'),
            ("traefik: {image: 3.10}", "3.1"),
        ],
    )
    def test_are_refused_as_they_were_written(
        self, tmp_path: Path, setting: str, said: str
    ) -> None:
        """None of them is taken for something else: the message has what was written."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {SITE}\n{setting}\n")
        with pytest.raises(SiteInvalid) as refused:
            load(site)

        assert said in str(refused.value)

    def test_mode(self) -> None:
        """A mode that YAML 1.1 made a flag of is no mode; nothing is applied."""
        with pytest.raises(BadInput, match="mode is False"):
            open_step("traefik", str(SITE), False)  # type: ignore[arg-type]


class TestMisspeltParameter:
    """papermill warns of a parameter that the notebook does not know, and runs its default."""

    def test_is_refused(self, tmp_path: Path) -> None:
        """It is an error that names the known ones, before anything ran."""
        output = tmp_path / "out.ipynb"
        with pytest.raises(BadInput, match=r"unknown parameter moode.* mode, site"):
            engine(NOTEBOOKS / "completes.ipynb", output, parameters={"moode": "apply"})

        assert not output.exists()

    @pytest.mark.parametrize("kind", ["str | None", "Literal['plan', 'apply']", "None | str"])
    def test_annotation_does_not_matter(self, place: Workplace, kind: str) -> None:
        """A declared one is known however it is annotated."""
        place.cells("network", "mode")
        path = place.folder / place.steps[0].notebook
        declared = path.read_text().replace("mode: str", f"from typing import *\\nmode: {kind}")
        path.write_text(declared)
        result = run(place, mode="apply")
        executed = json.loads(next(place.records.glob("2*/*.ipynb")).read_text())

        assert result["steps"][0]["cells"][-1]["status"] == "unchanged"
        assert executed["cells"][-1]["outputs"][0]["data"]["text/plain"] == ["'apply'"]

    def test_in_a_run(self, place: Workplace) -> None:
        """A notebook that misspells what a run gives it is refused before there is a record."""
        place.cells("network", "mode")
        path = place.folder / place.steps[0].notebook
        path.write_text(path.read_text().replace("mode: str", "moode: str"))
        with pytest.raises(BadInput, match="does not declare the parameter mode"):
            place.run(key=key("alice"))

        assert [path.name for path in place.records.iterdir()] == ["allowed_signers"]


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
