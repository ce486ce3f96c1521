"""Packages: what apt says of them and what is planned."""

from __future__ import annotations

import pytest
from fakes import FakeFleet, done, live, parameters, recorded

from runbook.errors import Refused
from runbook.resources.package import Package, PackageFacts

KEEPALIVED = Package("docker01", "keepalived")
VERSION = "1:2.2.7-1+b2"


class TestRead:
    """From what dpkg-query and apt-cache print to facts."""

    @pytest.mark.parametrize(
        ("text", "facts"),
        [
            pytest.param(
                recorded("keepalived-docker01")["keepalived"],
                PackageFacts(VERSION, VERSION),
                id="installed",
            ),
            pytest.param(
                recorded("keepalived-absent")["keepalived"], PackageFacts(None, VERSION), id="new"
            ),
            pytest.param(
                recorded("packages")["unknown"], PackageFacts(None, None), id="unknown to apt"
            ),
            pytest.param(
                f"installed config-files {VERSION}\ncandidate {VERSION}\n",
                PackageFacts(None, VERSION),
                id="removed, configuration left",
            ),
            pytest.param(
                f"installed half-installed {VERSION}\ncandidate {VERSION}\n",
                PackageFacts(None, VERSION),
                id="broken off",
            ),
            pytest.param("candidate (none)\n", PackageFacts(None, None), id="no candidate"),
            pytest.param(
                f"installed installed {VERSION}\ncandidate (none)\n",
                PackageFacts(VERSION, None),
                id="no source any more",
            ),
        ],
    )
    def test_facts(self, text: str, facts: PackageFacts) -> None:
        """Installed is what dpkg has wholly installed; a candidate is what apt would install."""
        assert facts == KEEPALIVED.read(text)


class TestPlan:
    """Absent, different, equal, unreadable."""

    def test_absent(self) -> None:
        """The candidate's version is what is planned."""
        (change,) = KEEPALIVED.plan(PackageFacts(None, VERSION), 0)

        assert done([change]) == [(0, "docker01", "install", "package keepalived")]
        assert (change.before, change.after) == ("", VERSION)
        assert change.undo == "sudo apt-get purge keepalived"

    @pytest.mark.parametrize("candidate", [VERSION, "1:2.3.0-1", None])
    def test_equal(self, candidate: str | None) -> None:
        """Any installed version will do, a newer one on offer or none at all."""
        assert KEEPALIVED.plan(PackageFacts(VERSION, candidate), 0) == []

    def test_not_on_offer(self) -> None:
        """Without a candidate the plan is refused, and apt-get update is advised."""
        with pytest.raises(Refused, match="offers no package 'keepalived'") as caught:
            KEEPALIVED.plan(PackageFacts(None, None), 0)

        assert caught.value.host == "docker01"
        assert "apt-get update" in caught.value.todo

    @pytest.mark.parametrize(
        "text", ["", "E: Could not open lock file - open (13: Permission denied)\n"]
    )
    def test_unreadable(self, text: str) -> None:
        """An apt that does not answer is no reason to install anything."""
        with pytest.raises(Refused):
            KEEPALIVED.plan(KEEPALIVED.read(text), 0)


class TestMake:
    """The installation."""

    def test_installs_without_questions(self) -> None:
        """Root's apt installs this package alone, asks nobody, and waits for another apt."""
        fleet = FakeFleet()
        (change,) = KEEPALIVED.plan(PackageFacts(None, VERSION), 0)
        change.make(live(parameters("article"), fleet))
        (command,) = fleet.commands

        assert (command.host, command.sudo, command.argv[-1]) == ("docker01", True, "keepalived")
        assert command.argv[:3] == ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get")
        assert {"-y", "--no-install-recommends", "DPkg::Lock::Timeout=60"} < set(command.argv)

    def test_name_is_quoted(self) -> None:
        """The snippet takes the name for one word."""
        assert "'a b'" in Package("docker01", "a b").probe
