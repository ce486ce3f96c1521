"""Recipes: templates whose every value must be given."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import declared, parameters
from jinja2 import TemplateNotFound, UndefinedError

import runbook.recipes
from runbook.recipes import render
from runbook.steps.keepalived import configuration
from runbook.steps.traefik import parsed, recipe

TEMPLATES = sorted(path.name for path in Path(runbook.recipes.__path__[0]).glob("*.j2"))
DEMONSTRATION = {
    "image": "demo:1",
    "network": "frontend",
    "stack": "runbook-demonstration",
    "host": "demo.test",
    "port": 80,
    "mark": "X-Runbook=1",
    "priority": 1,
}


class TestRender:
    """One recipe."""

    @pytest.mark.parametrize("template", TEMPLATES)
    def test_value_that_is_missing(self, template: str) -> None:
        """No recipe is ever written with a hole in it."""
        with pytest.raises(UndefinedError):
            render(template.removesuffix(".j2"))

    def test_unknown(self) -> None:
        """A recipe that is not there is an error of its own."""
        with pytest.raises(TemplateNotFound):
            render("no-such-recipe")

    def test_nothing_is_escaped(self) -> None:
        """Configuration files are no HTML."""
        text = render("demonstration.yml", **DEMONSTRATION | {"image": "a&b:<1>"})

        assert "image: a&b:<1>\n" in text

    @pytest.mark.parametrize(
        "text",
        [
            recipe(parameters("article").site),
            recipe(parameters("production").site),
            configuration(parameters("article").site, "docker01", ""),
            configuration(parameters("production").site, "node-a", ""),
            render("demonstration.yml", **DEMONSTRATION),
        ],
        ids=["traefik", "guarded", "keepalived", "hardened", "demonstration"],
    )
    def test_is_a_text_file(self, text: str) -> None:
        """Lines end with a newline, the last one too; none has blanks at its end, none is empty."""
        lines = text.split("\n")

        assert lines[-1] == ""
        assert [line for line in lines[:-1] if not line.strip() or line != line.rstrip()] == []


class TestTraefik:
    """The stack's recipe."""

    def test_production(self) -> None:
        """A site with everything in it is one valid document with the labels as written."""
        dashboard = {"host": "traefik.example.org", "users_secret": "traefik_users"}
        site = declared("production", traefik={"dashboard": dashboard}).site
        service = parsed(recipe(site))["services"]["traefik"]

        assert service["image"] == site.traefik.image
        assert (
            "traefik.http.routers.dashboard.rule=Host(`traefik.example.org`)"
            in (service["deploy"]["labels"])
        )

    @pytest.mark.parametrize("stack", ["a", "a-b_c"])
    def test_stack_name_is_not_in_it(self, stack: str) -> None:
        """The same file can be deployed under any name."""
        assert recipe(declared(traefik={"stack": stack}).site) == recipe(declared().site)


class TestDemonstration:
    """The recipe of the application behind the edge."""

    def test_one_is_enabled_and_one_is_not(self) -> None:
        """Both have a router for a name of their own and the port; one says traefik.enable."""
        compose = parsed(render("demonstration.yml", **DEMONSTRATION | {"port": 8000}))
        shown, hidden = (
            compose["services"][name]["deploy"]["labels"] for name in ("shown", "hidden")
        )

        assert shown == [
            "traefik.enable=true",
            "traefik.http.routers.runbook-demonstration.rule=Host(`demo.test`)",
            "traefik.http.routers.runbook-demonstration.priority=1",
            "traefik.http.routers.runbook-demonstration.middlewares=runbook-demonstration",
            "traefik.http.middlewares.runbook-demonstration.headers.customresponseheaders.X-Runbook=1",
            "traefik.http.services.runbook-demonstration.loadbalancer.server.port=8000",
        ]
        assert hidden == [
            "traefik.http.routers.runbook-demonstration-hidden.rule=Host(`hidden.demo.test`)",
            "traefik.http.routers.runbook-demonstration-hidden.priority=1",
            "traefik.http.routers.runbook-demonstration-hidden.middlewares="
            "runbook-demonstration-hidden",
            "traefik.http.middlewares.runbook-demonstration-hidden.headers.customresponseheaders."
            "X-Runbook=1",
            "traefik.http.services.runbook-demonstration-hidden.loadbalancer.server.port=8000",
        ]

    def test_joins_the_network_of_the_site(self) -> None:
        """The overlay is there already and is only joined."""
        compose = parsed(render("demonstration.yml", **DEMONSTRATION | {"network": "edge"}))

        assert compose["networks"] == {"edge": {"external": True}}
        assert {tuple(s["networks"]) for s in compose["services"].values()} == {("edge",)}
