"""Secrets that nobody told us of, recognised by their shape or by the key before them.

A shape (a Swarm token, a private key, a password's hash) is a secret wherever it stands. A key
(``password=``, ``auth_pass``) makes a secret of what follows it, unless that is a name, a version,
a reference or a type: auditors need those.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runbook.masking.secret import placeholder

_Match = re.Match[str]

_QUOTE = r"""(?:\\{0,3}["']|&quot;|&\#3[49];|&\#x27;)"""
_WORD = (
    r"(?:passw(?:or)?d|passphrase|secret|token|credential|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|[_-]p(?:ass|wd)(?![a-z]))"
)
_HINTS = ("passw", "passp", "secret", "token", "credential", "key", "pass", "pwd")
_BARE = r"""(?:(?!\\[nrt"'])[^\s"'<>])"""
_BARE_END = r"""(?=[,;)\]}]*(?:[\s"'<>]|\\[nrt"']|\Z))"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret.

    Attributes:
        name: What stands in its place.
        hints: Lower-case texts of which one is there wherever the pattern matches.
        pattern: Group ``keep``, where there is one, stays; the rest is replaced.
        spared: Decides which matches are no secrets.
    """

    name: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    spared: Callable[[_Match], bool] = lambda _match: False

    def mask(self, match: _Match) -> str:
        """Return what replaces a match."""
        if self.spared(match):
            return match[0]
        keep = match["keep"] if "keep" in self.pattern.groupindex else ""
        return keep + placeholder(self.name)


def _rule(name: str, hints: str, pattern: str, **options: Any) -> Rule:
    return Rule(name, tuple(hints.split()), re.compile(pattern, re.DOTALL), **options)


SHAPES = (
    # docs.docker.com, Swarm: join tokens; autolock's unlock key
    _rule("swarm-token", "swmtkn-", r"SWMTKN-\d+-[\w-]{16,}"),
    _rule("swarm-key", "swmkey-", r"SWMKEY-\d+-[\w+/=-]{16,}"),
    # RFC 7468. Up to its end where that is near, else the lines that are base64: a bound is
    # needed, as the end may have been cut off.
    _rule(
        "private-key",
        "private key",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:(?!-----BEGIN ).){0,16000}?-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:(?:\\[nr]|<[^>]{0,120}>|[\s\",+-])*[A-Za-z0-9+/=]{16,100}(?![A-Za-z]))*)",
    ),
    # crypt(5), and Apache's htpasswd; Compose writes each $ twice
    _rule("password-hash", "$2", r"\${1,2}2[abxy]\${1,2}\d\d\${1,2}[./A-Za-z0-9]{53}"),
    _rule(
        "password-hash",
        "$apr1$ $1$ $5$ $6$ $y$",
        r"\${1,2}(?:apr1|[156y])\${1,2}(?:rounds=\d+\${1,2})?"
        r"[^$\s:]{1,100}\${1,2}(?:[./A-Za-z0-9]{1,86}\${1,2})?[./A-Za-z0-9]{22,86}",
    ),
    _rule("password-hash", "{sha}", r"\{SHA\}[A-Za-z0-9+/]{27}="),
    _rule("jwt", "eyj", r"\beyJ[\w-]{8,}\.[\w-]*\.[\w-]*(?:\.[\w-]+\.[\w-]+)?"),
    _rule("aws-key", "akia asia", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
)

_REFERENCE = re.compile(
    r"(?i)\[masked:|(?:env|file|command):|\$\{?\w+\}?\Z|\{\w+\}\Z|\{\{|[\[{(*]*\Z"
    r"|(?:none|null|nil|true|false|yes|no|str|bytes|int|bool|any|object)\Z"
)
_KEY_BEFORE = re.compile(r"[\w.-]{0,60}\Z")
# users_secret is the site's setting for the name of a Docker secret.
_NAMES = re.compile(r"(?i).*(?:file|name|version|count)s?\Z|(?:.*[._-])?(?:secrets|users_secret)\Z")
# Of the Engine's API and command line, and of sudoers(5).
_EXACT_NAMES = frozenset({"SecretID", "--secret", "NOPASSWD"})


def _spared_value(match: _Match) -> bool:
    return bool(_REFERENCE.match(match["value"]))


def _names_only(key: str) -> bool:
    return bool(_NAMES.match(key)) or key in _EXACT_NAMES


# What encodes user:password; a word in small letters is none.
DOCKER_AUTH = _rule(
    "docker-auth",
    "auth",
    rf"(?P<keep>{_QUOTE}auth{_QUOTE}[ \t]*:[ \t]*{_QUOTE})"
    r"(?=[a-z]*[A-Z0-9+/=])[A-Za-z0-9+/=_-]{8,}",
)
KEYED = (
    _rule(
        "auth_pass",
        "auth_pass",
        rf"""(?P<keep>auth_pass[ \t]+)(?P<value>"[^"\n]+"|{_BARE}+)""",
        spared=_spared_value,
    ),
    _rule(
        "url-password",
        "@",
        r"(?P<keep>://(?:\[masked:[\w.-]+\]|[^\s/:@\[\"'<>]){0,100}:)"
        r"(?P<value>[^\s/@\"'<>]{1,200})(?=@)",
        spared=_spared_value,
    ),
    _rule("url-token", "@", r"(?P<keep>https?://)[\w-]{20,200}(?=@)"),
    _rule(
        "authorization",
        "authorization x-registry-auth",
        rf"(?i)(?P<keep>(?:authorization|x-registry-auth){_QUOTE}?[ \t]*[:=][ \t]*{_QUOTE}?"
        rf"(?:(?:basic|bearer|token|digest|apikey)[ \t]+)?)(?P<value>{_BARE}+?){_BARE_END}",
        spared=_spared_value,
    ),
    # "Basic authentication" is prose; what is encoded has figures, padding or capitals within.
    _rule(
        "authorization",
        "bearer basic",
        r"(?P<keep>\b(?:[Bb]earer|[Bb]asic)[ \t]+)"
        r"(?=[\w.~+/-]*(?:\d|[a-z][A-Z]|=))[\w.~+/-]{12,}=*",
    ),
    DOCKER_AUTH,
    _rule(
        "option",
        "--",
        r"(?i)(?P<keep>--[\w-]*(?:password|passphrase|token|auth-pass|api-key)[ \t]+)"
        rf"(?P<value>(?!-){_BARE}+)",
        spared=_spared_value,
    ),
)

_ASSIGNED = re.compile(
    rf"(?P<key>{_WORD}[\w.-]{{0,40}})(?P<sep>{_QUOTE}?"
    # an annotation (token: str = …), or what sets a value in any language
    r"(?:[ \t]*:[ \t]*\w{1,20}[ \t]*=(?!=)|[ \t]*(?:=>|:=|=(?!=)|:))[ \t]*)"
    rf"(?:(?P<quote>{_QUOTE})(?P<quoted>(?:(?!(?P=quote))(?:\\.|[^\n])){{1,400}})"
    r"(?:(?P=quote)|(?=\n)|\Z)"
    rf"|{_QUOTE}?(?P<bare>{_BARE}+?){_BARE_END})",
    re.IGNORECASE,
)
_SECRET_KEY = re.compile(
    rf"(?i)(?:.*{_WORD}.*|p(?:ass|wd)|authorization|x-registry-auth)\Z", re.DOTALL
)
_SECRET_OPTION = re.compile(r"(?i)--?[\w-]*(?:password|passphrase|token|auth-pass|api-key)\Z")


def mask_unknown(text: str) -> str:
    """Return a text with what the rules recognise masked."""
    lower = text.lower()
    for rule in (*SHAPES, *KEYED):
        if any(hint in lower for hint in rule.hints):
            text = rule.pattern.sub(rule.mask, text)
    if any(hint in lower for hint in _HINTS):
        text = _ASSIGNED.sub(_mask_assigned, text)
    return text


def shapes(text: str) -> frozenset[str]:
    """Return the names of the shapes that a text holds."""
    lower = text.lower()
    return frozenset(
        rule.name
        for rule in SHAPES
        if any(hint in lower for hint in rule.hints) and rule.pattern.search(text)
    )


def mask_by_key(key: str, value: str) -> str:
    """Return a value masked where its key, in a mapping, makes a secret of it."""
    if key.lower() == "auth":  # of Docker's config.json
        before = '"auth":"'
        text = DOCKER_AUTH.pattern.sub(DOCKER_AUTH.mask, f'{before}{value}"')
        return text[len(before) : -1]
    if not value or not _SECRET_KEY.match(key) or _names_only(key) or _REFERENCE.match(value):
        return value
    return placeholder(_printable(key))


def announces_secret(word: str) -> bool:
    """Return whether a word of a command line says that the next one is a secret."""
    return bool(_SECRET_OPTION.match(word))


def _mask_assigned(match: _Match) -> str:
    before = _KEY_BEFORE.search(match.string, max(0, match.start() - 60), match.start())
    key = (before[0] if before else "") + match["key"]
    value = match["quoted"] or match["bare"]
    if _names_only(key) or _REFERENCE.match(value):
        return match[0]
    quote = match["quote"] or ""
    closing = quote if quote and match[0].endswith(quote) else ""
    return f"{match['key']}{match['sep']}{quote}{placeholder(_printable(key))}{closing}"


def _printable(key: str) -> str:
    return re.sub(r"[^\w.-]", "", key).strip(".-")[-60:] or "secret"
