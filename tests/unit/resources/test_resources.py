"""The protocol: every resource has the one shape, so that a step need not know which it is."""

from __future__ import annotations

import inspect
from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules

import pytest

from runbook import resources

MODULES = [import_module(f"runbook.resources.{m.name}") for m in iter_modules(resources.__path__)]
KINDS = [
    kind
    for module in MODULES
    for name, kind in vars(module).items()
    if hasattr(kind, "plan") and (kind.__module__, kind.__name__) == (module.__name__, name)
]


def test_all_are_held_to_it() -> None:
    """Each module has one, and the line that has mypy compare it with the protocol."""
    held = [module._obeys for module in MODULES if hasattr(module, "_obeys")]

    assert len(KINDS) >= 6
    assert held == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_owns_its_host_and_plans_from_facts_alone(kind: type) -> None:
    """What is not declared is observed: a plan is given nothing else."""
    assert fields(kind)[0].name == "host"
    assert list(inspect.signature(kind.plan).parameters) == ["self", "facts"]


@pytest.mark.parametrize("kind", KINDS)
def test_is_observed_in_one_way(kind: type) -> None:
    """Its host's shell tells of it, or the engine."""
    assert hasattr(kind, "observe") != (hasattr(kind, "probe") and hasattr(kind, "read"))
