"""What a kernel tells the run that started it: progress, and what a step leaves as evidence.

Events travel as display messages of their own MIME type, which the runner takes out of the stream.
Without a runner nothing is sent, so a notebook that a person runs holds tables only.

A new kind of evidence is a class here, its word in :data:`KINDS` and its list, last in
:class:`Evidence` and empty by default, since older records have none. Any step tells it with
:func:`emit`; journal, results, page, JUnit, index and terminal have it from there, and their
schemas after ``make schema``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MIME = "application/vnd.runbook.event+json"
SWITCH = "RUNBOOK_EVENTS"
"""The environment variable that is 1 where a runner listens."""

MALFORMED = "Malformed"
"""The kind of the error that stands for an event that is not as its kind should be."""

State = dict[str, dict[str, dict[str, str]]]
"""What was there, by host, resource and field."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """What is being done, for whoever watches."""

    host: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What a step saw before its changes, or after them."""

    moment: Literal["before", "after"]
    seen: State


@dataclass(frozen=True, slots=True)
class HostKeys:
    """The fingerprint of the key that each host proved to have."""

    keys: dict[str, str]


@dataclass(frozen=True, slots=True)
class _OfChange:
    host: str
    resource: str
    action: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what names the change within its step."""
        return self.host, self.resource, self.action


@dataclass(frozen=True, slots=True)
class PlannedChange(_OfChange):
    """A change as the plan shows it, see :class:`runbook.changes.Change`."""

    before: str
    after: str
    undo: str
    summary: str
    diff: str


@dataclass(frozen=True, slots=True)
class Part:
    """What of a step is sealed: its plan, what that was made from, and its files by host."""

    digest: str
    observed: State
    files: dict[str, dict[str, str]]
    changes: tuple[PlannedChange, ...]


@dataclass(frozen=True, slots=True)
class SealedPlan:
    """What somebody approves: settings by name, Traefik's image, and the part of each step.

    Secrets among the settings are references.
    """

    site: dict[str, str | int | float | bool | None]
    image: str | None
    steps: dict[str, Part]
    schema: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan that a step showed; its part of the sealed plan where it has one."""

    digest: str
    changes: tuple[PlannedChange, ...]
    sealed: Part | None = None


@dataclass(frozen=True, slots=True)
class ChangeBegun(_OfChange):
    """A change is being made."""


@dataclass(frozen=True, slots=True)
class ChangeEnded(_OfChange):
    """A change was made (``done``), or what else became of it."""

    outcome: str
    message: str
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about the running system.

    Attributes:
        name: The statement; the same in every run, so that a missing one is noticed.
        where: From which host it was seen.
        expected: What must be seen.
        seen: What was seen.
        passed: Whether what was seen is what was expected.
    """

    name: str
    where: str
    expected: str
    seen: str
    passed: bool = None  # type: ignore[assignment]  # see below

    def __post_init__(self) -> None:
        if self.passed is None:
            object.__setattr__(self, "passed", self.expected == self.seen)


class Level(StrEnum):
    """How much a preflight finding matters."""

    BLOCKING = "blocking"
    WARNING = "warning"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of the preflight: what, where, why it matters and what to do."""

    level: Level
    host: str
    subject: str
    what: str
    why: str = ""
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The error on which a notebook stopped; its kind is the name of its class."""

    host: str | None
    kind: str
    exit_code: int
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a step came to; in a plan nothing was checked."""

    mode: str
    changes: int
    checks_passed: int | None = None
    checks_failed: int | None = None


KINDS: dict[str, type[Any]] = {
    "progress": Message,
    "state": Observed,
    "hosts": HostKeys,
    "plan": Planned,
    "begun": ChangeBegun,
    "outcome": ChangeEnded,
    "check": Check,
    "finding": Finding,
    "error": Failure,
    "verdict": Verdict,
}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a step left as evidence, each kind in its list, in the order in which it was told."""

    outcomes: tuple[ChangeEnded, ...]
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]
    errors: tuple[Failure, ...]


LISTS: dict[str, type[Any]] = {n: get_args(hint)[0] for n, hint in get_type_hints(Evidence).items()}
"""The kind of evidence in each list."""

OTHERS = dict(list(LISTS.items())[4:])
"""Those that no reader of results knows in particular; they are shown value by value."""


def emit(step: str, event: object) -> None:
    """Send one event to the runner, if there is one; what it holds is masked.

    Args:
        step: The step it is about.
        event: One of :data:`KINDS`.
    """
    if os.environ.get(SWITCH) == "1":
        from runbook.masking.redact import MASKER

        (word,) = (word for word, kind in KINDS.items() if type(event) is kind)
        _send(MASKER.mask_json({"event": word, "step": step, **to_json(event)}))


def tell_secret(name: str, value: str) -> None:
    """Let the runner know a secret before anything that holds it can reach it.

    The value goes through the kernel's own socket, in a folder that only the operator can enter,
    and the runner keeps it in memory.
    """
    if os.environ.get(SWITCH) == "1":
        _send({"event": "secret", "name": name, "value": value})


def _send(payload: object) -> None:
    from IPython.display import display

    display({MIME: payload}, raw=True)  # type: ignore[no-untyped-call]


def heard(told: Mapping[str, Any]) -> object:
    """Return the event that a kernel told.

    Args:
        told: What came; kernels are not trusted.

    Returns:
        ``None`` for a kind that is not known; a :class:`Failure` where it is malformed.
    """
    word = str(told.get("event"))
    try:
        return of_json(KINDS[word], as_text(told)) if word in KINDS else None
    except ValueError:
        return Failure(None, MALFORMED, 1, f"the notebook told a malformed event: {word}")


def to_json(value: Any) -> Any:
    """Return a value of a frozen type as plain ones; what has no need to be there may be absent."""
    if is_dataclass(value):
        found = [(field, getattr(value, field.name)) for field in fields(value)]
        return {f.name: to_json(v) for f, v in found if v is not None or f.default is not None}
    if isinstance(value, Mapping):
        return {name: to_json(item) for name, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def as_text(plain: object) -> bytes:
    """Return plain values as JSON in one line; bytes that are no text become question marks."""
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")  # such as a host's words in Latin-1


def of_json(kind: type[T], text: bytes) -> T:
    """Return the value of a frozen type that a JSON text holds; what else is in it is left out.

    Raises:
        ValueError: It holds none.
    """
    adapter = _adapter(kind)  # type: ignore[arg-type]  # classes are hashable, mypy
    value: T = adapter.validate_json(text, strict=True)
    return value


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def others(evidence: Evidence) -> Iterator[tuple[str, object]]:
    """Yield the evidence of :data:`OTHERS`, each with the name of its list."""
    for name in OTHERS:
        yield from ((name, one) for one in getattr(evidence, name))


def words(event: object) -> str:
    """Return an event of any kind as a text for people: ``name outage, value 3, unit s``."""
    return ", ".join(f"{name} {value}" for name, value in to_json(event).items())
