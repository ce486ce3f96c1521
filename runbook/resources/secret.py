"""A Docker secret of the Swarm, made of a secret that the site names by reference."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from runbook.changes import Change
from runbook.errors import BadInput
from runbook.hosts.live import Live
from runbook.masking.secret import Secret

LABEL = "runbook.setting"

# What Traefik's basic authentication compares with: bcrypt, MD5 and SHA-1, as htpasswd(1) writes
# them. Anything else, a password in clear among it, lets nobody in.
_USER = re.compile(
    r"[^:]+:("
    r"\$2[abxy]\$\d\d\$[./0-9A-Za-z]{53}"
    r"|\$(apr1|1)\$[^$]{0,8}\$[./0-9A-Za-z]{22}"
    r"|\{SHA\}[+/0-9A-Za-z]{27}="
    r")"
)


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """What the Swarm says of a Docker secret; its content it tells only the services that use it.

    Attributes:
        label: The setting of which the runbook made it; ``None`` where somebody else did.
    """

    label: str | None


@dataclass(frozen=True, slots=True)
class DockerSecret:
    """A Docker secret with users and the hashes of their passwords, in the format of htpasswd(1).

    What is in one cannot be read back, and cannot be changed. So one that is there is taken as it
    is, and new users need a new name: the next run makes the secret of that name and the stack
    takes it; the old one stays until ``docker secret rm``.

    Source: Docker Engine API 1.41, SecretList and SecretCreate; Traefik, BasicAuth, ``usersFile``.

    Attributes:
        name: Its name in the Swarm.
        users: Where its lines are; ``None`` where somebody else makes it.
    """

    name: str
    users: Secret | None

    def observe(self, live: Live) -> SecretFacts | None:
        """Return the secret's facts, or ``None`` where the Swarm has none of the name."""
        named = live.engine.secrets(filters={"name": self.name})
        # The filter matches prefixes, so the exact name is looked for among its answers.
        found = [secret["Spec"] for secret in named if secret["Spec"]["Name"] == self.name]
        return SecretFacts((found[0].get("Labels") or {}).get(LABEL)) if found else None

    def plan(self, facts: SecretFacts | None, host: str, stage: int) -> list[Change]:
        """Return the creation of the secret, or nothing where it is there or not ours to make."""
        if facts is not None or self.users is None:
            return []
        return [
            Change(
                host=host,
                resource=f"secret {self.name}",
                action="create",
                before="",
                after=str(self.users),
                undo=f"docker secret rm {self.name}",
                stage=stage,
                make=partial(_create, self.name, self.users),
            )
        ]


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


def _create(name: str, users: Secret, live: Live) -> None:
    live.engine.create_secret(name, content(users).encode(), labels={LABEL: users.name})
