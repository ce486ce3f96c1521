"""What came of the cuts: one JSON line each, and a page of Markdown over all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHOWN = 60


def append(path: Path, entry: dict[str, Any]) -> None:
    """Add one cut."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the cuts up to now; a line that was cut off itself is none."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def page(cuts: Sequence[dict[str, Any]], seed: int) -> str:
    """Return the report as Markdown.

    Args:
        cuts: What came of each, as :func:`read` returns them; those that were not met count not.
        seed: What they were chosen by.
    """
    made = [cut for cut in cuts if cut["met"]]
    bad = [cut for cut in made if cut["violations"]]
    lines = [
        "# Cuts",
        "",
        f"{len(made)} cuts by seed {seed}, {len(bad)} with violations; "
        f"{sum(len(cut['clean']) == 1 for cut in made)} converged in one run. "
        f"{len(cuts) - len(made)} were not met. "
        f"{sum(cut['seconds'] for cut in cuts) / 60:.0f} minutes.",
        "",
        "## Violations",
        "",
    ]
    for kind, count in Counter(_kind(v) for cut in bad for v in cut["violations"]).most_common():
        lines.append(f"- {count} times: {kind}")
    lines += ["", "## By moment and fault", "", *_grid(made), "", "## Every cut", ""]
    heads = [
        "#",
        "state",
        "host",
        "command",
        "moment",
        "fault",
        "status",
        "left",
        "runs",
        "seconds",
    ]
    heads.append("violations")
    lines += [_row(heads), _row(["---"] * len(heads))]
    for number, cut in enumerate(made, start=1):
        lines.append(
            _row(
                [
                    number,
                    cut["state"],
                    cut["host"],
                    f"`{_plain(cut['text'])}`",
                    cut["moment"],
                    cut["fault"],
                    cut["status"],
                    "; ".join(cut["left"]),
                    len(cut["clean"]),
                    round(cut["seconds"]),
                    "; ".join(cut["violations"]),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def _grid(made: Sequence[dict[str, Any]]) -> list[str]:
    faults = sorted({cut["fault"] for cut in made})
    count = Counter((cut["moment"], cut["fault"], bool(cut["violations"])) for cut in made)
    rows = [_row(["", *faults]), _row(["---"] * (len(faults) + 1))]
    for moment in dict.fromkeys(cut["moment"] for cut in made):
        cells = [
            f"{count[moment, fault, False] + count[moment, fault, True]}"
            f" ({count[moment, fault, True]} bad)"
            for fault in faults
        ]
        rows.append(_row([moment, *cells]))
    return rows


def _kind(violation: str) -> str:
    return violation.partition(":")[0]


def _plain(text: str) -> str:
    """Return the beginning of a command on one line; what opens every script is left out."""
    begun = text.rpartition("; {\n")[2] or text
    return " ".join(begun.split())[:SHOWN].replace("|", "¦").replace("`", "'")


def _row(cells: Sequence[object]) -> str:
    return (
        "| " + " | ".join(str(cell).replace("|", "¦").replace("\n", " ") for cell in cells) + " |"
    )
