"""A Docker secret of the Swarm, made of a secret that the site names by reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from runbook.changes import Change
from runbook.hosts.live import Live
from runbook.masking.secret import Secret
from runbook.resources import SwarmResource

LABEL = "runbook.setting"


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """What the Swarm says of a Docker secret; its content it tells only the services that use it.

    Attributes:
        label: The setting of which the runbook made it; ``None`` where somebody else did.
    """

    label: str | None


@dataclass(frozen=True, slots=True)
class DockerSecret:
    """A Docker secret.

    What is in one cannot be read back, and cannot be changed. So one that is there is taken as it
    is, and what is new needs a new name: the next run makes the secret of that name and the stack
    takes it; the old one stays until ``docker secret rm``.

    Source: Docker Engine API 1.41, SecretList and SecretCreate.

    Attributes:
        host: The manager that makes it.
        name: Its name in the Swarm.
        source: Where its content is; ``None`` where somebody else makes it.
        content: Reveals of the source what is stored; raises ``BadInput`` where it is not fit.
    """

    host: str
    name: str
    source: Secret | None
    content: Callable[[Secret], str]

    def observe(self, live: Live) -> SecretFacts | None:
        """Return the secret's facts, or ``None`` where the Swarm has none of the name."""
        named = live.engine.secrets(filters={"name": self.name})
        # The filter matches prefixes, so the exact name is looked for among its answers.
        found = [secret["Spec"] for secret in named if secret["Spec"]["Name"] == self.name]
        return SecretFacts((found[0].get("Labels") or {}).get(LABEL)) if found else None

    def plan(self, facts: SecretFacts | None) -> list[Change]:
        """Return the creation of the secret, or nothing where it is there or not ours to make."""
        if facts is not None or self.source is None:
            return []
        return [
            Change(
                host=self.host,
                resource=f"secret {self.name}",
                action="create",
                before="",
                after=str(self.source),
                undo=f"docker secret rm {self.name}",
                make=partial(_create, self, self.source),
            )
        ]


def _create(secret: DockerSecret, source: Secret, live: Live) -> None:
    text = secret.content(source)
    live.engine.create_secret(secret.name, text.encode(), labels={LABEL: source.name})


_obeys: type[SwarmResource[SecretFacts | None]] = DockerSecret
