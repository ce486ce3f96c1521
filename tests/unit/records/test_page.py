"""The page of a run: what it says, and that it does nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_output
from pages import EVENTS, FACTS, HOSTILE, PNG, Elements, Record, said

from runbook.records.journal.status import Status
from runbook.records.page.page import page


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """The record of a run."""
    return Record(tmp_path)


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
