"""Events from a notebook's kernel to the runner that executes it.

They travel as display messages of their own MIME type, which the runner takes out of the stream.
Without a runner nothing is sent, so a notebook that a person runs holds tables only.
"""

from __future__ import annotations

import os

MIME = "application/vnd.runbook.event+json"


def emit(event: str, step: str, **values: object) -> None:
    """Send one event to the runner, if there is one.

    Args:
        event: Its kind: progress, plan, outcome, check, finding, error or verdict.
        step: The step it is about.
        values: Plain values, which become JSON.
    """
    if os.environ.get("RUNBOOK_EVENTS") != "1":
        return
    from IPython.display import display

    payload = {"event": event, "step": step, **values}
    display({MIME: payload}, raw=True)  # type: ignore[no-untyped-call]
