"""Packages: what apt says of them and what is planned."""

from __future__ import annotations

import pytest
from fakes import FakeFleet, done, live, parameters, recorded

from runbook.changes import Change
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
                PackageFacts(VERSION),
                id="installed",
            ),
            pytest.param(
                recorded("keepalived-absent")["keepalived"], PackageFacts(None, VERSION), id="new"
            ),
            pytest.param(
                recorded("packages")["unknown"],
                PackageFacts(None, None, said="Unable to locate package keepalived"),
                id="unknown to apt",
            ),
            pytest.param(
                f"installed config-files {VERSION}\nInst keepalived ({VERSION} x [amd64])\n",
                PackageFacts(None, VERSION),
                id="removed, configuration left",
            ),
            pytest.param(
                f"installed half-configured {VERSION}\nunfinished dpkg\nunfinished keepalived\n"
                f"Conf keepalived ({VERSION} x [amd64])\n",
                PackageFacts(None, None, unfinished=("dpkg", "keepalived")),
                id="broken off",
            ),
            pytest.param(
                f"installed \nRemv curl [7.88.1]\nInst keepalived [1:2.0] ({VERSION} x)\n",
                PackageFacts(None, VERSION, removed=("curl",)),
                id="removes another",
            ),
            pytest.param(
                "installed \nunlisted\nE: Unable to locate package keepalived\n",
                PackageFacts(None, None, unlisted=True, said="Unable to locate package keepalived"),
                id="no lists",
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
        (change,) = KEEPALIVED.plan(PackageFacts(None, VERSION))

        assert done([change]) == [(0, "docker01", "install", "package keepalived")]
        assert (change.before, change.after) == ("", f"{VERSION}, after apt-get update")
        assert change.undo == "sudo apt-get purge keepalived"

    @pytest.mark.parametrize("candidate", [VERSION, "1:2.3.0-1", None])
    def test_equal(self, candidate: str | None) -> None:
        """Any installed version will do, a newer one on offer or none at all."""
        assert KEEPALIVED.plan(PackageFacts(VERSION, candidate)) == []

    def test_no_lists(self) -> None:
        """A host that has never updated its lists does so, and that is said."""
        (change,) = KEEPALIVED.plan(
            PackageFacts(None, None, unlisted=True, said="Unable to locate it")
        )

        assert change.after == "the version on offer, after apt-get update"

    def test_not_on_offer(self) -> None:
        """Without a candidate the plan is refused, and apt-get update is advised."""
        with pytest.raises(Refused, match="would not install 'keepalived': Unable") as caught:
            KEEPALIVED.plan(KEEPALIVED.read(recorded("packages")["unknown"]))

        assert caught.value.host == "docker01"
        assert "apt-get update" in caught.value.todo

    def test_would_remove_another(self) -> None:
        """What somebody else installed stays, so the plan is refused and says what would go."""
        with pytest.raises(Refused, match="curl would be removed by installing 'keepalived'"):
            KEEPALIVED.plan(PackageFacts(None, VERSION, removed=("curl",)))

    def test_dpkg_was_interrupted(self) -> None:
        """Somebody else's is theirs to finish; what we were cut off in is finished and shown."""
        with pytest.raises(Refused, match=r"interrupted there \(dpkg, mariadb-server\)") as caught:
            KEEPALIVED.plan(PackageFacts(None, VERSION, unfinished=("dpkg", "mariadb-server")))
        (change,) = KEEPALIVED.plan(PackageFacts(None, None, unfinished=("keepalived",)))

        assert caught.value.todo == "run there: sudo dpkg --configure -a"
        assert change.after.endswith("after apt-get update and dpkg --configure -a")

    def test_unreadable(self) -> None:
        """A host without apt is told so."""
        text = "sh: 1: dpkg-query: not found\nsh: 1: apt-get: not found\n"
        with pytest.raises(Refused, match="would not install 'keepalived': it does not answer"):
            KEEPALIVED.plan(KEEPALIVED.read(text))


class TestMake:
    """The installation."""

    def test_installs_without_questions(self) -> None:
        """Root's apt installs this package alone, asks nobody, and waits for another apt."""
        fleet = FakeFleet()
        (change,) = KEEPALIVED.plan(PackageFacts(None, VERSION))
        change.make(live(parameters("article"), fleet))
        (command,) = fleet.commands

        assert (command.host, command.sudo) == ("docker01", True)
        assert command.argv[-3:] == ("keepalived", "no", "120")

    @staticmethod
    def change(finish: bool = False) -> Change:
        """Return the installation, of a package that dpkg was cut off in or not."""
        unfinished = ("keepalived",) if finish else ()
        (change,) = KEEPALIVED.plan(PackageFacts(None, VERSION, unfinished=unfinished))
        return change

    def test_name_is_quoted(self) -> None:
        """The snippet takes the name for one word."""
        assert "'a b'" in Package("docker01", "a b").probe
