"""A JUnit file that cannot be written: whole or not at all."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from junits import MIXED, results

LIMITED = """
import os, pathlib, pickle, resource, sys
from runbook.errors import BadInput
from runbook.records.reading import junit
path, values = pathlib.Path(sys.argv[1]), pickle.load(sys.stdin.buffer)
{limit}
try:
    junit.write(path, values)
except BadInput as error:
    print(error.message)
"""


def limited(limit: str, path: Path) -> str:
    """Write the file in a process of its own that is limited, and return what it was told."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit), path],
        input=pickle.dumps(results(*MIXED)),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


class TestWrite:
    """The file."""

    def test_whole_or_not_at_all(self, tmp_path: Path) -> None:
        """On a system that takes only the first bytes, as a full disk does, the old one stays."""
        path = tmp_path / "junit.xml"
        path.write_text("before")

        said = limited("resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))", path)
        assert "junit.xml cannot be written: File too large" in said
        assert path.read_text() == "before"
        assert list(tmp_path.iterdir()) == [path]

    def test_not_writable(self, tmp_path: Path) -> None:
        """A folder that is closed to the operator, who is not root, is refused."""
        tmp_path.chmod(0o500)

        said = limited("os.seteuid(os.geteuid() or 65534)", tmp_path / "junit.xml")
        assert "junit.xml cannot be written: Permission denied" in said
