"""What a notebook declares, read without running it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook.errors import BadInput

PARAMETERS = frozenset({"site", "mode"})
KERNEL = "python3"


def declared_parameters(notebook: Mapping[str, Any]) -> frozenset[str]:
    """Return the names that the cells tagged ``parameters`` assign; empty without such a cell."""
    names: set[str] = set()
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            names |= _assigned("".join(cell["source"]))
    return frozenset(names)


def check(path: Path) -> None:
    """Refuse a notebook that the runner cannot run as it is meant.

    Raises:
        BadInput: The file is missing or no notebook, wants another kernel, or does not declare
            the parameters that the runner gives it.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        kernel = notebook["metadata"]["kernelspec"]["name"]
        declared = declared_parameters(notebook)
    except OSError as error:
        raise BadInput(f"there is no notebook {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, SyntaxError) as error:
        raise BadInput(f"{path} is not a notebook: {error!r}") from error
    if kernel != KERNEL:
        raise BadInput(f"{path} is for the kernel {kernel}; the runbook runs {KERNEL} only")
    missing = sorted(PARAMETERS - declared)
    if missing:
        raise BadInput(f"{path} does not declare the parameter {', '.join(missing)}")


def _assigned(source: str) -> set[str]:
    return {
        node.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
