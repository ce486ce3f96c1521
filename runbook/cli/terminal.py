"""Text of others on its way to the operator's terminal."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"
# What a terminal obeys (ECMA-48: C0, C1) and what turns the order of letters round (Unicode's
# format characters, UAX 9); surrogates cannot be printed at all.
_STEERING = {"Cc", "Cf", "Cs"}


def plain(text: object) -> str:
    """Return a text that steers no terminal: what would is shown, as ``␛`` or ``<U+202E>``."""
    return "".join(_shown(letter) for letter in str(text))


def _shown(letter: str) -> str:
    if letter in _KEPT or unicodedata.category(letter) not in _STEERING:
        return letter
    # Unicode has a picture for each of C0, from U+2400 on.
    return chr(0x2400 + ord(letter)) if letter < " " else f"<U+{ord(letter):04X}>"
