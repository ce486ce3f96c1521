"""What importing the package of a site loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class TestPackage:
    """What importing the package costs and offers."""

    def test_import_is_light(self) -> None:
        """Reading a site loads nothing that speaks to hosts or draws tables."""
        heavy = {"pandas", "docker", "paramiko", "jinja2", "rich", "typer", "IPython"}
        code = "import sys, runbook.site; sys.stdout.write(' '.join(sys.modules))"
        loaded = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[3],
        ).stdout.split()

        assert "runbook.site.loading" in loaded
        assert heavy.isdisjoint(loaded)
