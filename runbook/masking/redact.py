"""Masking: what a run writes holds no secret.

Everything is masked before its first byte reaches the disk: values that the process knows
(:data:`runbook.masking.secret.KNOWN`) in every form of :mod:`runbook.masking.variants`, and what
:mod:`runbook.masking.rules` recognises. A masked text stays the same when masked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runbook.masking.rules import announces_secret, mask_by_key, mask_unknown, shapes
from runbook.masking.secret import KNOWN, Registry, placeholder
from runbook.masking.variants import variants

# ECMA-48 control sequences, operating system commands and two-character escapes; the escape
# character also as JSON and repr write it, and as the summary shows it.
_ANSI = re.compile(
    r"(?:\x1b|\x9b|\\u001[bB]|\\x1[bB]|\\033|␛)"
    r"(?:\][^\x07\x1b\\]{0,500}(?:\x07|\x1b\\|\\u0007|\\x07|\\(?:u001|x1)[bB]\\\\)"
    r"|\[?[0-?]*[ -/]*[@-~])"
)
_ESCAPES = ("\x1b", "\x9b", "\\u001", "\\x1", "\\033", "␛")


def strip_ansi(text: str) -> str:
    """Return a text without what steers a terminal."""
    if not any(escape in text for escape in _ESCAPES):
        return text
    return _ANSI.sub("", text)


class Masker:
    """Replaces secrets by ``[masked:NAME]``; safe in threads.

    Args:
        known: Whose values are masked; one that becomes known later is masked from then on.
    """

    def __init__(self, known: Registry = KNOWN) -> None:
        self._known = known
        self._cached: tuple[int, tuple[tuple[str, str], ...]] = (0, ())

    @property
    def needles(self) -> tuple[tuple[str, str], ...]:
        """Every form of every known value and the secret's name, the longest form first."""
        count, needles = self._cached
        if count != len(self._known):
            values = self._known.values
            found = {form: name for value, name in values for form in variants(value)}
            needles = tuple(sorted(found.items(), key=lambda item: (-len(item[0]), item[0])))
            self._cached = (len(values), needles)
        return needles

    def mask(self, text: str) -> str:
        """Return the text with every secret masked.

        Colours within a value do not hide it; such a text loses its colours.
        """
        masked, plain = self._mask(text), strip_ansi(text)
        if plain == text:
            return masked
        masked_plain = self._mask(plain)
        return masked if masked_plain == strip_ansi(masked) else masked_plain

    def mask_json(self, value: Any) -> Any:
        """Return plain values with every secret masked, in texts, keys and numbers.

        A text whose key says that it is a secret is masked as a whole, however short it is; so is
        the word of a command line that follows an option such as ``--password``.
        """
        match value:
            case str():
                return self.mask(value)
            case Mapping():
                return self._mask_mapping(value)
            case list() | tuple():
                return list(self._mask_words(value))
            case int() | float() if not isinstance(value, bool):
                masked = self._mask_known(str(value))
                return value if masked == str(value) else masked
        return value

    def mask_notebook(self, notebook: Mapping[str, Any]) -> dict[str, Any]:
        """Return a masked copy of a notebook, without the state of widgets."""
        from runbook.masking.notebook import mask_notebook

        return mask_notebook(notebook, self)

    def mask_bytes(self, content: bytes) -> bytes:
        """Return what another program wrote with every secret masked; the rest stays as it is."""
        text = content.decode("utf-8", errors="surrogateescape")
        return self.mask(text).encode("utf-8", errors="surrogateescape")

    def found(self, text: str) -> frozenset[str]:
        """Return the names of the secrets that a text holds, known ones and unmistakable ones."""
        plain = strip_ansi(text)
        known = {name for form, name in self.needles if form in text or form in plain}
        return shapes(plain) | known

    def _mask(self, text: str) -> str:
        return mask_unknown(self._mask_known(text))

    def _mask_known(self, text: str) -> str:
        for form, name in self.needles:
            if form in text:
                text = text.replace(form, placeholder(name))
        return text

    def _mask_mapping(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        masked: dict[Any, Any] = {}
        for key, item in value.items():
            name = self.mask(key) if isinstance(key, str) else key
            while name in masked:  # two keys that became the same; neither may be lost
                name += "'"
            masked[name] = self._mask_under(str(key), item)
        return masked

    def _mask_under(self, key: str, item: Any) -> Any:
        if isinstance(item, list | tuple):
            return [self._mask_under(key, word) for word in self._mask_words(item)]
        if isinstance(item, str | int) and not isinstance(item, bool):
            by_key = mask_by_key(key, str(item))
            if by_key != str(item):
                return by_key
        return self.mask_json(item)

    def _mask_words(self, words: Iterable[Any]) -> Iterator[Any]:
        secret = False
        for word in words:
            hidden = secret and isinstance(word, str)
            yield placeholder("option") if hidden else self.mask_json(word)
            secret = isinstance(word, str) and announces_secret(word)


MASKER = Masker()
"""Masks what this process knows; everything that writes shares it."""
