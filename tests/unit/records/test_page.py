"""The page of a run: what it says, and that it does nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from headless import entry
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from runbook.events import to_json
from runbook.records.journal.entries import Entry
from runbook.records.journal.journal import Journal
from runbook.records.journal.results import collect
from runbook.records.journal.status import Status
from runbook.records.page.page import flat, page
from runbook.records.page.timeline import timeline

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script></td></details><style>b{}</style>'
PNG = "iVBORw0KGgo="
FACTS: dict[str, Any] = {
    "operator": {"principal": "alice@example.org", "os_user": "alice", "host": "ws-12"},
    "signer": "alice@example.org",
    "ticket": "CHG-1234",
    "reason": "a second edge",
    "approval": {"kind": "pre", "by": "bob@example.org", "at": "2026-11-23T12:40:00.000Z"},
    "plan_sha256": "ab" * 32,
    "git": {"commit": "5eb7700", "branch": "main", "dirty": True},
    "targets": ["docker01", "gateway"],
    "host_keys": {"docker01": "SHA256:abc"},
    "links": {"retry_of": "20261122T060204Z-lab-000000", "rollback_of": None},
}
CHANGE = {
    "host": "docker01",
    "resource": "file /etc/f",
    "action": "update",
    "summary": "update file /etc/f",
    "before": "a\n",
    "after": "b\n",
    "diff": "--- f (now)\n+++ f (planned)\n@@ -1 +1 @@\n-a\n+b",
    "undo": "restore f",
}
OTHER = {**CHANGE, "host": "docker02", "diff": ""}
EVENTS: list[dict[str, Any]] = [
    {"event": "progress", "host": "docker01", "message": "observed"},
    {
        "event": "finding",
        "level": "blocking",
        "host": "gateway",
        "subject": "zone",
        "what": "no zone",
        "todo": "make it",
    },
    {"event": "finding", "level": "fine", "host": "docker01", "subject": "os", "what": "Debian 12"},
    {
        "event": "plan",
        "digest": "cd" * 32,
        "changes": [CHANGE, {**CHANGE, "host": "docker02", "diff": ""}],
    },
    {"event": "outcome", "outcome": "done", "duration_ms": 1500, "message": ""}
    | {name: CHANGE[name] for name in ("host", "resource", "action")},
    {"event": "check", "name": "it is there", "where": "client", "expected": "200", "seen": "200"}
    | {"passed": True},
    {"event": "check", "name": "it is alone", "where": "client", "expected": "one", "seen": "two"}
    | {"passed": False},
]


class Record:
    """The folder of a run that had one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = EVENTS
        self.mode = "apply"
        self.reason = ""
        self.outputs: list[Any] = []
        self.prose = "# Do it\n\n| a | b |\n| - | - |\n| 1 | 2 |"

    def page(self, status: str = "completed", facts: dict[str, Any] | None = None) -> str:
        """Write the record of a run that ended so, and return its page."""
        path = self.folder / "journal.jsonl"
        path.unlink(missing_ok=True)
        steps = [
            {"step": "traefik", "notebook": "20.ipynb"},
            {"step": "last", "notebook": "50.ipynb"},
        ]
        journal = Journal(path, lambda _entry: None)
        opened = {"run_id": "20261123T060204Z-lab-317606", "site": "lab", "site_file": "lab.yml"}
        journal.write(entry("run opened", **opened, mode=self.mode, steps=steps))
        journal.write(entry("step started", **steps[0]))
        for event in self.events:
            journal.write(entry("event", step="traefik", event={"step": "traefik", **event}))
        ended = {"status": status, "reason": self.reason, "duration_ms": 2500}
        cell = {"cell": "apply", "index": 1, "status": status, "duration_ms": 2000}
        journal.write(entry("cell ended", step="traefik", **cell))
        journal.write(entry("step ended", step="traefik", **ended))
        journal.write(entry("run closed", **ended, exit_status=0))
        journal.close()
        self.write("results.json", to_json(collect(journal.entries)))
        code = new_code_cell('site = "lab"', outputs=self.outputs)
        code.metadata["papermill"] = {"status": status}
        self.write("20.ipynb", new_notebook(cells=[new_markdown_cell(self.prose), code]))
        return page(self.folder, FACTS if facts is None else facts)

    def write(self, name: str, value: Any) -> None:
        """Write one more file of the record."""
        text = value if isinstance(value, str) else json.dumps(value)
        (self.folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """The record of a run."""
    return Record(tmp_path)


class Elements(HTMLParser):
    """The start tags of a page and their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a start tag."""
        self.found.append((tag, dict(attrs)))
        self.text += " "

    def handle_endtag(self, tag: str) -> None:
        """Part the texts of neighbours."""
        self.text += " "

    def handle_data(self, data: str) -> None:
        """Keep what is read."""
        if self.found and self.found[-1][0] != "style":
            self.text += data


def said(text: str) -> str:
    """Return what a page says, with single spaces."""
    return " ".join(Elements(text).text.split())


class TestInert:
    """The page runs nothing and fetches nothing."""

    def test_policy_comes_first(self, record: Record) -> None:
        """The content security policy stands before anything it would have to stop."""
        tags = Elements(record.page()).found
        first = next(
            number for number, (_, attributes) in enumerate(tags) if "http-equiv" in attributes
        )
        policy = tags[first][1]["content"] or ""

        assert [tag for tag, _ in tags[:first]] == ["html", "head", "meta"]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")

    def test_nothing_is_fetched_or_run(self, record: Record) -> None:
        """No script, no frame, no handler, no address but places on the page and data."""
        record.outputs = [new_output("display_data", data={"image/png": PNG})]
        text = record.page()

        for tag, attributes in Elements(text).found:
            assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form")
            assert not [name for name in attributes if name.startswith("on")]
            for name in ("src", "href", "srcset", "action", "data", "poster", "background"):
                assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
        assert not re.search(r"@import|url\(|expression\(", text)

    @pytest.mark.parametrize("mode", ["apply", "plan"])
    def test_hostile_text_stays_text(self, record: Record, mode: str) -> None:
        """Where anything says what looks like HTML, the page has the same elements and shows it."""
        record.mode = mode
        calm, hostile = (everywhere(record, text) for text in ("harmless", HOSTILE))
        names = [[tag for tag, _ in Elements(text).found] for text in (calm, hostile)]

        assert names[0] == names[1]
        assert said(hostile).count("<script>alert(1)</script>") == said(calm).count("harmless")
        assert said(calm).count("harmless") > 40
        assert "<script" not in hostile

    def test_text_that_reorders_itself(self, record: Record) -> None:
        """Characters that would show a text in another order are shown as what they are."""
        record.reason = "approved \u202edesufer"
        record.outputs = [new_output("stream", text="a\u2066b")]
        text = record.page("failed")

        assert "approved ⟦U+202E⟧desufer" in text
        assert "a⟦U+2066⟧b" in text
        assert not set("\u202e\u2066") & set(text)


def everywhere(record: Record, text: str) -> str:
    """Return a page of a record in which every text is this one."""
    kept = ("event", "level", "digest")

    def say(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {n if n in value else text: say(item, n) for n, item in value.items()}
        if isinstance(value, list):
            return [say(item) for item in value]
        return text if isinstance(value, str) and name not in kept else value

    record.events, record.reason = say(EVENTS), text
    record.prose = f"# {text}\n\n{text} **{text}**\n\n```\n{text}\n```"
    record.outputs = [
        new_output("stream", text=text),
        new_output("error", ename="E", evalue=text, traceback=[text]),
        new_output("display_data", data={"text/plain": text}),
        new_output("display_data", data={"image/png": PNG, "text/plain": text}),
    ]
    record.write("plan.json", {"site": text, text: {"files": [text, text]}})
    record.write("before.json", {"h": {"r": {"a": text, "b": "1"}}})
    record.write("after.json", {"h": {"r": {"a": "2", "b": text}}, text: {text: {text: text}}})
    record.write("changes.diff", f"--- {text}\n+{text}\n-{text}")
    return record.page("failed", say(FACTS))


class TestPaper:
    """What only paper has."""

    def test_run_on_every_sheet(self, tmp_path: Path) -> None:
        """The run stands at the foot, escaped, so that it can end neither string nor sheet."""
        styles = page(tmp_path, {"run_id": '"}</style>'}).partition("</style>")[0]

        assert '@bottom-left { content: "\\000022\\00007d\\00003c' in styles
        assert styles.endswith('"; } }\n')


class TestFirstScreen:
    """Who, when, from where, why, approval, outcome, signature."""

    def test_all_of_it(self, record: Record) -> None:
        """Everything that an auditor asks first is above the first section."""
        text = said(record.page().partition("<main>")[0])

        for words in (
            "Run record 20261123T060204Z-lab-317606",
            "Applied to lab ✓ completed",
            "1 of 2 changes made · 1 of 2 checks passed",
            "Who alice@example.org as alice",
            "From ws-12",
            "UTC for 2.5 s",
            "Why CHG-1234 a second edge",
            "Approval bob@example.org before the run, 2026-11-23 12:40:00 UTC",
            "Signature by alice@example.org in statement.json.sig.",
        ):
            assert words in text
        assert "nsigned" not in text

    def test_nothing_is_known(self, record: Record) -> None:
        """What is missing is said in words, not left out: no reason, no approval, no signature."""
        text = said(record.page(facts={}).partition("<main>")[0])

        for words in (
            "✗ Unsigned. Nothing shows who made this record",
            "Who —",
            "⚠ no ticket, no reason",
            "⚠ nobody approved this run",
            "✗ unsigned",
        ):
            assert words in text

    def test_plan(self, record: Record) -> None:
        """A plan needs no approval, and says that nothing was changed."""
        record.mode = "plan"
        record.write("changes.diff", "-a\n+b\n")
        text = said(record.page(facts={}))

        assert "Planned for lab ✓ completed 2 changes planned, none made" in text
        assert "Approval not needed: nothing was changed" in text
        assert "the run changed" not in text
        assert "not tried" not in text

    @pytest.mark.parametrize(
        ("approval", "words"),
        [
            ({"kind": "none", "by": []}, "⚠ nobody approved this run"),
            ({"kind": "pre", "by": []}, "⚠ pre, by nobody"),
            (
                {"kind": "emergency", "by": ["a", "b"], "review_due": "2026-11-28T00:00:00.000Z"},
                "a, b ⚠ emergency review due 2026-11-28 00:00:00 UTC",
            ),
        ],
    )
    def test_approvals(self, record: Record, approval: dict[str, Any], words: str) -> None:
        """Each kind of approval is told apart."""
        assert words in said(record.page(facts={"approval": approval}))

    @pytest.mark.parametrize("status", Status)
    def test_each_status(self, record: Record, status: Status) -> None:
        """Every end is shown as a sign and a word; a colour only helps."""
        good = ("changed", "verified", "unchanged", "completed")
        sign = {"interrupted": "⚠", "never ran": "○", "skipped": "○", "running": "…"}
        text = record.page(status.value)

        expected = "✓" if status in good else sign.get(status, "✗")
        assert f"{expected} {status}" in said(text.partition("<main>")[0])
        assert ('<header class="good">' in text) == (status in good)

    def test_killed_before_its_first_line(self, tmp_path: Path) -> None:
        """A run that left nothing has a page that says so, and claims nothing of the site."""
        text = said(page(tmp_path, {"run_id": "20261123T060204Z-lab-317606", "site": "lab"}))

        assert "20261123T060204Z-lab-317606" in text
        assert "Applying to lab ✗ killed no change was planned" in text
        assert "no end was recorded" in text
        assert "as declared" not in text

    @pytest.mark.parametrize(
        ("status", "planned", "words"),
        [
            ("completed", False, "nothing had to be changed"),
            ("failed", False, "no change was planned"),
            ("failed", True, "✗ failed 1 of 2 changes made"),
            ("killed", True, "✗ killed at least 1 of 2 changes made"),
        ],
    )
    def test_no_more_is_claimed_than_is_known(
        self, record: Record, status: str, planned: bool, words: str
    ) -> None:
        """A site that was not looked at is not well; a run that was killed may have done more."""
        record.events = EVENTS if planned else []

        assert words in said(record.page(status).partition("<main>")[0])


class TestSections:
    """Steps, changes, checks, findings, states, notebooks."""

    def test_steps(self, record: Record) -> None:
        """One row a step, with why it failed."""
        record.reason = "check 'it is alone' failed"
        text = said(record.page("failed"))

        assert "traefik 1 of 2 1 of 2 2.5 s ✗ failed check 'it is alone' failed" in text
        assert "last — — — ○ never ran" in text

    def test_changes(self, record: Record) -> None:
        """Each with what came of it, how to undo it and its diff, or both states."""
        text = said(record.page())

        assert "docker01 1.5 s ✓ done update file /etc/f To undo: restore f" in text
        assert "Difference +1 -1 lines --- f (now)" in text
        assert "docker02 ○ not tried update file /etc/f a → b" in text

    def test_no_changes(self, record: Record) -> None:
        """A step that showed no plan is not said to be as declared."""
        record.events = [{"event": "plan", "digest": "cd" * 32, "changes": []}]

        assert "Nothing: traefik is as declared. Without a plan: last." in said(record.page())
        record.events = []
        assert "Nothing was planned. Without a plan: traefik, last." in said(record.page())

    def test_diff(self, record: Record) -> None:
        """Lines are told apart by their signs; a file's name is no change."""
        text = record.page()

        assert '<span class="hunk">--- f (now)</span>' in text
        assert '<span class="del">-a</span>\n<span class="ins">+b</span>' in text

    def test_diff_of_what_looks_like_names(self, record: Record) -> None:
        """A line that begins with dashes and goes is a line that goes."""
        record.write("changes.diff", "--- a\n+++ b\n@@ -1 +1 @@\n--- why\n+x\n")
        text = record.page()

        assert '<span class="del">--- why</span>' in text
        assert "changes.diff +1 -1 lines" in said(text)

    def test_checks(self, record: Record) -> None:
        """What was seen, and for a failed one what was expected."""
        text = said(record.page())

        assert "✓ passed it is there client 200" in text
        assert "✗ failed it is alone client two expected one" in text

    def test_findings(self, record: Record) -> None:
        """What matters comes first, with what to do; the rest is folded."""
        text = said(record.page())

        assert "✗ blocking gateway no zone To do: make it" in text
        assert "✓ 1 fine docker01 Debian 12" in text

    def test_states(self, record: Record) -> None:
        """Only what differs is listed; null is absent."""
        record.write("before.json", {"docker01": {"package": None, "unit": {"on": False, "a": 1}}})
        record.write("after.json", {"docker01": {"package": "2.2", "unit": {"on": True, "a": 1}}})
        text = said(record.page())

        assert "2 of 3 recorded values differ." in text
        assert "docker01 · package absent 2.2" in text
        assert "docker01 · unit · on false true" in text
        assert "only before" not in text

    @pytest.mark.parametrize(
        ("mode", "why"),
        [("plan", "a plan changes nothing"), ("apply", "their step did not come to its end")],
    )
    def test_states_that_were_not_read_again(self, record: Record, mode: str, why: str) -> None:
        """What nobody read afterwards is not said to be absent."""
        record.mode = mode
        seen = {"unit": {"on": "no", "a": "1"}}
        record.write("before.json", {"docker01": {**seen, "package": {"is": "2"}}, "gateway": seen})
        record.write("after.json", {"docker01": {"package": {"is": "3"}}})
        text = said(record.page())

        assert f"1 of 1 recorded values differ. 4 values were read only before: {why}." in text
        assert "package · is 2 3" in text
        assert "absent" not in text.partition("Before and after")[2].partition("Timeline")[0]

    def test_sealed_plan(self, record: Record) -> None:
        """Its digest and every value of it are there."""
        record.write("plan.json", {"image": "traefik:3.7", "files": {"a": ["x", "y"]}})
        text = said(record.page())

        assert f"Sealed plan {'ab' * 32}" in text
        assert "The sealed plan, 2 values image traefik:3.7 files · a x, y" in text

    def test_made_with(self, record: Record) -> None:
        """Commit, hosts, keys and earlier runs."""
        text = said(record.page())

        assert "5eb7700 on main ⚠ with changes that are in no commit" in text
        assert "Hosts contacted docker01, gateway" in text
        assert "docker01 SHA256:abc" in text
        assert "Retry of 20261122T060204Z-lab-000000" in text
        assert "Rollback of" not in text


class TestNotebooks:
    """Executed notebooks on the page."""

    def test_prose_source_and_outputs(self, record: Record) -> None:
        """In the notebook's order; headings below those of the page; colours of text dropped."""
        record.outputs = [
            new_output("display_data", data={"text/html": "<b>table</b>", "text/plain": "plain"}),
            new_output("stream", text="\x1b[31mred\x1b[0m"),
            new_output("error", ename="E", evalue="", traceback=["\x1b[1mE\x1b[0m: no"]),
            new_output("display_data", data={"text/markdown": "*so*", "text/plain": "plain"}),
            new_output("display_data", data={"application/json": {"a": 1}}),
        ]
        text = record.page()
        words = said(text)

        assert '<h3 class="name">20.ipynb</h3>' in text
        assert "<h4>Do it</h4>" in text
        assert "<td>1</td>" in text
        assert 'Do it a b 1 2 site = "lab" table red E: no so application/json' in words
        assert "plain" not in words

    def test_status_of_a_cell(self, record: Record) -> None:
        """A cell that did not complete says so."""
        text = record.page("timed out")

        assert '<p class="ended"><span class="chip bad">✗ timed out</span></p>' in text
        assert '<details class="notebook" open>' in text
        assert '<details class="notebook" open>' not in record.page()
        assert '<span class="chip good">✓ changed</span></p>' in record.page("changed")
        assert '<p class="ended">' not in record.page("unchanged")

    def test_links_and_pictures_of_prose(self, record: Record) -> None:
        """They stay as they are written: nothing leads out of the record."""
        record.prose = "[text](https://example.org) ![p](https://example.org/p.png) <https://e.org>"
        text = record.page()

        assert "[text](https://example.org)" in said(text)
        assert not [a for tag, a in Elements(text).found if tag == "img" or "https" in str(a)]


class TestTimeline:
    """From the journal."""

    @pytest.fixture
    def entries(self) -> Callable[..., list[Entry]]:
        """Entries at these seconds after the start."""

        def make(*told: tuple[float, str, dict[str, Any]]) -> list[Entry]:
            return [
                entry(kind, time=f"2026-11-23T06:00:{second:06.3f}Z", **more)
                for second, kind, more in told
            ]

        return make

    def test_steps_and_hosts(self, entries: Callable[..., Any]) -> None:
        """A bar ends when its event was told and began as long before as it took."""
        change = {"event": "outcome", "host": "docker01", "action": "install", "resource": "p"}
        made = {**change, "outcome": "done", "message": "", "duration_ms": 4000}
        failed = {**change, "outcome": "failed", "message": "", "duration_ms": 1000}
        progress = {"event": "progress", "host": "gateway", "message": "on"}
        found = timeline(
            entries(
                (0, "kernel started", {"folder": "f"}),
                (2, "step started", {"step": "a", "notebook": "a.ipynb"}),
                (5, "event", {"step": "a", "event": progress}),
                (
                    8,
                    "event",
                    {"step": "a", "event": made},
                ),
                (
                    9,
                    "event",
                    {"step": "a", "event": failed},
                ),
                (
                    10,
                    "step ended",
                    {"step": "a", "status": "failed", "reason": "", "duration_ms": 8000},
                ),
            )
        )
        assert found is not None
        step, docker01, gateway = found.rows

        assert (found.duration_ms, found.ticks[:2]) == (10_000, ((0.0, 0), (20.0, 2)))
        assert [(b.left, b.width, b.kind) for b in step.bars] == [(20.0, 80.0, "whole bad")]
        assert [(b.left, b.width, b.kind) for b in docker01.bars] == [
            (40.0, 40.0, "good"),
            (80.0, 10.0, "bad"),
        ]
        assert (docker01.duration_ms, docker01.status) == (5000, "failed")
        assert docker01.bars[0].label == "install p: done, 4000 ms"
        assert [(b.left, b.width, b.kind) for b in gateway.bars] == [(50.0, 0.0, "told")]

    def test_a_step_that_never_ended(self, entries: Callable[..., Any]) -> None:
        """Its bar goes to the last that was heard of the run."""
        found = timeline(
            entries(
                (0, "kernel started", {"folder": "f"}),
                (1, "step started", {"step": "a", "notebook": "a.ipynb"}),
                (4, "run killed", {"status": "killed", "reason": ""}),
            )
        )

        assert found is not None
        assert [(b.left, b.width) for b in found.rows[0].bars] == [(25.0, 75.0)]

    def test_no_step(self, entries: Callable[..., Any]) -> None:
        """A run without steps has none."""
        closed = {"status": "completed", "reason": ""}

        assert (
            timeline(entries((0, "interrupted", {"signal": "SIGINT"}), (1, "run closed", closed)))
            is None
        )


class TestFlat:
    """Nested values as a table."""

    def test_paths(self) -> None:
        """Mappings and lists of mappings are walked, plain lists are one value."""
        value = {"a": {"b": [1, 2], "c": [{"d": None}, {"d": "x"}]}, "e": {}, "f": True, "g": []}

        assert list(flat(value)) == [
            ("a · b", "1, 2"),
            ("a · c · 1 · d", "—"),
            ("a · c · 2 · d", "x"),
            ("e", "—"),
            ("f", "true"),
            ("g", "—"),
        ]
