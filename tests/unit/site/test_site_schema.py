"""The JSON Schema that editors use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from runbook.site.schema import schema, schema_text

PARAMETERS = Path(__file__).parents[3] / "parameters"


def objections(document: Any) -> list[str]:
    """Return what the schema says against a document."""
    validator = jsonschema.Draft7Validator(schema())
    return [error.message for error in validator.iter_errors(document)]


class TestSchema:
    """What an editor is told."""

    def test_file_is_current(self) -> None:
        """The committed schema is what `runbook site schema` prints."""
        assert (PARAMETERS / "site.schema.json").read_text() == schema_text()

    def test_is_a_schema(self) -> None:
        """The schema itself keeps to the draft it names."""
        jsonschema.Draft7Validator.check_schema(schema())

    @pytest.mark.parametrize("path", sorted(PARAMETERS.glob("*.yml")), ids=lambda path: path.name)
    def test_parameters_files(self, path: Path) -> None:
        """Every parameters file, one that extends another included, keeps to it."""
        assert objections(YAML(typ="safe", pure=True).load(path.read_text())) == []

    def test_whole_file_needs_every_part(self) -> None:
        """A file that extends nothing has to declare what is required."""
        assert "'managers' is a required property" in objections({"name": "x"})
        assert objections({"name": "x", "extends": "base.yml"}) == []

    def test_unknown_names_and_wrong_types(self) -> None:
        """An editor underlines a misspelt name and a port in quotes."""
        wrong = {"extends": "a.yml", "traefik": {"web_port": "80"}, "keepalvied": {}}
        said = "\n".join(objections(wrong))

        assert "'80' is not of type 'integer'" in said
        assert "'keepalvied' was unexpected" in said

    def test_every_setting_is_described(self) -> None:
        """Each setting has the description that an editor shows beside it."""
        parts = [schema(), *schema()["$defs"].values()]
        named = [(name, entry) for part in parts for name, entry in part["properties"].items()]

        assert [name for name, entry in named if "description" not in entry] == []
