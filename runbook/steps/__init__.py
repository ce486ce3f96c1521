"""The steps of the runbook, in order; a notebook of the same name walks a person through each."""

from __future__ import annotations

from typing import Any

from runbook.errors import BadInput
from runbook.steps import acceptance, keepalived, network, preflight, shorewall, traefik
from runbook.steps.step import CONVERGED, Row, Step

__all__ = ["CONVERGED", "STEPS", "Row", "Step", "find"]

_OTHERS = (network.STEP, traefik.STEP, keepalived.STEP, shorewall.STEP, acceptance.STEP)

STEPS: tuple[Step[Any], ...] = (preflight.before(_OTHERS), *_OTHERS)


def find(name: str) -> Step[Any]:
    """Return the step of a name.

    Raises:
        BadInput: There is no such step.
    """
    for step in STEPS:
        if step.name == name:
            return step
    known = ", ".join(step.name for step in STEPS)
    raise BadInput(f"there is no step {name!r}", todo=f"name one of: {known}")
