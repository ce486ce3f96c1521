"""Why nothing was run: the login shell, or sudo, did not let the user in; sudo(8), sudoers(5).

What they say may be in any language, so it is shown and not read: what they do when asked otherwise
tells what is the matter.
"""

from __future__ import annotations

from collections.abc import Callable

from runbook.errors import Refused
from runbook.hosts.ssh.command import NO_STATUS
from runbook.hosts.ssh.script import OTHER_SHELL

SUDOERS = "/etc/sudoers.d/runbook"
TRIAL = "sudo -n -- true"

Try = Callable[[str, bool], int]
"""Runs a command line that needs no quoting, with a terminal or without; returns its status."""


def not_begun(host: str, user: str, said: str, status: int, attempt: Try | None) -> Refused:
    """Return the error about a command that was not begun.

    Args:
        host: The host.
        user: The user that is logged in.
        said: The last that was said.
        status: The exit status.
        attempt: Tries something else there; ``None`` where sudo was not to be used.

    """
    if attempt is None or attempt("sh -c true", False) != 0:
        return _no_shell(host, user, said, status)
    cause = said or f"sudo gave {status} and said nothing"
    message = f"{cause} (sudo does not let {user} act as root)"
    if attempt("sudo -V", False) != 0:
        todo = f"install sudo there, then {how_to_allow(user, host)}"
    elif attempt(TRIAL, True) == 0:
        todo = f"it does so with a terminal only; {_written(f'Defaults:{user} !requiretty', host)}"
    else:
        todo = how_to_allow(user, host)
    return Refused(message, host=host, todo=todo)


def _no_shell(host: str, user: str, said: str, status: int) -> Refused:
    how = "was ended" if status == NO_STATUS else f"ended with {status}"
    another = "; its startup files begin another shell" if status == OTHER_SHELL else ""
    return Refused(
        f"{said or 'nothing was said'} (the login shell of {user} {how} before it ran anything"
        f"{another})",
        host=host,
        todo=f"`echo 'echo well' | ssh {host} sh -s` has to print \"well\": see the login shell of "
        f"{user}, its startup files such as .bashrc, and ForceCommand in the sshd_config there",
    )


def how_to_allow(user: str, host: str) -> str:
    """Return what makes ``sudo -n`` work for a user; sudoers(5).

    Args:
        user: The user.
        host: The host.

    """
    return _written(f"{user} ALL=(ALL:ALL) NOPASSWD: ALL", host)


def _written(rule: str, host: str) -> str:
    return f"as root on {host}: `echo '{rule}' >> {SUDOERS} && chmod 440 {SUDOERS} && visudo -c`"
