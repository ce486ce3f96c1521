"""Headless runs that are interrupted: nothing is left, and the record says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import ALICE, BOB, allow, by_both, key, team
from fakes import TOP
from headless import (
    WAIT_S,
    Workplace,
    agrees,
    kernel_is_gone,
    plan,
    process,
    send_on,
    statuses,
)

from runbook.events import to_json
from runbook.run import runner
from runbook.waiting import until

pytestmark = pytest.mark.usefixtures("quick_kernels")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A folder for a site, its steps and its records; its name is a trap for papermill."""
    folder = tmp_path / "site {mode}"
    folder.mkdir()
    return Workplace(folder)


def steps(results: Any) -> dict[str, str]:
    return {step["step"]: step["status"] for step in to_json(results)["steps"]}


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A runner in a process of its own, at work on a cell that waits for an interruption."""
    allow(tmp_path / "records", team())
    own = {"RUNBOOK_KEY": str(key("alice"))}
    with process(tmp_path, "cleans_up", "completes", started="waits", **own) as runner:
        yield runner


class TestInterruption:
    """Signals to the runner."""

    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
    )
    def test_signal(
        self, at_work: subprocess.Popen[bytes], tmp_path: Path, number: int, code: int
    ) -> None:
        """The cell cleans up, the record is closed, sealed and true, and no kernel is left."""
        at_work.send_signal(number)

        assert at_work.wait(WAIT_S) == code
        assert at_work.stderr.read() == b""
        assert kernel_is_gone(tmp_path)
        assert (tmp_path / "cleaned").exists()
        assert by_both(tmp_path / "records") == (0, [])
        (record,) = (tmp_path / "records").glob("2*")
        results = agrees(record, code)
        assert steps(results) == {"cleans_up": "interrupted", "completes": "never ran"}
        assert results["status"] == "interrupted"
        assert results["reason"] == f"interrupted by {signal.Signals(number).name}"
        assert statuses(record / "00_cleans_up.ipynb")["fault"] == "interrupted"
        assert statuses(record / "00_cleans_up.ipynb")["after"] == "never ran"

    def test_sigint(self, place: Workplace) -> None:
        """Control-C is told apart by its exit status, and the caller's handler is back after it."""
        before = signal.getsignal(signal.SIGINT)
        place.step("cleans_up", "cleans_up")
        result = place.run(listener=send_on("event", place, signal.SIGINT))

        assert result.exit_status == 130
        assert result.results.reason == "interrupted by SIGINT"
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
        result = place.run(listener=send_on("event", place, *numbers))

        assert steps(agrees(result.record, 130)) == {"stubborn": "interrupted"}
        assert kernel_is_gone(place.folder)

    def test_ignored_signal(self) -> None:
        """What nohup has the program ignore stays ignored."""
        script = (
            "import signal; from queue import SimpleQueue; from runbook.run import runner\n"
            "with runner.signals_into(SimpleQueue()):\n"
            "    numbers = (signal.SIGHUP, signal.SIGTERM)\n"
            "    print([signal.getsignal(number) is signal.SIG_IGN for number in numbers])\n"
        )
        ignoring = ["sh", "-c", 'trap "" HUP; exec "$@"', "nohup", sys.executable, "-c", script]
        done = subprocess.run(ignoring, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[True, False]"

    @pytest.mark.parametrize(
        ("room", "status", "kind", "left"),
        [
            (1_000, 2, "BadInput", 0),
            (3_000, 2, "BadInput", 1),
            (6_000, 1, "RunbookError", 1),
            (15_000, 1, "RunbookError", 1),
        ],
        ids=["ledger", "notebooks", "their outputs", "page"],
    )
    def test_no_room(self, tmp_path: Path, room: int, status: int, kind: str, left: int) -> None:
        """Where the record cannot go on it is one message, and the next run closes the record."""
        place = Workplace(tmp_path)
        allow(place.records, team())
        place.key = key("alice")
        place.cells("speaks", f"print('x' * 5_000)  # {'x' * 3_000}")
        first = place.run()
        code = (
            "import resource, sys; from pathlib import Path; from headless import *\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
            "place = Workplace(Path(sys.argv[1]))\n"
            "place.steps = [Step('speaks', '00_speaks.ipynb')]\n"
            "try: place.run()\n"
            "except Exception as error: print(type(error).__name__, error.exit_code, error)\n"
        )
        paths = [str(TOP / "tests"), str(TOP)]
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path, str(room)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "RUNBOOK_KEY": str(place.key)},
            capture_output=True,
            text=True,
            check=True,
        )

        assert done.stdout.startswith(
            f"{kind} {status} File too large: the record {place.records}/"
        )
        assert "What to do: make room there" in done.stdout
        second = place.run()
        closed = set(place.records.glob("*2*")) - {first.record, second.record}
        told = [e.record for e in place.entries if e.kind == "record closed"]
        assert (len(closed), [path.name for path in closed]) == (left, told)
        assert by_both(place.records) == (0, [])

    def test_beside_another_run(self, at_work: subprocess.Popen[bytes], tmp_path: Path) -> None:
        """A run that begins and ends meanwhile leaves this one alone, and each is closed once."""
        place = Workplace(tmp_path)
        place.tells("network", plan())
        other = place.run(key=key("bob"))
        at_work.send_signal(signal.SIGTERM)

        assert at_work.wait(WAIT_S) == 143
        assert [e.kind for e in place.entries].count("record closed") == 0
        (record,) = (path for path in place.records.glob("2*") if path != other.record)
        assert agrees(record, 143)["status"] == "interrupted"
        assert by_both(place.records) == (0, [])

    def test_killed_runner(self, at_work: subprocess.Popen[bytes], tmp_path: Path) -> None:
        """The kernel follows its runner, and the next run closes the record and says so."""
        at_work.kill()
        at_work.wait(WAIT_S)
        records = tmp_path / "records"
        status, (found,) = by_both(records)
        assert (status, found.endswith("it is under way, or was killed")) == (2, True)

        place = Workplace(tmp_path)
        place.tells("network", plan())
        result = place.run(key=key("bob"))
        (killed,) = records.glob("*-killed")
        told = json.loads((killed / "statement.json").read_text())["predicate"]

        assert until(lambda: kernel_is_gone(tmp_path), holds=bool, timeout_s=WAIT_S)
        assert [e.record for e in place.entries if e.kind == "record closed"] == [killed.name]
        assert steps(agrees(killed, None)) == {"cleans_up": "killed", "completes": "never ran"}
        assert statuses(killed / "00_cleans_up.ipynb")["fault"] == "killed"
        assert statuses(killed / "00_cleans_up.ipynb")["after"] == "never ran"
        assert (told["outcome"], told["operator"]["principal"], told["signer"]) == (
            "killed",
            ALICE,
            BOB,
        )
        assert result.exit_status == 0
        assert by_both(records) == (0, [])
