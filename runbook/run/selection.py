"""Which steps a run takes, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runbook.errors import BadInput

if TYPE_CHECKING:
    from runbook.site import Site
    from runbook.steps import Step

CELL_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run.

    Attributes:
        mode: ``plan`` reads only; ``apply`` changes hosts.
        only: The one step to run.
        from_step: The first step to run; those before it are taken as done.
        notebooks: Folder of the steps' notebooks.
        records: Folder that receives the run's record.
        cell_timeout_s: Longest time for one cell in seconds.
        key: SSH key that signs the record; ``None``: RUNBOOK_KEY, or the one that the site names.
        ticket: The change request.
        reason: Why, in the operator's words.
        approved: The run whose plan was approved, by the beginning or end of its id.
        emergency: Whether it cannot wait for an approval; it is to be reviewed afterwards.
    """

    mode: Literal["plan", "apply"] = "plan"
    only: str | None = None
    from_step: str | None = None
    notebooks: Path = Path("notebooks")
    records: Path = Path("records")
    cell_timeout_s: int = CELL_TIMEOUT_S
    key: Path | None = None
    ticket: str | None = None
    reason: str | None = None
    approved: str | None = None
    emergency: bool = False


def select(steps: Sequence[Step[Any]], request: Request) -> tuple[Step[Any], ...]:
    """Return the steps of the request, in their declared order.

    Raises:
        BadInput: A step is named that does not exist, or two ways to choose are combined.
    """
    names = [step.name for step in steps]
    for name in (request.only, request.from_step):
        if name is not None and name not in names:
            raise BadInput(f"there is no step {name!r}", todo=f"name one of: {', '.join(names)}")
    if request.only is not None and request.from_step is not None:
        raise BadInput("a run takes either one step only or all from one step on, not both")
    if request.only is not None:
        return (steps[names.index(request.only)],)
    return tuple(steps[names.index(request.from_step) if request.from_step else 0 :])


def order(steps: Sequence[Step[Any]], site: Site) -> dict[str, frozenset[str]]:
    """Return for each step those of the given steps that must have succeeded before it."""
    names = frozenset(step.name for step in steps)
    return {step.name: step.needs(site) & names for step in steps}


def side_by_side(needs: Mapping[str, frozenset[str]]) -> bool:
    """Return whether two of the steps can ever run at the same time."""
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    while sorter.is_active():
        ready = sorter.get_ready()
        if len(ready) > 1:
            return True
        sorter.done(*ready)
    return False
