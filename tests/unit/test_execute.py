"""Headless runs: order, evidence, interruptions, and the record of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from headless import VERDICT, Step, Workplace, check, plan, statuses

from runbook.errors import BadInput
from runbook.execute import kernels, runner
from runbook.execute.journal import Entry, Listener, read
from runbook.execute.selection import Request, select
from runbook.waiting import until

WAIT_S = 30


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A folder for a site, its steps and its records; its name is a trap for papermill."""
    folder = tmp_path / "site {mode}"
    folder.mkdir()
    return Workplace(folder)


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No run leaves a temporary file, and so no folder of its kernels."""
    assert tmp_path.exists()  # made before temporary files go elsewhere
    folder = tempfile.mkdtemp()  # pytest's own is too long a path for a socket
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setenv("TMPDIR", folder)
    yield
    Path(folder).rmdir()


@pytest.fixture(autouse=True)
def _quick_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels do not load ahead what these notebooks do not use."""
    monkeypatch.setattr(kernels, "PRELOAD", "json")


def steps(results: Any) -> dict[str, str]:
    return {step["step"]: step["status"] for step in results["steps"]}


class TestRun:
    """A run that nothing disturbs."""

    def test_plan_with_differences(self, place: Workplace) -> None:
        """Steps run in the order of their needs, two at a time, and differences exit with 4."""
        place.tells("preflight", plan())
        place.tells("network", plan("docker01", "docker02"), after=("preflight",))
        place.tells("gateway", plan(), after=("preflight",))
        result = place.run()
        started = [e["step"] for e in place.entries if e["kind"] == "step started"]
        ended = [e["step"] for e in place.entries if e["kind"] == "step ended"]

        assert started[0] == ended[0] == "preflight"
        assert set(started[1:]) == set(ended[1:]) == {"network", "gateway"}
        assert set(steps(result.results).values()) == {"completed"}
        assert result.exit_status == 4

    def test_applied_and_proven(self, place: Workplace) -> None:
        """A step with all its evidence completes, and the record says so in every file."""
        place.tells("network", plan(), check("it is there"), VERDICT, checks=("it is there",))
        result = place.run(mode="apply")
        journal = read(result.record / "journal.jsonl")
        notebook = json.loads((result.record / "00_network.ipynb").read_text())
        injected = [c for c in notebook["cells"] if c["id"] == "injected-parameters"]

        assert (result.exit_status, result.results["status"]) == (0, "completed")
        assert sorted(path.name for path in result.record.iterdir()) == [
            "00_network.ipynb",
            "journal.jsonl",
            "results.json",
        ]
        assert json.loads((result.record / "results.json").read_text()) == result.results
        assert journal == place.entries
        assert [entry["kind"] for entry in (journal[0], journal[-1])] == [
            "run opened",
            "run closed",
        ]
        assert result.record == place.records / result.results["run_id"]
        assert "".join(injected[0]["source"]).splitlines()[-2:] == [
            f'site = "{place.site_file}"',
            'mode = "apply"',
        ]


class TestFailure:
    """The first failure ends the run."""

    def test_missing_evidence(self, place: Workplace) -> None:
        """A notebook that ran through without its check fails, and nothing starts after it."""
        place.tells("network", plan(), VERDICT, checks=("it is there",))
        place.tells("traefik", plan(), VERDICT, after=("network",))
        result = place.run(mode="apply")

        assert result.exit_status == 1
        assert steps(result.results) == {"network": "failed", "traefik": "never ran"}
        assert result.results["reason"] == "network: check 'it is there' left no evidence"
        assert not (result.record / "10_traefik.ipynb").exists()

    def test_kernel_death(self, place: Workplace) -> None:
        """A killed kernel ends the run; the step beside it finishes, the next one never runs."""
        place.step("dies", "dies")
        place.tells("gateway", plan())
        place.tells("proof", plan(), after=("gateway",))
        result = place.run()

        assert result.exit_status == 1
        assert steps(result.results)["dies"] == "kernel died"
        assert steps(result.results)["gateway"] == "completed"
        assert statuses(result.record / "00_dies.ipynb")["after"] == "never ran"

    def test_cell_that_does_not_end(self, place: Workplace) -> None:
        """A cell beyond its bound times out, and its kernel does not outlive the run."""
        place.step("times_out", "times_out")
        result = place.run(cell_timeout_s=1)

        assert result.exit_status == 1
        assert steps(result.results) == {"times_out": "timed out"}


class TestRefusal:
    """What is refused before anything starts, and before anything is written."""

    @pytest.fixture(autouse=True)
    def _three_steps(self, place: Workplace) -> Iterator[None]:
        for name, before in (("network", ()), ("traefik", ("network",)), ("proof", ("traefik",))):
            place.tells(name, plan(), after=before)
        yield
        assert not place.records.exists()

    @pytest.mark.parametrize("option", ["only", "from_step"])
    def test_unknown_step(self, place: Workplace, option: str) -> None:
        """An unknown name is refused with the known ones."""
        with pytest.raises(BadInput, match="network, traefik, proof"):
            place.run(**{option: "treafik"})

    def test_two_choices(self, place: Workplace) -> None:
        """One step only, and all from one on, exclude each other."""
        with pytest.raises(BadInput, match="not both"):
            place.run(only="network", from_step="proof")

    def test_missing_notebook(self, place: Workplace) -> None:
        """A step without its notebook is refused."""
        (place.folder / "10_traefik.ipynb").unlink()
        with pytest.raises(BadInput, match=r"there is no notebook .*10_traefik"):
            place.run()

    def test_no_notebook_at_all(self, place: Workplace) -> None:
        """A file that is none is refused by its name."""
        (place.folder / "10_traefik.ipynb").write_text("# Traefik")
        with pytest.raises(BadInput, match=r"10_traefik.ipynb is not a notebook"):
            place.run()

    def test_missing_parameter(self, place: Workplace) -> None:
        """A notebook that would not take the mode is refused, not run with its default."""
        notebook = place.folder / "10_traefik.ipynb"
        notebook.write_text(notebook.read_text().replace("mode: str", "moode: str"))
        with pytest.raises(BadInput, match="does not declare the parameter mode"):
            place.run()

    def test_another_kernel(self, place: Workplace) -> None:
        """A notebook for another kernel is refused, not run in ours."""
        place.step("foreign", "foreign")
        with pytest.raises(BadInput, match="no-such-kernel"):
            place.run()


class TestSelection:
    """Which steps a run takes."""

    STEPS = tuple(Step(name, f"{name}.ipynb") for name in ("network", "traefik", "proof"))

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ({}, ["network", "traefik", "proof"]),
            ({"only": "traefik"}, ["traefik"]),
            ({"from_step": "traefik"}, ["traefik", "proof"]),
        ],
    )
    def test_choice(self, choice: dict[str, str], expected: list[str]) -> None:
        """All steps, one only, or all from one on; in their declared order."""
        assert [step.name for step in select(self.STEPS, Request(**choice))] == expected


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A runner in a process of its own, at work on a cell that waits for an interruption."""
    script = Path(__file__).with_name("headless.py")
    runner = subprocess.Popen(
        [sys.executable, script, tmp_path, "cleans_up", "completes"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
    )
    started = (tmp_path / "waits").exists
    until(
        lambda: started() or runner.poll() is not None, holds=bool, timeout_s=WAIT_S, every_s=0.05
    )
    yield runner
    runner.kill()
    runner.communicate()


def kernel_is_gone(folder: Path) -> bool:
    try:
        os.kill(int((folder / "kernel.pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def send_on_progress(place: Workplace, *numbers: int) -> Listener:
    """Return a listener that sends this process a signal for each progress event it hears."""
    left = list(numbers)

    def listen(entry: Entry) -> None:
        place.entries.append(entry)
        if entry["kind"] == "event" and left:
            os.kill(os.getpid(), left.pop(0))

    return listen


class TestInterruption:
    """Signals to the runner."""

    def test_sigterm(self, process: subprocess.Popen[bytes], tmp_path: Path) -> None:
        """The cell cleans up, the record is closed and true, and no kernel is left."""
        process.send_signal(signal.SIGTERM)

        assert process.wait(WAIT_S) == 143
        assert process.stderr.read() == b""
        assert kernel_is_gone(tmp_path)
        assert (tmp_path / "cleaned").exists()
        (record,) = (tmp_path / "records").glob("2*")
        results = json.loads((record / "results.json").read_text())
        assert steps(results) == {"cleans_up": "interrupted", "completes": "never ran"}
        assert (results["status"], results["exit_status"]) == ("interrupted", 143)
        assert statuses(record / "00_cleans_up.ipynb")["fault"] == "interrupted"
        assert statuses(record / "00_cleans_up.ipynb")["after"] == "never ran"

    def test_sigint(self, place: Workplace) -> None:
        """Control-C is told apart by its exit status, and the caller's handler is back after it."""
        before = signal.getsignal(signal.SIGINT)
        place.step("cleans_up", "cleans_up")
        result = place.run(listener=send_on_progress(place, signal.SIGINT))

        assert result.exit_status == 130
        assert result.results["reason"] == "interrupted by SIGINT"
        assert (place.folder / "cleaned").exists()
        assert kernel_is_gone(place.folder)
        assert signal.getsignal(signal.SIGINT) is before

    @pytest.mark.parametrize(
        ("grace_s", "numbers"), [(0.5, [signal.SIGINT]), (60, [signal.SIGINT, signal.SIGINT])]
    )
    def test_cell_that_will_not_stop(
        self,
        place: Workplace,
        monkeypatch: pytest.MonkeyPatch,
        grace_s: float,
        numbers: list[int],
    ) -> None:
        """When the grace is over, or at a second signal, the kernel is killed."""
        monkeypatch.setattr(runner, "GRACE_S", grace_s)
        place.step("stubborn", "stubborn")
        result = place.run(listener=send_on_progress(place, *numbers))

        assert result.exit_status == 130
        assert steps(result.results) == {"stubborn": "interrupted"}
        assert kernel_is_gone(place.folder)

    def test_ignored_signal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What nohup has the program ignore stays ignored."""
        monkeypatch.setattr(runner, "SIGNALS", (signal.SIGHUP, signal.SIGTERM))
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with runner.signals_into(SimpleQueue()):
            heeded = [signal.getsignal(number) for number in runner.SIGNALS]
        signal.signal(signal.SIGHUP, before)

        assert heeded[0] is signal.SIG_IGN
        assert callable(heeded[1])

    def test_killed_runner(self, process: subprocess.Popen[bytes], tmp_path: Path) -> None:
        """The kernel follows its runner, and the next run closes the record and says so."""
        process.kill()
        process.wait(WAIT_S)
        place = Workplace(tmp_path)
        place.tells("network", plan())
        result = place.run()
        (killed,) = place.records.glob("*-killed")

        assert until(lambda: kernel_is_gone(tmp_path), holds=bool, timeout_s=WAIT_S)
        assert [e["record"] for e in place.entries if e["kind"] == "record closed"] == [killed.name]
        assert steps(json.loads((killed / "results.json").read_text()))["cleans_up"] == "killed"
        assert statuses(killed / "00_cleans_up.ipynb")["fault"] == "killed"
        assert result.exit_status == 0


class TestImport:
    """Nobody waits for what is not used."""

    @pytest.mark.parametrize(
        ("module", "heavy"),
        [
            ("runbook.execute", ("papermill", "nbformat", "jupyter_client", "pandas", "asyncio")),
            ("runbook.execute.serving", ("rfc3987_syntax", "pandas", "tqdm")),
        ],
    )
    def test_is_light(self, module: str, heavy: tuple[str, ...]) -> None:
        """The package brings no papermill, and papermill not its slowest part."""
        code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )

        assert found.stdout.strip() == "[]"
