"""What a notebook shows: pandas tables with a sentence above and diffs below."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from runbook.apply import Outcome
from runbook.changes import Check, Finding, Plan
from runbook.site import SiteFile
from runbook.steps import Row
from runbook.steps.step import Files

# Text and background are both set: a notebook's theme may be dark (WCAG 2.2, 1.4.3).
_PRE = (
    'style="font-family:monospace;white-space:pre-wrap;'
    'color:#1f2328;background:#f6f8fa;padding:6px"'
)
_LEFT = 'style="text-align:left;vertical-align:top"'
_COLOURS = {"+": "color:#0a4d1c;background:#d9f5e0", "-": "color:#7a1410;background:#fde4e2"}
# By class, which the page of a record colours in its own way; the names of files are no changes.
_SORTS = {"--- ": "hunk", "+++ ": "hunk", "+": "ins", "-": "del", "@": "hunk"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A table with its caption, and long texts to unfold; the same in HTML and as text.

    Attributes:
        caption: What it is.
        frame: The table; none is shown where it has no lines.
        unfold: The texts by their titles.
        whole: Whether they are whole files, open to read, and no diffs.
    """

    caption: str
    frame: pd.DataFrame
    unfold: Mapping[str, str]
    whole: bool = False

    def _repr_html_(self) -> str:
        parts = [f"<p><strong>{html.escape(self.caption)}</strong></p>"]
        if len(self.frame):
            rendered = self.frame.map(_cell).to_html(index=False, escape=False, border=0)
            # Notebooks align cells to the right, which suits numbers and not sentences.
            parts.append(re.sub(r"<(t[dh])>", rf"<\1 {_LEFT}>", rendered))
        opened, shown = (" open", _file_html) if self.whole else ("", diff_html)
        parts += [
            f"<details{opened}><summary>{html.escape(title)}</summary>{shown(text)}</details>"
            for title, text in self.unfold.items()
        ]
        return "\n".join(parts)

    def __repr__(self) -> str:
        parts = [self.caption]
        if len(self.frame):
            parts.append(self.frame.to_string(index=False))
        parts += [f"{title}\n{text}" for title, text in self.unfold.items()]
        return "\n\n".join(parts)


def _cell(value: object) -> str:
    return html.escape(str(value)).replace("\n", "<br>")


def diff_html(text: str) -> str:
    """Return a unified diff as HTML; the signs carry the meaning, colours only help."""
    lines = []
    for line in text.splitlines():
        sort, style = _SORTS.get(line[:4]) or _SORTS.get(line[:1], ""), _COLOURS.get(line[:1], "")
        lines.append(f'<span class="{sort}" style="{style}">{html.escape(line)}</span>')
    return f"<pre {_PRE}>" + "\n".join(lines) + "</pre>"


def _file_html(text: str) -> str:
    return f"<pre {_PRE}>{html.escape(text)}</pre>"


def table(caption: str, columns: Iterable[str], lines: Iterable[Iterable[object]]) -> Shown:
    """Return a table of any lines."""
    return Shown(caption, pd.DataFrame([list(line) for line in lines], columns=list(columns)), {})


def settings_table(site_file: SiteFile) -> Shown:
    """Return the settings in force and where each was declared."""
    lines = [(s.name, s.value, s.origin) for s in site_file.settings if s.value is not None]
    unset = len(site_file.settings) - len(lines)
    return table(
        f"Site {site_file.site.name}: {len(lines)} settings, {unset} more are not set",
        ["setting", "value", "declared in"],
        lines,
    )


def rows_table(rows: Iterable[Row], seconds: float) -> Shown:
    """Return what was observed."""
    lines = [(row.host, row.resource, row.field, row.seen) for row in rows]
    return table(
        f"{len(lines)} readings in {seconds:.1f} s", ["host", "resource", "field", "seen"], lines
    )


def files_shown(files: Files) -> Shown:
    """Return every file that a step installs, as it is to be."""
    found = {f"{h}: {path}": text for h, paths in files.items() for path, text in paths.items()}
    count = len(found)
    caption = f"{count} file{'' if count == 1 else 's'}, to be as follows"
    return Shown(caption, pd.DataFrame(), found, whole=True)


def plan_table(plan: Plan) -> Shown:
    """Return one line a change, and every diff to unfold."""
    if not plan.changes:
        return table("Plan: 0 changes. Everything is as declared.", [], [])
    lines = [(c.stage + 1, c.host, c.action, c.resource, c.undo) for c in plan.changes]
    frame = pd.DataFrame(lines, columns=["stage", "host", "action", "resource", "how to undo it"])
    unfold = {
        f"{change.host}: {change.summary}": change.diff or f"- {change.before}\n+ {change.after}"
        for change in plan.changes
    }
    count = len(plan.changes)
    caption = f"Plan: {count} change{'s' if count > 1 else ''}, digest {plan.digest[:16]}"
    return Shown(caption, frame, unfold)


def outcomes_table(outcomes: Iterable[Outcome], planned: int) -> Shown:
    """Return one line a change that was tried."""
    found = list(outcomes)
    lines = [
        (
            outcome.change.host,
            outcome.change.action,
            outcome.change.resource,
            f"{'✓' if outcome.error is None else '✗'} {outcome.word}",
            f"{outcome.duration_ms / 1000:.1f}",
        )
        for outcome in found
    ]
    done = sum(outcome.error is None for outcome in found)
    return table(
        f"{done} of {planned} changes made", ["host", "action", "resource", "outcome", "s"], lines
    )


def checks_table(checks: Iterable[Check], next_step: str) -> Shown:
    """Return one line a check and the verdict above them."""
    found = list(checks)
    lines = [
        (c.name, c.where, c.expected, c.seen, "✓ pass" if c.passed else "✗ failed") for c in found
    ]
    passed = sum(check.passed for check in found)
    verdict = "Verified" if passed == len(found) else "Not verified"
    return table(
        f"{verdict}: {passed} of {len(found)} checks passed. {next_step}".strip(),
        ["check", "seen from", "expected", "seen", "result"],
        lines,
    )


def findings_table(findings: Iterable[Finding]) -> Shown:
    """Return one line a finding, what matters most first."""
    order = {"blocking": 0, "warning": 1, "fine": 2}
    found = sorted(findings, key=lambda finding: order[finding.level])
    lines = [(f.level.value, f.host, f.what, f.why, f.todo) for f in found]
    count = {level: sum(f.level == level for f in found) for level in order}
    caption = ", ".join(f"{number} {level}" for level, number in count.items())
    return table(caption, ["level", "where", "what", "why it matters", "what to do"], lines)
