"""Bytes and digests: how statements, ledgers and results are written, and files are named."""

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


def write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file whole: a reader finds the old one or the new one, never a part of it.

    Args:
        path: The file.
        content: All of it.
        durable: Whether to return only once it is on the disk.

    Raises:
        OSError: It cannot be written; nothing is left beside it.
    """
    spare = _spare_of(path)
    try:
        _fill(spare, content, durable=durable)
        os.replace(spare, path)
    finally:
        with suppress(OSError):
            spare.unlink()
    if durable:
        sync(path.parent)


def create(path: Path, content: bytes) -> None:
    """Write a file unless it is there, whole and for good, whoever else does the same."""
    spare = _spare_of(path)
    _fill(spare, content, durable=True)
    with suppress(FileExistsError):
        os.link(spare, path)
    spare.unlink()
    sync(path.parent)


def _spare_of(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.getpid()}.new"  # "." has no name


def _fill(spare: Path, content: bytes, *, durable: bool) -> None:
    with spare.open("wb") as opened:
        opened.write(content)
        opened.flush()
        if durable:
            os.fsync(opened.fileno())


def sync(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
