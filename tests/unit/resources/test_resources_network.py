"""The overlay network: what the engine says of it and what is planned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes import Clock, Failure, Keeping, done, live, parameters, recorded_json

from runbook.errors import Refused
from runbook.hosts.docker.errors import EngineError
from runbook.resources.network import Overlay, OverlayFacts, facts_of

FRONTEND = Overlay("docker01", "frontend", None, attachable=False, encrypted=False, mtu=None)
SEEN = OverlayFacts("overlay", "swarm", attachable=False, encrypted=False, subnet="10.0.1.0/24",
                    mtu=None)  # fmt: skip


def observed(overlay: Overlay, networks: Any) -> OverlayFacts | None:
    """Return what is observed where the engine lists these networks."""
    return overlay.observe(live(parameters("article"), engine={"GET /networks": networks}))


def inspected(**changes: Any) -> dict[str, Any]:
    """Return the recorded network with other values."""
    found = next(n for n in recorded_json("networks") if n["Name"] == "frontend")
    return {**found, **changes}


class TestObserve:
    """From the engine's list to facts."""

    def test_recorded(self) -> None:
        """The network's fields are those that the engine gives it."""
        assert observed(FRONTEND, recorded_json("networks")) == SEEN

    @pytest.mark.parametrize("name", ["front", "frontend2", "FRONTEND"])
    def test_absent(self, name: str) -> None:
        """A network whose name only resembles it is another one."""
        assert observed(FRONTEND, [inspected(Name=name)]) is None

    def test_created_just_now(self, clock: Clock) -> None:
        """What the Swarm's leader has yet to allocate is read again until it has."""
        unallocated = inspected(Driver="", IPAM={"Config": None})
        lists = iter([[unallocated], [unallocated], [inspected()]])

        assert observed(FRONTEND, lambda _query, _body: next(lists)) == SEEN
        assert len(clock.slept) == 2

    def test_never_allocated(self, clock: Clock) -> None:
        """A Swarm that cannot allocate it is not waited for, for ever; that is said."""
        seen = observed(FRONTEND, [inspected(Driver="")])

        assert seen is not None
        assert sum(clock.slept) == pytest.approx(10, abs=0.5)
        (said,) = FRONTEND.differences(seen)
        assert "has not allocated it" in said

    @pytest.mark.parametrize("driver", ["bridge", "macvlan", "overlay"])
    @pytest.mark.parametrize("first", [True, False])
    def test_several_of_the_name(self, driver: str, first: bool) -> None:
        """A network of the manager's own beside the Swarm's is refused before it is deployed to."""
        others = inspected(Id="f00dcafe1234567", Driver=driver, Scope="local")
        both = [others, inspected()] if first else [inspected(), others]
        with pytest.raises(
            Refused, match=rf"^docker01: several .* f00dcafe1234 \({driver}, local\)"
        ) as caught:
            observed(FRONTEND, both)
        assert caught.value.host == "docker01"

    def test_unreadable(self) -> None:
        """An engine that answers with an error is not one without the network."""
        with pytest.raises(EngineError, match="500"):
            observed(FRONTEND, Failure(500))

    def test_asks_for_the_name(self) -> None:
        """The engine looks for the network; a site has many."""
        asked = Keeping([])
        FRONTEND.observe(live(parameters("article"), engine={"GET /networks": asked}))

        assert [query["filters"] for query in asked.queries] == ['{"name": ["frontend"]}']

    @pytest.mark.parametrize(
        ("changes", "facts"),
        [
            ({"Driver": "bridge", "Scope": "local"}, {"driver": "bridge", "scope": "local"}),
            ({"Attachable": True}, {"attachable": True}),
            ({"Options": {"encrypted": ""}}, {"encrypted": True}),
            ({"Options": {"com.docker.network.driver.mtu": "1400"}}, {"mtu": 1400}),
            ({"Options": None}, {}),
            ({"IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}, {"subnet": "10.9.0.0/24"}),
            (
                {"IPAM": {"Config": [{"Subnet": "fd00:9::/64"}, {"Subnet": "10.9.0.0/24"}]}},
                {"subnet": "10.9.0.0/24"},
            ),
            ({"IPAM": {"Config": None}}, {"subnet": ""}),
            ({"Internal": True}, {"internal": True}),
        ],
    )
    def test_fields(self, changes: dict[str, Any], facts: dict[str, Any]) -> None:
        """Each field is read from where the engine puts it, or leaves it out."""
        assert replace(SEEN, **facts) == facts_of(inspected(**changes))


class TestPlan:
    """Absent, different, equal."""

    def test_absent(self) -> None:
        """It is created on the given manager; its undoing is named."""
        (change,) = FRONTEND.plan(None)

        assert done([change]) == [(0, "docker01", "create", "network frontend")]
        assert change.after == "driver overlay, subnet from the pool of the Swarm"
        assert change.undo == "docker network rm frontend"

    def test_settings_are_shown(self) -> None:
        """Every declared setting is in the plan."""
        overlay = Overlay(
            "docker01", "frontend", "10.9.0.0/24", attachable=True, encrypted=True, mtu=1400
        )

        assert overlay.plan(None)[0].after == (
            "driver overlay, subnet 10.9.0.0/24, attachable, encrypted, mtu 1400"
        )

    @pytest.mark.parametrize(
        "facts", [SEEN, replace(SEEN, subnet="10.9.0.0/24"), replace(SEEN, mtu=1400)]
    )
    def test_equal(self, facts: OverlayFacts) -> None:
        """What the site leaves open may be anything."""
        assert FRONTEND.plan(facts) == []

    @pytest.mark.parametrize(
        ("facts", "sentence"),
        [
            ({"driver": "bridge"}, "driver is 'bridge', declared 'overlay'"),
            ({"scope": "local"}, "scope is 'local', declared 'swarm'"),
            ({"attachable": True}, "attachable is True, declared False"),
            ({"encrypted": True}, "encrypted is True, declared False"),
            ({"subnet": "10.1.0.0/24"}, "subnet is '10.1.0.0/24', declared '10.9.0.0/24'"),
            ({"mtu": None}, "mtu is None, declared 1400"),
            ({"internal": True}, "internal is True, declared False"),
        ],
    )
    def test_different(self, facts: dict[str, Any], sentence: str) -> None:
        """Each field that differs is refused by name: none can be changed in place."""
        declared = Overlay(
            "docker01", "frontend", "10.9.0.0/24", attachable=False, encrypted=False, mtu=1400
        )
        as_declared: dict[str, Any] = {"subnet": "10.9.0.0/24", "mtu": 1400}
        seen = replace(SEEN, **(as_declared | facts))

        assert declared.differences(seen) == [sentence]
        with pytest.raises(Refused, match="exists and is different") as caught:
            declared.plan(seen)
        assert caught.value.host == "docker01"
        assert "docker network rm frontend" in caught.value.todo


class TestMake:
    """The creation."""

    @pytest.mark.parametrize(
        ("overlay", "settings"),
        [
            (FRONTEND, {"Options": None, "Attachable": False, "IPAM": None}),
            (
                Overlay(
                    "docker01", "frontend", "10.9.0.0/24", attachable=True, encrypted=True, mtu=1400
                ),
                {
                    "Options": {"encrypted": "", "com.docker.network.driver.mtu": "1400"},
                    "Attachable": True,
                    "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.9.0.0/24"}]},
                },
            ),
        ],
    )
    def test_request(self, overlay: Overlay, settings: dict[str, Any]) -> None:
        """``docker network create -d overlay NAME``, as published, with the declared settings."""
        create = Keeping({"Id": "n1"})
        engine = {"POST /networks/create": create, "GET /networks/n1": inspected(Id="n1")}
        overlay.plan(None)[0].make(live(parameters("article"), engine=engine))
        (body,) = create.sent
        ipam = body.get("IPAM") and {
            "Driver": body["IPAM"]["Driver"],
            "Config": [{"Subnet": c["Subnet"]} for c in body["IPAM"]["Config"]],
        }

        assert (body["Name"], body["Driver"]) == ("frontend", "overlay")
        assert settings == {
            "Options": body.get("Options"),
            "Attachable": bool(body.get("Attachable")),
            "IPAM": ipam,
        }

    def test_failure(self) -> None:
        """What the engine answers is the error's text, on the manager that was asked."""
        engine = {"POST /networks/create": Failure(409)}

        with pytest.raises(EngineError, match="409") as caught:
            FRONTEND.plan(None)[0].make(live(parameters("article"), engine=engine))
        assert caught.value.host == "docker01"
