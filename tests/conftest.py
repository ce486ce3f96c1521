"""What the processes begin with in which pytest runs the tests."""

from __future__ import annotations

import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Have what pytest's workers start heed the signals that a background job or nohup ignores.

    What is ignored is inherited by every program, and what has a handler is not (execve(2)). The
    process that was started itself stays as it was.
    """
    if not hasattr(config, "workerinput"):
        return
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
