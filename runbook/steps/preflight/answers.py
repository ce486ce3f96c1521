"""The engine's answers, of which any part may be missing, null or of another kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def parsed(text: str) -> Any:
    """Return the JSON that the engine answered with, or ``None``; curl may warn before it."""
    for line in text.splitlines():
        if line.startswith(("{", "[")):
            try:
                return json.loads(line)
            except json.JSONDecodeError:
                return None
    return None


def part(value: Any, *names: str) -> Any:
    """Return what is at a path in the engine's answer; ``None`` where it does not lead there."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def text_at(value: Any, *names: str) -> str:
    """Return the text at a path in the engine's answer; empty where there is none."""
    found = part(value, *names)
    return found if isinstance(found, str) else ""
