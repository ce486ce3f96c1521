"""Do one thing to many nodes at the same time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def flat(lists: Iterable[list[T]]) -> list[T]:
    """Return the items of all the lists, as one list."""
    return [item for one in lists for item in one]


def for_each(items: Iterable[T], work: Callable[[T], R]) -> list[R]:
    """Return what the work gives for each item, in the order of the items.

    Every item is worked on to its end before the first error, in item order, is raised: a lab
    is easier to heal when its nodes are not abandoned half way.
    """
    todo = list(items)
    if not todo:
        return []
    with ThreadPoolExecutor(max_workers=len(todo)) as pool:
        return list(pool.map(work, todo))
