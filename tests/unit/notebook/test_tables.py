"""What a notebook shows: one table, the same as HTML and as text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from fakes import parameters

from runbook.apply import Outcome
from runbook.changes import Change, Check, Finding, Level, Plan
from runbook.errors import ChangeFailed
from runbook.notebook.tables import (
    Shown,
    checks_table,
    diff_html,
    files_shown,
    findings_table,
    outcomes_table,
    plan_table,
    rows_table,
    settings_table,
    table,
)
from runbook.records.page.sanitise import sanitise
from runbook.steps import Row

FILE = Change("docker01", "file /etc/f", "update", "a\n<b>\n", "a\nc\n", "put it back",
              lambda _live: None)  # fmt: skip
PACKAGE = replace(FILE, resource="package p", action="install", before="", after="1.2", stage=1)


class Cells(HTMLParser):
    """The cells of an HTML table, by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._open = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Begin a row or a cell; a line break within one is a newline."""
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._open = True
            self.rows[-1].append("")
        elif tag == "br" and self._open:
            self.rows[-1][-1] += "\n"

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        """Take text within a cell."""
        if self._open:
            self.rows[-1][-1] += data


def html(shown: Shown) -> str:
    """Return the HTML that a notebook stores."""
    return shown._repr_html_()


def lines(shown: Shown) -> list[list[str]]:
    """Return the cells of a table as a reader of the HTML sees them, without the headings."""
    return Cells(html(shown)).rows[1:]


class TestShown:
    """A table with its caption."""

    def test_html_and_text_say_the_same(self) -> None:
        """Caption, headings, cells and what is unfolded are in both."""
        shown = Shown("A caption", table("", ["x"], [["cell"]]).frame, {"title": "-old\n+new"})

        for text in (html(shown), repr(shown)):
            for part in ("A caption", "x", "cell", "title", "-old", "+new"):
                assert part in text

    def test_nothing_of_a_host_is_markup(self) -> None:
        """Whatever a host says is text, in captions, cells, titles and diffs."""
        evil = "<script>&"
        shown = Shown(evil, table("", ["x"], [[evil]]).frame, {evil: evil})

        assert "<script>" not in html(shown)
        assert html(shown).count("&lt;script&gt;&amp;") == 4

    def test_cell_is_never_cut(self) -> None:
        """Long values and many rows are evidence, and are all there."""
        long = "x" * 500
        shown = table("", ["x"], [[f"{long}{n}"] for n in range(200)])

        assert lines(shown) == [[f"{long}{n}"] for n in range(200)]
        assert f"{long}199" in repr(shown)

    def test_lines_in_a_cell(self) -> None:
        """A value of several lines is shown in several lines."""
        assert lines(table("", ["x"], [["a\nb"]])) == [["a\nb"]]

    def test_without_rows(self) -> None:
        """There is no table, only the sentence."""
        shown = table("0 changes to make.", [], [])

        assert "<table" not in html(shown)
        assert repr(shown) == "0 changes to make."

    def test_stands_alone(self) -> None:
        """Nothing is loaded from elsewhere, and nothing runs (the record is static HTML)."""
        shown = html(plan_table(Plan("x", (FILE, PACKAGE))))

        assert not re.search(r"<script|<link|<img|src=|href=|@import|\bon\w+=", shown)


class TestDiff:
    """A diff in colours."""

    def test_signs_stay(self) -> None:
        """Without colours the signs still say what goes and what comes."""
        text = re.sub("<[^>]+>", "", diff_html("--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n z"))

        assert text == "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n z"

    def test_added_and_removed_differ(self) -> None:
        """Text and background are set together, so that any theme can be read."""
        spans = re.findall(r'<span class="(\w*)" style="([^"]*)">(.)', diff_html("-x\n+y\n z"))
        styles = {sign: style for _, style, sign in spans}

        assert [(sort, sign) for sort, _, sign in spans] == [("del", "-"), ("ins", "+"), ("", " ")]
        assert len(set(styles.values())) == 3
        for sign in "+-":
            assert "color:" in styles[sign]
            assert "background:" in styles[sign]

    def test_names_of_files_are_no_changes(self) -> None:
        """What the page of a record colours as added or removed is a line of the file."""
        shown = diff_html("--- a\n+++ b\n@@ -1 +1 @@\n--\n++")

        assert re.findall(r'class="(\w*)"', shown) == ["hunk", "hunk", "hunk", "del", "ins"]


class TestSettings:
    """The site."""

    def test_every_setting_with_its_origin(self) -> None:
        """One row a setting that has a value; how many have none is counted."""
        site_file = parameters("lab")
        shown = settings_table(site_file)
        found = {name: (value, origin) for name, value, origin in lines(shown)}
        declared = {s.name: s.origin for s in site_file.settings if s.value is not None}
        unset = len(site_file.settings) - len(declared)

        assert declared == {name: origin for name, (_, origin) in found.items()}
        assert found["keepalived.vip"][0] == "10.0.0.2"
        assert found["traefik.image"][0] == "traefik:3.7"
        assert shown.caption == f"Site lab: {len(found)} settings, {unset} more are not set"


class TestRows:
    """What was observed."""

    def test_one_line_a_reading(self) -> None:
        """The caption says how many and how long it took."""
        shown = rows_table([Row("docker01", "service x", "active", "failed")], 1.26)

        assert shown.caption == "1 readings in 1.3 s"
        assert lines(shown) == [["docker01", "service x", "active", "failed"]]


class TestPlan:
    """What would change."""

    def test_changes(self) -> None:
        """One row a change with its undoing, and the digest that names the plan."""
        plan = Plan("x", (FILE, PACKAGE))
        shown = plan_table(plan)

        assert shown.caption == f"Plan: 2 changes, digest {plan.digest[:16]}"
        assert lines(shown) == [
            ["1", "docker01", "update", "file /etc/f", "put it back"],
            ["2", "docker01", "install", "package p", "put it back"],
        ]

    def test_every_diff(self) -> None:
        """A file has its diff; a value in one line is shown as one, before and after."""
        assert plan_table(Plan("x", (FILE, PACKAGE))).unfold == {
            "docker01: update file /etc/f": FILE.diff,
            "docker01: install package p: absent → 1.2": "- \n+ 1.2",
        }

    def test_one_change(self) -> None:
        """The caption knows the singular."""
        assert plan_table(Plan("x", (FILE,))).caption.startswith("Plan: 1 change, ")

    def test_nothing(self) -> None:
        """No change is said in words."""
        assert repr(plan_table(Plan("x", ()))) == "Plan: 0 changes. Everything is as declared."


class TestOutcomes:
    """What became of it."""

    def test_done_and_failed(self) -> None:
        """One row a change that was tried; the caption counts those that were made."""
        outcomes = [Outcome(FILE, 1250), Outcome(PACKAGE, 40, ChangeFailed("no"))]
        shown = outcomes_table(outcomes, 3)

        assert shown.caption == "1 of 3 changes made"
        assert lines(shown) == [
            ["docker01", "update", "file /etc/f", "✓ done", "1.2"],
            ["docker01", "install", "package p", "✗ failed", "0.0"],
        ]


class TestChecks:
    """The verdict."""

    @pytest.mark.parametrize(
        ("seen", "caption", "result"),
        [
            ("404", "Verified: 1 of 1 checks passed. Next: 30_keepalived.ipynb.", "✓ pass"),
            ("200", "Not verified: 0 of 1 checks passed. Next: 30_keepalived.ipynb.", "✗ failed"),
        ],
    )
    def test_one_line_a_check(self, seen: str, caption: str, result: str) -> None:
        """Expected and seen stand side by side; the caption is the verdict."""
        check = Check("answers", "docker01", "404", seen)
        shown = checks_table([check], "Next: 30_keepalived.ipynb.")

        assert shown.caption == caption
        assert lines(shown) == [["answers", "docker01", "404", seen, result]]

    def test_last_step(self) -> None:
        """Without a next step the caption ends with the count."""
        assert checks_table([Check("a", "b", "c", "c")], "").caption == (
            "Verified: 1 of 1 checks passed."
        )


class TestFindings:
    """The preflight's answers."""

    def test_what_matters_most_comes_first(self) -> None:
        """Blocking, then warnings, then what is fine; each kind is counted."""
        findings = [
            Finding(level, level, "x", "what", "why", "todo")
            for level in (Level.FINE, Level.WARNING, Level.BLOCKING, Level.FINE)
        ]
        shown = findings_table(findings)

        assert shown.caption == "1 blocking, 1 warning, 2 fine"
        assert [line[0] for line in lines(shown)] == ["blocking", "warning", "fine", "fine"]
        assert lines(shown)[0] == ["blocking", "blocking", "what", "why", "todo"]


class TestFiles:
    """Whole files."""

    SHOWN = files_shown({"docker01": {"/etc/f": "a <b>\n  c\n"}})

    def test_text(self) -> None:
        """Caption, title and content, as they are."""
        assert repr(self.SHOWN) == ("1 file, to be as follows\n\ndocker01: /etc/f\na <b>\n  c\n")

    def test_html(self) -> None:
        """It is open to read, escaped, and stays so on a record's page."""
        page = self.SHOWN._repr_html_()

        assert "<details open><summary>docker01: /etc/f</summary>" in page
        assert ">a &lt;b&gt;\n  c\n</pre>" in page
        assert "<details open" in sanitise(page)
        assert "a &lt;b&gt;\n  c\n" in sanitise(page)
