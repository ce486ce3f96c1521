"""What is wrong with a site file, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runbook.errors import BadInput


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend in a site file; equal when place and words are equal.

    Attributes:
        file: The file, as the operator named it or relative to the file that extends it.
        line: Line, from 1; 0 for the file as a whole.
        column: Column, from 1.
        setting: Full name of the setting, such as ``keepalived.vip``; empty for a whole file.
        message: What is wrong and what to write instead.

    """

    file: str
    line: int
    column: int
    setting: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.setting, self.message) if part)


class SiteInvalid(BadInput):
    """A site file cannot be used; carries every problem found in it and in those it extends.

    Attributes:
        problems: Every problem, in the order of the files and their lines.

    """

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{file} is not a valid site, {count}:{lines}")
        self.problems = tuple(problems)
