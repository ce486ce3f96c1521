"""A journal that is sealed already, to whoever may not write it."""

from __future__ import annotations

from pathlib import Path

from headless import entry, without_privileges

from runbook.records.journal.journal import Journal
from runbook.records.writing.closing import JOURNAL

OPENED = {
    "run_id": "20261123T060204Z-lab-317606",
    "site": "lab",
    "site_file": "parameters/lab.yml",
    "settings": {"name": "lab"},
    "mode": "apply",
    "context": {"ticket": "CHG-7", "reason": None},
    "emergency": False,
    "steps": [
        {"step": name, "notebook": f"{name}.ipynb", "skipped": False}
        for name in ("network", "traefik")
    ],
}


class TestJournal:
    """The file and its writer."""

    def test_a_sealed_one_is_only_held(self, tmp_path: Path) -> None:
        """One that nobody may write to any more is read, and held like another."""
        code = (
            "import sys; from pathlib import Path\n"
            "from runbook.records.journal.journal import Journal\n"
            "path = Path(sys.argv[1]); one = Journal(path, print); print(len(one.entries))\n"
            "try: Journal(path, print)\n"
            "except BlockingIOError: print('held')"
        )
        path = tmp_path / JOURNAL
        journal = Journal(path, lambda _entry: None)
        journal.write(entry("run opened", **OPENED))
        journal.close()
        path.chmod(0o444)

        assert without_privileges(code, path).split() == ["1", "held"]
