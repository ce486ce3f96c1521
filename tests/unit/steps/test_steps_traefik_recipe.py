"""The Traefik step: the published recipe, and flags and labels by version."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import declared, parameters
from traefiks import site

from runbook.errors import Refused
from runbook.steps.traefik import dashboard_labels, flags, major_version, parsed, recipe

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
