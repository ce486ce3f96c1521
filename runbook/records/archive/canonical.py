"""Bytes and digests: the one way in which records write JSON and name files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Value = Mapping[str, Any]


def document(value: Value) -> bytes:
    """Return a document as the bytes that are signed: sorted keys, UTF-8, one value a line."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def line(value: Value) -> bytes:
    """Return one line of JSON without its line feed."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def sha256(content: bytes) -> str:
    """Return the SHA-256 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: It cannot be read.
    """
    # In one piece: files of records are small, and file_digest() takes four times as long for them.
    with open(path, "rb", buffering=0) as opened:
        return sha256(opened.read())


def write(path: Path, content: bytes) -> None:
    """Replace a file whole, and return once it is on the disk."""
    os.replace(_spare(path, content), path)
    sync(path.parent)


def create(path: Path, content: bytes) -> None:
    """Write a file unless it is there, whole and for good, whoever else does the same."""
    spare = _spare(path, content)
    with suppress(FileExistsError):
        os.link(spare, path)
    spare.unlink()
    sync(path.parent)


def _spare(path: Path, content: bytes) -> Path:
    spare = path.with_name(f".{path.name}.{os.getpid()}.new")
    with spare.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    return spare


def sync(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
