"""The models' objections as sentences for an operator, each with its place in the files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from runbook.site.problems import Problem
from runbook.site.reading import Node, Step, setting_name
from runbook.site.shape import fields_at
from runbook.site.values import SHAPES, discreet

KINDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "dict_type": "must be lines of `name: value`",
    "model_type": "must be lines of `name: value`",
    "model_attributes_type": "must be lines of `name: value`",
    "tuple_type": "must be a list, each item after a hyphen",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "too_short": "must have at least {min_length} entry",
}
# What YAML 1.1 took for true and false; in YAML 1.2 they are text.
OLD_FLAGS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def problem_at(tree: Node, path: tuple[Step, ...], message: str, *, name: bool = False) -> Problem:
    """Return a problem with a setting, placed where the files speak of it.

    Args:
        tree: The site as read.
        path: The setting; where no file declares it, the nearest part above it is the place.
        message: The sentence.
        name: Whether the setting's name is at fault, not its value.

    """
    declared = path
    while (node := tree.find(declared)) is None:
        declared = declared[:-1]
    is_part = isinstance(node.value, dict | tuple)  # a part is known by the line of its name
    at = node.name_at if name or is_part else node.at
    return Problem(at.file, at.line, at.column, setting_name(path), message)


def problems_of(error: ValidationError, tree: Node) -> Iterator[Problem]:
    """Yield one problem for each objection of the models.

    A setting that is missing only because its name is misspelt beside it is not reported twice.
    """
    details = error.errors(include_url=False)
    meant = {(*_path(d)[:-1], nearest(_path(d))) for d in details if d["type"] == "extra_forbidden"}
    for detail in details:
        path = _path(detail)
        if detail["type"] == "missing" and path in meant:
            continue
        about_name = detail["type"] == "extra_forbidden" or detail["loc"][-1:] == ("[key]",)
        yield problem_at(tree, path, sentence(detail), name=about_name)


def nearest(path: tuple[Step, ...]) -> str:
    """Return the known name that is most like the last of this path; empty when none is."""
    matches = get_close_matches(str(path[-1]), known_names(path[:-1]), n=1)
    return matches[0] if matches else ""


def known_names(path: tuple[Step, ...]) -> tuple[str, ...]:
    """Return the names that a file may write in this part."""
    return tuple(fields_at(path)) if path else ("extends", *fields_at(path))


def sentence(detail: ErrorDetails) -> str:
    """Return what one objection means to somebody who wrote the file."""
    path, kind, seen = _path(detail), detail["type"], detail["input"]
    if kind == "missing":
        return f"is missing: {fields_at(path[:-1])[str(path[-1])].description}"
    if kind == "extra_forbidden":
        known = ", ".join(known_names(path[:-1]))
        guess = nearest(path)
        return f"is not a setting; {f'did you mean {guess}?' if guess else f'known here: {known}'}"
    if seen is None:
        return "has no value"
    wanted, _, remedy = _wanted(detail).partition("; ")
    remedy = remedy or _remedy(kind, seen)
    said = f"{wanted}, not {_shown(seen)}" + (f"; {remedy}" if remedy else "")
    return discreet(path, said)


def _path(detail: ErrorDetails) -> tuple[Step, ...]:
    return tuple(step for step in detail["loc"] if step != "[key]")


def _wanted(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return SHAPES[context["pattern"]]
    return KINDS[kind].format(**context)


def _remedy(kind: str, seen: Any) -> str:
    if kind == "bool_type" and str(seen).lower() in OLD_FLAGS:
        return f"write {OLD_FLAGS[str(seen).lower()]}"
    if kind in ("int_type", "int_from_float") and isinstance(seen, float) and seen.is_integer():
        return f"write {int(seen)}"
    if kind in ("int_type", "float_type") and isinstance(seen, str) and _is_number(seen):
        return f"write {seen} without quotes"
    if kind == "string_type" and isinstance(seen, int | float):
        return f'write "{_shown(seen)}" in quotes'
    return ""


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _shown(seen: Any) -> str:
    if isinstance(seen, dict):
        return "a mapping" if seen else "an empty mapping"
    if isinstance(seen, list):
        return "a list"
    return json.dumps(seen, ensure_ascii=False)
