"""The Docker secret of the Swarm: seen, planned, and made without being shown."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from fakes import Failure, FakeEngine, FakeFleet, Keeping, done, live, parameters

from runbook.changes import Change, Plan
from runbook.errors import BadInput
from runbook.hosts.docker.errors import Conflict, EngineError
from runbook.masking import secret as secrets
from runbook.masking.secret import Registry, Secret
from runbook.resources.secret import LABEL, DockerSecret, SecretFacts

SETTING = "traefik.dashboard.users"
CONTENT = "operator:correct-horse"
MADE = {"ID": "s1", "Spec": {"Name": "traefik_users", "Labels": {LABEL: SETTING}}}


def secret(source: Secret | None) -> DockerSecret:
    """Return a Docker secret of which only pairs are fit."""

    def content(source: Secret) -> str:
        text = source.reveal()
        if ":" not in text:
            raise BadInput("it is no pair")
        return f"{text}\n"

    return DockerSecret("docker01", "traefik_users", source, content)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What the process knows, empty at first."""
    registry = Registry()
    monkeypatch.setattr(secrets, "KNOWN", registry)
    return registry


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file with the content, which only its owner can read."""
    path = tmp_path / "users"
    path.write_text(f"{CONTENT}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def users(kept: Path) -> Secret:
    """Where that file is."""
    return Secret(SETTING, "file:users", folder=kept.parent)


@pytest.fixture
def creation(users: Secret) -> Change:
    """The change that makes the Docker secret of it."""
    (change,) = secret(users).plan(None)
    return change


class TestObserve:
    """From the engine's list to facts."""

    @staticmethod
    def observed(listed: Any) -> SecretFacts | None:
        """Return what is observed where the engine lists these secrets."""
        site = live(parameters("article"), engine={"GET /secrets": listed})
        return secret(None).observe(site)

    @pytest.mark.parametrize("labels", [{}, None, {"owner": "somebody"}])
    def test_of_others(self, labels: dict[str, str] | None) -> None:
        """One that somebody else made is there as well, with whatever labels."""
        found = {"ID": "s1", "Spec": {"Name": "traefik_users", "Labels": labels}}

        assert self.observed([found]) == SecretFacts(None)

    def test_ours(self) -> None:
        """One that the runbook made says of which setting."""
        assert self.observed([MADE]) == SecretFacts(SETTING)

    @pytest.mark.parametrize("name", ["traefik_users_2", "Traefik_users", "traefik"])
    def test_absent(self, name: str) -> None:
        """A secret whose name only resembles it is another one."""
        assert self.observed([]) is None
        assert self.observed([{"ID": "s1", "Spec": {"Name": name}}]) is None

    def test_unreadable(self) -> None:
        """An engine that answers with an error is not one without the secret."""
        with pytest.raises(EngineError, match="500") as caught:
            self.observed(Failure(500))
        assert caught.value.host == "docker01"

    def test_asks_for_the_name(self) -> None:
        """The engine looks for the secret; a Swarm has many."""
        asked = Keeping([])
        self.observed(asked)

        assert [query["filters"] for query in asked.queries] == ['{"name": ["traefik_users"]}']


class TestPlan:
    """Absent, there, and not ours to make."""

    def test_absent(self, creation: Change) -> None:
        """It is created on the given manager; what is in it is told by its name alone."""
        assert done([creation]) == [(0, "docker01", "create", "secret traefik_users")]
        assert (creation.before, creation.after) == ("", f"[masked:{SETTING}]")
        assert creation.summary == f"create secret traefik_users: absent → [masked:{SETTING}]"
        assert creation.undo == "docker secret rm traefik_users"

    def test_reads_nothing(self, kept: Path, creation: Change, known: Registry) -> None:
        """A plan is made, shown and named without the secret."""
        kept.unlink()
        plan = Plan("traefik", (creation,))

        assert len(plan.digest) == 64
        assert json.dumps(creation.as_dict()).count(f"[masked:{SETTING}]") == 2
        assert known.values == ()

    @pytest.mark.parametrize("label", [SETTING, None])
    def test_there(self, users: Secret, label: str | None) -> None:
        """What cannot be read back or changed is taken as it is, whoever made it."""
        assert secret(users).plan(SecretFacts(label)) == []

    def test_of_others(self) -> None:
        """Without a reference somebody else makes it."""
        assert secret(None).plan(None) == []


class TestMake:
    """The creation."""

    def test_request(self, creation: Change) -> None:
        """The content is in the body of one request, and in no command on any host."""
        create, fleet = Keeping({"ID": "s1"}), FakeFleet()
        engine = FakeEngine({"POST /secrets/create": create})
        creation.make(live(parameters("article"), fleet, engine))
        (body,) = create.sent

        assert base64.b64decode(body.pop("Data")).decode() == f"{CONTENT}\n"
        assert body == {"Name": "traefik_users", "Labels": {LABEL: SETTING}}
        assert engine.requests == ["POST /secrets/create"]
        assert fleet.commands == []

    def test_is_then_there(self, creation: Change, users: Secret) -> None:
        """What it made is what the next plan finds, which has nothing to do."""
        stored: list[Any] = []

        def create(_query: Any, body: Any) -> Any:
            stored.append({"ID": "s1", "Spec": {"Name": body["Name"], "Labels": body["Labels"]}})
            return {"ID": "s1"}

        answers = {"POST /secrets/create": create, "GET /secrets": lambda *_: stored}
        site = live(parameters("article"), engine=answers)
        creation.make(site)
        facts = secret(users).observe(site)

        assert facts == SecretFacts(SETTING)
        assert secret(users).plan(facts) == []

    @pytest.mark.parametrize("line", ["in-clear", ""])
    def test_nothing_is_sent(self, kept: Path, creation: Change, line: str) -> None:
        """What is refused reaches nobody."""
        kept.write_text(f"{line}\n")
        engine = FakeEngine({"POST /secrets/create": {"ID": "s1"}})
        with pytest.raises(BadInput):
            creation.make(live(parameters("article"), engine=engine))

        assert engine.requests == []

    def test_failure(self, creation: Change) -> None:
        """What the engine answers is the error's text, on the manager that was asked."""
        said = "rpc error: code = AlreadyExists desc = secret traefik_users already exists"
        engine = {"POST /secrets/create": Failure(409, said)}

        with pytest.raises(Conflict, match="already exists") as caught:
            creation.make(live(parameters("article"), engine=engine))
        assert caught.value.host == "docker01"
        assert CONTENT not in str(caught.value)
