"""The stack: whose its service is, whether it is as its recipe says, and its deployment."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fakes import (
    Answer,
    Failure,
    FakeFleet,
    declared,
    done,
    live,
    parameters,
    recorded_json,
    silent,
)

from runbook.changes import Change
from runbook.errors import Refused
from runbook.hosts.docker.errors import EngineError
from runbook.resources.service_spec import Fields, as_text, implied
from runbook.resources.stack import Stack, StackFacts, inspect, network_names
from runbook.steps.traefik import parsed, recipe

COMPOSE = parsed(recipe(parameters("lab").site))
STACK = Stack("docker01", "traefik", "~/traefik/traefik.yml", COMPOSE, "lab")
FIELDS = implied("traefik", COMPOSE)
NAMESPACE = {"com.docker.stack.namespace": "traefik"}
OURS = NAMESPACE | {"runbook.site": "lab"}


def engine(services: Any) -> dict[str, Any]:
    """Return the answers of an engine with these services."""
    return {"GET /services": services, "GET /networks": recorded_json("networks")}


def observed(services: Any) -> StackFacts:
    """Return what is observed where the engine lists these services."""
    return STACK.observe(live(parameters("lab"), engine=engine(services)))


def service(**spec: Any) -> dict[str, Any]:
    """Return the recorded service with other parts of its specification."""
    (found,) = recorded_json("services")
    found["Spec"] |= spec
    assert isinstance(found, dict)
    return found


def drifted(labels: dict[str, str], image: str = "traefik:3.6") -> dict[str, Any]:
    """Return the recorded service with another image."""
    found = service(Labels=labels)
    found["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = image
    return found


def planned(services: Any, stack: Stack = STACK, written: Fields | None = None) -> list[Change]:
    """Return the plan for a Swarm with these services."""
    return stack.plan(replace(observed(services), written=written))


class TestObserve:
    """From the engine's answers to facts."""

    def test_recorded(self) -> None:
        """The service that was deployed from the recipe has the recipe's fields."""
        facts = observed(recorded_json("services"))

        assert (facts.fields, facts.before, facts.others) == (FIELDS, None, ())

    @pytest.mark.parametrize("name", ["traefik_traefik2", "x_traefik_traefik"])
    def test_absent(self, name: str) -> None:
        """A service whose name only begins alike is another one."""
        assert observed([service(Name=name)]) == StackFacts(None, {}, None, (name,))
        assert observed([]) == StackFacts(None, {}, None, ())

    def test_before(self) -> None:
        """What the last update replaced is known."""
        found = drifted(NAMESPACE)
        found["PreviousSpec"] = service(Labels=NAMESPACE)["Spec"]

        assert observed([found]).before == FIELDS

    def test_unreadable(self) -> None:
        """An engine that answers with an error is not one without the service."""
        with pytest.raises(EngineError, match="500"):
            observed(Failure(500))

    def test_inspection(self) -> None:
        """The whole service is at hand, under its exact name."""
        site = live(parameters("lab"), engine=engine(recorded_json("services")))

        assert inspect(site, "traefik_traefik") == recorded_json("services")[0]
        assert inspect(site, "traefik") is None

    def test_networks_by_id(self) -> None:
        """A service names its networks by id; people name them otherwise."""
        names = network_names(live(parameters("lab"), engine=engine([])))

        assert names["q9v1fnh5xx9spqxnt8gdkixk4"] == "frontend"
        assert len(names) == len(recorded_json("networks"))


class TestPlan:
    """Absent, different, equal."""

    def test_absent(self) -> None:
        """The service is created; removing the stack undoes that."""
        (change,) = planned([])

        assert done([change]) == [(0, "docker01", "create", "service traefik_traefik")]
        assert (change.before, change.after) == ("", as_text(FIELDS))
        assert change.undo == "docker stack rm traefik"

    def test_equal(self) -> None:
        """The recorded service is as the recorded recipe says."""
        assert planned(recorded_json("services")) == []

    def test_different(self) -> None:
        """Whatever was changed by hand is shown, and a rollback undoes the repair."""
        (change,) = planned([drifted(OURS)])

        assert {"-  traefik:3.6", "+  traefik:3.7"} <= set(change.diff.splitlines())
        assert (change.action, change.undo) == (
            "update",
            "docker service rollback traefik_traefik",
        )

    def test_digest_of_a_registry(self) -> None:
        """A tag is declared, so the digest that a registry answered to it is no difference."""
        assert planned([drifted(NAMESPACE, f"traefik:3.7@sha256:{'0' * 64}")]) == []

    def test_declared_digest(self) -> None:
        """Where a digest is declared, the tag alone or another digest is a difference."""
        pinned = f"traefik:3.7@sha256:{'1' * 64}"
        compose = parsed(recipe(declared("lab", traefik={"image": pinned}).site))
        stack = replace(STACK, compose=compose)

        for image, count in ((pinned, 0), ("traefik:3.7", 1), (f"{pinned[:-1]}2", 1)):
            assert count == len(planned([drifted(OURS, image)], stack))


class TestOwner:
    """A service that the runbook did not deploy is somebody else's."""

    HANDED = replace(STACK, replace_unmanaged=True)

    def test_foreign(self) -> None:
        """It is refused with what it would lose, and with the ways on."""
        ports = [
            {"Protocol": "tcp", "TargetPort": 443, "PublishedPort": 443, "PublishMode": "host"}
        ]
        foreign = service(Labels=NAMESPACE, EndpointSpec={"Ports": ports})

        with pytest.raises(Refused, match="was not deployed by the runbook") as caught:
            planned([foreign])
        assert "PublishedPort=443" in caught.value.message
        assert caught.value.host == "docker01"
        assert "traefik.replace_unmanaged: true" in caught.value.todo

    def test_handed_over(self) -> None:
        """With the site's word it is replaced, and the plan shows all that goes."""
        (change,) = planned([drifted(NAMESPACE)], self.HANDED)

        assert "-  traefik:3.6" in change.diff.splitlines()

    def test_recipe_left_behind(self) -> None:
        """A recipe of ours beside it does not make somebody else's service ours."""
        with pytest.raises(Refused, match="was not deployed by the runbook"):
            planned([drifted(NAMESPACE)], written=FIELDS)

    def test_deployed_over_ours(self) -> None:
        """Neither does it that ours was there before: a deployment takes our label away."""
        found = drifted(NAMESPACE)
        found["PreviousSpec"] = service(Labels=OURS)["Spec"]

        with pytest.raises(Refused, match="was not deployed by the runbook"):
            planned([found], written=FIELDS)

    def test_of_an_earlier_version(self) -> None:
        """One without a label is ours where it was as our recipe on the manager says."""
        found = drifted(NAMESPACE)
        found["PreviousSpec"] = service(Labels=NAMESPACE)["Spec"]

        assert len(planned([found], written=FIELDS)) == 1

    def test_of_an_earlier_site(self) -> None:
        """It is ours where it still is as our recipe says, and the site has changed since."""
        compose = parsed(recipe(declared("lab", traefik={"image": "traefik:3.8"}).site))

        assert len(planned([service()], replace(STACK, compose=compose), written=FIELDS)) == 1

    def test_in_no_stack(self) -> None:
        """The stack's deployment would not take it over, handed over or not."""
        for stack in (STACK, self.HANDED):
            with pytest.raises(Refused, match="is in no stack traefik") as caught:
                planned([drifted({})], stack)
            assert "docker service rm traefik_traefik" in caught.value.todo

    def test_replicated(self) -> None:
        """No deployment turns it into a global one, so it is refused before the first change."""
        replicated = service(Labels=NAMESPACE, Mode={"Replicated": {"Replicas": 1}})

        with pytest.raises(Refused, match="was not deployed by the runbook"):
            planned([replicated])
        with pytest.raises(Refused, match="is Replicated, and the Swarm changes the mode of no"):
            planned([replicated], self.HANDED)

    def test_stack_of_others(self) -> None:
        """A stack of our name that has other services is not joined, unless the site says so."""
        other = service(Name="traefik_whoami")

        with pytest.raises(
            Refused, match="stack traefik is somebody else's: it has traefik_whoami"
        ):
            planned([other])
        (change,) = planned([other], self.HANDED)
        assert change.undo == "docker service rm traefik_traefik"

    def test_guest_of_our_stack(self) -> None:
        """Beside our service others are left alone, without a word."""
        assert planned([service(Labels=OURS), service(Name="traefik_whoami")]) == []


class TestMake:
    """The deployment."""

    @staticmethod
    def made(stack: Stack, answer: Answer = silent) -> tuple[FakeFleet, dict[str, Any]]:
        """Return what was run for a deployment, and what came on standard input."""
        fleet = FakeFleet(answer)
        (change,) = stack.plan(StackFacts(None, {}, None, ()))
        change.make(live(parameters("lab"), fleet))
        return fleet, json.loads(fleet.commands[-1].stdin)

    def test_is_the_published_command(self) -> None:
        """The first manager's own docker deploys the recipe, and beside it whose it is."""
        fleet, beside = self.made(STACK)
        _login, command = fleet.commands

        assert (command.host, command.sudo) == ("docker01", False)
        assert command.argv[-7:] == (
            *("stack", "deploy", "-c", "traefik/traefik.yml", "-c", "-", "traefik"),
        )
        assert beside == {
            "version": "3.2",
            "services": {"traefik": {"deploy": {"labels": {"runbook.site": "lab"}}}},
        }

    def test_absolute_folder(self) -> None:
        """A folder outside the home stays as it is."""
        fleet, _ = self.made(replace(STACK, name="edge", path="/srv/traefik/traefik.yml"))

        assert fleet.commands[-1].argv[-4:] == ("/srv/traefik/traefik.yml", "-c", "-", "edge")
