"""Names of what a run sends to its hosts that are the same in every run.

A name is the host, what is sent (with what differs from run to run taken out) and how often this
process has sent it before. Hosts and steps work side by side, so a number across all of them would
name something else each time.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import dataclass

SHOWN = 160

# What differs from run to run: times, ids of the engine and of runs, versions of its objects.
_PASSING = [
    (re.compile(r"\d{4}-?\d\d-?\d\dT[\d:.]+Z?(-[0-9a-z]+)*"), "<time>"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{12,}(?![0-9a-f])"), "<id>"),
    (re.compile(r"(?<![0-9a-z])(?=[a-z]*\d)[0-9a-z]{25}(?![0-9a-z])"), "<id>"),
    (re.compile(r"version=\d+"), "version=<n>"),
    (re.compile(r"(since|until|tail)=[\d.]+"), r"\1=<n>"),
]


@dataclass(frozen=True, slots=True)
class Name:
    """What one thing that is sent to a host is called, in every run.

    Attributes:
        host: The address of the host.
        digest: Of what is sent.
        number: How many of the same this process had sent before.
    """

    host: str
    digest: str
    number: int

    def __str__(self) -> str:
        return f"{self.host}/{self.digest}/{self.number}"


class Numbering:
    """Names what one process sends, one after the other."""

    def __init__(self) -> None:
        self._sent: Counter[tuple[str, str]] = Counter()

    def name(self, host: str, what: str) -> Name:
        """Return the name of the next thing that is sent.

        Args:
            host: The address of the host.
            what: The command line with its input, or the first line of the request.
        """
        digest = hashlib.sha256(lasting(what).encode()).hexdigest()[:10]
        number = self._sent[host, digest]
        self._sent[host, digest] += 1
        return Name(host, digest, number)


# How a script gives a command its input: runbook.hosts.ssh.script.
_INPUT = re.compile(r"echo '([A-Za-z0-9+/=\n]*)' ?\| base64 -d \| ([^\n]*)")


def readable(what: str) -> str:
    """Return what is sent with the input of its commands in clear."""
    return _INPUT.sub(lambda found: f"{found[2]} <<< {_decoded(found[1])}", what)


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")


def lasting(what: str) -> str:
    """Return what is sent without what differs from run to run."""
    for pattern, word in _PASSING:
        what = pattern.sub(word, what)
    return what
