"""Two states as facts by name, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that two states have otherwise; ``None`` where one of them has none.

    Attributes:
        fact: Its name: ``after/docker01/network frontend/driver``.
        left: What the first has.
        right: What the second has.
    """

    fact: str
    left: Any
    right: Any


def differences(left: Facts, right: Facts) -> tuple[Difference, ...]:
    """Return what differs between two sets of facts, by name."""
    names = sorted(left.keys() | right.keys())
    pairs = [Difference(name, left.get(name), right.get(name)) for name in names]
    return tuple(pair for pair in pairs if pair.left != pair.right)


def flat(name: str, value: Any) -> Facts:
    """Return the leaves of nested mappings; a list is one value."""
    if not isinstance(value, dict) or not value:
        return {name: value if value != {} else None}
    return {
        key: leaf for part in value for key, leaf in flat(f"{name}/{part}", value[part]).items()
    }
