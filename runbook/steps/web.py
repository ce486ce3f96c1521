"""How the edge is asked over HTTP, and how Traefik's own answer is told from an application's.

What ``/`` answers is up to whoever publishes an application there: a page, a redirect, a login, an
error. So a request without a Host is made first. HTTP/1.1 has a server refuse it (RFC 9112, 3.2),
and Traefik does so before it looks at its routers and their middlewares, in the words of Go's
net/http. No application, whatever its rule, gets to answer it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from runbook.changes import Check

NOT_FOUND = "404 page not found"
REFUSED = "refused"
SILENT = "no answer"
TRAEFIK = "an answer of Traefik"
_UNNAMED = "400 Bad Request: missing required Host header"
_THEN = "-- and with a Host --"
_SHOWN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of one request.

    Attributes:
        status: The HTTP status, three digits; empty where there was no HTTP.
        head: Status line and headers.
        body: The beginning of the body, or in a few words why there is none.
    """

    status: str
    head: str
    body: str

    def header(self, name: str) -> str:
        """Return a header of the answer; empty if absent."""
        return header(self.head, name)

    @property
    def of_something_else(self) -> str:
        """Return the status, with who says to have answered: a proxy on the way, or another server.

        Source: RFC 9110, 7.6.3 and 10.2.4.
        """
        said = [f"{name}: {self.header(name)[:100]}" for name in ("Server", "Via")]
        who = ", ".join(each for each in said if not each.endswith(": "))
        return f"{self.status} of something else" + (f" ({who})" if who else "")


@dataclass(frozen=True, slots=True)
class Asked:
    """What came back of :func:`ask`.

    Attributes:
        by_traefik: Whether Traefik answered, or another server that is written in Go.
        answer: What was answered at the URL, or to the request without a Host if nothing more.
    """

    by_traefik: bool
    answer: Answer

    @property
    def seen(self) -> str:
        """Return the answer in a few words."""
        answer = self.answer
        if not answer.status or answer.body == NOT_FOUND:
            return answer.body
        return f"{answer.status} of an application"

    def check(self, name: str, where: str) -> Check:
        """Return whether Traefik answered; what it let an application say is only shown."""
        if self.by_traefik:
            return Check(name, where, self.seen, self.seen)
        other = self.answer.of_something_else if self.answer.status else self.seen
        return Check(name, where, TRAEFIK, other)


def fetch(url: str, *, host: str | None = None) -> str:
    """Return a snippet that prints an answer, or why there is none; ``$rc`` is curl's status.

    Args:
        url: What to ask for.
        host: The virtual host to name in the request; empty to name none.

    Source: curl(1), exit status 7: connection refused; 28: timed out.
    """
    # -q, --noproxy: neither ~/.curlrc nor a proxy of the client's may answer for the edge.
    words = ["curl", "-q", "--noproxy", "*", "-sSi", "-m", "4", "--connect-timeout", "2", url]
    words += ["-H", f"Host: {host}".strip()] if host is not None else []
    return (
        f"said=$({shlex.join(words)} 2>/dev/null); rc=$?\n"
        f"case $rc in 0) printf '%s\\n' \"$said\" | head -c {_SHOWN_BYTES} ;;\n"
        f"7) echo {REFUSED} ;; 28) echo {SILENT} ;; 127) echo there is no curl ;;\n"
        "*) echo curl: $rc ;; esac"
    )


def ask(url: str) -> str:
    """Return a snippet that asks without a Host, and where that is answered, with one."""
    return f"{fetch(url, host='')}\n[ $rc -ne 0 ] || {{ echo {_THEN!r}\n{fetch(url)}\n}}"


def answered(text: str) -> Answer:
    """Return what the snippet of :func:`fetch` printed."""
    text = text.replace("\r\n", "\n").strip()
    if not text.startswith("HTTP/"):
        return Answer("", "", text)
    head, _, body = text.partition("\n\n")
    return Answer(head.split()[1], head, body.strip())


def asked(text: str) -> Asked:
    """Return what the snippet of :func:`ask` printed."""
    unnamed, _, named = text.partition(f"{_THEN}\n")
    first = answered(unnamed)
    return Asked(first.body == _UNNAMED, answered(named) if named else first)


def header(text: str, name: str) -> str:
    """Return a header that is printed as ``Name: value``; empty if absent."""
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator and key.strip().lower() == name.lower():
            return value.strip()
    return ""
