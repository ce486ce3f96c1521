"""A systemd service that must be enabled, running and up to date with its configuration."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial

from runbook.changes import Change
from runbook.live import Live


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What systemd says of a unit.

    Attributes:
        enabled: The unit file's state, ``enabled`` where it starts at boot.
        active: The unit's state, ``active`` where it runs.
        stale: Whether the configuration was written after the service last read it.
    """

    enabled: str
    active: str
    stale: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs now and after a boot, on the configuration that is on disk.

    Source: systemctl(1), systemd.unit(5); ``article.md`` (``systemctl restart keepalived``).

    Attributes:
        host: Where it runs.
        unit: The unit's name without ``.service``.
        configuration: The file it reads when it is started or reloaded.
    """

    host: str
    unit: str
    configuration: str

    @property
    def probe(self) -> str:
        """Return the snippet that reads the unit's facts."""
        unit, path = shlex.quote(self.unit), shlex.quote(self.configuration)
        # A reload is a state of its own, so StateChangeTimestamp is also when it was last reloaded.
        # `systemctl show` has whole microseconds only with --timestamp=us (systemd 248).
        return (
            f"systemctl show {unit} -p UnitFileState -p ActiveState\n"
            f"t=$(systemctl show {unit} -p StateChangeTimestamp --value --timestamp=us)\n"
            f's=$(date -d "${{t% UTC}} UTC" +%s.%N 2>/dev/null || echo 0)\n'
            f"echo Read=$s; echo Written=$(stat -c %.9Y {path} 2>/dev/null || echo 0)"
        )

    @staticmethod
    def read(text: str) -> ServiceFacts:
        """Return the facts that the snippet printed."""
        facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return ServiceFacts(
            enabled=facts.get("UnitFileState") or "absent",
            active=facts.get("ActiveState") or "absent",
            stale=float(facts["Written"]) > float(facts["Read"]),
        )

    def plan(self, facts: ServiceFacts, *, written: bool, stage: int) -> list[Change]:
        """Return what enables, starts or reloads the service.

        Args:
            facts: What was seen.
            written: Whether this plan writes the configuration first.
            stage: The stage in which the service is handled.
        """
        changes = []
        if facts.enabled != "enabled":
            changes.append(self._change("enable", facts.enabled, "enabled", stage, "disable"))
        if facts.active != "active":
            # `restart`, as published: it also clears a failed state.
            changes.append(self._change("restart", facts.active, "active", stage, "stop"))
        elif written or facts.stale:
            before = "runs on the configuration before"
            after = "runs on the configuration on disk"
            changes.append(self._change("reload", before, after, stage, "reload"))
        return changes

    def _change(self, verb: str, before: str, after: str, stage: int, undo: str) -> Change:
        if verb == "enable":
            make = partial(_enable, self.host, self.unit)
        else:
            make = partial(_control, self.host, verb, self.unit)
        return Change(
            host=self.host,
            resource=f"service {self.unit}",
            action=verb,
            before=before,
            after=after,
            undo=f"sudo systemctl {undo} {self.unit}",
            stage=stage,
            make=make,
        )


def _enable(host: str, unit: str, live: Live) -> None:
    # Its package may have enabled it by now, and `systemctl enable` takes a second all the same.
    script = 'systemctl --quiet is-enabled "$1" || systemctl enable "$1"'
    live.fleet[host].run(["sh", "-c", script, "enable", unit], sudo=True, timeout_s=60)


def _control(host: str, verb: str, unit: str, live: Live) -> None:
    live.fleet[host].run(["systemctl", verb, unit], sudo=True, timeout_s=60)
