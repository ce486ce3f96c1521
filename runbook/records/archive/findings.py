"""What a verification finds, and what it amounts to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runbook.records.archive.ledger import Head

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Level(StrEnum):
    """What a finding means for the archive."""

    BAD = "bad"  # it is not as it was written
    INCOMPLETE = "incomplete"  # it cannot be said
    NOTE = "note"  # as it should be, and worth knowing


EXIT_STATUS = {Level.BAD: 1, Level.INCOMPLETE: 2, Level.NOTE: 0}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        level: What it means.
        where: File, or file and line, seen from the archive's folder.
        what: What is the matter, as a sentence without a full stop.
    """

    level: Level
    where: str
    what: str

    def __str__(self) -> str:
        # What was altered may have been altered to deceive a terminal.
        return _CONTROL.sub("?", f"{self.level.upper()} {self.where}: {self.what}")


@dataclass(frozen=True, slots=True)
class Verification:
    """What was verified and what was found.

    Attributes:
        runs: Folders that were looked at.
        lines: Lines of all ledgers.
        heads: How far the ledgers have come; to be compared with those that a witness keeps.
        findings: The worst first, then by place.
    """

    runs: int
    lines: int
    heads: tuple[Head, ...]
    findings: tuple[Finding, ...]

    @property
    def exit_status(self) -> int:
        """Return 0 where all is as written, 1 where something is not, 2 where it cannot be said."""
        return EXIT_STATUS[self.findings[0].level] if self.findings else 0

    def as_dict(self) -> dict[str, Any]:
        """Return the verification as plain values."""
        return {
            "exit_status": self.exit_status,
            "runs": self.runs,
            "lines": self.lines,
            "heads": [head.as_dict() for head in self.heads],
            "findings": [
                {"level": found.level.value, "where": found.where, "what": found.what}
                for found in self.findings
            ],
        }


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings without repetitions, the worst first."""
    rank = {level: place for place, level in enumerate(Level)}
    return tuple(
        sorted(dict.fromkeys(findings), key=lambda found: (rank[found.level], found.where))
    )
