"""Write the JSON Schemas of a journal and of what it amounts to from their types: make schema.

What an earlier version wrote is valid, too: only what always was there is required.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from runbook import events
from runbook.records.journal import entries
from runbook.records.journal.results import Results

FOLDER = Path(__file__).parents[1] / "runbook" / "records" / "schemas"

_MOMENT = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"}
_ENVELOPE = {
    "seq": {"type": "integer", "minimum": 0},
    "time": _MOMENT,
    "kind": {"enum": list(entries.KINDS)},
}
_OF_FIELD: dict[str, dict[str, Any]] = {
    "started": {"pattern": _MOMENT["pattern"]},
    "finished": {"pattern": _MOMENT["pattern"]},
    "digest": {"pattern": "^[0-9a-f]{64}$"},
    "duration_ms": {"minimum": 0},
    "index": {"minimum": 0},
}
"""What the type of a field does not say, by its name."""


def schemas() -> dict[str, str]:
    """Return the text of each schema by the name of its file."""
    found = {"journal": _journal(), "plan": _schema(events.SealedPlan), "results": _schema(Results)}
    found["state"] = {"title": "What the steps saw, before or after", **_schema(events.State)}
    draft = {"$schema": "http://json-schema.org/draft-07/schema#"}
    return {f"{name}.json": _text(draft | one) + "\n" for name, one in found.items()}


def _text(value: Any, indent: str = "") -> str:
    """Return JSON that has in one line what fits there."""
    line = json.dumps(value)
    if len(indent + line) <= 98 or not isinstance(value, dict | list):
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {_text(item, deeper)}" for name, item in value.items()]
    else:
        parts = [_text(item, deeper) for item in value]
    inner = ",\n".join(deeper + part for part in parts)
    return f"{line[0]}\n{inner}\n{indent}{line[-1]}"


def _journal() -> dict[str, Any]:
    kinds = {*entries.KINDS.values(), *events.KINDS.values()}
    defs = _schema(Union[tuple(sorted(kinds, key=str))])["$defs"]  # noqa: UP007  # made of a tuple
    for kind in entries.KINDS.values():
        part = defs[kind.__name__]
        part["properties"] = {n: v for n, v in part["properties"].items() if n not in _ENVELOPE}
        part["required"] = sorted({*part["required"], *part["properties"].keys() & {"step"}})
    for part in defs.values():
        part.pop("additionalProperties", None)  # each is a part of a line
    defs["EventTold"]["properties"]["event"] = _by("event", events.KINDS, ("event", "step"))
    line = _by("kind", entries.KINDS, tuple(_ENVELOPE))
    return {"title": "A line of a journal", "properties": _ENVELOPE, **line, "$defs": defs}


def _by(name: str, kinds: Mapping[str, type[Any]], required: Sequence[str]) -> dict[str, Any]:
    """Return the schema of what is of the kind that its field of this name says."""
    parts = [
        {"if": {"properties": {name: {"const": word}}}, "then": {"$ref": f"#/$defs/{k.__name__}"}}
        for word, k in kinds.items()
    ]
    return {"type": "object", "required": required, "allOf": parts}


def _schema(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema(schema_generator=_Generator)


class _Generator(GenerateJsonSchema):
    """Leaves out what only repeats a name or is of no use to who reads what was written."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        inner = self.generate_inner(schema["schema"])
        if inner.keys() == {"type"}:
            return {"type": [inner["type"], "null"]}
        return super().nullable_schema(schema)

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        described = super().dataclass_schema(schema)
        fields = described["properties"]
        described["properties"] = {n: fields[n] | _OF_FIELD.get(n, {}) for n in fields}
        described["additionalProperties"] = False
        described["description"] = schema["cls"].__doc__.partition("\n")[0]
        return described


if __name__ == "__main__":
    for file, text in schemas().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
