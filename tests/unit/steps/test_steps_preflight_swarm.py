"""What the preflight makes of the Swarm: each rule finds a case, and a fine one."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from fakes import declared
from preflighted import BLOCKING, ENGINE, FINE, SITE, WARNING, gist, host, hosts, node, only, swarm

from runbook.changes import Level
from runbook.site import Site
from runbook.steps.preflight.facts import EngineFacts
from runbook.steps.preflight.swarm_findings import membership, overlaps
from runbook.steps.traefik.objections import ingress, secret


class TestMembership:
    """The Swarm's nodes against those declared."""

    def test_fine(self) -> None:
        """Every declared node is in service; workers nobody declared are nobody's business."""
        stranger = node("docker99", role="worker")

        assert gist(membership(SITE, hosts(), swarm(stranger))) == [(FINE, "swarm", "quorum")]

    @pytest.mark.parametrize(
        ("name", "facts", "what"),
        [
            ("docker04", {"role": "manager"}, "the Swarm has it as a manager, declared a worker"),
            ("docker02", {"role": "worker"}, "the Swarm has it as a worker, declared a manager"),
            (
                "docker02",
                {"state": "down", "message": "heartbeat failure"},
                "its engine runs, and the Swarm has the node as down (heartbeat failure)",
            ),
            ("docker04", {"state": ""}, "its engine runs, and the Swarm has the node as unknown"),
            ("docker05", {"availability": "drain"}, "the node is drained: it is given no tasks"),
            ("docker05", {"availability": "pause"}, "the node is paused: it is given no tasks"),
            ("docker03", {"reachability": "unreachable"}, "the other managers cannot reach it"),
            ("docker03", {"reachability": ""}, "it is to be a manager and has not become one"),
            ("docker01", {"address": "10.0.0.2"}, "it is in the Swarm with the VIP as its address"),
        ],
    )
    def test_blocking(self, name: str, facts: dict[str, Any], what: str) -> None:
        """A node with another role, out of service, cut off, or joined with the VIP."""
        found = only(membership(SITE, hosts(), swarm(node(name, **facts))))

        assert (found.level, found.host, found.what) == (BLOCKING, name, what)

    @pytest.mark.parametrize("called", ["docker04.example.org", "DOCKER04", "localhost", ""])
    def test_name_does_not_matter(self, called: str) -> None:
        """A node is its ID, whatever the Swarm calls it."""
        known = swarm(node("docker04", hostname=called))

        assert gist(membership(SITE, hosts(), known)) == [(FINE, "swarm", "quorum")]

    def test_missing_node(self) -> None:
        """A host whose engine is no node of this Swarm forbids the run."""
        known = swarm()
        without = replace(known, nodes=known.nodes[1:])
        found = only(membership(SITE, hosts(), without))

        assert found.host == "docker01"
        assert found.what.startswith("its engine is node id-docker01, which the Swarm of docker01")

    @pytest.mark.parametrize(
        "left",
        [
            {"hostname": "docker06", "address": "10.0.0.16"},
            {"hostname": "DOCKER06.example.org", "address": "10.0.0.99"},
            {"hostname": "before", "address": "10.0.0.16"},
        ],
        ids=["same name", "name in another form", "same address"],
    )
    def test_left_over(self, left: dict[str, str]) -> None:
        """The old entry of a host that joined again is said to be one, and forbids nothing."""
        old = node("docker06", id="old", state="down", **left)
        found = only(membership(SITE, hosts(), swarm(old)))

        assert (found.level, found.host) == (WARNING, "docker06")
        assert found.what.startswith("an entry of it is left over in the Swarm, old, which is down")
        assert found.todo == "on a manager: docker node rm old"

    def test_copied_machine(self) -> None:
        """Two hosts with one node ID are no two nodes: one was copied from the other."""
        copy = host("docker05", engine=replace(ENGINE, node_id="id-docker04"))
        known = swarm()
        known = replace(known, nodes=tuple(n for n in known.nodes if n.hostname != "docker05"))
        found = only(membership(SITE, hosts(docker05=copy), known))

        assert (found.level, found.host) == (BLOCKING, "docker05")
        assert found.what == "its engine is node id-docker04, as that of docker04 is: one is a copy"

    def test_left_over_of_a_manager(self) -> None:
        """It counts for the quorum until it is demoted, and is never one manager too many."""
        old = node("docker03", id="old", state="down", reachability="unreachable")
        found = list(membership(SITE, hosts(), swarm(old)))

        assert [f.level for f in found] == [WARNING, FINE]
        assert found[0].todo == "on a manager: docker node demote old; docker node rm old"
        assert found[1].what == "3 of 4 managers reachable"

    def test_without_an_engine(self) -> None:
        """An entry of a host whose engine does not answer is its own; the engine is at fault."""
        silent = hosts(docker03=host("docker03", engine=EngineFacts(error="x")))
        down = node("docker03", state="down", reachability="unreachable")

        assert gist(membership(SITE, silent, swarm(down))) == [(FINE, "swarm", "quorum")]

    def test_undeclared_managers(self) -> None:
        """Traefik would run there too, so they must be declared; all are named."""
        strangers = (node("docker98", role="manager"), node("docker97", role="manager"))
        found = [f for f in membership(SITE, hosts(), swarm(*strangers)) if f.level is BLOCKING]

        assert [f.host for f in found] == ["docker98", "docker97"]
        assert found[0].what.endswith("does not declare: docker98 (id-docker98, at 10.0.0.99)")

    def test_namesake(self) -> None:
        """Another machine of a declared name is an undeclared one, for it is up."""
        clone = node("docker02", id="clone", address="10.0.0.99")
        found = only(membership(SITE, hosts(), swarm(clone)))

        assert (found.level, "docker02 (clone, at 10.0.0.99)" in found.what) == (BLOCKING, True)

    def test_undeclared_manager_that_is_down(self) -> None:
        """Nobody would declare what is gone."""
        gone = node("docker99", role="manager", state="down", reachability="unreachable")
        found = only(membership(SITE, hosts(), swarm(gone)))

        assert (found.level, found.host) == (WARNING, "swarm")
        assert "docker node demote id-docker99; docker node rm id-docker99" in found.todo

    def test_quorum(self) -> None:
        """How many managers are reached is said."""
        lost = swarm(node("docker03", reachability="unreachable"))
        *_, found = membership(SITE, hosts(), lost)

        assert found.what == "2 of 3 managers reachable"


class TestOverlaps:
    """Overlay networks over the LAN."""

    def test_fine(self) -> None:
        """A network beside the LAN."""
        assert list(overlaps(SITE, swarm())) == []

    @pytest.mark.parametrize(
        ("name", "subnet", "level"),
        [
            ("ingress", "10.0.0.0/24", WARNING),
            ("backend", "10.0.0.128/25", WARNING),
            ("frontend", "10.0.0.0/16", BLOCKING),
        ],
    )
    def test_found(self, name: str, subnet: str, level: Level) -> None:
        """The site's own network forbids the run; the edge is not on the others."""
        overlays = {name: (IPv4Network(subnet),), "six": ()}
        found = only(overlaps(SITE, swarm(overlays=overlays)))

        assert found.level is level
        assert found.what == f"overlay network {name} is {subnet}, over the LAN 10.0.0.0/24"


class TestIngress:
    """Ports that the routing mesh takes on every node."""

    @pytest.mark.parametrize("taken", [{}, {443: "web_web"}, {80: "traefik_traefik"}])
    def test_fine(self, taken: dict[int, str]) -> None:
        """Other ports are others', and Traefik's own may move to host mode."""
        assert list(ingress(SITE, swarm(ingress_ports=taken))) == []

    @pytest.mark.parametrize("port", [80, 8080])
    def test_blocking(self, port: int) -> None:
        """Another service on a port of Traefik's forbids the run."""
        found = only(ingress(SITE, swarm(ingress_ports={port: "web_web"})))

        assert found.level is BLOCKING
        assert found.what.startswith(f"port {port} is published by service web_web")


class TestSecret:
    """The dashboard's users."""

    @staticmethod
    def guarded(**more: str) -> Site:
        """Return a site with a guarded dashboard."""
        dashboard = {"host": "traefik.test", "users_secret": "traefik_users", **more}
        return declared("production", traefik={"dashboard": dashboard}).site

    def test_fine(self) -> None:
        """It is there, or none is wanted."""
        there = swarm(secrets=frozenset({"traefik_users"}))

        assert list(secret(self.guarded(), there)) == []
        assert list(secret(SITE, swarm())) == []

    def test_blocking(self) -> None:
        """Without it the stack could not be deployed; the command that makes it is said."""
        found = only(secret(self.guarded(), swarm()))

        assert (found.level, found.what) == (BLOCKING, "the Swarm has no secret 'traefik_users'")
        assert "docker secret create traefik_users -" in found.todo
        assert "declare traefik.dashboard.users" in found.todo

    def test_that_will_be_made(self) -> None:
        """Where the site says of what, the run makes it."""
        assert list(secret(self.guarded(users="env:EDGE_USERS"), swarm())) == []
