"""A Debian package that must be installed."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import partial

from runbook.changes import Change
from runbook.errors import ChangeFailed, Refused
from runbook.hosts.live import Live
from runbook.resources import HostResource

INSTALL_TIMEOUT_S = 600
LOCK_S = 120  # unattended-upgrades may hold dpkg's lock for a while; apt 1.9.11 waits itself
# The words of dpkg-query(1), Status-Status, for a package in the middle of something.
_UNFINISHED = "half-installed|unpacked|half-configured"
# apt itself says what it would do, without a lock; `Inst`, `Remv` and `E:` are never translated.
_SIMULATED = "apt-get -s -y -q --no-install-recommends install"

# apt is not to die of the connection's end half-way through, hence the file for what it says. It
# keeps files that are there, asks nothing, and restarts nobody else's services (needrestart).
# Arguments: package, yes where dpkg is to be finished first, seconds to wait for the lock.
_INSTALL = r"""trap '' HUP
log=$(mktemp /run/runbook.XXXXXX) || exit
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 UCF_FORCE_CONFFOLD=1
export APT_LISTCHANGES_FRONTEND=none LC_ALL=C LANGUAGE=
kept='--force-confdef --force-confold'
{
  [ "$2" = no ] || dpkg --configure -a $kept
  apt-get update -q -o Acquire::Retries=0 -o Acquire::http::Timeout=15 \
    -o Acquire::https::Timeout=15
  apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout="$3" \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$1"
} >"$log" 2>&1 </dev/null
status=$?
cat "$log"
exit $status
"""


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """What dpkg and apt know of a package.

    Attributes:
        installed: The version that is wholly installed, or ``None``.
        candidate: The version that apt would install, or ``None``.
        unlisted: Whether apt has sources, and never fetched what they offer.
        unfinished: Packages that dpkg was interrupted in; empty where another dpkg is at work.
        removed: Packages that apt would remove for it.
        said: Why apt would not install it.
    """

    installed: str | None
    candidate: str | None = None
    unlisted: bool = False
    unfinished: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    said: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """A package, present in whatever version the host's sources offer.

    Source: apt-get(8), dpkg-query(1).
    """

    host: str
    name: str

    @property
    def probe(self) -> str:
        """Return the snippet that reads the facts; apt is asked only where it is absent."""
        name = shlex.quote(self.name)
        return (
            f"s=$(dpkg-query -W -f='${{db:Status-Status}} ${{Version}}' {name} 2>/dev/null)\n"
            'echo "installed $s"\n'
            'case $s in "installed "*) exit;; esac\n'
            # An interrupted dpkg leaves files of digits; proc_locks(5) has the inodes of locks.
            "l=$(stat -c ':%i ' /var/lib/dpkg/lock /var/lib/dpkg/lock-frontend 2>/dev/null)\n"
            'if ! grep -qF "${l:-none}" /proc/locks; then\n'
            "  ls /var/lib/dpkg/updates | sed -n 's/^[0-9][0-9]*$/unfinished dpkg/p' | head -n 1\n"
            "  dpkg-query -W -f='${db:Status-Status} ${Package}\\n' |"
            f" sed -En 's/^({_UNFINISHED}) /unfinished /p'\n"
            "fi\n"
            "find /var/lib/apt/lists -name '*_Packages*' | grep -q . ||"
            " ! apt-get update --print-uris 2>/dev/null | grep -q . || echo unlisted\n"
            f"LC_ALL=C LANGUAGE= {_SIMULATED} {name}"
        )

    def read(self, text: str) -> PackageFacts:
        """Return the facts that the snippet printed."""
        lines = [line.partition(" ") for line in text.splitlines()]
        status, _, version = next((v for k, _, v in lines if k == "installed"), "").partition(" ")
        if status == "installed":
            return PackageFacts(version)
        offered = re.search(rf"^Inst {re.escape(self.name)} .*?\((\S+)", text, re.M)
        return PackageFacts(
            installed=None,
            candidate=offered[1] if offered else None,
            unlisted=any(key == "unlisted" for key, _, _ in lines),
            unfinished=tuple(value for key, _, value in lines if key == "unfinished"),
            removed=tuple(value.split()[0] for key, _, value in lines if key == "Remv"),
            said="; ".join(value for key, _, value in lines if key == "E:"),
        )

    def plan(self, facts: PackageFacts) -> list[Change]:
        """Return the installation, or nothing where the package is there.

        Raises:
            Refused: The installation would not succeed, or would remove something.
        """
        if facts.installed is not None:
            return []
        self._refuse(facts)
        finish = bool(facts.unfinished)
        after = f"{facts.candidate or 'the version on offer'}, after apt-get update"
        return [
            Change(
                host=self.host,
                resource=f"package {self.name}",
                action="install",
                before="",
                after=f"{after} and dpkg --configure -a" if finish else after,
                undo=f"sudo apt-get purge {self.name}",
                make=partial(_install, self, finish),
            )
        ]

    def _refuse(self, facts: PackageFacts) -> None:
        # What an earlier run of ours was cut off in is finished; what others were is theirs to see.
        if facts.unfinished and self.name not in facts.unfinished:
            raise Refused(
                f"dpkg was interrupted there ({', '.join(facts.unfinished)}), so apt installs "
                f"nothing, {self.name!r} neither",
                host=self.host,
                todo="run there: sudo dpkg --configure -a",
            )
        if facts.removed:
            raise Refused(
                f"{', '.join(facts.removed)} would be removed by installing {self.name!r}",
                host=self.host,
                todo=f"see there: {_SIMULATED} {self.name}",
            )
        if facts.candidate is None and not facts.unlisted and not facts.unfinished:
            raise Refused(
                f"apt would not install {self.name!r}: {facts.said or 'it does not answer'}",
                host=self.host,
                todo="run sudo apt-get update there where its lists are old, or "
                f"sudo apt-mark unhold {self.name} where it is held",
            )


def _install(package: Package, finish: bool, live: Live) -> None:
    arguments = [package.name, "yes" if finish else "no", str(LOCK_S)]
    result = live.fleet[package.host].run(
        ["sh", "-c", _INSTALL, "install", *arguments],
        sudo=True,
        timeout_s=INSTALL_TIMEOUT_S,
        check=False,
    )
    if result.status == 0:
        return
    lines = (result.stdout + result.stderr).strip().splitlines()
    errors = [line for line in lines if re.match(r"E: |dpkg: error|sudo: ", line)]
    told = "\n    ".join((errors or lines)[-5:]) or "apt said nothing"
    raise ChangeFailed(
        f"{told} (apt-get install {package.name} gave {result.status})",
        host=package.host,
        todo=f"see there: sudo apt-get install {package.name}",
    )


_obeys: type[HostResource[PackageFacts]] = Package
