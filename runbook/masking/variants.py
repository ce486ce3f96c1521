"""The forms that one secret takes in what programs write.

Caught: the value as it is, each of its lines, and what JSON (Python's and Go's), repr, URLs, HTML,
shells, YAML and Compose make of it; hexadecimal, base64 at any offset, reversed; and every one of
these inside one more JSON text.

Not caught, by decision: changed case, spaces between the characters, a part of the value, what was
compressed or hashed, ``aa:bb`` hexadecimal, base64 broken into lines, pictures. Nothing short of
guessing finds those, and guessing masks what an auditor needs.
"""

from __future__ import annotations

import base64
import html
import json
import shlex
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from runbook.masking.secret import SHORTEST


def variants(value: str) -> frozenset[str]:
    """Return the forms of a value that are searched for, each of 8 or more characters."""
    forms = {form for text in _texts(value) for form in _forms(text)}
    forms |= {escaped for form in forms for escaped in _json(form)}
    return frozenset(form for form in forms if len(form) >= SHORTEST)


def _texts(value: str) -> Iterator[str]:
    yield value
    lines = [line.strip() for line in value.splitlines()]
    # The first and last line of a key in PEM are the same in every key (RFC 7468).
    yield from (line for line in lines if len(line) >= SHORTEST and not line.startswith("-----"))


def _forms(text: str) -> Iterator[str]:
    raw = text.encode()
    yield from (text, text[::-1], raw.hex(), raw.hex().upper())
    yield from _json(text)
    yield from _reprs(text)
    yield from (quote(text), quote(text, safe=""), quote_plus(text))
    yield from (html.escape(text), html.escape(text, quote=False))
    yield html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    yield shlex.quote(text).removeprefix("'").removesuffix("'")
    yield text.replace("'", "'\\''")  # what bash's own tracing writes
    yield text.replace("'", "''")  # YAML 1.2.2, 7.3.2
    yield text.replace("$", "$$")  # Compose, interpolation
    yield from _base64(raw)


def _json(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    yield plain
    # Go's encoding/json, and so what Docker and Traefik answer
    yield plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _reprs(text: str) -> Iterator[str]:
    # Whether a quote is escaped depends on the quotes of the whole text around the value.
    both = "\"'"
    yield repr(text)[1:-1]
    yield repr(both + text)[len(repr(both)) - 1 : -1]
    yield repr(text.encode())[2:-1]
    yield repr((both + text).encode())[len(repr(both.encode())) - 1 : -1]


def _base64(raw: bytes) -> Iterator[str]:
    """Return the characters that the value alone decides, whatever stands before and after it."""
    for offset in range(3):
        first, last = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
        encoded = base64.b64encode(bytes(offset) + raw).decode()[first:last]
        yield from (encoded, encoded.replace("+", "-").replace("/", "_"))
