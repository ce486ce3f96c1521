"""What a step's notebook calls: ``from runbook.notebook import open_step``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbook.notebook.walk import open_step

__all__ = ["open_step"]


def __getattr__(name: str) -> object:
    # The runner reads `events` and is not to wait for all that a notebook brings.
    if name == "open_step":
        from runbook.notebook import walk

        return walk.open_step
    raise AttributeError(name)
