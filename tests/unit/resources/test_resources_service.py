"""Services: what systemd says of them and what is planned."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeFleet, done, live, parameters, recorded

from runbook.errors import Refused
from runbook.resources.service import Service, ServiceFacts

KEEPALIVED = Service("docker01", "keepalived", "/etc/keepalived/keepalived.conf")
WELL = ServiceFacts(enabled="enabled", active="active", stale=False)


def planned(facts: ServiceFacts) -> list[tuple[str, str, str, str]]:
    """Return each planned change's verb, before, after and undo."""
    changes = KEEPALIVED.plan(facts)
    return [(c.action, c.before, c.after, c.undo) for c in changes]


ENABLE = ("enable", "disabled", "enabled", "sudo systemctl disable keepalived")
RELOAD = (
    "reload",
    "runs on the configuration before",
    "runs on the configuration on disk",
    "sudo systemctl reload keepalived",
)


class TestRead:
    """From what systemctl and stat print to facts."""

    @pytest.mark.parametrize(
        ("text", "facts"),
        [
            pytest.param(recorded("keepalived-docker01")["service"], WELL, id="well"),
            pytest.param(
                recorded("keepalived-absent")["service"],
                ServiceFacts("absent", "inactive", stale=False),
                id="absent",
            ),
            pytest.param(
                recorded("shorewall-gateway")["service"],
                ServiceFacts("enabled", "active", stale=True),
                id="file written after the start",
            ),
        ],
    )
    def test_facts(self, text: str, facts: ServiceFacts) -> None:
        """The order of the lines and lines of others do not matter."""
        assert facts == KEEPALIVED.read(text)
        assert facts == KEEPALIVED.read("noise\n" + "\n".join(reversed(text.splitlines())))

    @pytest.mark.parametrize(
        ("read", "changed", "stale"),
        [
            ("Mon 2026-11-23 12:59:38.290308 UTC", "1795438778.290307999", False),
            ("Mon 2026-11-23 12:59:38.290308 UTC", "1795438778.290309000", True),
            ("Mon 2026-11-23 12:59:38.290308 UTC", "1795438999.000000000", False),
            ("Mon 2026-11-23 12:59:38 UTC", "1795438778.900000000", False),
            ("Mon 2026-11-23 12:59:38 UTC", "1795438779.100000000", True),
            ("Mon 2026-11-23 12:59:38.290308 UTC", "", False),
            ("Mon 2026-11-23 18:29:38.290308 IST", "1795438785.000000000", False),
            ("lun 2026-11-23 13:59:38 CET", "1795438785.000000000", False),
            ("", "1795438778.290308000", False),
        ],
        ids=[
            "written before",
            "written after",
            "written in the future",
            "within a whole second",
            "after a whole second",
            "no file",
            "another zone",
            "another language",
            "never",
        ],
    )
    def test_stale(self, read: str, changed: str, stale: bool) -> None:
        """A file changed a microsecond after it was read is not what runs; else it is."""
        text = (
            f"ActiveState=active\nUnitFileState=enabled\nStateChangeTimestamp={read}\n"
            f"Changed={changed}\nNow=1795438790.5\n"
        )

        assert stale is KEEPALIVED.read(text).stale


class TestPlan:
    """What enables, starts or reloads."""

    def test_equal(self) -> None:
        """A service that is well is left alone."""
        assert planned(WELL) == []

    def test_absent(self) -> None:
        """A unit that is not there is enabled and started, once its package is in."""
        facts = KEEPALIVED.read(recorded("keepalived-absent")["service"])

        assert planned(replace(facts, stale=True)) == [
            ("enable", "absent", "enabled", "sudo systemctl disable keepalived"),
            ("restart", "inactive", "active", "sudo systemctl stop keepalived"),
        ]

    @pytest.mark.parametrize(
        ("facts", "changes"),
        [
            (ServiceFacts("disabled", "active", stale=False), [ENABLE]),
            (
                ServiceFacts("enabled", "failed", stale=False),
                [("restart", "failed", "active", "sudo systemctl stop keepalived")],
            ),
            (ServiceFacts("enabled", "active", stale=True), [RELOAD]),
            (ServiceFacts("disabled", "active", stale=True), [ENABLE, RELOAD]),
        ],
    )
    def test_different(self, facts: ServiceFacts, changes: list[tuple[str, str, str, str]]) -> None:
        """Each difference has its own change; what runs is reloaded, never restarted."""
        assert changes == planned(facts)

    def test_start_reads_it_anyway(self) -> None:
        """What is started reads the new configuration; nothing is reloaded as well."""
        facts = ServiceFacts("enabled", "inactive", stale=True)

        assert [change[0] for change in planned(facts)] == ["restart"]

    @pytest.mark.parametrize("state", ["enabled-runtime", "disabled", "linked", "indirect"])
    def test_enabled_otherwise(self, state: str) -> None:
        """What does not last beyond a boot, or is not there at one, is enabled."""
        (change,) = planned(ServiceFacts(state, "active", stale=False))

        assert change[:3] == ("enable", state, "enabled")

    @pytest.mark.parametrize(
        ("state", "todo"),
        [
            ("masked", "sudo systemctl unmask keepalived"),
            ("masked-runtime", "sudo systemctl unmask --runtime keepalived"),
            ("static", "needs an [Install] section"),
        ],
    )
    def test_cannot_be_enabled(self, state: str, todo: str) -> None:
        """It is known before anything is changed, with the line that mends it."""
        with pytest.raises(Refused, match=state.removesuffix("-runtime")) as caught:
            planned(ServiceFacts(state, "inactive", stale=False))

        assert todo in caught.value.todo

    @pytest.mark.parametrize(
        ("state", "verbs"),
        [("reloading", []), ("activating", ["restart"]), ("failed", ["restart"])],
    )
    def test_in_between(self, state: str, verbs: list[str]) -> None:
        """One that reloads runs; one that never comes up is started anew."""
        facts = ServiceFacts("enabled", state, stale=False)

        assert [change[0] for change in planned(facts)] == verbs

    def test_names(self) -> None:
        """The changes say what is done to which unit, and leave their stage to the step."""
        changes = KEEPALIVED.plan(ServiceFacts("disabled", "failed", stale=False))

        assert done(changes) == [
            (0, "docker01", "enable", "service keepalived"),
            (0, "docker01", "restart", "service keepalived"),
        ]


class TestMake:
    """The changes themselves."""

    def test_commands(self) -> None:
        """Root's systemctl is given verb and unit."""
        fleet = FakeFleet()
        for facts in (ServiceFacts("enabled", "failed", stale=False),
                      ServiceFacts("enabled", "active", stale=True)):  # fmt: skip
            (change,) = KEEPALIVED.plan(facts)
            change.make(live(parameters("article"), fleet))

        assert [(c.argv[-2:], c.sudo) for c in fleet.commands] == [
            (("restart", "keepalived"), True),
            (("reload", "keepalived"), True),
        ]
