"""The published schemas: made from the types, and good for what earlier versions wrote."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from archives import RECORD
from headless import VERDICT, check, entry, made, plan
from schemas import FOLDER, schemas

from runbook.events import to_json


def objections(schema: str, document: Any) -> list[str]:
    """Return what a schema as it is made now says against a document."""
    validator = jsonschema.Draft7Validator(json.loads(schemas()[schema]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def told(event: dict[str, Any]) -> dict[str, Any]:
    """Return the line of a journal that tells an event."""
    line = entry("event", time="2026-11-23T13:01:47.121Z", step="network", event=event)
    return dict(to_json(line))


@pytest.mark.parametrize("name", schemas())
def test_are_current(name: str) -> None:
    """They are made anew where a type was changed: make schema."""
    assert (FOLDER / name).read_text(encoding="utf-8") == schemas()[name]


@pytest.mark.parametrize("name", schemas())
def test_are_schemas(name: str) -> None:
    """They are what they say they are."""
    jsonschema.Draft7Validator.check_schema(json.loads(schemas()[name]))


def test_let_an_earlier_record_pass() -> None:
    """A record that was made before there were types is valid by them."""
    for line in (RECORD / "journal.jsonl").read_text().splitlines():
        assert objections("journal.json", json.loads(line)) == []
    documents = {"plan": "plan", "results": "results", "before": "state", "after": "state"}
    for name, schema in documents.items():
        document = json.loads((RECORD / f"{name}.json").read_text())
        assert objections(f"{schema}.json", document) == []


@pytest.mark.parametrize("event", [plan("h"), made("h"), check("c"), VERDICT, {"event": "other"}])
def test_know_each_kind_of_event(event: dict[str, Any]) -> None:
    """An event is valid by the schema of its kind; one that is not known may be anything."""
    assert objections("journal.json", told({"step": "network", **event})) == []
    assert objections("journal.json", told(event)) == ["$.event: 'step' is a required property"]


def test_object_to_what_is_malformed() -> None:
    """What no step is proven by is not valid either."""
    event = {"step": "network", **check("c"), "passed": "yes"}

    assert objections("journal.json", told(event)) == [
        "$.event.passed: 'yes' is not of type 'boolean'"
    ]


def test_object_to_what_is_in_no_type() -> None:
    """The results have no field that a type does not have."""
    document = json.loads((RECORD / "results.json").read_text()) | {"more": 1}

    assert len(objections("results.json", document)) == 1
