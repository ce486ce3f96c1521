"""A service's fields: what a recipe implies, what runs, and that nothing added goes unseen."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from fakes import declared, parameters, recorded_json

from runbook.resources.service_spec import as_text, fields_of, implied, without_digest
from runbook.steps.traefik import parsed, recipe

COMPOSE = parsed(recipe(parameters("lab").site))
NETWORKS = {network["Id"]: network["Name"] for network in recorded_json("networks")}
CONTAINER = "TaskTemplate.ContainerSpec"
FIELDS = {
    "EndpointSpec.Ports": (
        "Protocol=tcp PublishMode=host PublishedPort=80 TargetPort=80",
        "Protocol=tcp PublishMode=host PublishedPort=8080 TargetPort=8080",
    ),
    "Labels": ("com.docker.stack.namespace=traefik",),
    "Mode": ("Global",),
    f"{CONTAINER}.Args": (
        "--api.insecure=true",
        "--providers.swarm",
        "--providers.swarm.exposedbydefault=false",
        "--providers.swarm.network=frontend",
    ),
    f"{CONTAINER}.Image": ("traefik:3.7",),
    f"{CONTAINER}.Labels": ("com.docker.stack.namespace=traefik",),
    f"{CONTAINER}.Mounts": ("Source=/var/run/docker.sock Target=/var/run/docker.sock Type=bind",),
    "TaskTemplate.Networks": ("Aliases=traefik Target=frontend",),
    "TaskTemplate.Placement.Constraints": ("node.role == manager",),
}
S = 1_000_000_000

# Every field of ServiceSpec in the Engine API 1.41 to 1.50, with what somebody could put there.
# Source: the API's swagger.yaml, ServiceSpec, TaskSpec and what they refer to.
SAID: list[tuple[str, object]] = [
    *(
        (f"{CONTAINER}.{path}", value)
        for path, value in [
            ("Image", "traefik:3.6"),
            ("Command", ["/bin/sh"]),
            ("Args", ["--api.insecure=true"]),
            ("Hostname", "edge"),
            ("Env", ["WHO=someone"]),
            ("Dir", "/srv"),
            ("User", "1000"),
            ("Groups", ["docker"]),
            ("Privileges.CredentialSpec.Config", "spec"),
            ("Privileges.SELinuxContext.Disable", True),
            ("Privileges.SELinuxContext.Level", "s0"),
            ("Privileges.Seccomp.Mode", "unconfined"),
            ("Privileges.AppArmor.Mode", "disabled"),
            ("Privileges.NoNewPrivileges", True),
            ("TTY", True),
            ("OpenStdin", True),
            ("ReadOnly", True),
            ("StopSignal", "SIGINT"),
            ("StopGracePeriod", 0),
            ("StopGracePeriod", 60 * S),
            ("Healthcheck.Test", ["NONE"]),
            ("Healthcheck.Test", ["CMD", "false"]),
            ("Healthcheck.Interval", S),
            ("Healthcheck.StartPeriod", S),
            ("Healthcheck.StartInterval", S),
            ("Healthcheck.Retries", 1),
            ("Hosts", ["10.9.9.9 traefik.example.org"]),
            ("DNSConfig.Nameservers", ["10.9.9.9"]),
            ("DNSConfig.Search", ["example.org"]),
            ("DNSConfig.Options", ["ndots:3"]),
            ("Secrets", [{"SecretName": "users", "File": {"Name": "users"}}]),
            ("Configs", [{"ConfigName": "c", "File": {"Name": "/c"}}]),
            ("Isolation", "hyperv"),
            ("Init", True),
            ("Init", False),
            ("Sysctls", {"net.core.somaxconn": "1"}),
            ("CapabilityAdd", ["CAP_NET_ADMIN"]),
            ("CapabilityDrop", ["CAP_NET_RAW"]),
            ("Ulimits", [{"Name": "nofile", "Soft": 9, "Hard": 9}]),
            ("OomScoreAdj", 500),
            ("Labels", {"com.docker.stack.namespace": "traefik", "who": "someone"}),
            ("Labels", {}),
            ("Mounts", []),
        ]
    ),
    *(
        (f"TaskTemplate.{path}", value)
        for path, value in [
            ("Resources.Limits.NanoCPUs", 1),
            ("Resources.Limits.MemoryBytes", 1 << 20),
            ("Resources.Limits.Pids", 9),
            ("Resources.Reservations.MemoryBytes", 1 << 40),
            (
                "Resources.Reservations.GenericResources",
                [{"NamedResourceSpec": {"Kind": "GPU", "Value": "1"}}],
            ),
            ("Resources.SwapBytes", 9),
            ("Resources.MemorySwappiness", 9),
            ("RestartPolicy.Condition", "none"),
            ("RestartPolicy.Delay", 0),
            ("RestartPolicy.MaxAttempts", 1),
            ("RestartPolicy.Window", S),
            ("Placement.Constraints", ["node.role == manager", "node.labels.a == b"]),
            ("Placement.Preferences", [{"Spread": {"SpreadDescriptor": "node.labels.a"}}]),
            ("Placement.MaxReplicas", 1),
            ("Placement.Platforms", [{"Architecture": "s390x", "OS": "linux"}]),
            ("Runtime", "attachment"),
            ("Networks", [{"Target": "frontend"}]),
            (
                "Networks",
                [{"Target": "frontend", "Aliases": ["traefik"], "DriverOpts": {"a": "b"}}],
            ),
            ("LogDriver.Name", "none"),
            ("LogDriver.Options", {"max-size": "1k"}),
        ]
    ),
    *(
        (f"{config}.{path}", value)
        for config in ("UpdateConfig", "RollbackConfig")
        for path, value in [
            ("Parallelism", 0),
            ("Parallelism", 2),
            ("Delay", S),
            ("FailureAction", "continue"),
            ("Monitor", 60 * S),
            ("MaxFailureRatio", 0.5),
            ("Order", "start-first"),
        ]
    ),
    ("Labels", {"com.docker.stack.namespace": "traefik", "traefik.enable": "true"}),
    ("Labels", {"com.docker.stack.namespace": "other"}),
    ("Mode", {"Replicated": {"Replicas": 3}}),
    ("Mode", {"GlobalJob": {}}),
    ("EndpointSpec.Mode", "dnsrr"),
    ("EndpointSpec.Ports", []),
    ("Networks", [{"Target": "other"}]),
]
# Of what a list's items hold.
ITEMS: list[tuple[str, str, object]] = [
    *(
        (f"{CONTAINER}.Mounts", path, value)
        for path, value in [
            ("Type", "volume"),
            ("Source", "/run/docker.sock"),
            ("Target", "/docker.sock"),
            ("ReadOnly", True),
            ("Consistency", "cached"),
            ("BindOptions.Propagation", "rshared"),
            ("BindOptions.NonRecursive", True),
            ("VolumeOptions.NoCopy", True),
            ("VolumeOptions.Labels", {"a": "b"}),
            ("VolumeOptions.DriverConfig.Options", {"a": "b"}),
            ("TmpfsOptions.SizeBytes", 9),
            ("TmpfsOptions.Mode", 0o700),
        ]
    ),
    ("EndpointSpec.Ports", "PublishMode", "ingress"),
    ("EndpointSpec.Ports", "PublishedPort", 81),
    ("EndpointSpec.Ports", "TargetPort", 81),
    ("EndpointSpec.Ports", "Protocol", "udp"),
    ("EndpointSpec.Ports", "Name", "web"),
]


def live() -> dict[str, Any]:
    """Return the specification of the service that runs as the recipe says."""
    spec: dict[str, Any] = recorded_json("services")[0]["Spec"]
    return spec


def put(spec: dict[str, Any], path: str, value: object) -> None:
    """Set one value in a specification."""
    *places, last = path.split(".")
    for place in places:
        spec[place] = spec.get(place) or {}
        spec = spec[place]
    spec[last] = value


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the specification with one other value."""
    spec = live()
    put(spec, path, value)
    return spec


class TestImplied:
    """From a recipe to fields."""

    def test_of_the_lab(self) -> None:
        """What the recipe says and nothing else."""
        assert implied("traefik", COMPOSE) == FIELDS

    def test_is_what_was_deployed(self) -> None:
        """A service that was deployed from it has these fields."""
        assert fields_of(live(), NETWORKS) == FIELDS

    def test_of_a_recipe_that_says_little(self) -> None:
        """What it does not say is Swarm's default."""
        compose = {"services": {"x": {"image": "a:1"}}}

        assert implied("s", compose) == {
            "Labels": ("com.docker.stack.namespace=s",),
            "Mode": ("Replicated",),
            f"{CONTAINER}.Image": ("a:1",),
            f"{CONTAINER}.Labels": ("com.docker.stack.namespace=s",),
        }

    def test_network_with_another_name(self) -> None:
        """A network's name in the Swarm counts, not its key in the recipe."""
        compose = copy.deepcopy(COMPOSE)
        compose["networks"]["frontend"] = {"external": True, "name": "edge"}

        assert implied("traefik", compose)["TaskTemplate.Networks"] == (
            "Aliases=traefik Target=edge",
        )

    @pytest.mark.parametrize(
        ("image", "told"),
        [
            ("docker.io/library/traefik:v3.7", "traefik:v3.7"),
            ("docker.io/traefik:v3.7", "traefik:v3.7"),
            ("index.docker.io/library/traefik:v3.7", "traefik:v3.7"),
            ("library/traefik:v3.7", "traefik:v3.7"),
            ("docker.io/others/traefik:v3.7", "others/traefik:v3.7"),
            ("docker.io/traefik:v3.7@sha256:0", "traefik:v3.7@sha256:0"),
            ("ghcr.io/library/traefik:v3.7", "ghcr.io/library/traefik:v3.7"),
            ("index.example.org/traefik:v3.7", "index.example.org/traefik:v3.7"),
            ("localhost:5000/traefik:v3.7", "localhost:5000/traefik:v3.7"),
        ],
    )
    def test_image_of_docker_hub(self, image: str, told: str) -> None:
        """The client tells the Swarm the short name of an image, however long the recipe's is."""
        compose = {"services": {"x": {"image": image}}}

        assert implied("s", compose)[f"{CONTAINER}.Image"] == (told,)

    def test_quoted_argument(self) -> None:
        """The command is split as a shell would."""
        compose = copy.deepcopy(COMPOSE)
        compose["services"]["traefik"]["command"] = "--a='b c' --d"

        assert implied("traefik", compose)[f"{CONTAINER}.Args"] == ("--a=b c", "--d")

    def test_secret(self) -> None:
        """A secret has its place, owner and permissions; its id is the Swarm's affair."""
        dashboard = {"insecure": False, "port": None, "host": "a.test", "users_secret": "users"}
        compose = parsed(recipe(declared("lab", traefik={"dashboard": dashboard}).site))
        file = {"Name": "users", "UID": "0", "GID": "0", "Mode": 292}
        secret = {"File": file, "SecretID": "iyws8wd8ghhk", "SecretName": "users"}
        spec = changed(f"{CONTAINER}.Secrets", [secret])
        path = f"{CONTAINER}.Secrets"

        assert implied("traefik", compose)[path] == fields_of(spec, NETWORKS)[path]
        for name, value in (
            ("Mode", 0o777),
            ("Mode", 0),
            ("UID", "1"),
            ("GID", "1"),
            ("Name", "x"),
        ):
            other = changed(path, [secret | {"File": file | {name: value}}])
            assert implied("traefik", compose)[path] != fields_of(other, NETWORKS)[path]


class TestDifference:
    """Whatever somebody changed or added is in the fields, under its path."""

    @pytest.mark.parametrize(
        ("path", "value"), SAID, ids=[f"{path} {str(value)[:20]}" for path, value in SAID]
    )
    def test_field(self, path: str, value: object) -> None:
        """One other value anywhere is a difference under the path that `inspect` shows."""
        seen = fields_of(changed(path, value), NETWORKS)
        different = [name for name in {*seen, *FIELDS} if seen.get(name) != FIELDS.get(name)]

        assert [path] == different

    @pytest.mark.parametrize(("path", "inner", "value"), ITEMS)
    def test_item(self, path: str, inner: str, value: object) -> None:
        """One other value in a mount or a port is a difference of the list."""
        spec = live()
        items = fields_of(spec, {}) and (
            spec["TaskTemplate"]["ContainerSpec"]["Mounts"]
            if path.endswith("Mounts")
            else spec["EndpointSpec"]["Ports"]
        )
        put(items[0], inner, value)

        assert fields_of(spec, NETWORKS)[path] != FIELDS[path]

    def test_unknown_field(self) -> None:
        """What a later engine has and we do not know is a difference as well."""
        seen = fields_of(changed(f"{CONTAINER}.Devices", [{"Path": "/dev/mem"}]), NETWORKS)

        assert seen[f"{CONTAINER}.Devices"] == ("Path=/dev/mem",)

    def test_order_of_arguments(self) -> None:
        """Arguments are a sequence: in another order they are another command."""
        args = list(reversed(FIELDS[f"{CONTAINER}.Args"]))

        assert fields_of(changed(f"{CONTAINER}.Args", args), NETWORKS) != FIELDS

    def test_is_named_in_the_text(self) -> None:
        """The path and the value stand in the lines of a diff."""
        text = as_text(
            fields_of(changed(f"{CONTAINER}.CapabilityAdd", ["CAP_SYS_ADMIN"]), NETWORKS)
        )

        assert f"{CONTAINER}.CapabilityAdd:\n  CAP_SYS_ADMIN\n" in text


# What `docker service inspect` and an update by the client spell out, though nothing was said.
DEFAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "of an update": lambda s: s.update(
        UpdateConfig={
            "Parallelism": 1,
            "FailureAction": "pause",
            "Monitor": 5 * S,
            "MaxFailureRatio": 0,
            "Order": "stop-first",
        }
    ),
    "of a rollback": lambda s: s.update(RollbackConfig={"Parallelism": 1, "Delay": 0}),
    "of a restart": lambda s: put(
        s, "TaskTemplate.RestartPolicy", {"Condition": "any", "Delay": 5 * S, "MaxAttempts": 0}
    ),
    "grace": lambda s: put(s, f"{CONTAINER}.StopGracePeriod", 10 * S),
    "nulls": lambda s: put(s, f"{CONTAINER}.Secrets", None),
    "nothing of privileges": lambda s: put(
        s, f"{CONTAINER}.Privileges", {"Seccomp": None, "NoNewPrivileges": False}
    ),
    "empty parts": lambda s: put(s, f"{CONTAINER}.DNSConfig", {}),
    "empty resources": lambda s: put(s, "TaskTemplate.Resources", {"Limits": {"NanoCPUs": 0}}),
    "restarted by force": lambda s: put(s, "TaskTemplate.ForceUpdate", 3),
    "order of ports": lambda s: s["EndpointSpec"]["Ports"].reverse(),
    "image of the deployment": lambda s: s["Labels"].update({"com.docker.stack.image": "other"}),
    "our own label": lambda s: s["Labels"].update({"runbook.site": "lab"}),
    "another mode": lambda s: s["Mode"].update(Replicated=None),
}


class TestNoDifference:
    """What says nothing."""

    @pytest.mark.parametrize("change", DEFAULTS.values(), ids=DEFAULTS)
    def test_default(self, change: Callable[[dict[str, Any]], object]) -> None:
        """A default that is spelled out is not drift."""
        spec = live()
        change(spec)

        assert fields_of(spec, NETWORKS) == FIELDS

    def test_digest_of_a_registry(self) -> None:
        """With the digest that a registry answered come the platforms it has the image for."""
        spec = changed(f"{CONTAINER}.Image", f"traefik:3.7@sha256:{'0' * 64}")
        put(spec, "TaskTemplate.Placement.Platforms", [{"Architecture": "amd64", "OS": "linux"}])

        assert without_digest(fields_of(spec, NETWORKS)) == FIELDS

    def test_unknown_network(self) -> None:
        """A network that is gone is named by its id."""
        assert fields_of(live(), {})["TaskTemplate.Networks"] == (
            "Aliases=traefik Target=q9v1fnh5xx9spqxnt8gdkixk4",
        )
