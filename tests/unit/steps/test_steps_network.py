"""The network step: one overlay, observed, created, proven."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import declared, done, live, parameters, recorded_json

from runbook.errors import Refused
from runbook.hosts.live import Live
from runbook.steps import CONVERGED, network
from runbook.steps.network import EXISTS


def swarm(*, without: str = "", **changes: Any) -> Live:
    """Return the article's site with the recorded networks, less one, or declared otherwise."""
    networks = [n for n in recorded_json("networks") if n["Name"] != without]
    return live(declared(network=changes), engine={"GET /networks": networks})


class TestPlan:
    """From the Swarm's networks to changes."""

    def test_converged(self) -> None:
        """``docker network create -d overlay frontend``, once made, is not made again."""
        site = swarm()

        facts = network.observe(site)

        assert network.plan(site.site_file, facts) == []
        assert network.STEP.files(site.site_file, facts) == {}

    def test_absent(self) -> None:
        """It is created on the first manager."""
        site = swarm(without="frontend")

        assert done(network.plan(site.site_file, network.observe(site))) == [
            (0, "docker01", "create", "network frontend")
        ]

    def test_different(self) -> None:
        """A network that is there and otherwise is refused on that manager."""
        site = swarm(subnet="10.200.0.0/24")

        with pytest.raises(Refused, match=r"10\.200\.0\.0/24") as caught:
            network.plan(site.site_file, network.observe(site))
        assert caught.value.host == "docker01"

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("name", "edge"),
            ("subnet", "10.200.0.0/24"),
            ("attachable", True),
            ("encrypted", True),
            ("mtu", 1400),
        ],
    )
    def test_every_setting_reaches_the_resource(self, setting: str, value: object) -> None:
        """Nothing that the site declares of a network is lost on the way."""
        overlay = network.declared(declared(network={setting: value}).site)

        assert value == getattr(overlay, setting)


class TestRows:
    """The table of what is there."""

    def test_present(self) -> None:
        """Every compared field is shown."""
        rows = network.rows(network.observe(swarm()))

        assert [(row.resource, row.field, row.seen) for row in rows] == [
            ("network frontend", "driver", "overlay"),
            ("network frontend", "scope", "swarm"),
            ("network frontend", "attachable", "False"),
            ("network frontend", "encrypted", "False"),
            ("network frontend", "subnet", "10.0.1.0/24"),
            ("network frontend", "mtu", "absent"),
        ]

    def test_absent(self) -> None:
        """A network that is not there is one line that says so."""
        (row,) = network.rows(network.observe(swarm(without="frontend")))

        assert (row.host, row.field, row.seen) == ("docker01", "exists", "no")


class TestVerify:
    """The network, asked for again."""

    @pytest.mark.parametrize(
        ("site", "seen"),
        [
            (swarm(), "as declared"),
            (swarm(without="frontend"), "absent"),
            (swarm(mtu=1400), "mtu is None, declared 1400"),
        ],
        ids=["equal", "absent", "different"],
    )
    def test_seen(self, site: Live, seen: str) -> None:
        """Only a network that is as declared passes; otherwise the differences are shown."""
        (check,) = network.verify(site)

        assert (check.name, check.where, check.seen) == (EXISTS, "docker01", seen)
        assert check.passed is (seen == "as declared")

    def test_required_checks(self) -> None:
        """Nothing left and as declared: without these it is not proven."""
        assert network.STEP.required_checks(parameters("article").site) == (CONVERGED, EXISTS)
