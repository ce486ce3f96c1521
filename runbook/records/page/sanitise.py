"""HTML of notebook outputs, reduced to what a table or a diff is made of.

Elements and attributes are those of a short list, everything is escaped anew and every element is
closed, so what an output says can neither run nor reach out of its place. The page's content
security policy is a second wall, not the only one.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

_BLOCKS = "table thead tbody tfoot tr th td caption p div pre ul ol li details summary blockquote"
_WORDS = "strong b em i code span sub sup small figure figcaption h1 h2 h3 h4 h5 h6"
ELEMENTS = frozenset(f"{_BLOCKS} {_WORDS}".split())
VOID = frozenset({"br", "hr"})
ATTRIBUTES = frozenset({"colspan", "rowspan", "open", "scope"})
DROPPED = frozenset(
    {"script", "style", "template", "noscript", "iframe", "object", "svg", "math", "title"}
    | {"textarea", "select", "xmp", "plaintext", "noembed", "noframes"}
)
"""Elements that go with all that is in them."""

_SIGNS = {"--- ": "hunk", "+++ ": "hunk", "+": "ins", "-": "del", "@": "hunk"}
_LONG_WORD = re.compile(r"\S{32}(?=\S{8})")
_MARK = re.compile("([✓✗⚠○]) ")
_PICTURES = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/svg+xml;base64,")


def sanitise(source: str) -> str:
    """Return HTML that shows what the source shows and does nothing."""
    cleaner = _Cleaner()
    cleaner.feed(source)
    cleaner.close()
    return cleaner.result()


def _cell(text: str) -> str:
    """Return the text of a cell, escaped; it may break within a long word, not behind a mark."""
    parts = _LONG_WORD.sub("\\g<0>\0", _MARK.sub("\\1\u00a0", text)).split("\0")
    return "<wbr>".join(map(html.escape, parts))


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []
        self._dropping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropping or tag in DROPPED:
            self._dropping.append(tag)
        elif tag == "img":
            self._picture(dict(attrs))
        elif tag in VOID:
            self._out.append(f"<{tag}>")
        elif tag in ELEMENTS:
            kept = [(name, value or "") for name, value in attrs if name in ATTRIBUTES]
            words = "".join(f' {name}="{html.escape(value)}"' for name, value in kept)
            self._out.append(f"<{tag}{words}>")
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # HTML knows no self-closing elements: <div/> is open.
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._dropping:
            if tag in self._dropping:
                del self._dropping[len(self._dropping) - 1 - self._dropping[::-1].index(tag) :]
        elif tag in self._open:
            while (last := self._open.pop()) != tag:
                self._out.append(f"</{last}>")
            self._out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._dropping:
            return
        # A line of a diff is recognised by its sign; the output's own colours fit one theme only.
        sort = _SIGNS.get(data[:4]) or _SIGNS.get(data[:1])
        if sort and self._out and self._out[-1] == "<span>" and "pre" in self._open:
            self._out[-1] = f'<span class="{sort}">'
        self._out.append(_cell(data) if "td" in self._open else html.escape(data))

    def _picture(self, attributes: dict[str, str | None]) -> None:
        source, alt = attributes.get("src") or "", html.escape(attributes.get("alt") or "")
        if source.startswith(_PICTURES):
            self._out.append(f'<img src="{html.escape(source)}" alt="{alt}">')
        elif alt:
            self._out.append(f"[{alt}]")

    def result(self) -> str:
        return "".join(self._out) + "".join(f"</{tag}>" for tag in reversed(self._open))
