"""One YAML file as a tree that remembers where every value stands.

The tree is built from the parser's events, because every constructor on offer changes values
without a word: YAML 1.1 reads ``051`` as 41 and ``22:22`` as 1342, YAML 1.2 reads ``0o17`` as 15.
Here a plain scalar is ``null``, ``true``, ``false``, a decimal number, or the text as written.
Source: YAML 1.2.2, section 10.3 (core schema); numbers in any other notation are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from runbook.site.problems import Problem, SiteInvalid
from runbook.site.values import discreet

WORDS = {
    word: value
    for name, value in (("null", None), ("true", True), ("false", False))
    for word in (name, name.title(), name.upper())
} | {"~": None, "": None}
# Numbers of more digits are text: int() refuses the very long ones (sys.get_int_max_str_digits).
DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
FRACTION = re.compile(r"[-+]?((0|[1-9][0-9]{0,99})?\.[0-9]+|(0|[1-9][0-9]{0,99})\.)")
PADDED = re.compile(r"[-+]?0[0-9]{1,99}(\.[0-9]*)?")
OTHER_BASE = re.compile(r"0o[0-7]{1,99}|0x[0-9a-fA-F]{1,99}")
EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")

# Stands for a value that cannot be taken as written: no setting accepts it, no rule looks at it.
UNREAD = float("nan")

DEPTH = 50

Scalar = str | int | float | bool | None
Step = str | int


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file, where it stands, and where its name stands."""

    value: Scalar | dict[str, Node] | tuple[Node, ...]
    at: Place
    name_at: Place

    def plain(self) -> Any:
        """Return the value without its places, as pydantic wants it."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value

    def find(self, path: tuple[Step, ...]) -> Node | None:
        """Return the node at this path, or ``None`` where the file says nothing."""
        node: Node | None = self
        for step in path:
            if node is None:
                return None
            node = node.child(step)
        return node

    def child(self, step: Step) -> Node | None:
        """Return the entry of this name or number, or ``None``."""
        if isinstance(self.value, dict) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, tuple) and isinstance(step, int):
            return self.value[step]
        return None

    def without(self, name: str) -> Node:
        """Return this mapping without one of its entries."""
        entries = self.value if isinstance(self.value, dict) else {}
        kept = {key: node for key, node in entries.items() if key != name}
        return Node(kept, self.at, self.name_at)


def setting_name(path: tuple[Step, ...]) -> str:
    """Return a setting's full name, such as ``shorewall.forward[1].port``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def read(path: Path) -> tuple[Node, tuple[Problem, ...]]:
    """Return a file's tree and what is wrong with how its values are written.

    Raises:
        SiteInvalid: There is no tree: the file cannot be read, is not YAML, or is not one mapping.

    """
    file = str(path)
    try:
        if path.exists() and not (
            path.is_file() or path.is_dir()
        ):  # to read a FIFO would wait for ever
            raise _unusable(file, "is not a file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise _unusable(file, "there is no such file") from error
    except UnicodeDecodeError as error:
        raise _unusable(file, f"is not UTF-8 text, from byte {error.start} on") from error
    except OSError as error:
        raise _unusable(file, f"cannot be read: {error.strerror}") from error
    try:
        return _tree(file, list(_bounded(file, YAML(typ="safe", pure=True).parse(text))))
    except YAMLError as error:
        raise _not_yaml(file, text, error) from error


def _bounded(file: str, events: Iterator[Any]) -> Iterator[Any]:
    """Yield the parser's events, up to a depth that no site has and Python's stack still takes."""
    depth = 0
    for event in events:
        depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
        depth -= isinstance(event, MappingEndEvent | SequenceEndEvent)
        if depth > DEPTH:
            mark = event.start_mark
            message = f"is nested more than {DEPTH} levels deep"
            raise _unusable(file, message, mark.line + 1, mark.column + 1)
        yield event


def _unusable(file: str, message: str, line: int = 0, column: int = 1) -> SiteInvalid:
    return SiteInvalid(file, (Problem(file, line, column, "", message),))


def _not_yaml(file: str, text: str, error: YAMLError) -> SiteInvalid:
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return _unusable(file, "is not YAML: a control character", line, column)
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        mark, said = error.problem_mark, f"{error.problem}"
        if said.startswith("found character '\\t'"):
            said = "a tab; YAML is indented with spaces"
        elif said.startswith("found undefined tag handle"):  # of text that may be a secret
            said = "a tag that is not declared; text that begins with '!' needs quotes"
        return _unusable(file, f"is not YAML: {said}", mark.line + 1, mark.column + 1)
    return _unusable(file, f"is not YAML: {error}")


def _tree(file: str, events: list[Any]) -> tuple[Node, tuple[Problem, ...]]:
    starts = [number for number, e in enumerate(events) if isinstance(e, DocumentStartEvent)]
    if not starts:
        raise _unusable(file, "is empty")
    if len(starts) > 1:
        mark = events[starts[1]].start_mark
        raise _unusable(file, "holds a second document; a site is one", mark.line + 1)
    reader = _Reader(file, iter(events[starts[0] + 1 :]))
    root = reader.node(next(reader.events), ())
    if isinstance(root.value, dict):
        return root, tuple(reader.problems)
    empty = root.value is None
    message = "is empty" if empty else "is not a mapping; a site is lines of `name: value`"
    raise _unusable(file, message, root.at.line, root.at.column)


@dataclass(slots=True)
class _Reader:
    """Builds the tree from events, and notes what is wrong on the way."""

    file: str
    events: Iterator[Any]
    problems: list[Problem] = field(default_factory=list)

    def place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def complain(self, at: Place, path: tuple[Step, ...], message: str) -> None:
        self.problems.append(Problem(at.file, at.line, at.column, setting_name(path), message))

    def node(self, event: Any, path: tuple[Step, ...], name_at: Place | None = None) -> Node:
        at = self.place(event)
        if isinstance(event, AliasEvent):
            said = f"is the alias *{event.anchor}; write the value itself"
            self.complain(at, path, discreet(path, said))
            return Node(UNREAD, at, name_at or at)
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self.complain(
                at, path, discreet(path, f"has the tag {tag}; write the value without it")
            )
        if isinstance(event, MappingStartEvent):
            return Node(self.mapping(path), at, name_at or at)
        if isinstance(event, SequenceStartEvent):
            return Node(self.sequence(path), at, name_at or at)
        if not event.value and event.style is None:  # the parser places it at the next token
            at = name_at or at
        return Node(self.scalar(event, path), at, name_at or at)

    def mapping(self, path: tuple[Step, ...]) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            name_at = self.place(event)
            if not isinstance(event, ScalarEvent):
                self.complain(name_at, path, "has a name that is not plain text")
                self.node(event, path)
                self.node(next(self.events), path)
                continue
            name = str(event.value)
            node = self.node(next(self.events), (*path, name), name_at)
            if name in entries:
                first = entries[name].name_at.line
                self.complain(name_at, (*path, name), f"is declared twice, first in line {first}")
            entries.setdefault(name, node)
        return entries

    def sequence(self, path: tuple[Step, ...]) -> tuple[Node, ...]:
        items: list[Node] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self.node(event, (*path, len(items))))
        return tuple(items)

    def scalar(self, event: ScalarEvent, path: tuple[Step, ...]) -> Scalar:
        text = str(event.value)
        if event.style is not None:
            return text
        value, objection = plain_scalar(text)
        if objection:
            self.complain(self.place(event), path, discreet(path, objection))
        return value


def plain_scalar(text: str) -> tuple[Scalar, str]:
    """Return what an unquoted scalar is, and the objection to how it is written, if any.

    Examples:
        >>> plain_scalar("51"), plain_scalar("22:22")
        ((51, ''), ('22:22', ''))
        >>> plain_scalar("051")
        (nan, '051 starts with a zero, which some programs read as octal; write 51')

    """
    if text in WORDS:
        return WORDS[text], ""
    if DECIMAL.fullmatch(text):
        return int(text), ""
    if FRACTION.fullmatch(text):
        return float(text), ""
    if EXPONENT.fullmatch(text):
        return UNREAD, f"{text} has an exponent; write the number in full"
    return _odd_number(text)


def _odd_number(text: str) -> tuple[Scalar, str]:
    if PADDED.fullmatch(text):
        number = float(text) if "." in text else int(text)
        reason = "starts with a zero, which some programs read as octal"
    elif OTHER_BASE.fullmatch(text):
        number = int(text, 0)
        reason = "is not a decimal number"
    else:
        return text, ""
    return UNREAD, f"{text} {reason}; write {number}"
