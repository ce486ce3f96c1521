"""Executed notebooks as part of the page: prose, sources and outputs, in the notebook's order."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from runbook.masking.notebook import joined
from runbook.records.page.sanitise import sanitise

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

TALL = 14
"""Rows; a longer table scrolls within a bounded height on screens, and is whole on paper."""

_LEVELS = 3  # the page's own headings stand above those of a notebook
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Trojan Source (CVE-2021-42574): characters that show a text in another order than it has.
_REORDERING = {n: f"⟦U+{n:04X}⟧" for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def visible(text: object) -> str:
    """Return a text without colours, and with what would reorder it shown."""
    return _COLOURS.sub("", str(text)).translate(_REORDERING)


def cells(notebook: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each cell with what it shows.

    Yields:
        ``kind``, ``id``, ``status`` (``None`` for prose), ``source`` and ``outputs`` as HTML.
    """
    for cell in notebook["cells"]:
        kind, source = cell["cell_type"], visible(joined(cell["source"]))
        marks = cell["metadata"].get("papermill", {})
        yield {
            "kind": kind,
            "id": cell.get("id", ""),
            "status": marks.get("status") if kind == "code" else None,
            "source": {"code": _code, "markdown": _prose}.get(kind, _plain)(source),
            "outputs": [_output(output) for output in cell.get("outputs", ())],
        }


def _output(output: Mapping[str, Any]) -> Markup:
    if output["output_type"] == "stream":
        return _pre(joined(output["text"]), f"stream {html.escape(output['name'])}")
    if output["output_type"] == "error":
        return _pre("\n".join(output["traceback"]), "error")
    data = {mime: joined(value) for mime, value in output["data"].items()}
    if "text/html" in data:
        text = sanitise(visible(data["text/html"]))
        tall = " tall" if text.count("<tr") > TALL else ""
        return Markup(f'<div class="shown{tall}" tabindex="0">{text}</div>')  # noqa: S704
    for mime in ("image/png", "image/jpeg"):
        if mime in data:
            picture = f"data:{mime};base64,{html.escape(''.join(data[mime].split()))}"
            alt = html.escape(visible(data.get("text/plain", "")))
            return Markup(f'<img src="{picture}" alt="{alt}">')  # noqa: S704
    if "text/markdown" in data:
        return _prose(visible(data["text/markdown"]))
    return _pre(data.get("text/plain", ", ".join(data)))


def _pre(text: str, kind: str = "") -> Markup:
    return Markup('<pre class="out {}">{}</pre>').format(kind, visible(text).rstrip("\n"))


def _plain(source: str) -> Markup:
    return Markup("<pre>{}</pre>").format(source)


def _code(source: str) -> Markup:
    highlight, lexer, formatter = _pygments()
    coloured = highlight(source, lexer, formatter)  # escapes what it colours
    return Markup(f'<pre class="source">{coloured.rstrip()}</pre>')  # noqa: S704


def _prose(source: str) -> Markup:
    tokens = _markdown().parse(source)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + _LEVELS)}"
    renderer, options = _markdown().renderer, _markdown().options
    return Markup(renderer.render(tokens, options, {}))  # noqa: S704


@cache
def _pygments() -> tuple[Any, Any, Any]:
    from pygments import highlight  # type: ignore[import-untyped]
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
    from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

    return highlight, PythonLexer(), HtmlFormatter(nowrap=True, classprefix="py-")


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Without html, what looks like HTML is text. Links and pictures would lead out of the record;
    # their source is shown as it is written.
    parser = MarkdownIt("commonmark", {"html": False})
    return parser.enable("table").disable(["link", "image", "autolink", "reference"])
