"""The declared site together with the way to its hosts; what steps and changes work on."""

from __future__ import annotations

import base64
import secrets
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from runbook.context import RunContext
from runbook.errors import RunbookError
from runbook.hosts.ssh.command import Result, last_words
from runbook.site import Site, SiteFile

if TYPE_CHECKING:
    from runbook.hosts.connection import Connection
    from runbook.hosts.docker.api import Engine
    from runbook.hosts.fleet import Fleet


class Answers(dict[str, str]):
    """What each snippet printed, by its name, and when the command started and ended (UTC)."""

    def __init__(self, texts: Mapping[str, str], started: datetime, ended: datetime) -> None:
        super().__init__(texts)
        self.started = started
        self.ended = ended


@dataclass(frozen=True)
class Live:
    """One site and its open connections.

    Attributes:
        site_file: The declared site with its origins.
        fleet: The connections; opened on first use.
        say: Called with a host and a sentence when something takes time.
        context: The run that this process serves.
    """

    site_file: SiteFile
    fleet: Fleet
    say: Callable[[str | None, str], None] = field(default=lambda _host, _message: None)
    context: RunContext = field(default_factory=RunContext)

    @property
    def site(self) -> Site:
        """Return the declared site."""
        return self.site_file.site

    @property
    def manager(self) -> str:
        """Return the manager on which Swarm commands run: the first declared one."""
        return self.site.first_manager

    @cached_property
    def engine(self) -> Engine:
        """Return the Docker Engine of that manager; connected to on first use."""
        from runbook.hosts.docker.api import engine

        return engine(self.fleet[self.manager])

    def gather(
        self, probes: Mapping[str, Mapping[str, str]], *, sudo: bool = True, said: str = ""
    ) -> dict[str, Answers]:
        """Run named shell snippets on several hosts in parallel, one command a host.

        Args:
            probes: For each host, snippets of POSIX shell by name. Values in them are quoted by
                whoever made the snippet.
            sudo: Whether the snippets run as root.
            said: What to say of each host that answered; empty for nothing.

        Returns:
            For each host, the output of each snippet by name, standard error included.
        """

        def ask(connection: Connection) -> Answers:
            snippets = probes[connection.host]
            fence = secrets.token_hex(8)
            result = connection.run(["sh", "-s"], stdin=_script(snippets, fence), sudo=sudo)
            texts = _sections(result, snippets, fence)
            ended = result.started + timedelta(milliseconds=result.duration_ms)
            return Answers(texts, result.started, ended)

        report = (lambda host: self.say(host, said)) if said else None
        return self.fleet.each(probes, ask, progress=report)


def _script(snippets: Mapping[str, str], fence: str) -> str:
    # Standard input is closed for the snippets: they would otherwise read the rest of the script.
    parts = [
        f"printf '\\n{fence} %s\\n' {shlex.quote(name)}\n(\n{snippet}\n) </dev/null 2>&1\n"
        for name, snippet in snippets.items()
    ]
    return "export LC_ALL=C\n" + "".join(parts) + f"printf '\\n{fence} end\\n'\n"


def _sections(result: Result, names: Iterable[str], fence: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in result.stdout.split(f"\n{fence} ")[1:]:
        name, _, body = part.partition("\n")
        found[name] = body
    if "end" not in found:
        said = last_words(result.stderr)
        what = f"observing stopped half-way; the last output was {result.stdout[-200:]!r}"
        raise RunbookError(f"{said} ({what})" if said else what, host=result.host)
    return {name: found[name] for name in names}


def decoded(text: str) -> str:
    """Return base64 text, as a snippet printed it, as the file content it stands for.

    Raises:
        binascii.Error: It is not base64.
    """
    return base64.b64decode(text.strip(), validate=True).decode("utf-8", "surrogateescape")
