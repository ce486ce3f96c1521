"""Services: what a real shell makes of the probe and of the changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakes import live, local, parameters

from runbook.errors import ChangeFailed
from runbook.resources.service import Service, ServiceFacts

KEEPALIVED = Service("docker01", "keepalived", "/etc/keepalived/keepalived.conf")


class TestRead:
    """From what systemctl and stat print to facts."""

    @pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Caracas", "Europe/Madrid", "UTC"])
    @pytest.mark.parametrize("version", [247, 252])
    def test_probe_in_another_zone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, version: int
    ) -> None:
        """The time is asked in UTC, whatever the host's zone; systemd 247 has whole seconds."""
        configuration = tmp_path / "keepalived.conf"
        configuration.touch()
        (tmp_path / "systemctl").write_text(
            f"""#!/bin/sh
case "$* {version}" in *--timestamp=us*247) exit 1;; esac
echo "StateChangeTimestamp=$(date -d '1 hour ago' +'%a %Y-%m-%d %H:%M:%S %Z')"
"""
        )
        (tmp_path / "systemctl").chmod(0o755)
        monkeypatch.setenv("TZ", zone)
        script = f"PATH={tmp_path}:$PATH\n{Service('x', 'keepalived', str(configuration)).probe}"
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

        assert Service.read(said.stdout).stale
        assert not Service.read(said.stdout.replace("Now=1", "Now=0")).stale

    @pytest.mark.parametrize(("by_its_package", "seen"), [(True, "absent"), (False, "masked")])
    def test_probe_of_a_removed_package(
        self, tmp_path: Path, by_its_package: bool, seen: str
    ) -> None:
        """A mask that the package left when it was removed goes when it comes back."""
        answer = 'case "$*" in *UnitFileState*) echo UnitFileState=masked;; esac'
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / "systemctl").chmod(0o755)
        masked = tmp_path / "deb-systemd-helper-masked"
        masked.mkdir()
        if by_its_package:
            (masked / "keepalived.service").touch()
        probe = KEEPALIVED.probe.replace("/var/lib/systemd", str(tmp_path))
        script = f"PATH={tmp_path}:$PATH\n{probe}"
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

        assert KEEPALIVED.read(said.stdout).enabled == seen

    def test_probe_without_systemd(self, tmp_path: Path) -> None:
        """Where systemctl does not answer, the unit is absent and that is no crash."""
        (tmp_path / "systemctl").write_text("#!/bin/sh\necho Failed to connect to bus >&2; exit 1")
        (tmp_path / "systemctl").chmod(0o755)
        script = f"PATH={tmp_path}:$PATH\n{KEEPALIVED.probe}"
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

        assert KEEPALIVED.read(said.stdout) == ServiceFacts("absent", "absent", stale=False)


class TestMake:
    """The changes themselves."""

    def test_failure_begins_with_the_cause(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the unit itself said is in its journal, and systemctl only points there."""
        said = {"systemctl": "echo 'Job failed. See journalctl' >&2; exit 1",
                "journalctl": "echo 'bind: Address in use'"}  # fmt: skip
        for name, script in said.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        (change,) = KEEPALIVED.plan(ServiceFacts("enabled", "failed", stale=False))
        with pytest.raises(ChangeFailed) as caught:
            change.make(live(parameters("article"), local(tmp_path)))

        assert caught.value.message.splitlines()[0].startswith("bind: Address in use")
        assert "systemctl restart keepalived gave 1" in caught.value.message

    @pytest.mark.parametrize(
        ("state", "asked"),
        [
            ("enabled", ["is-enabled x"]),
            ("enabled-runtime", ["is-enabled x", "enable x"]),
            ("", ["is-enabled x", "enable x"]),
        ],
    )
    def test_enable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, asked: list[str]
    ) -> None:
        """Enabling is asked for only where the package has not done it by then."""
        systemctl = tmp_path / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$*" >> said\n[ "$1" = enable ] || echo "{state}"\n')
        systemctl.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        (change,) = Service("docker01", "x", "/f").plan(
            ServiceFacts("disabled", "active", stale=False)
        )
        change.make(live(parameters("article"), local(tmp_path)))

        assert asked == (tmp_path / "said").read_text().splitlines()
