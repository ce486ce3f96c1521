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
    Clock,
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

from runbook import waiting
from runbook.changes import Plan
from runbook.errors import BadInput, ChangeFailed, Refused
from runbook.hosts.live import Live
from runbook.masking.secret import Registry
from runbook.site import Site, load
from runbook.steps import CONVERGED, traefik
from runbook.steps.traefik import (
    ANSWERS,
    ONE_EACH,
    dashboard_labels,
    flags,
    major_version,
    parsed,
    recipe,
)

# article.md, `cat traefik.yml`, word for word.
PUBLISHED = """\
version: '3.2'
services:
  traefik:
    image: traefik:2.0
    command: --api.insecure=true --providers.docker.swarmmode --providers.docker.exposedbydefault=false --providers.docker.network=frontend
    ports:
      - target: 80
        published: 80
        protocol: tcp
        mode: host
      - target: 8080
        published: 8080
        protocol: tcp
        mode: host
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock
    networks:
      - frontend
    deploy:
      mode: global
      placement:
        constraints:
          - node.role == manager
networks:
  frontend:
    external: true
"""  # noqa: E501
GUARDED = {"insecure": False, "port": None, "host": "traefik.test", "users_secret": "users"}
OFF = {"insecure": False, "port": None}
USERS = "RUNBOOK_TEST_EDGE_USERS"


def site(**settings: Any) -> Site:
    """Return the article's site with other settings of Traefik."""
    return declared("article", traefik=settings).site


class TestRecipe:
    """``traefik.yml``."""

    def test_is_the_published_one(self) -> None:
        """Value for value, from the site that the article describes."""
        assert parsed(recipe(parameters("article").site)) == parsed(PUBLISHED)

    def test_differs_by_its_first_line_only(self) -> None:
        """An operator finds the file that the article shows, below a line that says whose it is."""
        first, _, rest = recipe(parameters("article").site).partition("\n")

        assert first.startswith("# Managed by runbook")
        assert rest == PUBLISHED

    @pytest.mark.parametrize(
        ("settings", "place", "value"),
        [
            ({"image": "traefik:v3.7.9"}, ("services", "traefik", "image"), "traefik:v3.7.9"),
            ({"web_port": 81}, ("services", "traefik", "ports", 0, "published"), 81),
            ({"web_port": 81}, ("services", "traefik", "ports", 0, "target"), 80),
            ({"dashboard": {"port": 9}}, ("services", "traefik", "ports", 1, "published"), 9),
            ({"dashboard": {"port": 9}}, ("services", "traefik", "ports", 1, "target"), 8080),
        ],
    )
    def test_settings(
        self, settings: dict[str, Any], place: tuple[str | int, ...], value: object
    ) -> None:
        """Each setting is where Compose expects it."""
        seen: Any = parsed(recipe(site(**settings)))
        for key in place:
            seen = seen[key]

        assert value == seen

    def test_without_a_dashboard(self) -> None:
        """No port of it is published, no label, no flag."""
        service = parsed(recipe(site(dashboard=OFF)))["services"]["traefik"]

        assert [port["target"] for port in service["ports"]] == [80]
        assert "labels" not in service["deploy"]
        assert "api" not in service["command"]

    def test_guarded_dashboard(self) -> None:
        """The secret is mounted from the Swarm and the labels are on the service."""
        compose = parsed(recipe(site(dashboard=GUARDED)))
        service = compose["services"]["traefik"]

        assert compose["secrets"] == {"users": {"external": True}}
        assert service["secrets"] == ["users"]
        assert tuple(service["deploy"]["labels"]) == dashboard_labels(
            site(dashboard=GUARDED).traefik
        )
        assert [port["target"] for port in service["ports"]] == [80]
        # Secrets came with version 3.1 of the file format, external ones by name with 3.5.
        assert compose["version"] == "3.5"

    def test_other_network(self) -> None:
        """The network of the site is the one joined, declared external and routed by."""
        compose = parsed(recipe(declared(network={"name": "edge"}).site))

        assert compose["networks"] == {"edge": {"external": True}}
        assert compose["services"]["traefik"]["networks"] == ["edge"]
        assert compose["services"]["traefik"]["command"].endswith("providers.docker.network=edge")


class TestFlags:
    """Traefik's command line."""

    def test_published(self) -> None:
        """2.x has the Swarm as a mode of the docker provider, as published."""
        assert " ".join(flags(site())) in PUBLISHED

    def test_version_3(self) -> None:
        """3.x has a provider of its own for the Swarm."""
        assert flags(site(image="traefik:3.7")) == (
            "--api.insecure=true",
            "--providers.swarm",
            "--providers.swarm.exposedbydefault=false",
            "--providers.swarm.network=frontend",
        )

    @pytest.mark.parametrize(
        ("image", "flag"),
        [
            ("traefik:2.0", "--providers.docker.swarmmodeRefreshSeconds=5"),
            ("traefik:3.7", "--providers.swarm.refreshSeconds=5"),
        ],
    )
    def test_refresh(self, image: str, flag: str) -> None:
        """How often the Swarm is asked has a name by version, and is said only where declared."""
        assert flag == flags(site(image=image, refresh_seconds=5))[-1]
        assert not any("efreshSeconds" in word for word in flags(site(image=image)))

    @pytest.mark.parametrize(
        ("dashboard", "words"),
        [
            ({}, ["--api.insecure=true"]),
            (GUARDED, ["--api.dashboard=true"]),
            (OFF, []),
        ],
    )
    def test_dashboard(self, dashboard: dict[str, Any], words: list[str]) -> None:
        """The API is on in the declared form only."""
        seen = flags(site(dashboard=dashboard))

        assert words == [word for word in seen if word.startswith("--api")]


class TestMajorVersion:
    """The version of an image, from its tag."""

    @pytest.mark.parametrize(
        ("image", "major"),
        [
            ("traefik:2.0", 2),
            ("traefik:v3.7", 3),
            ("traefik:3.7.1", 3),
            ("traefik:3", 3),
            ("traefik:v2.11-alpine", 2),
            ("traefik:3-windowsservercore", 3),
            ("registry.test:5000/edge/traefik:v3.7.9", 3),
            (f"traefik:v3.7.9@sha256:{'1' * 64}", 3),
        ],
    )
    def test_of_a_tag(self, image: str, major: int) -> None:
        """It is what the tag begins with, whatever comes before or after the tag."""
        assert major == major_version(image)

    @pytest.mark.parametrize(
        "image",
        [
            "traefik:latest",
            "traefik",
            "traefik:montdor",
            "traefik:30x",
            "registry.test:5000/traefik",
            f"traefik@sha256:3{'a' * 63}",
        ],
    )
    def test_unknown(self, image: str) -> None:
        """Flags would be guessed, so it is refused, and a tag is asked for."""
        with pytest.raises(Refused, match="cannot be told") as caught:
            major_version(image)
        assert "v3.7" in caught.value.todo


class TestDashboardLabels:
    """The guarded dashboard's router."""

    def test_guarded(self) -> None:
        """Virtual host, Traefik's own service, a password from the secret, and some port."""
        assert dashboard_labels(site(dashboard=GUARDED).traefik) == (
            "traefik.enable=true",
            "traefik.http.routers.dashboard.rule=Host(`traefik.test`)",
            "traefik.http.routers.dashboard.priority=2147482647",
            "traefik.http.routers.dashboard.service=api@internal",
            "traefik.http.routers.dashboard.middlewares=dashboard-users",
            "traefik.http.middlewares.dashboard-users.basicauth.usersfile=/run/secrets/users",
            "traefik.http.services.dashboard.loadbalancer.server.port=8080",
        )

    @pytest.mark.parametrize("dashboard", [{}, OFF])
    def test_none(self, dashboard: dict[str, Any]) -> None:
        """An open dashboard has a port instead, and none has nothing."""
        assert dashboard_labels(site(dashboard=dashboard).traefik) == ()


ENGINE = {
    "GET /services": recorded_json("services"),
    "GET /networks": recorded_json("networks"),
    "GET /nodes": recorded_json("nodes"),
    "GET /tasks": recorded_json("tasks"),
}


def lab(recording: str = "traefik-docker01", **engine: Any) -> Live:
    """Return the lab's site with the recorded host and engine, or another answer of its."""
    answers = ENGINE | {f"GET /{name}": body for name, body in engine.items()}
    return live(parameters("lab"), Recordings({"docker01": recorded(recording)}), answers)


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


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait ends with what is seen first."""
    monkeypatch.setattr(
        traefik, "until", lambda probe, **_: waiting.until(probe, holds=bool, timeout_s=0)
    )


def task(number: int = 0, **status: Any) -> dict[str, Any]:
    """Return one of the recorded tasks with another status."""
    found: dict[str, Any] = recorded_json("tasks")[number]
    found["Status"] |= status
    return found


def refusal(number: int, name: str = "", node: int = 0) -> dict[str, Any]:
    """Return a task that a node rejected, as the engine keeps it in the service's history."""
    message = "No such image: traefik:3.7"
    found = task(node, State="rejected", Err=message)
    return found | {"ID": name or f"refused{number}", "DesiredState": "shutdown"}


@pytest.mark.usefixtures("hurry")
class TestVerify:
    """Tasks and answers."""

    def test_recorded(self) -> None:
        """One task runs on every manager and each answers: both checks hold."""
        checks = traefik.verify(lab())

        assert [(c.name, c.seen, c.passed) for c in checks] == [
            (ONE_EACH, "docker01 running, docker02 running, docker03 running", True),
            (ANSWERS, ", ".join(f"docker0{n} 404 page not found" for n in (1, 2, 3)), True),
        ]

    @pytest.mark.parametrize(
        ("tasks", "seen"),
        [
            ([], ""),
            ([task(0), task(1)], None),
            ([*recorded_json("tasks"), task(0) | {"ID": "second"}], None),
            ([task(0), task(1), task(2, State="starting")], None),
        ],
        ids=["none", "one is missing", "two on one node", "one only starts"],
    )
    def test_not_one_each(self, tasks: list[dict[str, Any]], seen: str | None) -> None:
        """Anything but one running task on each manager fails the check."""
        placement = traefik.verify(lab(tasks=tasks))[0]

        assert not placement.passed
        assert seen is None or seen == placement.seen

    def test_what_keeps_a_task(self) -> None:
        """The engine's own word of a task that does not run is told."""
        taken = "host-mode port already in use on 1 node"
        tasks = [task(0), task(1), task(2, State="pending", Err=taken)]
        placement = traefik.verify(lab(tasks=tasks))[0]

        assert f" pending ({taken}), " in placement.seen

    def test_nobody_answers(self) -> None:
        """Running tasks alone prove nothing."""
        answers = traefik.verify(lab("traefik-absent"))[1]

        assert (answers.seen, answers.passed) == (
            "docker01 refused, docker02 refused, docker03 refused",
            False,
        )

    @pytest.mark.parametrize("status", ["200 OK", "301 Moved", "401 Unauthorized", "503 No"])
    def test_application_that_takes_all(self, status: str) -> None:
        """What an application says to `/` is its own affair; Traefik answers before it."""
        texts = recorded("traefik-docker01")
        page = texts["docker02"].replace("404 Not Found", status).replace("404 page", "A page")
        answers = Recordings({"docker01": texts | {"docker02": page}})
        check = traefik.verify(live(parameters("lab"), answers, ENGINE))[1]

        assert check.passed
        assert f"docker02 {status[:3]} of an application" in check.seen

    def test_something_else_on_the_port(self) -> None:
        """Another server that answers is not Traefik."""
        page = "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<html>400 Bad Request</html>"
        texts = recorded("traefik-docker01") | {"docker02": f"{page}\n-- and with a Host --\nx"}
        check = traefik.verify(live(parameters("lab"), Recordings({"docker01": texts}), ENGINE))[1]

        assert not check.passed

    def test_no_service(self) -> None:
        """Without its service there is nothing to count."""
        assert traefik.verify(lab(services=[]))[0].seen == "no service"

    def test_old_recipe(self) -> None:
        """A task that still runs on the recipe before is said to, whatever its state."""
        (service,) = recorded_json("services")
        service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "traefik:3.8"
        seen = traefik.verify(lab(services=[service]))[0].seen

        assert seen == (
            "docker01 on an old recipe, docker02 on an old recipe, docker03 on an old recipe"
        )

    def test_renamed_host(self) -> None:
        """A host has its new name while its engine, not restarted since, still tells the old."""
        nodes = recorded_json("nodes")
        (node,) = [n for n in nodes if n["Description"]["Hostname"] == "docker02"]
        node["Description"]["Hostname"] = "ip-10-0-0-12"

        assert traefik.verify(lab(nodes=nodes))[0].passed

    @pytest.mark.parametrize("engine", [{}, {"Hostname": ""}])
    def test_node_without_a_name(self, engine: dict[str, str]) -> None:
        """A node that never came is in the list without a name, and nothing to us."""
        never = {"ID": "never", "Description": engine, "Status": {"State": "unknown"}}
        seen = lab(nodes=[*recorded_json("nodes"), never])

        assert traefik.verify(seen)[0].passed
        assert traefik.hosts_of_tasks(seen) == {"docker01", "docker02", "docker03"}

    def test_paused_update(self) -> None:
        """An update that Swarm paused is said to be, with why; one that is done is done."""
        (service,) = recorded_json("services")
        message = "update paused due to failure or early termination of task abc"
        service["UpdateStatus"] = {"State": "paused", "Message": message}
        assert traefik.verify(lab(services=[service]))[0].passed

        old = [one | {"Spec": {"ForceUpdate": 9}} for one in recorded_json("tasks")[1:]]
        with pytest.raises(ChangeFailed, match=f"paused the update: {message}; No such image"):
            traefik.verify(lab(services=[service], tasks=[refusal(0), task(0), *old]))

    def test_placement_alone(self) -> None:
        """Swarm lets a task run on whose node fits the new placement as well."""
        tasks = recorded_json("tasks")
        for one in tasks:
            one["Spec"]["Placement"] = {"Constraints": ["node.role == manager", "node.id != x"]}

        assert traefik.verify(lab(tasks=tasks))[0].passed

    def test_old_ports(self) -> None:
        """A task with the ports of before is not of the new recipe."""
        tasks = recorded_json("tasks")
        tasks[0]["Status"]["PortStatus"]["Ports"][1]["PublishedPort"] = 81
        seen = traefik.verify(lab(tasks=tasks))[0].seen

        assert (seen.count("on an old recipe"), seen.count("running")) == (1, 2)

    @pytest.mark.parametrize("untold", [{}, {"Ports": None}, None])
    def test_untold_ports(
        self, untold: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that tells none, as after a change of leader, is judged by what it answers."""
        patience: list[float] = []

        def once(probe: Any, *, holds: Any, timeout_s: float) -> Any:
            patience.append(timeout_s)
            return waiting.until(probe, holds=holds, timeout_s=0)

        monkeypatch.setattr(traefik, "until", once)
        assert all(check.passed for check in traefik.verify(lab()))
        tasks = recorded_json("tasks")
        tasks[1]["Status"]["PortStatus"] = untold
        assert all(check.passed for check in traefik.verify(lab(tasks=tasks)))
        assert patience == [3 * traefik.START_S, traefik.ANSWER_S, *[3 * traefik.START_S] * 2]

    def test_ports_of_both_families(self) -> None:
        """A port that is open for IPv4 and IPv6 is one port."""
        tasks = recorded_json("tasks")
        tasks[1]["Status"]["PortStatus"]["Ports"] *= 2

        assert traefik.verify(lab(tasks=tasks))[0].passed

    def test_stopped_tasks_are_history(self) -> None:
        """What Swarm stopped does not count as a second one."""
        old = task(0, State="shutdown") | {"ID": "old", "DesiredState": "shutdown"}

        assert traefik.verify(lab(tasks=[*recorded_json("tasks"), old]))[0].passed

    def test_asks_for_the_service_only(self) -> None:
        """Tasks of other services are not fetched."""
        asked = Keeping([])
        traefik.verify(lab(tasks=asked))

        assert [query["filters"] for query in asked.queries] == ['{"service": ["traefik_traefik"]}']


def test_slow_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each manager has its time to pull an image, for the Swarm updates one after the other."""
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    begun_s, tasks = clock.now_s, recorded_json("tasks")

    def updated(_query: object, _body: object) -> list[dict[str, Any]]:
        clock.sleep(20)
        done = int((clock.now_s - begun_s) // 80)
        return [*tasks[:done], *(one | {"Spec": {"ForceUpdate": 9}} for one in tasks[done:])]

    assert traefik.verify(lab(tasks=updated))[0].passed


class TestRefusals:
    """Tasks that a node rejects while the watch looks."""

    @staticmethod
    def watched(monkeypatch: pytest.MonkeyPatch, *looks: list[dict[str, Any]]) -> Live:
        """Return a site whose engine lists other tasks at each look."""
        monkeypatch.setattr(waiting, "time", Clock())
        left = list(looks)
        engine = FakeEngine(
            ENGINE | {"GET /tasks": lambda _query, _body: left.pop(0) if len(left) > 1 else left[0]}
        )
        return live(
            parameters("lab"), Recordings({"docker01": recorded("traefik-docker01")}), engine
        )

    def test_twice_on_one_node(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second refusal on a node ends the wait with the engine's own words."""
        looks = [[], [refusal(1)], [refusal(1), refusal(2)]]

        with pytest.raises(ChangeFailed, match=r"No such image: traefik:3\.7") as caught:
            traefik.verify(self.watched(monkeypatch, *looks))
        assert caught.value.host is not None
        assert caught.value.step == "traefik"

    def test_once_on_each_node_is_awaited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One refusal may mend itself, and does here."""
        each = [refusal(node, node=node) for node in range(3)]
        looks = [[], each, [*each, *recorded_json("tasks")]]

        assert traefik.verify(self.watched(monkeypatch, *looks))[0].passed

    def test_history_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refusals that were there before the watch began belong to an earlier run."""
        old = [refusal(n) for n in range(4)]
        looks = [old, [*old, refusal(5)], [*old, refusal(5), *recorded_json("tasks")]]

        assert traefik.verify(self.watched(monkeypatch, *looks))[0].passed

    def test_of_an_old_recipe_are_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was refused under another recipe says nothing about this one."""
        stale = [refusal(n) for n in range(2)]
        for one in stale:
            one["Spec"]["ContainerSpec"]["Image"] = "traefik:3.8"
        looks = [[], stale, [*stale, *recorded_json("tasks")]]

        assert traefik.verify(self.watched(monkeypatch, *looks))[0].passed
