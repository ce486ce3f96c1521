"""The folder of a run that had one step, whose page is to be drawn."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from headless import entry
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from runbook.events import to_json
from runbook.records.journal.journal import Journal
from runbook.records.journal.results import collect
from runbook.records.page.page import page

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
