"""The Traefik step: the published recipe, flags by version, the tasks that are watched."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from fakes import (
    TOP,
    FakeEngine,
    Keeping,
    Recordings,
    declared,
    done,
    live,
    parameters,
    recorded,
    recorded_json,
)
from traefiks import ENGINE, lab, site

from runbook.changes import Plan
from runbook.errors import BadInput, Refused
from runbook.hosts.live import Live
from runbook.masking.secret import Registry
from runbook.site import load
from runbook.steps import CONVERGED, traefik
from runbook.steps.traefik import ANSWERS, ONE_EACH, recipe

USERS = "RUNBOOK_TEST_EDGE_USERS"


class TestPlan:
    """From an empty Swarm, from a converged one, and after somebody's hand."""

    def test_converged(self) -> None:
        """What was recorded after an apply needs nothing."""
        site = lab()

        assert traefik.plan(site.site_file, traefik.observe(site)) == []

    def test_absent(self) -> None:
        """The recipe is written first and deployed then, on the first manager."""
        site = lab("traefik-absent", services=[])

        assert done(traefik.plan(site.site_file, traefik.observe(site))) == [
            (0, "docker01", "create", "file ~/traefik/traefik.yml"),
            (1, "docker01", "create", "service traefik_traefik"),
        ]

    @pytest.mark.parametrize(
        "content", ["a: b", "[", "services: {x: {image: [1]}}", "services: []"]
    )
    def test_recipe_that_is_none_any_more(self, content: str) -> None:
        """A recipe of ours that was edited until it is none is written anew, and tells nothing."""
        text = b64encode(f"# Managed by runbook\n{content}\n".encode()).decode()
        recipe = {"recipe": f"0644 gerard:gerard\n{text}"}
        here = live(parameters("lab"), Recordings({"docker01": recipe}), ENGINE)

        assert len(traefik.plan(here.site_file, traefik.observe(here))) == 1

    def test_drift_of_the_service_alone(self) -> None:
        """A service changed by hand is repaired though its recipe is as written."""
        (service,) = recorded_json("services")
        service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "traefik:3.6"
        site = lab(services=[service])

        assert done(traefik.plan(site.site_file, traefik.observe(site))) == [
            (1, "docker01", "update", "service traefik_traefik")
        ]

    def test_of_an_earlier_version(self) -> None:
        """A service without our label is ours where it is as our recipe on the manager says."""
        (service,) = recorded_json("services")
        service["Spec"]["Labels"] = {"com.docker.stack.namespace": "traefik"}
        changed = declared("lab", traefik={"image": "traefik:3.8"})
        answer = Recordings({"docker01": recorded("traefik-docker01")})
        here = live(changed, answer, ENGINE | {"GET /services": [service]})

        assert done(traefik.plan(here.site_file, traefik.observe(here))) == [
            (0, "docker01", "update", "file ~/traefik/traefik.yml"),
            (1, "docker01", "update", "service traefik_traefik"),
        ]

    def test_lost_recipe(self) -> None:
        """A recipe that is gone is written again; the live service stays."""
        site = lab("traefik-absent")

        assert done(traefik.plan(site.site_file, traefik.observe(site))) == [
            (0, "docker01", "create", "file ~/traefik/traefik.yml")
        ]

    def test_rows(self) -> None:
        """The table has the recipe and every field of the service, or says that there is none."""
        present = traefik.rows(traefik.observe(lab()))
        absent = traefik.rows(traefik.observe(lab("traefik-absent", services=[])))

        image = ("TaskTemplate.ContainerSpec.Image", "traefik:3.7")
        assert image in [(row.field, row.seen) for row in present]
        assert [(row.resource, row.field, row.seen) for row in absent] == [
            ("file traefik.yml", "content", "absent"),
            ("service", "exists", "no"),
        ]

    @pytest.mark.parametrize("recording", ["traefik-docker01", "traefik-absent"])
    def test_files(self, recording: str) -> None:
        """The recipe is wanted on the first manager, whatever is there."""
        here = lab(recording)

        assert traefik.files(here.site_file, traefik.observe(here)) == {
            "docker01": {"~/traefik/traefik.yml": recipe(parameters("lab").site)}
        }

    def test_files_of_others(self) -> None:
        """A recipe that somebody else wrote is refused, as the plan does."""
        theirs = {"recipe": "0644 root:root\ndmVyc2lvbjogJzMnCg=="}
        here = live(parameters("lab"), Recordings({"docker01": theirs}), ENGINE)

        with pytest.raises(Refused, match="was not written by the runbook"):
            traefik.files(here.site_file, traefik.observe(here))

    def test_required_checks(self) -> None:
        """Nothing left, one each, and an answer: without these it is not proven."""
        assert traefik.STEP.required_checks(site()) == (CONVERGED, ONE_EACH, ANSWERS)


@pytest.fixture
def guarded(tmp_path: Path) -> Callable[..., Live]:
    """Return the lab's site with a guarded dashboard, and with or without its Docker secret."""

    def made(*stored: str, **engine: Any) -> Live:
        site = tmp_path / "site.yml"
        lines = "insecure: false\nport:\nhost: traefik.test\nusers_secret: edge_users\n"
        lines += f"users: env:{USERS}\n" if engine.pop("users", True) else ""
        site.write_text(
            f"extends: {TOP}/parameters/lab.yml\n"
            f"shorewall: {{forward: [{{port: 80}}]}}\naccepted_risks: []\n"
            f"traefik:\n  dashboard:\n{indent(lines, '    ')}"
        )
        secrets = [{"ID": name, "Spec": {"Name": name, "Labels": {}}} for name in stored]
        answers = ENGINE | {"GET /secrets": secrets} | engine
        return live(load(site), Recordings({"docker01": recorded("traefik-absent")}), answers)

    return made


class TestUsers:
    """The Docker secret with the dashboard's users."""

    RECIPE = (0, "docker01", "create", "file ~/traefik/traefik.yml")
    SECRET = (0, "docker01", "create", "secret edge_users")
    SERVICE = (1, "docker01", "update", "service traefik_traefik")

    def test_absent(self, guarded: Callable[..., Live]) -> None:
        """It is made before the stack that mounts it is deployed."""
        site = guarded("edge_users_2")

        assert done(traefik.plan(site.site_file, traefik.observe(site))) == [
            self.RECIPE,
            self.SECRET,
            self.SERVICE,
        ]

    def test_there(self, guarded: Callable[..., Live]) -> None:
        """One that is there is taken as it is."""
        site = guarded("edge_users")

        assert done(traefik.plan(site.site_file, traefik.observe(site))) == [
            self.RECIPE,
            self.SERVICE,
        ]

    def test_of_others(self, guarded: Callable[..., Live]) -> None:
        """Without a reference the operator makes it, as the preflight says."""
        site = guarded(users=False)

        assert done(traefik.plan(site.site_file, traefik.observe(site))) == [
            self.RECIPE,
            self.SERVICE,
        ]

    def test_is_read_when_it_is_made(
        self, guarded: Callable[..., Live], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The plan needs no users; the change stores those that are there by then."""
        monkeypatch.setattr("runbook.masking.secret.KNOWN", Registry())
        monkeypatch.delenv(USERS, raising=False)
        create = Keeping({"ID": "s1"})
        site = guarded(**{"POST /secrets/create": create})
        change = traefik.plan(site.site_file, traefik.observe(site))[1]
        monkeypatch.setenv(USERS, "operator:$apr1$mHd83kLm$dy4xm0CCgRYHdfXI.Sy670")
        change.make(site)

        assert [body["Name"] for body in create.sent] == ["edge_users"]

    def test_that_traefik_would_not_know(
        self, guarded: Callable[..., Live], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A password in clear is not stored."""
        monkeypatch.setattr("runbook.masking.secret.KNOWN", Registry())
        monkeypatch.setenv(USERS, "operator:in-clear")
        create = Keeping({"ID": "s1"})
        site = guarded(**{"POST /secrets/create": create})
        change = traefik.plan(site.site_file, traefik.observe(site))[1]
        with pytest.raises(BadInput, match="is no user with a password hashed"):
            change.make(site)

        assert create.sent == []

    def test_plan_moves_when_it_is_made(self, guarded: Callable[..., Live]) -> None:
        """A secret that somebody made meanwhile makes the plan another one."""
        digests = [
            Plan("traefik", tuple(traefik.plan(site.site_file, traefik.observe(site)))).digest
            for site in (guarded(), guarded("edge_users"), guarded())
        ]

        assert digests[0] == digests[2] != digests[1]

    @pytest.mark.parametrize(
        ("stored", "seen"),
        [((), [("exists", "no")]), (("edge_users",), [("exists", "yes"), ("label", "absent")])],
    )
    def test_rows(
        self, guarded: Callable[..., Live], stored: tuple[str, ...], seen: list[tuple[str, str]]
    ) -> None:
        """Whether it is there is shown, and whether the runbook made it."""
        rows = traefik.rows(traefik.observe(guarded(*stored)))

        assert seen == [(r.field, r.seen) for r in rows if r.resource == "secret edge_users"]

    def test_none(self) -> None:
        """A site without a guarded dashboard does not ask for secrets."""
        engine = FakeEngine(ENGINE)
        answer = Recordings({"docker01": recorded("traefik-docker01")})
        facts = traefik.observe(live(parameters("lab"), answer, engine))

        assert facts.secrets == {}
        assert "GET /secrets" not in engine.requests
