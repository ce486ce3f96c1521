"""A systemd service that must be enabled, running and up to date with its configuration."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from runbook.changes import Change
from runbook.errors import ChangeFailed, Refused
from runbook.hosts.live import Live
from runbook.resources import HostResource

# The words of systemctl(1), is-enabled, for a unit that `systemctl enable` cannot help.
_MASKED = ("masked", "masked-runtime")
_NEVER = ("static", "alias", "generated", "transient", "bad")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)? UTC")


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What systemd says of a unit.

    Attributes:
        enabled: The unit file's state, ``enabled`` where it starts at boot.
        active: The unit's state, ``active`` where it runs.
        stale: Whether the configuration was written after the service last read it, or will be.
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
        # systemctl prints the time of its own zone, whatever the manager's is. Microseconds are had
        # from systemd 248 on. The file's time is that of its inode's last change: `cp -p`, `touch`
        # and a restored backup set the other one as they please.
        # A mask of deb-systemd-helper(1p) is that of a removed package, which takes it off again.
        masked = shlex.quote(f"/var/lib/systemd/deb-systemd-helper-masked/{self.unit}.service")
        show = f"TZ=UTC LC_ALL=C systemctl show {unit} -p StateChangeTimestamp"
        return (
            f"systemctl show {unit} -p UnitFileState -p ActiveState\n"
            f"[ ! -e {masked} ] || echo UnitFileState=\n"
            f"{show} --timestamp=us 2>/dev/null || {show}\n"
            f"echo Changed=$(stat -L -c %.9Z {path} 2>/dev/null); echo Now=$(date +%s.%N)"
        )

    @staticmethod
    def read(text: str) -> ServiceFacts:
        """Return the facts that the snippet printed."""
        facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return ServiceFacts(
            enabled=facts.get("UnitFileState") or "absent",
            active=facts.get("ActiveState") or "absent",
            stale=_stale(facts),
        )

    def plan(self, facts: ServiceFacts) -> list[Change]:
        """Return what enables, starts or reloads the service.

        Raises:
            Refused: The unit cannot be enabled as it is.
        """
        self._refuse(facts.enabled)
        changes = []
        if facts.enabled != "enabled":
            changes.append(self._change("enable", facts.enabled, "enabled", "disable"))
        if facts.active not in ("active", "reloading"):
            # `restart`, as published: it also clears a failed state.
            changes.append(self._change("restart", facts.active, "active", "stop"))
        elif facts.stale:
            before = "runs on the configuration before"
            after = "runs on the configuration on disk"
            changes.append(self._change("reload", before, after, "reload"))
        return changes

    def _refuse(self, enabled: str) -> None:
        if enabled in _MASKED:
            option = "--runtime " if enabled == "masked-runtime" else ""
            raise Refused(
                f"the unit {self.unit} is masked, so it can be neither enabled nor started",
                host=self.host,
                todo=f"run there: sudo systemctl unmask {option}{self.unit}",
            )
        if enabled in _NEVER:
            raise Refused(
                f"the unit {self.unit} is {enabled}, so `systemctl enable` does not make it start "
                "at boot",
                host=self.host,
                todo=f"see there: systemctl cat {self.unit}; it needs an [Install] section",
            )

    def _change(self, verb: str, before: str, after: str, undo: str) -> Change:
        make = partial(_enable if verb == "enable" else _control, self.host, verb, self.unit)
        return Change(
            host=self.host,
            resource=f"service {self.unit}",
            action=verb,
            before=before,
            after=after,
            undo=f"sudo systemctl {undo} {self.unit}",
            make=make,
        )


def _stale(facts: dict[str, str]) -> bool:
    """Return whether the file changed after it was read; where the times do not tell, it did not.

    A change in the future was made before the clock was set back: no reload would ever be later.
    """
    read, now = _moment(facts.get("StateChangeTimestamp", "")), _seconds(facts.get("Now", ""))
    changed = _seconds(facts.get("Changed", ""))
    if read is None or changed is None or now is None:
        return False
    return read < changed <= now


def _moment(stamp: str) -> float | None:
    """Return the seconds since 1970 of a time that systemctl printed, rounded up where it is."""
    found = _STAMP.search(stamp)
    if found is None:
        return None
    whole = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    return whole + float(found[2] or 1)


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _enable(host: str, verb: str, unit: str, live: Live) -> None:
    # Its package may have enabled it by now, and `systemctl enable` takes a second all the same.
    # `is-enabled` is also content with what a boot forgets.
    script = '[ "$(systemctl is-enabled "$1" 2>/dev/null)" = enabled ] || systemctl enable "$1"'
    result = live.fleet[host].run(
        ["sh", "-c", script, verb, unit], sudo=True, timeout_s=60, check=False
    )
    if result.status != 0:
        raise ChangeFailed(
            f"{_last(result.stderr)} (systemctl enable {unit} gave {result.status})", host=host
        )


# What a unit said since a moment, and what systemd said of it, as plain text (journalctl(1)).
_CONTROL = """since=$(date +%s)
said=$(systemctl "$1" "$2" 2>&1) && exit
status=$?
journalctl -q -u "$2" --since "@$since" -o cat -n 8 >&2
echo "$said" >&2
exit $status
"""


def _control(host: str, verb: str, unit: str, live: Live) -> None:
    result = live.fleet[host].run(
        ["sh", "-c", _CONTROL, verb, verb, unit], sudo=True, timeout_s=60, check=False
    )
    if result.status != 0:
        raise ChangeFailed(
            f"{_last(result.stderr)} (systemctl {verb} {unit} gave {result.status})",
            host=host,
            todo=f"see there: journalctl -u {unit}",
        )


def _last(said: str, lines: int = 10) -> str:
    return "\n    ".join(said.strip().splitlines()[-lines:]) or "systemctl said nothing"


_obeys: type[HostResource[ServiceFacts]] = Service
