"""The page of a run: one HTML file that says who did what, why, and what came of it.

It runs nothing and fetches nothing, reads on a phone and on paper, and needs no program of ours. It
is made from what is in the record, which is masked already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from runbook.events import Finding, Level, others, words
from runbook.records.journal.entries import read
from runbook.records.journal.results import Results, StepResults, of_record
from runbook.records.journal.status import Status
from runbook.records.page.notebook import cells, visible
from runbook.records.page.timeline import kind, timeline

UNFOLDED = 24
"""Lines; a longer diff is folded on screens."""

_NOTHING = "—"
_MARKS = {"good": "✓", "quiet": "○", "bad": "✗"}
_SIGNS = {"+": "ins", "-": "del", "@": "hunk"}
_OWN_MARKS = {"interrupted": "⚠", "running": "…"}


def page(folder: Path, facts: Mapping[str, Any]) -> str:
    """Return the page of a run, made from the files of its record.

    Args:
        folder: The record. ``results.json``, journal, notebooks, ``plan.json``, ``before.json``,
            ``after.json`` and ``changes.diff`` are shown where they are there.
        facts: The predicate of the run's statement, as far as it is known; what is absent or
            ``None`` is shown as missing. Without ``signer`` the page says that nobody signed.
    """
    results = of_record(folder) or _killed_at_once(facts)
    plan, before, after = (_json(folder / f"{n}.json") for n in ("plan", "before", "after"))
    journal, diff = folder / "journal.jsonl", folder / "changes.diff"
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=results,
            facts=_lenient(facts),
            told=_told(results),
            steps=[_step(step) for step in results.steps],
            findings=[_findings(results.steps, level) for level in Level],
            plan=list(flat(plan)) if plan else [],
            diff=diff.read_text(encoding="utf-8") if diff.exists() else "",
            states=None if before is None or after is None else _moved(before, after),
            timeline=timeline(read(journal)) if journal.exists() else None,
            notebooks=list(_notebooks(folder, results.steps)),
        )
    )


def _killed_at_once(facts: Mapping[str, Any]) -> Results:
    """Return the results of a run that was killed before it wrote a line."""
    known: dict[str, Any] = {name: facts.get(name) for name in ("run_id", "mode", "started")}
    known |= dict.fromkeys(("site_file", "finished", "duration_ms", "exit_status"))
    site = facts.get("site") or "a site"
    return Results(**known, site=site, status=Status.KILLED, reason="", steps=())


class _Lenient(dict[str, Any]):
    """Values of which any may be absent, at any depth."""

    def __missing__(self, name: str) -> None:
        return None


def _lenient(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Lenient({name: _lenient(item) for name, item in value.items()})
    return [_lenient(item) for item in value] if isinstance(value, list | tuple) else value


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield every single value of nested ones with its path, in their order."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from flat(item, (*path, str(name)))
    elif isinstance(value, list | tuple) and any(isinstance(i, Mapping | list) for i in value):
        for number, item in enumerate(value, 1):
            yield from flat(item, (*path, str(number)))
    elif isinstance(value, list | tuple):
        yield " · ".join(path), ", ".join(map(str, value)) or _NOTHING
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield " · ".join(path), _NOTHING if text in ("", "null", "{}") else text


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ, and how many were read only before; null is absent.

    Args:
        before: By host, resource and field.
        after: Likewise; a resource whose step did not come to its end is not in it.
    """
    again = {
        host: {name: seen for name, seen in resources.items() if name in after.get(host, ())}
        for host, resources in before.items()
    }
    first, old, new = (
        {name: value for name, value in flat(state) if value != _NOTHING}
        for state in (before, again, after)
    )
    names = dict.fromkeys([name for name, _ in (*flat(again), *flat(after))])
    pairs = [(n, old.get(n, "absent"), new.get(n, "absent")) for n in names if n in old or n in new]
    moved = [pair for pair in pairs if pair[1] != pair[2]]
    return {"total": len(pairs), "moved": moved, "unread": len(first) - len(old)}


def _told(results: Results) -> dict[str, Any]:
    """Return the run in a few words: what it did to what, and the sums over its steps."""
    changes = sum(step.counts.changes for step in results.steps)
    done = sum(step.counts.done for step in results.steps)
    checks = [check.passed for step in results.steps for check in step.checks]
    complete = results.status is Status.COMPLETED
    if results.mode == "plan":
        title = "Planned for" if complete else "Planning for"
        words = [f"{changes} changes planned, none made"]
    else:
        title = "Applied to" if complete else "Applying to"
        words = [_made(results.status, changes, done)]
    if checks:
        words.append(f"{checks.count(True)} of {len(checks)} checks passed")
    return {"title": f"{title} {results.site}", "words": words, "kind": kind(results.status)}


def _made(status: str, planned: int, done: int) -> str:
    if not planned:
        return "nothing had to be changed" if status == "completed" else "no change was planned"
    # Of the change that was under way when a run was killed, nobody knows.
    return f"{'at least ' if status == 'killed' else ''}{done} of {planned} changes made"


def _step(step: StepResults) -> dict[str, Any]:
    left = list(step.outcomes)
    planned = []
    for change in step.changes:
        made = next((outcome for outcome in left if outcome.key == change.key), None)
        if made is not None:
            left.remove(made)
        planned.append((change, made))
    told = [(name, words(one)) for name, one in others(step)]
    return {**vars(step), "planned": planned, "others": told}


def _findings(steps: Iterable[StepResults], level: Level) -> dict[str, Any]:
    found: list[Finding] = [f for step in steps for f in step.findings if f.level is level]
    return {"level": level, "found": found}


def _notebooks(folder: Path, steps: Iterable[StepResults]) -> Iterator[dict[str, Any]]:
    for step in steps:
        path = folder / step.notebook
        if path.exists():
            notebook = json.loads(path.read_text(encoding="utf-8"))
            yield {**vars(step), "shown": list(cells(notebook)), "kind": kind(step.status)}


def _mark(status: str) -> str:
    return f"{_OWN_MARKS.get(status) or _MARKS[kind(status)]} {status}"


def _seconds(ms: int | None) -> str:
    if ms is None:
        return _NOTHING
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _time(text: str | None) -> Markup:
    """Return a moment for people; its machine-readable form is the one of the record."""
    if not text:
        return Markup("—")
    try:
        shown = datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return Markup("{}").format(text)
    return Markup('<time datetime="{}">{} UTC</time>').format(text, shown)


def _lines(diff: str) -> Iterator[tuple[str, str]]:
    """Yield each line of a unified diff with what it is: ins, del, hunk or nothing of these."""
    lines, below_old_name = diff.rstrip("\n").split("\n"), False
    for line, next_one in zip(lines, [*lines[1:], ""], strict=True):
        # A line that was "-- " is removed as "--- "; the names of the files come as a pair.
        old_name = line.startswith("--- ") and next_one.startswith("+++ ")
        yield line, "hunk" if old_name or below_old_name else _SIGNS.get(line[:1], "")
        below_old_name = old_name


def _coloured(diff: str) -> Markup:
    line = Markup('<span class="{}">{}</span>')
    return Markup("\n").join(line.format(sort, visible(text) or " ") for text, sort in _lines(diff))


def _sums(diff: str) -> str:
    """Return how many lines a unified diff adds and removes."""
    sorts = [sort for _, sort in _lines(diff)]
    return f"+{sorts.count('ins')} -{sorts.count('del')}"


def _tick(seconds: float) -> str:
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{round(seconds, 1):g} s"


def _css(text: object) -> Markup:
    """Return a text as it stands in a string of CSS, every character escaped.

    Source: CSS Syntax Module Level 3, 4.3.7, Consume an escaped code point.
    """
    return Markup("".join(f"\\{ord(character):06x}" for character in visible(text)))  # noqa: S704


def _finalize(value: object) -> object:
    if value is None or value == "":
        return _NOTHING
    return value if isinstance(value, Markup | int) else visible(value)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [] if value is None else [value]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("runbook.records.page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "mark": _mark,
        "kind": kind,
        "seconds": _seconds,
        "time": _time,
        "diff": _coloured,
        "listed": _list,
        "sums": _sums,
        "tick": _tick,
        "css": _css,
    }
    environment.globals |= {"unfolded": UNFOLDED, "nothing": _Lenient()}
    return environment
