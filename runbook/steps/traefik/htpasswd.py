"""The dashboard's users as Traefik takes them: lines of htpasswd(1).

Source: Traefik, BasicAuth, ``usersFile``.
"""

from __future__ import annotations

import re

from runbook.errors import BadInput
from runbook.masking.secret import Secret

# What Traefik's basic authentication compares with: bcrypt, MD5 and SHA-1, as htpasswd(1) writes
# them. Anything else, a password in clear among it, lets nobody in.
_USER = re.compile(
    r"[^:]+:("
    r"\$2[abxy]\$\d\d\$[./0-9A-Za-z]{53}"
    r"|\$(apr1|1)\$[^$]{0,8}\$[./0-9A-Za-z]{22}"
    r"|\{SHA\}[+/0-9A-Za-z]{27}="
    r")"
)


def content(users: Secret) -> str:
    """Return the lines to store, once everybody who writes masks them.

    Args:
        users: Where they are.

    Raises:
        BadInput: They cannot be read, or one of them is no user; it is not repeated.
    """
    text = users.reveal()
    lines = {number: line.strip() for number, line in enumerate(text.split("\n"), 1)}
    # Traefik passes over empty lines and comments.
    said = {number: line for number, line in lines.items() if line and not line.startswith("#")}
    wrong = [number for number, line in said.items() if not _USER.fullmatch(line)]
    if said and not wrong:
        return f"{text}\n"
    where = f"line {wrong[0]} of the secret {users.name}" if wrong else f"the secret {users.name}"
    raise BadInput(
        f"{where} is no user with a password hashed as Traefik knows it",
        todo="write one line a user as `htpasswd -nB USER` prints it, with single dollar signs",
    )
