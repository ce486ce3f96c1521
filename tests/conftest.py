"""What every process of the tests begins with."""

from __future__ import annotations

import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Have what tests start heed the signals that a background job or nohup has us ignore.

    What is ignored is inherited by every program, and what has a handler is not (execve(2)).
    """
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return  # it starts nothing but its workers, which go on with nohup as it does
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
