"""Headless runs: order, evidence, endings, and the record of each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from archives import ALICE, allow, by_both, key, team
from headless import (
    VERDICT,
    Step,
    Workplace,
    agrees,
    check,
    made,
    plan,
    send_on,
    statuses,
)

from runbook.errors import BadInput
from runbook.events import to_json
from runbook.records.archive import canonical
from runbook.records.journal.entries import Entry, read
from runbook.run import RunResult, run
from runbook.run.selection import Request, select

pytestmark = pytest.mark.usefixtures("quick_kernels")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A folder for a site, its steps and its records; its name is a trap for papermill."""
    folder = tmp_path / "site {mode}"
    folder.mkdir()
    return Workplace(folder)


def steps(results: Any) -> dict[str, str]:
    return {step["step"]: step["status"] for step in to_json(results)["steps"]}


class TestRun:
    """A run that nothing disturbs."""

    def test_plan_with_differences(self, place: Workplace) -> None:
        """Steps run in the order of their needs, two at a time, and differences exit with 4."""
        place.tells("preflight", plan())
        place.tells("network", plan("docker01", "docker02"), after=("preflight",))
        place.tells("gateway", plan(), after=("preflight",))
        result = place.run()
        started = [e.step for e in place.entries if e.kind == "step started"]
        ended = [e.step for e in place.entries if e.kind == "step ended"]

        assert started[0] == ended[0] == "preflight"
        assert set(started[1:]) == set(ended[1:]) == {"network", "gateway"}
        assert set(steps(result.results).values()) == {"unchanged"}
        assert result.exit_status == 4

    def test_applied_and_proven(self, place: Workplace) -> None:
        """A step with all its evidence ends well, and the record says so in every file."""
        place.tells("network", plan(), check("it is there"), VERDICT, checks=("it is there",))
        result = place.run(mode="apply", key=key("alice"))
        journal = read(result.record / "journal.jsonl")
        notebook = json.loads((result.record / "00_network.ipynb").read_text())
        injected = [c for c in notebook["cells"] if c["id"] == "injected-parameters"]

        assert (result.exit_status, result.results.status) == (0, "completed")
        assert steps(result.results) == {"network": "verified"}
        assert sorted(path.name for path in result.record.iterdir()) == [
            "00_network.ipynb",
            "after.json",
            "before.json",
            "changes.diff",
            "journal.jsonl",
            "plan.json",
            "report.html",
            "results.json",
            "source",
            "statement.json",
            "statement.json.sig",
        ]
        assert [path.name for path in (result.record / "source").iterdir()] == ["00_network.ipynb"]
        assert json.loads((result.record / "results.json").read_text()) == to_json(result.results)
        assert journal == place.entries
        assert [entry.kind for entry in (journal[0], journal[-1])] == [
            "run opened",
            "run closed",
        ]
        assert result.record == place.records / result.results.run_id
        assert "".join(injected[0]["source"]).splitlines()[-2:] == [
            f'site = "{place.site_file}"',
            'mode = "apply"',
        ]

    def test_sources_are_kept(self, place: Workplace) -> None:
        """The notebooks are in the record as they were before the run; others are not."""
        place.tells("network", plan())
        place.tells("gateway", plan())
        before = nbformat.read(place.folder / "10_gateway.ipynb", as_version=4)
        result = place.run(only="gateway")
        (kept,) = (result.record / "source").iterdir()

        assert kept.name == "10_gateway.ipynb"
        assert nbformat.read(kept, as_version=4) == before

    def test_what_was_not_asked_for(self, place: Workplace) -> None:
        """A step that is left out was skipped, which is something else than not reached."""
        place.step("raises", "raises")
        place.tells("network", plan(), after=("raises",))
        place.tells("gateway", plan(), after=("network",))
        asked = place.run(from_step="network")

        assert steps(asked.results) == {
            "raises": "skipped",
            "network": "unchanged",
            "gateway": "unchanged",
        }
        assert steps(place.run().results) == {
            "raises": "failed",
            "network": "never ran",
            "gateway": "never ran",
        }
        assert agrees(asked.record, 0)["steps"][0]["cells"] == []

    def test_seal_is_returned(self, place: Workplace) -> None:
        """The caller gets who signed and the ledger's head; without a witness nobody has it."""
        allow(place.records, team())
        place.tells("network", plan())
        result = place.run(key=key("alice"))
        (line,) = (place.records / f"ledger/{ALICE}.jsonl").read_bytes().splitlines()[1:]

        assert result.sealed.run_id == result.results.run_id == result.record.name
        assert result.sealed.signed_by == ALICE
        assert (result.sealed.head.principal, result.sealed.head.seq) == (ALICE, 1)
        assert result.sealed.head.head == canonical.sha256(line)
        assert result.testimony is None


def changes_something(place: Workplace) -> RunResult:
    told = (plan("docker01"), made("docker01"), check("holds"), VERDICT)
    place.tells("network", *told, checks=("holds",))
    return place.run(mode="apply", key=key("alice"))


def has_nothing_to_do(place: Workplace) -> RunResult:
    place.tells("network", plan(), check("holds"), VERDICT, checks=("holds",))
    return place.run(mode="apply", key=key("alice"))


def plans_nothing(place: Workplace) -> RunResult:
    place.tells("network", plan())
    return place.run(key=key("alice"))


def plans_a_change(place: Workplace) -> RunResult:
    place.tells("network", plan("docker01"))
    return place.run(key=key("alice"))


def fails_a_check(place: Workplace) -> RunResult:
    verdict = VERDICT | {"checks_failed": 1}
    told = (plan(), check("is up"), check("holds", passed=False), verdict)
    place.tells("network", *told, checks=("holds",))
    return place.run(mode="apply", key=key("alice"))


def fails_after_a_change(place: Workplace) -> RunResult:
    told = (plan("docker01", "docker02"), made("docker01"), made("docker02", "failed"))
    place.cells("network", *(f"tell(**{event})" for event in told), "1 / 0")
    return place.run(mode="apply", key=key("alice"))


def lacks_evidence(place: Workplace) -> RunResult:
    place.tells("network", plan(), VERDICT, checks=("holds",))
    return place.run(mode="apply", key=key("alice"))


def reaches_no_host(place: Workplace) -> RunResult:
    error = {"host": "docker01", "kind": "Unreachable", "exit_code": 3, "message": "no route"}
    place.cells("network", f"tell('error', **{error})", "raise OSError('no route')")
    return place.run(key=key("alice"))


def takes_too_long(place: Workplace) -> RunResult:
    place.step("network", "times_out")
    return place.run(cell_timeout_s=1, key=key("alice"))


def loses_its_kernel(place: Workplace) -> RunResult:
    place.step("network", "dies")
    return place.run(key=key("alice"))


def is_interrupted(place: Workplace) -> RunResult:
    place.step("network", "cleans_up")
    return place.run(listener=send_on("event", place, signal.SIGINT), key=key("alice"))


def is_interrupted_between_cells(place: Workplace) -> RunResult:
    place.cells("network", "1 + 1", "__import__('time').sleep(60)")
    return place.run(listener=send_on("cell ended", place, signal.SIGINT), key=key("alice"))


ENDINGS: dict[Callable[[Workplace], RunResult], tuple[int, str, str]] = {
    changes_something: (0, "changed", "changed"),
    has_nothing_to_do: (0, "verified", "ok"),
    plans_nothing: (0, "unchanged", "ok"),
    plans_a_change: (4, "unchanged", "ok"),
    fails_a_check: (1, "failed", "failed"),
    fails_after_a_change: (1, "failed", "partial"),
    lacks_evidence: (1, "failed", "failed"),
    reaches_no_host: (3, "failed", "failed"),
    takes_too_long: (1, "timed out", "failed"),
    loses_its_kernel: (1, "kernel died", "failed"),
    is_interrupted: (130, "interrupted", "aborted"),
    is_interrupted_between_cells: (130, "interrupted", "aborted"),
}


class TestEndings:
    """However a run ends, everything that tells of it tells the same, and it is sealed as that."""

    @pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
    def test_agreement(self, place: Workplace, ending: Callable[[Workplace], RunResult]) -> None:
        """Exit status, notebook, results, page, JUnit and statement; both verifiers find it so."""
        allow(place.records, team())
        code, status, outcome = ENDINGS[ending]
        result = ending(place)
        told = json.loads((result.record / "statement.json").read_text())["predicate"]

        assert result.exit_status == code
        assert agrees(result.record, code) == to_json(result.results)
        assert steps(result.results) == {"network": status}
        assert (told["outcome"], told["signer"]) == (outcome, ALICE)
        assert (told["error"] is None) == (outcome in ("ok", "changed"))
        assert result.record.name == told["run_id"]
        assert by_both(place.records) == (0, [])

    def test_next_to_each_other(self, place: Workplace) -> None:
        """The step beside the one that fails keeps its own end, and the next is not begun."""
        place.step("dies", "dies")
        told = [f"tell(**{event})" for event in (plan("docker01"), made("docker01"), VERDICT)]
        wait = "from pathlib import Path\nwhile not (Path(site).parent / 'dead').exists(): pass"
        place.cells("gateway", wait, *told)
        place.tells("proof", plan(), after=("gateway",))

        def listen(entry: Entry) -> None:
            if (entry.kind, getattr(entry, "step", "")) == ("step ended", "dies"):
                (place.folder / "dead").touch()

        result = place.run(mode="apply", listener=listen)

        assert steps(agrees(result.record, 1)) == {
            "dies": "kernel died",
            "gateway": "changed",
            "proof": "never ran",
        }
        assert result.results.reason == "dies: Kernel died"


class TestFailure:
    """The first failure ends the run."""

    def test_missing_evidence(self, place: Workplace) -> None:
        """A notebook that ran through without its check fails, and nothing starts after it."""
        place.tells("network", plan(), VERDICT, checks=("it is there",))
        place.tells("traefik", plan(), VERDICT, after=("network",))
        result = place.run(mode="apply")

        assert result.exit_status == 1
        assert steps(result.results) == {"network": "failed", "traefik": "never ran"}
        assert result.results.reason == "network: check 'it is there' left no evidence"
        assert not (result.record / "10_traefik.ipynb").exists()

    @pytest.mark.parametrize(
        ("before", "code", "told"),
        [
            ((plan(), VERDICT), 3, "(nothing was changed)"),
            ((plan("docker01"), made("docker01"), VERDICT), 1, "(1 change had been begun before)"),
        ],
    )
    def test_refusal(self, place: Workplace, before: Any, code: int, told: str) -> None:
        """Whether anything was changed is said of the whole run, not of the step that refuses."""
        error = {"host": "gateway", "kind": "Refused", "exit_code": 3, "message": "no zone"}
        place.tells("network", *before)
        refuses = (f"tell('error', **{error})", "raise OSError('no zone')")
        place.cells("shorewall", *refuses, after=("network",))
        result = place.run(mode="apply")

        assert result.exit_status == code
        assert result.results.reason == f"shorewall: OSError: no zone {told}"

    def test_kernel_death(self, place: Workplace) -> None:
        """A killed kernel ends the run; the step beside it finishes, the next one never runs."""
        place.step("dies", "dies")
        place.tells("gateway", plan())
        place.tells("proof", plan(), after=("gateway",))
        result = place.run()

        assert result.exit_status == 1
        assert steps(result.results)["dies"] == "kernel died"
        assert steps(result.results)["gateway"] == "unchanged"
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

    def test_folder_in_place_of_a_notebook(self, place: Workplace) -> None:
        """So is what is no file, and what is not in a folder."""
        (place.folder / "10_traefik.ipynb").unlink()
        (place.folder / "10_traefik.ipynb").mkdir()
        with pytest.raises(BadInput, match=r"there is no notebook .*: Is a directory"):
            place.run()
        request = Request(notebooks=place.folder / "00_network.ipynb", records=place.records)
        with pytest.raises(BadInput, match=r"there is no notebook .*: Not a directory"):
            run(place.declared, request, steps=place.steps)

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


class TestImport:
    """Nobody waits for what is not used."""

    @pytest.mark.parametrize(
        ("does", "heavy"),
        [
            (
                "import runbook.run",
                ("papermill", "nbformat", "jupyter_client", "pandas", "asyncio"),
            ),
            (
                # What comes before the first notebook is served, and masks their sources.
                "from runbook.masking.redact import MASKER;"
                "MASKER.mask_notebook({'metadata': {}, 'cells': []});"
                "from runbook.run import opening, runner, serving;"
                "from runbook.records.writing import closing, record",
                ("rfc3987_syntax", "pandas", "tqdm"),
            ),
        ],
    )
    def test_is_light(self, does: str, heavy: tuple[str, ...]) -> None:
        """The package brings no papermill, and papermill not its slowest part."""
        code = f"import sys; {does}; print([m for m in {heavy} if m in sys.modules])"
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )

        assert found.stdout.strip() == "[]"
