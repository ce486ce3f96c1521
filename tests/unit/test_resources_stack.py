"""The stack: a recipe's fields against those of the live service, each by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from fakes import Failure, FakeFleet, declared, done, live, parameters, recorded_json

from runbook.resources.stack import (
    Stack,
    as_text,
    declared_fields,
    inspect,
    live_fields,
    network_names,
)
from runbook.steps.traefik import parsed, recipe
from runbook.swarm import EngineError

COMPOSE = parsed(recipe(parameters("lab").site))
STACK = Stack("traefik", "~/traefik", "traefik.yml", COMPOSE)
FIELDS = {
    "image": ("traefik:3.7",),
    "args": (
        "--api.insecure=true",
        "--providers.swarm",
        "--providers.swarm.exposedbydefault=false",
        "--providers.swarm.network=frontend",
    ),
    "entrypoint": (),
    "user": (),
    "configs": (),
    "env": (),
    "ports": ("8080:8080/tcp host", "80:80/tcp host"),
    "mounts": ("/var/run/docker.sock:/var/run/docker.sock",),
    "networks": ("frontend",),
    "secrets": (),
    "mode": ("global",),
    "constraints": ("node.role == manager",),
    "labels": (),
    "update order": ("stop-first",),
}


def engine(services: Any) -> dict[str, Any]:
    """Return the answers of an engine with these services."""
    return {"GET /services": services, "GET /networks": recorded_json("networks")}


def observed(services: Any) -> dict[str, tuple[str, ...]] | None:
    """Return the fields that are observed where the engine lists these services."""
    return STACK.observe(live(parameters("lab"), engine=engine(services)))


class TestObserve:
    """From the engine's answers to fields."""

    def test_recorded(self) -> None:
        """The service that was deployed from the recipe has the recipe's fields."""
        assert observed(recorded_json("services")) == FIELDS

    @pytest.mark.parametrize("name", ["traefik_traefik2", "x_traefik_traefik"])
    def test_absent(self, name: str) -> None:
        """A service whose name only begins alike is another one."""
        (service,) = recorded_json("services")
        service["Spec"]["Name"] = name

        assert observed([service]) is None
        assert observed([]) is None

    def test_unreadable(self) -> None:
        """An engine that answers with an error is not one without the service."""
        with pytest.raises(EngineError, match="500"):
            observed(Failure(500))

    def test_inspection(self) -> None:
        """The whole service is at hand, under its exact name."""
        site = live(parameters("lab"), engine=engine(recorded_json("services")))
        found = inspect(site, "traefik_traefik")

        assert found == recorded_json("services")[0]
        assert inspect(site, "traefik") is None

    def test_networks_by_id(self) -> None:
        """A service names its networks by id; people name them otherwise."""
        names = network_names(live(parameters("lab"), engine=engine([])))

        assert names["q9v1fnh5xx9spqxnt8gdkixk4"] == "frontend"
        assert len(names) == len(recorded_json("networks"))

    def test_service_name(self) -> None:
        """It is that of the stack and that of the recipe's service."""
        assert STACK.service == "traefik_traefik"


class TestDeclared:
    """From a recipe to fields."""

    def test_of_the_lab(self) -> None:
        """Every managed field is there, an absent one empty."""
        assert declared_fields(COMPOSE) == FIELDS

    def test_of_a_recipe_that_says_little(self) -> None:
        """What it does not say is Swarm's default."""
        fields = declared_fields(
            {
                "services": {"x": {"image": "a:1", "ports": [], "networks": ["n"]}},
                "networks": {"n": None},
            }
        )

        assert fields["mode"] == ("replicated",)
        assert fields["networks"] == ("n",)
        assert fields["update order"] == ("stop-first",)
        assert fields["args"] == fields["labels"] == fields["constraints"] == ()

    def test_network_with_another_name(self) -> None:
        """A network's name in the Swarm counts, not its key in the recipe."""
        compose = copy.deepcopy(COMPOSE)
        compose["networks"]["frontend"] = {"external": True, "name": "edge"}

        assert declared_fields(compose)["networks"] == ("edge",)

    def test_quoted_argument(self) -> None:
        """The command is split as a shell would."""
        compose = copy.deepcopy(COMPOSE)
        compose["services"]["traefik"]["command"] = "--a='b c' --d"

        assert declared_fields(compose)["args"] == ("--a=b c", "--d")


def container(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the container's part of a service's specification."""
    part: dict[str, Any] = spec["TaskTemplate"]["ContainerSpec"]
    return part


# What an operator may have done to the service by hand, and how the plan shows it.
DRIFT: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("image", lambda s: container(s).update(Image="traefik:3.6"), "-  traefik:3.6"),
    ("image digest", lambda s: container(s).update(Image="x:3.7@sha256:0"), "-  x:3.7"),
    ("args", lambda s: container(s)["Args"].append("--log.level=DEBUG"), "-  --log.level=DEBUG"),
    ("args gone", lambda s: container(s).pop("Args"), "+  --providers.swarm"),
    ("env", lambda s: container(s).update(Env=["A=b"]), "-  A=b"),
    (
        "port",
        lambda s: s["EndpointSpec"]["Ports"][0].update(PublishedPort=81),
        "-  81:80/tcp host",
    ),
    (
        "port in the mesh",
        lambda s: s["EndpointSpec"]["Ports"][0].update(PublishMode="ingress"),
        "-  80:80/tcp ingress",
    ),
    ("ports gone", lambda s: s.pop("EndpointSpec"), "+  80:80/tcp host"),
    (
        "mount",
        lambda s: container(s)["Mounts"][0].update(ReadOnly=True),
        "-  /var/run/docker.sock:/var/run/docker.sock:ro",
    ),
    (
        "another mount",
        lambda s: container(s)["Mounts"].append({"Type": "tmpfs", "Target": "/x"}),
        "-  :/x",
    ),
    (
        "network",
        lambda s: s["TaskTemplate"]["Networks"].append({"Target": "unknownid"}),
        "-  unknownid",
    ),
    ("networks gone", lambda s: s["TaskTemplate"].pop("Networks"), "+  frontend"),
    ("secret", lambda s: container(s).update(Secrets=[{"SecretName": "users"}]), "-  users"),
    ("mode", lambda s: s.update(Mode={"Replicated": {"Replicas": 1}}), "-  replicated"),
    (
        "constraint",
        lambda s: s["TaskTemplate"]["Placement"]["Constraints"].append("node.labels.a == b"),
        "-  node.labels.a == b",
    ),
    ("constraints gone", lambda s: s["TaskTemplate"].pop("Placement"), "+  node.role == manager"),
    ("label", lambda s: s["Labels"].update({"traefik.enable": "true"}), "-  traefik.enable=true"),
    ("update order", lambda s: s.update(UpdateConfig={"Order": "start-first"}), "-  start-first"),
]


class TestPlan:
    """Absent, different, equal."""

    def test_absent(self) -> None:
        """The service is created; removing the stack undoes that."""
        (change,) = STACK.plan(None, "docker01", 1)

        assert done([change]) == [(1, "docker01", "create", "service traefik_traefik")]
        assert (change.before, change.after) == ("", as_text(FIELDS))
        assert change.undo == "docker stack rm traefik"

    def test_equal(self) -> None:
        """The recorded service is as the recorded recipe says."""
        assert STACK.plan(observed(recorded_json("services")), "docker01", 1) == []

    @pytest.mark.parametrize(("change", "line"), [case[1:] for case in DRIFT],
                             ids=[case[0] for case in DRIFT])  # fmt: skip
    def test_different(self, change: Callable[[dict[str, Any]], object], line: str) -> None:
        """Whatever was changed by hand is shown, and a rollback undoes the repair."""
        (service,) = recorded_json("services")
        change(service["Spec"])
        (planned,) = STACK.plan(observed([service]), "docker01", 1)

        assert line in planned.diff.splitlines()
        assert (planned.action, planned.undo) == (
            "update",
            "docker service rollback traefik_traefik",
        )

    def test_digest_of_a_registry(self) -> None:
        """A tag is declared, so the digest that a registry answered to it is no difference."""
        (service,) = recorded_json("services")
        container(service["Spec"])["Image"] = f"traefik:3.7@sha256:{'0' * 64}"

        assert STACK.plan(observed([service]), "docker01", 1) == []

    def test_declared_digest(self) -> None:
        """Where a digest is declared, the tag alone or another digest is a difference."""
        pinned = f"traefik:3.7@sha256:{'1' * 64}"
        compose = parsed(recipe(declared("lab", traefik={"image": pinned}).site))
        stack = Stack("traefik", "~/traefik", "traefik.yml", compose)
        (service,) = recorded_json("services")

        for image, count in ((pinned, 0), ("traefik:3.7", 1), (f"{pinned[:-1]}2", 1)):
            container(service["Spec"])["Image"] = image
            assert count == len(stack.plan(observed([service]), "docker01", 1))

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s["Labels"].update({"com.docker.stack.image": "traefik:other"}),
            lambda s: s.pop("Labels"),
            lambda s: s["EndpointSpec"]["Ports"].reverse(),
            lambda s: s.update(UpdateConfig={"Parallelism": 1, "Order": "stop-first"}),
            lambda s: container(s).update(Env=None, Secrets=None),
        ],
        ids=["labels of the stack", "no labels", "order of ports", "defaults said", "nulls"],
    )
    def test_no_difference(self, change: Callable[[dict[str, Any]], object]) -> None:
        """What Docker adds, sorts or spells otherwise is not drift."""
        (service,) = recorded_json("services")
        change(service["Spec"])

        assert STACK.plan(observed([service]), "docker01", 1) == []

    def test_order_of_arguments(self) -> None:
        """Arguments are a sequence: in another order they are another command."""
        (service,) = recorded_json("services")
        container(service["Spec"])["Args"].reverse()

        assert len(STACK.plan(observed([service]), "docker01", 1)) == 1

    def test_fields_are_the_same_on_both_sides(self) -> None:
        """Every field that is declared is also observed, and the other way round."""
        spec = recorded_json("services")[0]["Spec"]

        assert list(declared_fields(COMPOSE)) == list(live_fields(spec, {}))


class TestMake:
    """The deployment."""

    def test_is_the_published_command(self) -> None:
        """The first manager's own docker deploys the file, in its folder, as the operator."""
        fleet = FakeFleet()
        STACK.plan(None, "docker01", 1)[0].make(live(parameters("lab"), fleet))
        (command,) = fleet.commands

        assert (command.host, command.sudo) == ("docker01", False)
        assert command.argv[2] == 'cd "$1" && exec docker stack deploy -c "$2" "$3"'
        assert command.argv[4:] == ("traefik", "traefik.yml", "traefik")

    def test_absolute_folder(self) -> None:
        """A folder outside the home stays as it is."""
        fleet = FakeFleet()
        stack = Stack("edge", "/srv/traefik", "traefik.yml", COMPOSE)
        stack.plan(None, "docker01", 1)[0].make(live(parameters("lab"), fleet))

        assert fleet.commands[0].argv[4:] == ("/srv/traefik", "traefik.yml", "edge")
