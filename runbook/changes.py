"""Change, Plan, Check and Finding: what a step says about the site.

A plan is made before anything is touched and is compared again before it is applied; a check is
made afterwards and looks from outside. All of them are values: equal content means equal value.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runbook.events import Check, Finding, Level

if TYPE_CHECKING:
    from runbook.hosts.live import Live

__all__ = ["Change", "Check", "Finding", "Level", "Plan", "blocking", "fine", "unified_diff"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what is declared and what was observed on one host.

    Attributes:
        host: Where it is made.
        resource: What it is made to, for example ``file /etc/keepalived/keepalived.conf``.
        action: A verb: create, update, install, enable, start, reload, deploy.
        before: The observed state as text; empty where there is none.
        after: The declared state as text.
        undo: The command or act that takes it back.
        make: Makes the change; raises ``RunbookError`` when it does not succeed.
        stage: Changes of one stage run in parallel over hosts; stages run one after another. Its
            step says which it is, with :func:`in_stages`.
    """

    host: str
    resource: str
    action: str
    before: str
    after: str
    undo: str
    make: Callable[[Live], None] = field(compare=False, repr=False)
    stage: int = 0

    @property
    def diff(self) -> str:
        """Return the unified diff from before to after; empty when either is one line."""
        if not self._is_text:
            return ""
        return unified_diff(self.before, self.after, self.resource)

    @property
    def _is_text(self) -> bool:
        return "\n" in self.before + self.after

    @property
    def summary(self) -> str:
        """Return the change in one line."""
        if self._is_text:
            return f"{self.action} {self.resource}"
        return f"{self.action} {self.resource}: {self.before or 'absent'} → {self.after}"

    def as_dict(self) -> dict[str, str]:
        """Return the change as plain values, for JSON and for the plan's digest."""
        names = ("host", "resource", "action", "before", "after", "undo")
        values = {name: str(getattr(self, name)) for name in names}
        return values | {"summary": self.summary, "diff": self.diff}


def in_stages(*stages: Iterable[Change]) -> list[Change]:
    """Return changes with the stages in which they are made; one without changes counts, too."""
    return [replace(change, stage=n) for n, changes in enumerate(stages) for change in changes]


def unified_diff(before: str, after: str, name: str) -> str:
    """Return a unified diff with three lines of context; empty when both are equal."""
    lines = difflib.unified_diff(
        _lines(before), _lines(after), f"{name} (now)", f"{name} (planned)", lineterm=""
    )
    return "\n".join(lines)


def _lines(text: str) -> list[str]:
    """Return the lines of a text, with what a diff would otherwise not show."""
    lines = text.replace("\r", "␍").split("\n")
    last = lines.pop()
    return [*lines, f"{last}\n\\ No newline at end of file"] if last else lines


@dataclass(frozen=True, slots=True)
class Plan:
    """What one step would change, in order, and a digest that names exactly this plan."""

    step: str
    changes: tuple[Change, ...]

    @property
    def digest(self) -> str:
        """Return the SHA-256 over all changes, as 64 hexadecimal digits."""
        text = json.dumps([self.step, *([c.stage, c.as_dict()] for c in self.changes)])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def stages(self) -> tuple[tuple[Change, ...], ...]:
        """Return the changes grouped by stage, in the order in which they are made."""
        numbers = sorted({change.stage for change in self.changes})
        return tuple(tuple(c for c in self.changes if c.stage == number) for number in numbers)


def fine(host: str, subject: str, what: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(Level.FINE, host, subject, what)


def blocking(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that forbid a run."""
    return [finding for finding in findings if finding.level is Level.BLOCKING]


def forbids(host: str, subject: str, what: str, why: str, todo: str) -> Finding:
    """Return a finding with which no run may begin."""
    return Finding(Level.BLOCKING, host, subject, what, why, todo)


def warns(host: str, subject: str, what: str, why: str = "", todo: str = "") -> Finding:
    """Return a finding to know of."""
    return Finding(Level.WARNING, host, subject, what, why, todo)
