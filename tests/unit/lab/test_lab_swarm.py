"""The Swarm of a lab: what engines say, and whether that is the declared Swarm."""

import json
from typing import Any

import pytest

from runbook.lab import Topology
from runbook.lab.machine import Machine, demultiplex
from runbook.lab.report import ABSENT, Answer, judge, parse
from runbook.lab.swarm import Member, Membership, majority_left, spokesman, whole

TOPOLOGY = Topology(managers=2, workers=1)
CLIENT: Any = None
MACHINES = [Machine(CLIENT, TOPOLOGY, node) for node in TOPOLOGY.swarm]
SEEN = [
    Membership("active", "a", control=True, address="10.0.0.11"),
    Membership("active", "b", control=True, address="10.0.0.12"),
    Membership("active", "c", control=False, address="10.0.0.13"),
]
KNOWN = [
    Member("a", "docker01", ready=True, active=True, manager=True, leader=True),
    Member("b", "docker02", ready=True, active=True, manager=True, leader=False),
    Member("c", "docker03", ready=True, active=True, manager=False, leader=False),
]
GONE = Membership("inactive", "", control=False, address="")


def changed(item: Any, **fields: Any) -> Any:
    """Return a frozen value with some fields changed."""
    return type(item)(**{name: getattr(item, name) for name in item.__slots__} | fields)


class TestParsing:
    """From the engine's text to a value."""

    def test_a_manager_says_so(self):
        """Recorded from /info of Engine 20.10, shortened."""
        place = '"NodeID":"vk","NodeAddr":"10.0.0.11"'
        text = '{"Swarm":{' + place + ',"LocalNodeState":"active","ControlAvailable":true}}'

        assert Membership("active", "vk", True, "10.0.0.11") == Membership.parse(text)

    def test_an_engine_outside_a_swarm(self):
        """Outside, the engine leaves everything empty."""
        place = '"NodeID":"","NodeAddr":""'
        text = '{"Swarm":{' + place + ',"LocalNodeState":"inactive","ControlAvailable":false}}'

        assert Membership.parse(text) == GONE

    @pytest.mark.parametrize(
        ("status", "manager", "leader"),
        [("Leader", True, True), ("Reachable", True, False), ("", False, False)],
    )
    def test_a_line_of_node_ls(self, status, manager, leader):
        """Recorded from docker node ls of Engine 20.10, shortened."""
        line = json.dumps(
            {
                "ID": "vk",
                "Hostname": "docker01",
                "Status": "Ready",
                "Availability": "Active",
                "ManagerStatus": status,
            }
        )

        assert Member("vk", "docker01", True, True, manager, leader) == Member.parse(line)


class TestWhole:
    """Whether the declared Swarm is there."""

    def test_as_declared(self):
        """Every node active, listed, ready, in its role."""
        assert whole(MACHINES, SEEN, KNOWN)

    @pytest.mark.parametrize(
        "known",
        [
            [],
            KNOWN[:2],
            [*KNOWN[:2], changed(KNOWN[2], ready=False)],
            [*KNOWN[:2], changed(KNOWN[2], active=False)],
            [*KNOWN[:2], changed(KNOWN[2], manager=True)],
            [*KNOWN[:2], changed(KNOWN[2], node_id="other")],
            [*KNOWN, changed(KNOWN[2], node_id="stale", ready=False)],
        ],
    )
    def test_anything_else_is_not(self, known):
        """One node missing, down, drained, in the wrong role, replaced or too many."""
        assert not whole(MACHINES, SEEN, known)

    def test_a_node_outside_is_not(self):
        """The managers' list alone does not decide."""
        assert not whole(MACHINES, [*SEEN[:2], GONE], KNOWN)

    def test_half_of_the_managers_cannot_decide(self):
        """One of two managers has no majority; a worker does not count."""
        assert majority_left(MACHINES, SEEN)
        assert not majority_left(MACHINES, [GONE, *SEEN[1:]])

    def test_the_first_manager_in_control_speaks(self):
        """A manager without control is passed over."""
        seen = [changed(SEEN[0], control=False), *SEEN[1:]]

        assert MACHINES[1] == spokesman(MACHINES, seen)
        assert spokesman(MACHINES, [GONE, GONE, GONE]) is None


class TestStatus:
    """One line a node."""

    def test_a_leader_is_well(self):
        """Running, active, and in its place."""
        answer = Answer("running", "active", SEEN[0])

        status = judge(TOPOLOGY.swarm[0], "running", answer, {m.node_id: m for m in KNOWN})

        assert (status.swarm, status.well) == ("leader", True)

    def test_an_absent_node_is_not_well(self):
        """A container that is not there has nothing to say."""
        status = judge(TOPOLOGY.swarm[0], ABSENT, Answer(), {})

        assert (
            status.container,
            status.system,
            status.swarm,
            status.well,
        ) == ("absent", "-", "-", False)

    def test_without_a_quorum_nobody_is_well(self):
        """An active manager whose list cannot be read is told apart from a lost node."""
        status = judge(TOPOLOGY.swarm[0], "running", Answer("running", "active", SEEN[0]), {})

        assert (status.swarm, status.well) == ("no quorum", False)

    def test_the_gateway_needs_no_engine(self):
        """Gateway and client are well with their system running."""
        assert judge(TOPOLOGY.gateway, "running", Answer("running"), {}).well

    def test_a_degraded_system_is_not_well(self):
        """A failed unit shows."""
        assert not judge(TOPOLOGY.client, "running", Answer("degraded"), {}).well

    @pytest.mark.parametrize("text", ["", "running\n", "running\ninactive\n", "running\nactive\n{"])
    def test_half_an_answer_stays_unknown(self, text):
        """What a node could not say is not guessed."""
        assert parse(text).membership is None


class TestDemultiplex:
    """The stream of an exec."""

    def test_channels_are_told_apart(self):
        """Frames of both channels, mixed, come out whole and in order."""
        stream = b"\x01\0\0\0\0\0\0\x02ab" + b"\x02\0\0\0\0\0\0\x01!" + b"\x01\0\0\0\0\0\0\x01c"

        assert demultiplex(stream) == ("abc", "!")

    def test_nothing_is_nothing(self):
        """A silent command gives two empty texts."""
        assert demultiplex(b"") == ("", "")
