"""The gate: every file of a record is searched once more before the record is published."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook.masking.notebook import texts
from runbook.masking.redact import Masker


@dataclass(frozen=True, slots=True, order=True)
class Leak:
    """Where a secret was found, or why a file could not be searched.

    Attributes:
        file: Its path within the folder, masked.
        secret: The secret's name, or in brackets why the file could not be searched.
    """

    file: str
    secret: str


def gate(folder: Path, masker: Masker) -> tuple[Leak, ...]:
    """Return what secrets a folder holds; empty when it may be published.

    What cannot be searched is returned, too. What was compressed or drawn cannot be seen.

    Args:
        folder: The record.
        masker: Knows the secrets.
    """
    leaks: set[Leak] = set()

    def add(path: str, secrets: Iterable[str]) -> None:
        name = Path(path).relative_to(folder).as_posix()
        leaks.update(Leak(masker.mask(name), s) for s in {*secrets, *masker.found(name)})

    def add_unreadable(error: OSError) -> None:
        add(error.filename, ["(not readable)"])

    for place, folders, files in os.walk(folder, onerror=add_unreadable):
        for name in folders:
            path = os.path.join(place, name)
            add(path, ["(not a plain file)"] if os.path.islink(path) else [])
        for name in files:
            path = os.path.join(place, name)
            add(path, _found(Path(path), masker))
    return tuple(sorted(leaks))


def _found(path: Path, masker: Masker) -> Iterator[str]:
    if path.is_symlink() or not path.is_file():
        yield "(not a plain file)"
        return
    try:
        content = path.read_bytes()
        yield from masker.found(content.decode("utf-8", errors="surrogateescape"))
        if path.suffix == ".ipynb":
            for text in texts(json.loads(content)):
                yield from masker.found(text)
    except OSError:
        yield "(not readable)"
    except (ValueError, LookupError, TypeError, AttributeError):
        yield "(not a notebook)"
