"""Installing a package: what a real shell makes of the script."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import live, local, parameters

from runbook.changes import Change
from runbook.errors import ChangeFailed
from runbook.resources.package import Package, PackageFacts

KEEPALIVED = Package("docker01", "keepalived")
VERSION = "1:2.2.7-1+b2"


class TestMake:
    """The installation."""

    @pytest.mark.parametrize("finish", [False, True])
    def test_apt(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finish: bool) -> None:
        """Lists first, and an update that fails is no reason; old configurations stay."""
        self.fake(tmp_path, monkeypatch, "apt-get", '[ "$1" != update ]')
        self.fake(tmp_path, monkeypatch, "dpkg", "exit 0")
        self.change(finish).make(live(parameters("article"), local(tmp_path)))
        asked = (tmp_path / "said").read_text().splitlines()

        assert ("dpkg --configure -a --force-confdef --force-confold" in asked[0]) is finish
        assert "apt-get update" in asked[-2]
        assert "apt-get install -y -q --no-install-recommends" in asked[-1]
        assert "--force-confold" in asked[-1]
        assert asked[-1].endswith(" keepalived noninteractive 1")

    def test_failure_begins_with_the_cause(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is apt's error, not what was asked of it, and not its progress."""
        said = (
            "Reading lists...\\ndpkg: error processing package keepalived\\nE: Sub-process failed"
        )
        self.fake(tmp_path, monkeypatch, "apt-get", f"printf '{said}\\n'; exit 100")
        with pytest.raises(ChangeFailed) as caught:
            self.change().make(live(parameters("article"), local(tmp_path)))

        assert caught.value.message.startswith("dpkg: error processing package keepalived\n")
        assert "E: Sub-process failed (apt-get install keepalived gave 100)" in caught.value.message

    @staticmethod
    def change(finish: bool = False) -> Change:
        """Return the installation, of a package that dpkg was cut off in or not."""
        unfinished = ("keepalived",) if finish else ()
        (change,) = KEEPALIVED.plan(PackageFacts(None, VERSION, unfinished=unfinished))
        return change

    @staticmethod
    def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, does: str) -> None:
        """Put a program in the way that notes what it is asked, and in which environment."""
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        program = folder / name
        environment = '"$DEBIAN_FRONTEND $NEEDRESTART_SUSPEND"'
        program.write_text(f'#!/bin/sh\necho {name} "$*" {environment} >> {folder}/said\n{does}\n')
        program.chmod(0o755)
