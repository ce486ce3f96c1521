"""Masking a notebook: what one text is to its reader is joined before it is searched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook.masking.redact import Masker

Plain = dict[str, Any]


def mask_notebook(notebook: Mapping[str, Any], masker: Masker) -> Plain:
    """Return a masked copy of a notebook.

    Args:
        notebook: As nbformat holds it, or as its file does; it is not changed.
        masker: Masks the texts.
    """
    metadata = {name: value for name, value in notebook["metadata"].items() if name != "widgets"}
    return {
        **notebook,
        "metadata": masker.mask_json(metadata),
        "cells": [_cell(cell, masker) for cell in notebook["cells"]],
    }


def texts(notebook: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a notebook's outputs say, each as one text however it is split in the file."""
    for output in (o for cell in notebook["cells"] for o in cell.get("outputs", ())):
        if output["output_type"] == "error":
            yield "\n".join(output["traceback"])
        for value in output.get("data", {}).values():
            if isinstance(value, list):
                yield "".join(map(str, value))
    for cell in notebook["cells"]:
        yield from map("".join, _streams(cell.get("outputs", ())).values())


def joined(text: Any) -> Any:
    """Return a multi-line text as nbformat holds it in memory."""
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "".join(text)
    return text


def _cell(cell: Mapping[str, Any], masker: Masker) -> Plain:
    apart = {"id", "source", "outputs"}
    masked: Plain = masker.mask_json({name: cell[name] for name in cell.keys() - apart})
    masked |= {name: cell[name] for name in cell.keys() & {"id"}}
    masked["source"] = masker.mask(joined(cell["source"]))
    if "outputs" in cell:
        outputs = _joined_streams(cell["outputs"], masker)
        masked["outputs"] = [_output(output, masker) for output in outputs]
    return masked


def _joined_streams(outputs: list[Plain], masker: Masker) -> list[Plain]:
    """Return the outputs; where a secret is spread over chunks of a stream, the first has all."""
    whole = {
        name: "".join(chunks)
        for name, chunks in _streams(outputs).items()
        if masker.mask("".join(chunks)) != "".join(map(masker.mask, chunks))
    }
    result, done = [], set()
    for output in outputs:
        name = output["name"] if output["output_type"] == "stream" else None
        if name not in whole:
            result.append(output)
        elif name not in done:
            result.append({**output, "text": whole[name]})
            done.add(name)
    return result


def _streams(outputs: Iterable[Plain]) -> dict[str, list[str]]:
    """Return the chunks of each stream by its name."""
    streams: dict[str, list[str]] = {}
    for output in outputs:
        if output["output_type"] == "stream":
            streams.setdefault(output["name"], []).append(joined(output["text"]))
    return streams


def _output(output: Plain, masker: Masker) -> Plain:
    plain = {name: joined(value) for name, value in output.items() if name != "traceback"}
    if "data" in plain:
        plain["data"] = {mime: joined(value) for mime, value in plain["data"].items()}
    masked: Plain = masker.mask_json(plain)
    if "traceback" in output:
        masked["traceback"] = _traceback(output["traceback"], masker)
    return masked


def _traceback(lines: list[str], masker: Masker) -> list[str]:
    whole = "\n".join(lines)
    masked = masker.mask(whole)
    return list(lines) if masked == whole else masked.split("\n")
