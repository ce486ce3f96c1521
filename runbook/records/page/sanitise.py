"""HTML of notebook outputs, reduced by nh3 to what a table or a diff is made of.

nh3 parses as a browser does and writes anew what is on a short list, so what an output says can
neither run nor reach out of its place. The page's content security policy is a second wall, not
the only one.
"""

from __future__ import annotations

import re

import nh3

_BLOCKS = "table thead tbody tfoot tr th td caption p div pre ul ol li details summary blockquote"
_WORDS = "strong b em i code span sub sup small figure figcaption h1 h2 h3 h4 h5 h6 br hr img"
_ATTRIBUTES = {"colspan", "rowspan", "open", "scope"}
_DROPPED = "script style template noscript iframe object svg math title textarea select noembed"
"""Elements that go with all that is in them."""

_PICTURES = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/svg+xml;base64,")
_CLEANER = nh3.Cleaner(
    tags={*_BLOCKS.split(), *_WORDS.split()},
    clean_content_tags={*_DROPPED.split(), "xmp", "plaintext", "noframes"},
    attributes={"*": _ATTRIBUTES, "img": {"src", "alt"}},
    attribute_filter=lambda _, name, value: (
        value if name != "src" or value.startswith(_PICTURES) else None
    ),
    allowed_classes={"span": {"ins", "del", "hunk"}},  # the lines of a diff
    url_schemes={"data"},
    link_rel=None,
)

# What nh3 writes is regular: a < or & that begins neither a tag nor an entity is escaped.
_CELL = re.compile("<td.*?</td>", re.DOTALL)
_TEXT = re.compile("(?<=>)[^<>]+(?=<)")
_LONG_WORD = re.compile(r"(?:{0}){{32}}(?=(?:{0}){{8}})".format(r"&\w+;|[^\s&]"))
_MARK = re.compile("([✓✗⚠○]) ")


def sanitise(source: str) -> str:
    """Return HTML that shows what the source shows and does nothing."""
    return _CELL.sub(lambda cell: _TEXT.sub(_fit, cell[0]), _CLEANER.clean(source))


def _fit(text: re.Match[str]) -> str:
    """Let the text of a cell break within a long word, and not behind a mark."""
    return _MARK.sub(r"\1&nbsp;", _LONG_WORD.sub(r"\g<0><wbr>", text[0]))
