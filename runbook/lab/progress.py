"""What a command is doing, on standard error: one line a step, with its seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

WORTH_SAYING_S = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Tells the operator which step runs and how long each took.

    On a terminal the running step is a line that goes away; elsewhere each step is announced, so
    that the last line of a log is the step that hangs.

    Attributes:
        console: Where to; standard error unless told otherwise.
    """

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show a step from here to the end of the block."""
        started = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(what):
                yield
        else:
            self.console.print(f"{what} ...", markup=False)
            yield
        took_s = time.monotonic() - started
        if took_s >= WORTH_SAYING_S:
            self.console.print(f"{what}: {took_s:.1f} s", markup=False)


def silent() -> Progress:
    """Return a progress that shows nothing, for callers that are programs."""
    return Progress(Console(quiet=True))
