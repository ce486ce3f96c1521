"""The errors with which a step stops, in words for who reads the notebook."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.apply import Outcome
from runbook.changes import Change, Check, Finding, Plan, unified_diff
from runbook.errors import (
    IN_DOUBT,
    ChangeFailed,
    CheckFailed,
    Lost,
    Refused,
    RunbookError,
    Unreachable,
)
from runbook.site import Site, unaccepted_risks


def unread(error: RunbookError) -> Refused | None:
    """Return the refusal of what cannot be read; ``None`` where the error tells it as it is.

    Args:
        error: What ended a step before its first change.
    """
    if isinstance(error, ChangeFailed | CheckFailed) or error.exit_code != RunbookError.exit_code:
        return None
    kind = Unreachable if isinstance(error, Lost) else Refused
    message = error.message.replace(IN_DOUBT, "")
    return kind(message, host=error.host, step=error.step, todo=error.todo)


def risky(site: Site, step: str) -> Refused | None:
    """Return the refusal of a site that takes risks which nobody accepted; else ``None``."""
    # The preflight finds them too, but a step may be run without it.
    risks = unaccepted_risks(site)
    if not risks:
        return None
    text = "; ".join(f"{risk.what} ({risk.why})" for risk in risks)
    return Refused(text, step=step, todo=risks[0].todo)


def moved(shown: Plan, now: Plan) -> Refused | None:
    """Return the refusal to apply a plan that would be another one now; else ``None``."""
    if now.digest == shown.digest:
        return None
    difference = unified_diff(_lines(shown.changes), _lines(now.changes), "plan")
    return Refused(
        f"the site has moved since the plan was shown:\n{difference}",
        step=shown.step,
        todo="look at it, and run the notebook again",
    )


def broken(outcomes: Sequence[Outcome], plan: Plan) -> RunbookError | None:
    """Return the error of changes of which one failed; ``None`` where none did."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return None
    text = "\n".join(f"{o.change.host}: {o.change.summary}: {o.error}" for o in failed)
    # Refused also says that nothing was changed.
    refused = all(outcome.word == "refused" for outcome in outcomes)
    kind: type[RunbookError] = Refused if refused else ChangeFailed
    return kind(
        text,
        step=plan.step,
        todo=f"{len(plan.changes) - len(outcomes)} further changes were not tried; mend the cause "
        "and run again, which goes on from here",
    )


def unproven(failed: Sequence[Check], step: str) -> CheckFailed:
    """Return the error of checks that do not hold."""
    text = "; ".join(f"{c.name}: expected {c.expected!r}, seen {c.seen!r}" for c in failed)
    todo = "see what was seen above; a run again repairs drift and repeats the checks"
    return CheckFailed(text, step=step, todo=todo)


def unfit(verdict: Check, blocking: Sequence[Finding], step: str) -> Refused:
    """Return the refusal of a site that is not fit."""
    todo = "\n    ".join(f"{finding.host}: {finding.todo}" for finding in blocking)
    return Refused(verdict.seen, step=step, todo=todo)


def _lines(changes: tuple[Change, ...]) -> str:
    return "".join(
        f"{change.host}: {change.summary}\n{change.before}→\n{change.after}\n" for change in changes
    )
