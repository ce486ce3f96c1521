"""Events from a notebook's kernel to the runner that executes it.

They travel as display messages of their own MIME type, which the runner takes out of the stream.
Without a runner nothing is sent, so a notebook that a person runs holds tables only.
"""

from __future__ import annotations

import os

MIME = "application/vnd.runbook.event+json"
SWITCH = "RUNBOOK_EVENTS"
"""The environment variable that is 1 where a runner listens."""


def emit(event: str, step: str, **values: object) -> None:
    """Send one event to the runner, if there is one; what it holds is masked.

    Args:
        event: Its kind: progress, state, hosts, plan, begun, outcome, check, finding, error or
            verdict.
        step: The step it is about.
        values: Plain values, which become JSON.
    """
    if os.environ.get(SWITCH) == "1":
        from runbook.masking.redact import MASKER

        _send(MASKER.mask_json({"event": event, "step": step, **values}))


def tell_secret(name: str, value: str) -> None:
    """Let the runner know a secret before anything that holds it can reach it.

    The value goes through the kernel's own socket, in a folder that only the operator can enter,
    and the runner keeps it in memory.
    """
    if os.environ.get(SWITCH) == "1":
        _send({"event": "secret", "name": name, "value": value})


def _send(payload: object) -> None:
    from IPython.display import display

    display({MIME: payload}, raw=True)  # type: ignore[no-untyped-call]
