"""What a person sees of a run."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from headless import check, entry, plan
from rich.console import Console

from runbook.cli.summary import Progress, as_json, line, show
from runbook.events import to_json
from runbook.records.archive.archive import Sealed
from runbook.records.archive.ledger import Head
from runbook.records.journal.entries import Entry
from runbook.records.journal.results import collect
from runbook.records.journal.status import Status
from runbook.records.writing import closing
from runbook.run import ExitStatus, RunResult

OUTCOME = {"action": "create", "resource": "network x", "outcome": "done", "message": ""}
LONG = ", nor anything else that would run a container here" * 3
KILLED = "an earlier run was killed; its record is closed: r-killed"
WITHHELD = "an earlier run was killed; its record holds a secret and is withheld: .withheld-r"
INTERRUPTED = "SIGINT: waiting for clean-up; once more to kill it"


def event(**particulars: Any) -> Entry:
    """A journal entry for an event of the step traefik."""
    return entry("event", step="traefik", event={"step": "traefik", **particulars})


HEAD = Head("alice@example", 7, "5" * 64)
SEALED = Sealed("r", "6" * 64, "alice@example", HEAD)


def result(
    mode: str = "plan", sealed: Sealed = SEALED, testimony: closing.Testimony | None = None
) -> RunResult:
    """A run of three steps, of which the second never ran and the third was not asked for."""
    steps = [{"step": s, "notebook": f"{s}.ipynb"} for s in ("traefik", "keepalived")]
    steps.append({"step": "shorewall", "notebook": "shorewall.ipynb", "skipped": True})
    opened = {"time": "T", "run_id": "r", "site": "lab", "site_file": "f", "mode": mode}
    ended = {"status": "failed", "time": "T"}
    entries = [
        entry("run opened", **opened, steps=steps),
        entry("step started", step="traefik", notebook="traefik.ipynb", time="T"),
        event(**plan("docker01")),
        event(**check("it answers")),
        event(**check("it balances", passed=False)),
        entry("step ended", step="traefik", **ended, reason="why", duration_ms=1234),
        entry("run closed", **ended, reason="traefik: why", exit_status=1, duration_ms=2000),
    ]
    return RunResult(Path("records/r"), ExitStatus.FAILED, collect(entries), sealed, testimony)


def console(**options: Any) -> Console:
    return Console(file=io.StringIO(), width=100, **options)


def shown(*arguments: Any) -> list[str]:
    """Return what ``show`` prints, line by line."""
    plain = console()
    show(*arguments, plain)
    return plain.file.getvalue().splitlines()


class TestShow:
    """The end of a run."""

    def test_plan_comes_whole(self) -> None:
        """Mode plan ends with every change, its host and its diff."""
        lines = shown(result())

        assert lines[:4] == [
            "traefik  docker01  update file /etc/f",
            "  -a",
            "  +b",
            "1 change planned",
        ]

    def test_one_row_a_step(self) -> None:
        """The table has changes, checks, seconds and status of each step, run or not."""
        rows = [line.replace("│", " ").split() for line in shown(result("apply")) if "│" in line]

        assert rows == [
            ["traefik", "0", "of", "1", "1", "of", "2", "1.2", "failed"],
            ["keepalived", "0", "of", "0", "never", "ran"],
            ["shorewall", "0", "of", "0", "skipped"],
        ]

    def test_says_why_and_where(self) -> None:
        """The reason, the record, who signed it and the head for the ticket come last."""
        assert shown(result("apply"))[-4:] == [
            "traefik: why",
            "Record: records/r",
            "Signed by alice@example",
            f"Ledger head: alice@example 7 {'5' * 64}",
        ]

    def test_says_that_nobody_signed(self) -> None:
        """A record without a signature is told as that, in red, with what to do."""
        head = Head("unsigned", 1, "5" * 64)
        unsigned = result("apply", Sealed("r", "6" * 64, None, head))
        terminal = console(force_terminal=True, color_system="standard", legacy_windows=False)
        show(unsigned, terminal)

        assert shown(unsigned)[-2:] == [
            "Not signed: nothing shows who made this record. Name your SSH key: --key",
            f"Ledger head: unsigned 1 {'5' * 64}",
        ]
        assert "\x1b[31mNot signed: nothing shows" in terminal.file.getvalue()

    @pytest.mark.parametrize(
        ("testimony", "lines"),
        [
            (closing.Testimony(("docker01", "docker02"), ()), ["Witnessed by docker01, docker02"]),
            (
                closing.Testimony(("docker01",), ("docker02: \x1b[2Jno answer",)),
                ["Witnessed by docker01", "Not witnessed: docker02: ␛[2Jno answer"],
            ),
            (
                closing.Testimony((), ("docker01: no answer",)),
                ["Witnessed by nobody", "Not witnessed: docker01: no answer"],
            ),
            (None, []),
        ],
    )
    def test_says_who_witnessed_it(
        self, testimony: closing.Testimony | None, lines: list[str]
    ) -> None:
        """The managers that keep the head are named, and in red why others do not."""
        terminal = console(force_terminal=True, color_system="standard", legacy_windows=False)
        show(result("apply", testimony=testimony), terminal)
        red = [line for line in terminal.file.getvalue().splitlines() if "\x1b[31mNot w" in line]

        assert [
            line for line in shown(result("apply", testimony=testimony)) if "itness" in line
        ] == (lines)
        assert len(red) == len(lines[1:])

    @pytest.mark.parametrize(
        ("status", "style"),
        [
            ("changed", "32"),
            ("verified", "32"),
            ("unchanged", "32"),
            ("failed", "31"),
            ("killed", "31"),
            ("never ran", "2"),
            ("skipped", "2"),
        ],
    )
    def test_status_is_coloured(self, status: str, style: str) -> None:
        """Good ends are green, bad ones red, and what did not run is dim."""
        ran = result("apply")
        first, *rest = ran.results.steps
        steps = (replace(first, status=Status(status)), *rest)
        ran = replace(ran, results=replace(ran.results, steps=steps))
        terminal = console(force_terminal=True, color_system="standard", legacy_windows=False)
        show(ran, terminal)
        (row,) = (line for line in terminal.file.getvalue().splitlines() if "traefik  " in line)

        assert f"\x1b[{style}m{status}" in row

    def test_diff_is_coloured_on_a_terminal(self) -> None:
        """Removed lines are red and added ones green."""
        terminal = console(force_terminal=True, color_system="standard", legacy_windows=False)
        show(result(), terminal)

        assert "\x1b[31m  -a\x1b[0m" in terminal.file.getvalue()
        assert "\x1b[32m  +b\x1b[0m" in terminal.file.getvalue()

    def test_json_is_the_record(self) -> None:
        """The same values as in the record, and nothing else."""
        assert json.loads(as_json(result().results)) == to_json(result().results)


class TestLine:
    """An entry of the journal in words."""

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            (event(event="progress", host="a", message="observed"), "traefik a: observed"),
            (event(**plan("a", "b")), "traefik: 2 changes planned"),
            (
                event(event="outcome", host="a", **OUTCOME, duration_ms=1300),
                "traefik a: create network x: done (1.3 s)",
            ),
            (event(**check("c")), "traefik: check 'c': passed"),
            (event(**check("c", passed=False)), "traefik: check 'c': failed, seen two"),
            (
                event(event="finding", level="warning", host="", subject="s", what="w"),
                "traefik: warning: w",
            ),
            (event(event="finding", level="fine", host="", subject="s", what="w"), ""),
            (event(event="verdict", mode="plan", changes=0), ""),
            (entry("cell started", step="traefik", cell="plan", index=7), ""),
            (entry("record closed", record="r-killed"), KILLED),
            (entry("record closed", record=".withheld-r"), WITHHELD),
            (entry("interrupted", signal="SIGINT"), INTERRUPTED),
        ],
    )
    def test_words(self, entry: Entry, expected: str) -> None:
        """Step and host come first; what nobody reads is empty."""
        assert line(entry) == expected


class TestProgress:
    """The run under way."""

    ENTRIES = (
        entry("step started", step="traefik", notebook="traefik.ipynb"),
        event(event="progress", host="docker01", message="\x1b[2Jobserved"),
        event(
            event="finding", level="blocking", what=f"no Docker{LONG}", host="docker01", subject="s"
        ),
        entry("step ended", step="traefik", status="failed", reason="why", duration_ms=1200),
    )

    def test_off_a_terminal(self) -> None:
        """In CI each entry is one plain line, and a host's text steers no terminal."""
        plain = console()
        with Progress(plain) as progress:
            for entry in self.ENTRIES:
                progress(entry)

        assert plain.file.getvalue().splitlines() == [
            "traefik: started",
            "traefik docker01: ␛[2Jobserved",
            f"traefik docker01: blocking: no Docker{LONG}",
            "traefik: failed: why (1.2 s)",
        ]

    def test_on_a_terminal(self) -> None:
        """What passes is shown in place; findings and ends stay."""
        terminal = console(force_terminal=True, color_system=None)
        with Progress(terminal) as progress:
            for entry in self.ENTRIES:
                progress(entry)
        screen = terminal.file.getvalue()

        assert f"traefik docker01: blocking: no Docker{LONG}\n" in screen
        assert "traefik: failed: why (1.2 s)\n" in screen
        assert "\x1b[2Jobserved" not in screen
