"""The JSON Schema of a site file, for editors."""

from __future__ import annotations

import json
from typing import Any

from runbook.site.model import AcceptedRisk, Demonstration, Forward, Site

# yaml-language-server, which most editors use, knows this draft best.
DRAFT = "http://json-schema.org/draft-07/schema#"
EXTENDS = {
    "type": "string",
    "minLength": 1,
    "description": "file whose settings this one adds to or replaces, relative to this file",
}
# What a file may leave to the file it extends is not required of it. Lists are replaced whole.
WHOLE = (AcceptedRisk.__name__, Demonstration.__name__, Forward.__name__)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of one site file, which may extend another.

    It checks less than :func:`runbook.site.load`, which sees all files together and the rules
    between values.
    """
    described = Site.model_json_schema()
    for name, part in described["$defs"].items():
        if name not in WHOLE:
            part.pop("required", None)
    required = described.pop("required")
    described["properties"] = {"extends": EXTENDS, **described["properties"]}
    unless_extended = {"if": {"required": ["extends"]}, "else": {"required": required}}
    return {"$schema": DRAFT, **described, **unless_extended}


def schema_text() -> str:
    """Return the schema as the text of ``parameters/site.schema.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
