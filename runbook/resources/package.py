"""A Debian package that must be installed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial

from runbook.changes import Change
from runbook.errors import Refused
from runbook.live import Live


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """What apt knows of a package: the installed version and the one it would install."""

    installed: str | None
    candidate: str | None


@dataclass(frozen=True, slots=True)
class Package:
    """A package, present in whatever version the host's sources offer.

    Source: apt-get(8), dpkg-query(1).
    """

    host: str
    name: str

    @property
    def probe(self) -> str:
        """Return the snippet that reads the package's facts."""
        name = shlex.quote(self.name)
        return (
            "dpkg-query -W -f='installed ${db:Status-Status} ${Version}\\n' "
            f"{name} 2>/dev/null\n"
            f"apt-cache policy {name} | sed -n 's/^  Candidate: /candidate /p'"
        )

    @staticmethod
    def read(text: str) -> PackageFacts:
        """Return the facts that the snippet printed."""
        facts: dict[str, str] = {}
        for line in text.splitlines():
            key, _, value = line.partition(" ")
            facts[key] = value
        status, _, version = facts.get("installed", "").partition(" ")
        candidate = facts.get("candidate")
        return PackageFacts(
            installed=version if status == "installed" else None,
            candidate=None if candidate == "(none)" else candidate,
        )

    def plan(self, facts: PackageFacts, stage: int) -> list[Change]:
        """Return the installation, or nothing where the package is there.

        Raises:
            Refused: The host's package sources do not offer it.
        """
        if facts.installed is not None:
            return []
        if facts.candidate is None:
            raise Refused(
                f"apt offers no package {self.name!r}",
                host=self.host,
                todo=f"run sudo apt-get update there, and see apt-cache policy {self.name}",
            )
        return [
            Change(
                host=self.host,
                resource=f"package {self.name}",
                action="install",
                before="",
                after=facts.candidate,
                undo=f"sudo apt-get purge {self.name}",
                stage=stage,
                make=partial(_install, self),
            )
        ]


def _install(package: Package, live: Live) -> None:
    # The lock may be held by unattended-upgrades for a while; apt waits itself (apt 1.9.11+).
    live.fleet[package.host].run(
        [
            *("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q"),
            *("--no-install-recommends", "-o", "DPkg::Lock::Timeout=60", package.name),
        ],
        sudo=True,
        timeout_s=300,
    )
