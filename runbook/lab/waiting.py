"""Wait for a condition of the lab, never for a length of time; a wait in vain is an error."""

from collections.abc import Callable

from runbook.lab.errors import LabError
from runbook.waiting import until


def wait_until(
    question: Callable[[], bool],
    what: str,
    *,
    timeout_s: float,
    every_s: float = 0.1,
    detail: Callable[[], str] = str,
) -> None:
    """Return as soon as the question is answered with yes.

    Args:
        question: Asked again and again; must not raise for "not yet".
        what: The condition, as it reads after "waited for".
        timeout_s: Longest wait in seconds, counted from the call.
        every_s: Pause between two questions, in seconds.
        detail: Called only on failure; its text (a log's tail, say) ends the message.

    Raises:
        LabError: The condition did not come true in time.
    """
    if not until(question, holds=bool, timeout_s=timeout_s, every_s=every_s):
        raise LabError(f"waited {timeout_s:.0f} s for {what}, in vain\n{detail()}".rstrip())
