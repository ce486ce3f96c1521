"""The recorded rehearsal: the archive that it left is as it was written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import rehearsal
from archives import by_both

from runbook.records.archive import archive


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The record, unpacked."""
    return rehearsal.unpack(tmp_path)


class TestRecord:
    """rehearsal.zip."""

    def test_is_as_it_was_written(self, run: Path) -> None:
        """The package and today's verify.sh find nothing, however old the record is."""
        script = run.parent / "verify.sh"
        script.unlink()
        shutil.copyfile(Path(archive.__file__).with_name(script.name), script)

        assert by_both(run.parent) == (0, [])
