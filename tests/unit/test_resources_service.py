"""Services: what systemd says of them and what is planned."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakes import FakeFleet, done, live, local, parameters, recorded

from runbook.resources.service import Service, ServiceFacts

KEEPALIVED = Service("docker01", "keepalived", "/etc/keepalived/keepalived.conf")
WELL = ServiceFacts(enabled="enabled", active="active", stale=False)


def planned(facts: ServiceFacts, *, written: bool = False) -> list[tuple[str, str, str, str]]:
    """Return each planned change's verb, before, after and undo."""
    changes = KEEPALIVED.plan(facts, written=written, stage=2)
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
        ("read", "written", "stale"),
        [
            ("1795438778.290308000", "1795438778.290307999", False),
            ("1795438778.290308000", "1795438778.290309000", True),
            ("1795438778.290308000", "0", False),
            ("0", "1795438778.290308000", True),
        ],
    )
    def test_stale(self, read: str, written: str, stale: bool) -> None:
        """A configuration written a microsecond after it was read is not what runs."""
        text = f"ActiveState=active\nUnitFileState=enabled\nRead={read}\nWritten={written}\n"

        assert stale is KEEPALIVED.read(text).stale

    def test_probe_without_systemd(self, tmp_path: Path) -> None:
        """Where systemctl does not answer, the unit is absent and that is no crash."""
        (tmp_path / "systemctl").write_text("#!/bin/sh\necho Failed to connect to bus >&2; exit 1")
        (tmp_path / "systemctl").chmod(0o755)
        script = f"PATH={tmp_path}:$PATH\n{KEEPALIVED.probe}"
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

        assert KEEPALIVED.read(said.stdout) == ServiceFacts("absent", "absent", stale=False)


class TestPlan:
    """What enables, starts or reloads."""

    def test_equal(self) -> None:
        """A service that is well is left alone."""
        assert planned(WELL) == []

    def test_absent(self) -> None:
        """A unit that is not there is enabled and started, once its package is in."""
        facts = KEEPALIVED.read(recorded("keepalived-absent")["service"])

        assert planned(facts, written=True) == [
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

    def test_written_configuration_is_read_again(self) -> None:
        """A plan that writes the configuration reloads what runs on the one before."""
        assert planned(WELL, written=True) == [RELOAD]

    def test_start_reads_it_anyway(self) -> None:
        """What is started reads the new configuration; nothing is reloaded as well."""
        facts = ServiceFacts("enabled", "inactive", stale=True)

        assert [change[0] for change in planned(facts, written=True)] == ["restart"]

    def test_stage(self) -> None:
        """The changes are made in the stage they were asked for."""
        changes = KEEPALIVED.plan(ServiceFacts("disabled", "failed", stale=False), written=False,
                                  stage=4)  # fmt: skip

        assert done(changes) == [
            (4, "docker01", "enable", "service keepalived"),
            (4, "docker01", "restart", "service keepalived"),
        ]


class TestMake:
    """The changes themselves."""

    def test_commands(self) -> None:
        """Root's systemctl is given verb and unit."""
        fleet = FakeFleet()
        for facts in (ServiceFacts("enabled", "failed", stale=False),
                      ServiceFacts("enabled", "active", stale=True)):  # fmt: skip
            (change,) = KEEPALIVED.plan(facts, written=False, stage=0)
            change.make(live(parameters("article"), fleet))

        assert [(c.argv, c.sudo) for c in fleet.commands] == [
            (("systemctl", "restart", "keepalived"), True),
            (("systemctl", "reload", "keepalived"), True),
        ]

    @pytest.mark.parametrize(
        ("state", "asked"),
        [("enabled", ["--quiet is-enabled x"]), ("", ["--quiet is-enabled x", "enable x"])],
    )
    def test_enable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, asked: list[str]
    ) -> None:
        """Enabling is asked for only where the package has not done it by then."""
        systemctl = tmp_path / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$*" >> said\n[ "$1" = enable ] || [ "{state}" ]\n')
        systemctl.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        (change,) = Service("docker01", "x", "/f").plan(
            ServiceFacts("disabled", "active", stale=False), written=False, stage=0
        )
        change.make(live(parameters("article"), local(tmp_path)))

        assert asked == (tmp_path / "said").read_text().splitlines()
