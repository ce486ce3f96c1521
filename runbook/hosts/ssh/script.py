"""How a command reaches a host: as a script on the standard input of ``sh -s``.

The login shell, whichever it is, parses ``sudo -n -- sh -s`` and one word more, which need no
quoting in any shell. A fence marks where the shell of the right user began: what a ``.bashrc``
prints before it is no output, and without it nothing was run.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Sequence

# A startup file that reads a line or two of standard input gets empty ones.
SPARE_LINES = "\n" * 8
# A startup file may start another shell, which then reads this: it ends at the first line, which
# also csh understands. Commands begin at the operator's home, wherever a startup file went and
# whoever runs them, and speak English, so that what they print can be read; LANGUAGE goes before
# LC_ALL: gettext(3).
PRELUDE = """{spare}test "$1" = {fence} || exit {other}
eval cd "~${{SUDO_USER:-}}"; export LC_ALL=C.UTF-8; unset LANGUAGE
printf '\\n{fence}\\n' >&2; printf '\\n{fence}\\n'; {then}
"""
OTHER_SHELL = 97  # exit status: not the shell that was asked for


def command_line(fence: str, *, sudo: bool) -> str:
    """Return what the login shell is given.

    Args:
        fence: A word of letters and digits.
        sudo: Whether root runs the script, through sudo.

    """
    return f"sudo -n -- sh -s {fence}" if sudo else f"sh -s {fence}"


def running(argv: Sequence[str], stdin: str, fence: str) -> bytes:
    """Return the script that runs one command.

    The shell reads it as one compound command: of a script that did not arrive whole, nothing is
    run, and so no command sees half of its input.

    Args:
        argv: The command.
        stdin: Its standard input.
        fence: The word that the login shell was given.

    """
    if stdin:
        # No here-document: bash writes it to /tmp, and where that is full the input is lost.
        encoded = base64.b64encode(stdin.encode("utf-8", "surrogateescape")).decode()
        body = f"echo '{encoded}' | base64 -d | {shlex.join(argv)}\n"
    else:
        body = f"exec {shlex.join(argv)} </dev/null\n"
    return _begun(fence, f"{{\n{body}}}")


def becoming(argv: Sequence[str], fence: str) -> bytes:
    """Return the script that turns into one command, which reads what is sent after the fence.

    Args:
        argv: The command.
        fence: The word that the login shell was given.

    """
    return _begun(fence, f"exec {shlex.join(argv)}")


def _begun(fence: str, then: str) -> bytes:
    text = PRELUDE.format(spare=SPARE_LINES, fence=fence, other=OTHER_SHELL, then=then)
    return text.encode("utf-8", "surrogateescape")


def after(fence: str, said: bytes) -> bytes | None:
    """Return what was said after the fence; ``None`` where the fence did not come.

    Args:
        fence: The word that the login shell was given.
        said: All that came.

    """
    _, found, rest = said.partition(f"\n{fence}\n".encode())
    return rest if found else None


def until_fence(receive: Callable[[int], bytes], fence: str) -> tuple[bool, bytes]:
    """Receive until the fence came, or the end; return whether it came, and all that came.

    Args:
        receive: Receives so many bytes at most, and none at the end.
        fence: The word that the login shell was given.

    """
    said, end = b"", f"\n{fence}\n".encode()
    while not said.endswith(end):
        piece = receive(1)  # what follows the fence is for others to receive
        if not piece:
            return False, said
        said += piece
    return True, said
