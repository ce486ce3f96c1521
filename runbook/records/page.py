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

from runbook.execute.journal import read
from runbook.execute.results import Results
from runbook.records.page_notebook import cells, visible
from runbook.records.page_timeline import timeline

UNFOLDED = 24
"""Lines; a longer diff is folded on screens."""

_NOTHING = "—"
_LEVELS = ("blocking", "warning", "fine")
_MARKS = {"completed": "✓", "done": "✓", "interrupted": "⚠", "never ran": "○", "running": "…"}
_SIGNS = {"+++ ": "hunk", "--- ": "hunk", "+": "ins", "-": "del", "@": "hunk"}


def page(folder: Path, facts: Mapping[str, Any]) -> str:
    """Return the page of a run, made from the files of its record.

    Args:
        folder: The record. ``results.json``, journal, notebooks, ``plan.json``, ``before.json``,
            ``after.json`` and ``changes.diff`` are shown where they are there.
        facts: The predicate of the run's statement, as far as it is known; what is absent or
            ``None`` is shown as missing. Without ``signer`` the page says that nobody signed.
    """
    results: Results = _lenient(_json(folder / "results.json") or _killed_at_once(facts))
    plan, before, after = (_json(folder / f"{n}.json") for n in ("plan", "before", "after"))
    journal, diff = folder / "journal.jsonl", folder / "changes.diff"
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=results,
            facts=_lenient(facts),
            told=_told(results),
            steps=[_step(step) for step in results["steps"]],
            findings=[_findings(results["steps"], level) for level in _LEVELS],
            plan=list(flat(plan)) if plan else [],
            diff=diff.read_text(encoding="utf-8") if diff.exists() else "",
            states=None if before is None or after is None else _moved(before, after),
            timeline=timeline(read(journal)) if journal.exists() else None,
            notebooks=list(_notebooks(folder, results["steps"])),
        )
    )


def _killed_at_once(facts: Mapping[str, Any]) -> Results:
    """Return the results of a run that was killed before it wrote a line."""
    return {"run_id": facts.get("run_id"), "site": "a site", "status": "killed", "steps": []}


class _Lenient(dict[str, Any]):
    """Values of which any may be absent, at any depth: notebooks tell what they like."""

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


def _moved(before: Any, after: Any) -> dict[str, Any]:
    """Return the values that differ; what is null is absent."""
    old, new = ({n: v for n, v in flat(state) if v != _NOTHING} for state in (before, after))
    names = [*old, *(name for name in new if name not in old)]
    pairs = [(name, old.get(name, "absent"), new.get(name, "absent")) for name in names]
    return {"total": len(pairs), "moved": [pair for pair in pairs if pair[1] != pair[2]]}


def _told(results: Results) -> dict[str, Any]:
    """Return the run in a few words: what it did to what, and the sums over its steps."""
    counts = [step["counts"] for step in results["steps"]]
    total = {name: sum(count[name] for count in counts) for name in counts[0]} if counts else {}
    checks = total.get("checks_passed", 0) + total.get("checks_failed", 0)
    planned, done = total.get("changes", 0), total.get("done", 0)
    complete, planning = results["status"] == "completed", results["mode"] == "plan"
    if planning:
        title = "Planned for" if complete else "Planning for"
        words = [f"{planned} changes planned, none made"]
    else:
        title = "Applied to" if complete else "Applying to"
        words = [f"{done} of {planned} changes made" if planned else "nothing had to be changed"]
    if checks:
        words.append(f"{total['checks_passed']} of {checks} checks passed")
    title = f"{title} {results['site']}"
    return {"title": title, "words": words, "kind": _kind(results["status"])}


def _step(step: Results) -> dict[str, Any]:
    left = list(step["outcomes"])
    changes = []
    for change in step["changes"]:
        same = ("host", "resource", "action")
        made = next((o for o in left if all(o.get(n) == change[n] for n in same)), None)
        if made is not None:
            left.remove(made)
        changes.append(_Lenient({**change, "made": made}))
    return _Lenient({**step, "planned": changes, "kind": _kind(step["status"])})


def _findings(steps: Iterable[Results], level: str) -> dict[str, Any]:
    found = [
        finding for step in steps for finding in step["findings"] if finding.get("level") == level
    ]
    return {"level": level, "found": found}


def _notebooks(folder: Path, steps: Iterable[Results]) -> Iterator[dict[str, Any]]:
    for step in steps:
        path = folder / step["notebook"]
        if path.exists():
            notebook = json.loads(path.read_text(encoding="utf-8"))
            yield {**step, "shown": list(cells(notebook)), "kind": _kind(step["status"])}


def _kind(status: str) -> str:
    if status in ("completed", "done"):
        return "good"
    return "quiet" if status in ("never ran", "running") else "bad"


def _mark(status: str) -> str:
    return f"{_MARKS.get(status, '✗')} {status}"


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


def _coloured(diff: str) -> Markup:
    lines = []
    for line in diff.splitlines():
        kind = _SIGNS.get(line[:4]) or _SIGNS.get(line[:1], "")
        lines.append(Markup('<span class="{}">{}</span>').format(kind, visible(line) or " "))
    return Markup("\n").join(lines)


def _sums(diff: str) -> str:
    """Return how many lines a unified diff adds and removes."""
    lines = [line for line in diff.splitlines() if not line.startswith(("+++ ", "--- "))]
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    return f"+{added} -{removed}"


def _finalize(value: object) -> object:
    if value is None or value == "":
        return _NOTHING
    return value if isinstance(value, Markup | int) else visible(value)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [] if value is None else [value]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("runbook.records"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "mark": _mark,
        "kind": _kind,
        "seconds": _seconds,
        "time": _time,
        "diff": _coloured,
        "listed": _list,
        "sums": _sums,
    }
    environment.globals |= {"unfolded": UNFOLDED, "nothing": _Lenient()}
    return environment
