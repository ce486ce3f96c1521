"""The results of a run as JUnit XML: what a CI system sees of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from headless import check, entry, made, plan
from junits import MIXED, OPENED, STARTED, results, step
from typer.testing import CliRunner

from runbook.cli import app
from runbook.errors import BadInput
from runbook.records.journal.results import collect, of_record
from runbook.records.journal.status import ENDED_WELL, Status
from runbook.records.reading import junit

RECORDED = Path(__file__).parents[2] / "data" / "records" / "run"
SUITE_COUNTS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}

# What Jenkins' xUnit plugin lets through. Source: its junit-10.xsd.
ALLOWED = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {*SUITE_COUNTS, "name", "time", "timestamp", "hostname"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "time", "classname"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "skipped": {"type", "message"},
}

ELEMENT = {
    Status.CHANGED: None,
    Status.VERIFIED: None,
    Status.UNCHANGED: None,
    Status.COMPLETED: None,
    Status.FAILED: ("failure", "failed: why", "why"),
    Status.TIMED_OUT: ("error", "timed out: why", "why"),
    Status.KERNEL_DIED: ("error", "kernel died: why", "why"),
    Status.INTERRUPTED: ("error", "interrupted: why", "why"),
    Status.KILLED: ("error", "killed: why", "why"),
    Status.RUNNING: ("error", "running: why", "why"),
    Status.NEVER_RAN: ("skipped", "never ran", "why"),
    Status.SKIPPED: ("skipped", "skipped", "why"),
}


def parsed(*steps: Any, **particulars: Any) -> Element:
    """Return the root of the document of a run, as a reader gets it."""
    return fromstring(junit.document(results(*steps, **particulars)))  # noqa: S314  # it is ours


def ends(root: Element) -> dict[str, list[tuple[str, Any, str | None]]]:
    """Return what each case holds, by class and name."""
    return {
        f"{case.get('classname')} {case.get('name')}": [
            (end.tag, end.get("message"), end.text) for end in case
        ]
        for case in root.iter("testcase")
    }


class TestForm:
    """The form that readers agree on."""

    def test_whole(self) -> None:
        """This is what it looks like."""
        changed = step("network", "changed", plan("docker01"), check("it exists"))

        assert junit.document(results(changed)).decode() == (
            "<?xml version='1.0' encoding='utf-8'?>\n"
            '<testsuites name="20261123T130147Z-lab-3e71bb" time="24.904"'
            ' tests="2" failures="0" errors="0">\n'
            f'  <testsuite name="network" time="2.536" timestamp="{STARTED}"'
            ' tests="2" failures="0" errors="0" skipped="0">\n'
            "    <properties>\n"
            '      <property name="status" value="changed" />\n'
            '      <property name="changes planned" value="1" />\n'
            '      <property name="changes made" value="0" />\n'
            f'      <property name="digest" value="{"0" * 64}" />\n'
            "    </properties>\n"
            '    <testcase classname="lab.network" name="20_network.ipynb" time="2.536" />\n'
            '    <testcase classname="lab.network" name="it exists" time="0.000" />\n'
            "  </testsuite>\n"
            "</testsuites>\n"
        )

    def test_schema(self) -> None:
        """There is no element and no attribute that Jenkins would refuse."""
        root = parsed(*MIXED, status="killed")

        assert {element.tag for element in root.iter()} == set(ALLOWED)
        assert not [e for e in root.iter() if not set(e.attrib) <= ALLOWED[e.tag]]

    def test_counts(self) -> None:
        """Every count is the number of such elements."""
        root = parsed(*MIXED, status="interrupted")

        for element in (root, *root):
            for name in SUITE_COUNTS.keys() & element.keys():
                found = element.findall(f".//{SUITE_COUNTS[name]}")
                assert (name, element.get(name)) == (name, str(len(found)))
        assert [root.get(name) for name in ("tests", "failures", "errors")] == ["8", "2", "2"]
        assert [suite.get("skipped") for suite in root] == ["0", "0", "0", "1", "0"]

    def test_times(self) -> None:
        """A time is seconds with three digits; a step that never ran has no start."""
        root = parsed(*MIXED, duration_ms=3_600_001)

        times = [element.attrib["time"] for element in root.iter() if "time" in element.attrib]
        assert times[:3] == ["3600.001", "2.536", "2.536"]
        assert [time for time in times if not re.fullmatch(r"\d+\.\d{3}", time)] == []
        assert [suite.get("timestamp") for suite in root] == [STARTED] * 3 + [None]

    def test_properties(self) -> None:
        """Changes planned and made are told apart; a step without a plan has no digest."""
        tried = [made("x"), made("y", "failed")]
        planned, none = parsed(step("a", "failed", plan("x", "y"), *tried), step("b", "failed"))

        told = [
            {p.get("name"): p.get("value") for p in s.iter("property")} for s in (planned, none)
        ]
        assert told == [
            {"status": "failed", "changes planned": "2", "changes made": "1", "digest": "0" * 64},
            {"status": "failed", "changes planned": "0", "changes made": "0"},
        ]


class TestAgrees:
    """The document says what results.json says."""

    @pytest.mark.parametrize("status", Status)
    def test_step(self, status: Status) -> None:
        """Each end of a step has its element, and its word is a property."""
        (suite,) = root = parsed(step("network", status.value, reason="why"), status=status.value)
        (held,) = ends(root).values()

        assert held == ([ELEMENT[status]] if ELEMENT[status] else [])
        assert [end.get("type") for end in suite.findall("testcase/*")] == [status] * len(held)
        assert suite.findall(f"properties/property[@name='status'][@value='{status}']")

    @pytest.mark.parametrize("status", Status)
    def test_run(self, status: Status) -> None:
        """An end of the run that no step shares has a suite of its own; a good one needs none."""
        held = ends(parsed(step("network", "changed"), status=status.value, reason="why"))

        assert held.pop("lab.network 20_network.ipynb") == []
        assert held == ({"lab.run run": [ELEMENT[status]]} if ELEMENT[status] else {})

    @pytest.mark.parametrize("step_status", ["verified", "failed", "never ran"])
    def test_interrupted_run(self, step_status: str) -> None:
        """A run that was interrupted says so, however its steps ended."""
        reason = "interrupted by SIGINT"
        root = parsed(step("network", step_status), status="interrupted", reason=reason)

        (error,) = root.iter("error")
        assert (error.get("type"), error.text) == ("interrupted", reason)

    @pytest.mark.parametrize("status", ["interrupted", "failed", "killed", "running"])
    def test_end_that_a_step_shares(self, status: str) -> None:
        """What a step already says is not said twice."""
        root = parsed(step("network"), step("traefik", status), status=status)

        assert [suite.get("name") for suite in root] == ["network", "traefik"]

    def test_well(self) -> None:
        """A run whose every step ended well has nothing but passes."""
        steps = [step(status.name, status.value, plan(), check("c")) for status in ENDED_WELL]
        root = parsed(*steps)

        assert len(ends(root)) == 2 * len(ENDED_WELL)
        assert not any(ends(root).values())

    def test_check(self) -> None:
        """A failed check says what was expected, what was seen and where."""
        failed = step("keepalived", "failed", check("one holder", passed=False), reason="unproven")

        assert ends(parsed(failed)) == {
            "lab.keepalived 20_keepalived.ipynb": [("failure", "failed: unproven", "unproven")],
            "lab.keepalived one holder": [
                ("failure", "expected one, seen two", "expected: one\nseen: two\nwhere: docker01")
            ],
        }

    def test_passed_must_be_true(self) -> None:
        """Anything but ``true`` is not a pass, as for the step itself, whose case says so."""
        (held,) = ends(parsed(step("a", "failed", check("c") | {"passed": "yes"}))).values()

        malformed = "the notebook told a malformed event: check"
        assert held == [("failure", f"failed: {malformed}", malformed)]

    def test_check_made_again(self) -> None:
        """Cases of one name, of which GitLab would take the first only, are numbered."""
        checks = [check("c"), check("c", passed=False), check("c (2)"), check("20_a.ipynb")]

        names = [case.get("name") for case in parsed(step("a", "failed", *checks)).iter("testcase")]
        assert names == ["20_a.ipynb", "c", "c (2)", "c (2) (2)", "20_a.ipynb (2)"]

    def test_errors(self) -> None:
        """The messages of a step's errors follow its reason; the same text stands there once."""
        messages = ("docker02: no route\n  What to do: look", "why", "gateway: refused")
        told = [
            {"event": "error", "host": None, "kind": "X", "exit_code": 1, "message": message}
            for message in messages
        ]
        (held,) = ends(parsed(step("network", "failed", *told, reason="why"))).values()

        text = "why\ndocker02: no route\n  What to do: look\ngateway: refused"
        assert held == [("failure", "failed: why", text)]

    def test_message_is_one_line(self) -> None:
        """The message is the first line of what the text tells whole."""
        (held,) = ends(parsed(step("network", "killed", reason="one\ntwo"))).values()

        assert held == [("error", "killed: one", "one\ntwo")]

    def test_killed_run(self) -> None:
        """What a run amounts to whose runner was killed while its second step ran."""
        names = ("network", "traefik", "keepalived")
        declared = [{"step": name, "notebook": f"{name}.ipynb"} for name in names]
        changed = {"status": "changed", "reason": "", "duration_ms": 1}
        journal = [
            entry("run opened", time=STARTED, steps=declared, **OPENED),
            entry("step started", **declared[0], time=STARTED),
            entry("step ended", step="network", time=STARTED, **changed),
            entry("step started", **declared[1], time=STARTED),
            entry("run killed", status="killed", time=STARTED, reason=""),
        ]

        assert ends(fromstring(junit.document(collect(journal)))) == {  # noqa: S314  # it is ours
            "lab.network network.ipynb": [],
            "lab.traefik traefik.ipynb": [("error", "killed", "killed")],
            "lab.keepalived keepalived.ipynb": [("skipped", "never ran", "never ran")],
        }

    def test_recorded_run(self) -> None:
        """A run as it was recorded has a case for each step and each check, and all passed."""
        recorded = of_record(RECORDED)
        assert recorded is not None
        held = ends(fromstring(junit.document(recorded)))  # noqa: S314  # it is ours

        assert len(held) == sum(1 + len(step.checks) for step in recorded.steps) > 1
        assert not any(held.values())


class TestText:
    """Whatever names and messages hold, the document is well-formed."""

    @pytest.mark.parametrize(
        "text", ["<a href='x'>&amp;\"</a>", "Prüfung für 東京 🚦", "]]>", "a\tb\nc", "\x85\x9f"]
    )
    def test_as_it_is(self, text: str) -> None:
        """What XML allows comes through as it is, in names and in texts."""
        named = step("a", "failed", check(text, passed=False) | {"seen": text}, reason=text)
        named = replace(named, step=text, notebook=text)
        root = parsed(named, site=text, run_id=text)

        assert root.get("name") == root[0].get("name") == text
        assert list(ends(root)) == [f"{text}.{text} {text}", f"{text}.{text} {text} (2)"]
        reason, seen = [held[0][2] for held in ends(root).values()]
        assert (reason, seen) == (text, f"expected: one\nseen: {text}\nwhere: docker01")

    @pytest.mark.parametrize(
        ("forbidden", "shown"),
        [
            ("\x1b[31m", r"\x1b[31m"),
            ("\x00", r"\x00"),
            ("\x0b", r"\x0b"),
            ("\ud800", r"\ud800"),
            ("\udcff", r"\udcff"),
            ("\ufffe", r"\ufffe"),
        ],
    )
    def test_forbidden(self, forbidden: str, shown: str) -> None:
        """What XML forbids is shown instead, in names and in texts."""
        reason = f"a {forbidden}"
        held = step("a", "killed", check("c"), reason=reason)
        checks = (replace(held.checks[0], name=f"{forbidden}c"),)
        names = {"step": forbidden, "notebook": f"20_{forbidden}.ipynb"}
        root = parsed(replace(held, checks=checks, **names))

        (_, killed), (name, _) = ends(root).items()
        assert killed == [("error", f"killed: a {shown}", f"a {shown}")]
        assert (root[0].get("name"), name) == (shown, f"lab.{shown} {shown}c")


class TestWrite:
    """The file."""

    def test_replaces(self, tmp_path: Path) -> None:
        """The file is the document, nothing else is left, and who reads the old one has it all."""
        path, before = tmp_path / "junit.xml", "before " * 10_000
        path.write_text(before)
        with path.open() as old:
            junit.write(path, results(*MIXED))
            assert old.read() == before

        assert path.read_bytes() == junit.document(results(*MIXED))
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("place", [".", "missing/junit.xml", "file/junit.xml"])
    def test_refused_before_the_run(self, tmp_path: Path, place: str) -> None:
        """A place where no file can be written is told while nothing was begun."""
        (tmp_path / "file").touch()
        words = ["check", "parameters/article.yml", "--records", str(tmp_path / "records")]
        done = CliRunner().invoke(app, [*words, "--junit", str(tmp_path / place)])

        assert isinstance(done.exception, BadInput)
        assert "cannot be written" in done.exception.message
        assert not (tmp_path / "records").exists()

    def test_missing_folder(self, tmp_path: Path) -> None:
        """A folder that is not there is not made; the operator is told what to do."""
        path = tmp_path / "reports" / "junit.xml"

        with pytest.raises(BadInput, match="No such file or directory") as caught:
            junit.write(path, results())
        assert caught.value.todo.startswith(f"make {path.parent} a folder that can be written")
        assert not path.parent.exists()

    @pytest.mark.parametrize("name", [".", "..", "folder", "file/junit.xml"])
    def test_not_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """A path that no file can have is refused, and nothing is left."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        monkeypatch.chdir(tmp_path)

        with pytest.raises(BadInput, match="cannot be written"):
            junit.write(Path(name), results())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
