"""Which cuts there can be, and a choice of them by a seed."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

FAULTS = (
    "killed runner",
    "killed kernel",
    "lost connection",
    "lost host",
    "timeout",
    "interrupt",
)
MOMENTS = ("before", "no input", "half input", "running", "after")
OBSERVING_SHARE = 4
"""One cut in so many is of a command that only observes."""

# What may change a host. Taking an observing command for one of these does no harm.
_CHANGING = re.compile(
    r"^(POST|PUT|DELETE) |apt-get |stack (deploy|rm)|systemd-run"
    r"|shorewall (save|reload|restore)|logger |mv -f|chmod "
    r"|systemctl (start|stop|restart|reload|enable|reset-failed)"
)


@dataclass(frozen=True, slots=True)
class Command:
    """Something that a run sends to a host, command or request.

    Attributes:
        state: The state of the lab from which a run sends it.
        host: The address of the host.
        digest: Of what is sent, the same in every run.
        text: What is sent, its beginning.
        kind: ``command`` or ``request``.
        has_input: Whether it is given input.
        usual_s: How long it usually takes, in seconds.
        times: How often one process sends it.
    """

    state: str
    host: str
    digest: str
    text: str
    kind: str
    has_input: bool
    usual_s: float
    times: int

    @property
    def changes(self) -> bool:
        """Whether it may change the host."""
        return _CHANGING.search(self.text) is not None

    @property
    def moments(self) -> tuple[str, ...]:
        """When it can be cut."""
        if self.has_input:
            return MOMENTS
        if self.kind == "request":
            return tuple(moment for moment in MOMENTS if moment != "no input")
        return tuple(moment for moment in MOMENTS if not moment.endswith("input"))


@dataclass(frozen=True, slots=True)
class Cut:
    """One thing to send that is cut.

    Attributes:
        command: What is cut.
        number: Which of its occurrences, from 0.
        moment: When.
        fault: By what.
        fraction: At which part of its usual time, where it is cut while it runs.
    """

    command: Command
    number: int
    moment: str
    fault: str
    fraction: float

    @property
    def name(self) -> str:
        """What the injection knows it by."""
        return f"{self.command.host}/{self.command.digest}/{self.number}"

    @property
    def key(self) -> str:
        """What tells it from every other cut."""
        return f"{self.command.state} {self.name} {self.moment} {self.fault}"

    def to_environment(self) -> str:
        """Return it as the injection reads it."""
        return json.dumps(
            {
                "name": self.name,
                "moment": self.moment,
                "fault": self.fault,
                "fraction": self.fraction,
                "usual_s": self.command.usual_s,
            }
        )


def recorded(state: str, lines: Iterable[dict[str, Any]]) -> list[Command]:
    """Return what a run sent, each thing once, in the order in which it was first sent.

    Args:
        state: The state of the lab from which the run started.
        lines: The log of the injection.
    """
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        if line["event"] == "sent":
            host, digest, _ = line["name"].split("/")
            found.setdefault((host, digest), []).append(line)
    return [
        Command(
            state=state,
            host=host,
            digest=digest,
            text=lines[0]["text"],
            kind=lines[0]["kind"],
            has_input=any(line["input_bytes"] for line in lines),
            usual_s=sorted(line["seconds"] for line in lines)[len(lines) // 2],
            times=1 + max(int(line["name"].split("/")[2]) for line in lines),
        )
        for (host, digest), lines in found.items()
    ]


def population(of_states: Iterable[Sequence[Command]]) -> list[Command]:
    """Return every command once, from the first state in which it is sent.

    What changes a host does something else in each state, and is kept from all of them.

    Args:
        of_states: What is sent from each state, the one that is reached fastest first.
    """
    found: dict[tuple[str, ...], Command] = {}
    for commands in of_states:
        for command in commands:
            where = (command.state,) if command.changes else ()
            found.setdefault((command.host, command.digest, *where), command)
    return list(found.values())


def order(commands: Sequence[Command], seed: int) -> Iterator[Cut]:
    """Yield every cut of the commands once, in an order that follows from the seed.

    Every command is cut once before any is cut again, those that change something first and
    three times as often. More cuts are the same ones and further ones.

    Args:
        commands: What can be cut.
        seed: Another one gives another order.
    """
    chance = random.Random(seed)  # noqa: S311  # which cut, not which key
    changing = _rounds([c for c in commands if c.changes], chance)
    observing = _rounds([c for c in commands if not c.changes], chance)
    while changing or observing:
        for _ in range(OBSERVING_SHARE - 1):
            if changing:
                yield changing.pop(0)
        if observing:
            yield observing.pop(0)


def _rounds(commands: list[Command], chance: random.Random) -> list[Cut]:
    chance.shuffle(commands)
    decks = []
    for command in commands:
        deck = [
            Cut(command, chance.randrange(command.times), moment, fault, chance.random())
            for moment in command.moments
            for fault in FAULTS
        ]
        chance.shuffle(deck)
        decks.append(deck)
    return [cut for round_ in zip_longest(*decks) for cut in round_ if cut is not None]


def save(commands: Sequence[Command], path: Path) -> None:
    """Write what can be cut, so that a run of cuts that was broken off goes on with the same."""
    path.write_text("".join(json.dumps(asdict(command)) + "\n" for command in commands))


def load(path: Path) -> list[Command]:
    """Read what :func:`save` has written."""
    return [Command(**json.loads(line)) for line in path.read_text().splitlines()]
