"""What ``sudo -n`` says when it does not let a user act, and what to do about it; sudo(8)."""

from __future__ import annotations

import re

REFUSAL = re.compile(
    r"^(?:"
    r"sudo: .*\b(?:password|terminal|tty|askpass)\b.*"
    r"|.*\bis not in the sudoers file\b.*"
    r"|Sorry, user .* (?:is not allowed to|may not run) .*"
    r"|.*sudo: (?:command )?not found"
    r")$",
    re.MULTILINE,
)


def refusal(stderr: str) -> str:
    """Return the line in which sudo refuses; empty where there is none.

    Args:
        stderr: What a command wrote to its standard error, in English.

    """
    found = REFUSAL.search(stderr)
    return found[0].strip() if found else ""


def how_to_allow(user: str, host: str) -> str:
    """Return what makes ``sudo -n`` work for a user; sudoers(5).

    Args:
        user: The user.
        host: The host.

    """
    file = "/etc/sudoers.d/runbook"
    rule = f"{user} ALL=(ALL:ALL) NOPASSWD: ALL"
    return f"as root on {host}: `echo '{rule}' > {file} && chmod 440 {file} && visudo -c`"
