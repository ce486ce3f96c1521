"""The environments that users make are the same, whichever way they make them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from ruamel.yaml import YAML

TOP = Path(__file__).parents[2]
CONDA_NAMES = {
    "docker": "docker-py",
    "jupyter-client": "jupyter_client",
    "jupyter-core": "jupyter_core",
}


def declared() -> dict[str, object]:
    return tomllib.loads((TOP / "pyproject.toml").read_text())["project"]


class TestEnvironments:
    """environment.yml, pyproject.toml and the lock file."""

    def test_conda_has_the_same_packages_and_ranges(self) -> None:
        """Every requirement of the package stands in environment.yml, and no other."""
        found = YAML(typ="safe").load((TOP / "environment.yml").read_text())["dependencies"]
        expected = []
        for requirement in declared()["dependencies"]:
            name, ranges = re.fullmatch(r"([a-z0-9.-]+)(.*)", requirement).groups()
            expected.append(CONDA_NAMES.get(name, name) + ranges)

        assert sorted(found) == sorted(["python>=3.11", "pip", *expected])

    def test_what_is_imported_is_declared(self) -> None:
        """No import lives by what another package happens to bring, and nothing is left over."""
        trees = [ast.parse(path.read_text()) for path in (TOP / "runbook").rglob("*.py")]
        nodes = [node for tree in trees for node in ast.walk(tree)]
        names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
        provided = packages_distributions()
        imported = {provided[top][0].lower().replace("_", "-") for top in tops - {"runbook"}}
        requirements = [*declared()["dependencies"], *declared()["optional-dependencies"]["s3"]]
        named = {re.match(r"[a-z0-9.-]+", requirement)[0] for requirement in requirements}

        assert imported - named == set()
        assert named - imported == {"ipywidgets", "jupyterlab"}  # for the one who sits before it

    def test_python_is_the_same(self) -> None:
        """Both name the oldest Python alike."""
        assert declared()["requires-python"] == ">=3.11"

    def test_the_lock_file_names_every_requirement_with_hashes(self) -> None:
        """Each requirement is pinned in the lock file, and every pin has a hash."""
        lock = (TOP / "requirements.lock").read_text()
        pins = re.findall(r"^([a-z0-9._-]+)==\S+.*\\\n    --hash=sha256:", lock, re.MULTILINE)
        names = {
            re.match(r"[a-z0-9.-]+", r)[0].replace(".", "-") for r in declared()["dependencies"]
        }

        assert names <= {pin.replace(".", "-") for pin in pins}
        assert len(pins) == len(re.findall(r"^[a-z]", lock, re.MULTILINE))

    def test_the_lock_file_holds_no_address(self) -> None:
        """Where packages come from is the machine's own configuration."""
        assert "://" not in (TOP / "requirements.lock").read_text()
