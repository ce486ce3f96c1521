"""The lab's options and what follows from them."""

from dataclasses import replace

import pytest

from runbook.errors import BadInput
from runbook.lab import Role, Topology


class TestNodes:
    """Names, roles and addresses."""

    def test_managers_come_before_workers(self):
        """Names count through the managers, then through the workers."""
        names = [(node.name, node.role) for node in Topology(managers=2, workers=1).swarm]

        assert names == [
            ("docker01", Role.MANAGER),
            ("docker02", Role.MANAGER),
            ("docker03", Role.WORKER),
        ]

    def test_addresses_are_those_of_the_article(self):
        """The gateway is .1, the VIP .2 is nobody's, docker01 is .11."""
        topology = Topology()

        taken = [node.lan for node in topology.nodes if node.lan]

        assert str(topology.vip) == "10.0.0.2"
        assert taken[:3] == ["10.0.0.1", "10.0.0.11", "10.0.0.12"]
        assert str(topology.vip) not in taken

    def test_the_client_is_outside_only(self):
        """The client has an address outside and none inside."""
        client = Topology().client

        assert (client.lan, client.net, client.address) == (None, "203.0.113.10", "203.0.113.10")

    def test_the_gateway_is_reached_from_outside(self):
        """The gateway has both addresses and is known by the outside one."""
        gateway = Topology().gateway

        assert (
            gateway.lan,
            gateway.net,
            gateway.address,
        ) == ("10.0.0.1", "203.0.113.2", "203.0.113.2")

    def test_an_unknown_node_is_refused_with_the_known_ones(self):
        """The message lists the nodes there are."""
        with pytest.raises(BadInput, match=r"no node 'docker9'.*docker01.*client"):
            Topology().node("docker9")


class TestNames:
    """Names of the engine's objects."""

    def test_two_labs_share_no_name(self):
        """Containers, volumes, networks and bridges of two labs are all different."""

        def names(name: str) -> set[str]:
            lab = Topology(name)
            sides = {call(side) for call in (lab.network, lab.bridge) for side in ("lan", "net")}
            return sides | {lab.container(node) for node in lab.nodes}

        assert not names("lab") & names("two")

    def test_the_outside_network_sorts_first(self):
        """The engine publishes the gateway's port on the first network by name."""
        topology = Topology()

        assert topology.network("net") < topology.network("lan")

    def test_a_bridge_fits_the_kernel(self):
        """The longest name allowed still gives an interface name of 15 characters."""
        assert len(Topology("abcdefgh").bridge("lan")) == 15


class TestRefused:
    """Options that cannot work are refused before anything is made."""

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"name": "Lab"}, "name 'Lab'"),
            ({"name": "ninechars"}, "name 'ninechars'"),
            ({"managers": 0}, "at least one manager"),
            ({"managers": 3, "workers": 30}, "at most 20"),
            ({"lan": "10.0.0.0/25"}, "smaller than a /24"),
            ({"lan": "10.0.0.1/24"}, "not a network"),
            ({"net": "nonsense"}, "not a network"),
            ({"net": "10.0.0.16/28"}, "overlap"),
            ({"interface": "eth0"}, "interface 'eth0'"),
            ({"interface": "a-name-far-too-long"}, "interface"),
        ],
    )
    def test_one_problem(self, options, problem):
        """The message names the option at fault."""
        with pytest.raises(BadInput, match=problem):
            Topology(**options)

    def test_every_problem_is_told_at_once(self):
        """Two wrong options give one message with both."""
        with pytest.raises(BadInput, match=r"at least one manager.*not a network"):
            Topology(managers=0, net="nonsense")


class TestJson:
    """The topology on disk."""

    def test_what_is_written_is_read_back(self):
        """Reading gives the very same topology."""
        topology = Topology("two", 1, 2, "192.168.9.0/24", "198.51.100.0/28", "ens3", 2222)

        assert topology == Topology.from_json(topology.to_json())

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "lab"}', '{"managers": "x"}'])
    def test_anything_else_is_refused(self, text):
        """A broken file is bad input, not a traceback."""
        with pytest.raises(BadInput, match="not the topology"):
            Topology.from_json(text)

    def test_equal_options_make_equal_labs(self):
        """Equality covers every option, the port included."""
        assert Topology() == Topology()
        assert Topology() != replace(Topology(), ssh_port=1)
