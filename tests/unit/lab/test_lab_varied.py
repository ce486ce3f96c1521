"""What a varied lab consists of: machines that differ, and what other people keep on them."""

import io
import tarfile
from dataclasses import replace

import pytest

from runbook.lab import VARIED_LAB, Topology, images, neighbours, node_files, ssh, traits
from runbook.lab.containers import Blueprint
from runbook.lab.state import State
from runbook.lab.traits import PLAIN, VARIED, Traits

RULES = "etc/shorewall/rules"


@pytest.fixture(name="state")
def fixture_state(tmp_path):
    """Return the state of a varied lab that has its keys."""
    state = State.of("varied", tmp_path)
    ssh.make_keys(VARIED_LAB, state)
    return state


def files(topology, name, state):
    """Return the files of a node, by their path."""
    members = node_files.members(topology, topology.node(name), state)
    return {member.path: member.content.decode() for member in members}


class TestTopology:
    """The lab's options."""

    def test_it_stands_beside_the_article_s(self):
        """Names and networks of the two labs have nothing in common."""
        article = Topology()

        assert VARIED_LAB.name != article.name
        assert {VARIED_LAB.lan, VARIED_LAB.net}.isdisjoint({article.lan, article.net})

    def test_the_article_s_machines_are_plain(self):
        """Only a varied lab varies."""
        assert {node.traits for node in Topology().nodes} == {PLAIN}
        assert {node.hostname for node in Topology().nodes} == {n.name for n in Topology().nodes}

    def test_every_declared_trait_has_a_machine(self):
        """No entry of the table is of a node that is not there."""
        assert set(VARIED) <= {node.name for node in VARIED_LAB.nodes}

    def test_it_is_read_back(self):
        """The file says that it is varied; one of before that word was known is not."""
        assert Topology.from_json(VARIED_LAB.to_json()) == VARIED_LAB
        old = replace(VARIED_LAB, varied=False).to_json().replace('"varied": false', '"x": 0')
        assert not Topology.from_json(old).varied


class TestVariety:
    """What the table of traits holds."""

    def test_time_zones(self):
        """Three zones among the managers, one with half an hour, and one of them UTC."""
        zones = {node.traits.timezone for node in VARIED_LAB.swarm[:3]}

        assert zones == {"", "America/Caracas", "Asia/Kolkata"}

    def test_releases(self):
        """One manager is of another Debian than the others, and its image can be built."""
        suites = [node.traits.suite for node in VARIED_LAB.swarm]

        assert sorted(set(suites)) == sorted(images.EXTRA)
        assert suites.count("trixie") == 1

    def test_host_names(self):
        """One is fully qualified, one in capitals."""
        names = {node.hostname for node in VARIED_LAB.nodes}

        assert {"docker02.example.org", "DOCKER04"} <= names

    def test_no_two_instances_share_a_vrid(self):
        """Nor is one of them the runbook's."""
        vrids = [node.traits.vrid for node in VARIED_LAB.nodes if node.traits.vrid]

        assert len(vrids) == len(set(vrids)) == 2
        assert 51 not in vrids


class TestScript:
    """The commands that make a machine differ."""

    def test_a_plain_machine_has_none(self):
        """Nothing is run, and nothing unpacked, on the article's machines."""
        assert traits.script(PLAIN) == ""

    @pytest.mark.parametrize(
        ("one", "command"),
        [
            (Traits(timezone="Asia/Kolkata"), "/usr/share/zoneinfo/Asia/Kolkata /etc/localtime"),
            (Traits(language="es_ES"), "LANG=es_ES.UTF-8\\nLANGUAGE=es_ES"),
            (Traits(login_shell="/bin/tcsh"), "usermod --shell /bin/tcsh gerard"),
            (Traits(docker_group=False), "gpasswd --delete gerard docker"),
            (Traits(sudo_rs=True), "/usr/lib/cargo/bin/sudo /usr/bin/sudo"),
            (Traits(talks=True), "1i echo"),
            (Traits(banner=True), "Banner /etc/issue.net"),
            (Traits(vrid=60), "keepalived"),
        ],
    )
    def test_a_trait_is_a_command(self, one, command):
        """Each trait by itself has its own, and the script stops at the first failure."""
        script = traits.script(one)

        assert script.startswith("set -eu\n")
        assert command in script


class TestNeighbours:
    """What is somebody else's."""

    def test_nobody_lives_on_the_article_s_lab(self, tmp_path):
        """No file, no address, no service of anybody else."""
        topology = Topology()
        state = State.of("lab", tmp_path)
        ssh.make_keys(topology, state)

        for node in topology.nodes:
            unpacked = files(topology, node.name, state)
            assert neighbours.members(topology, node) == []
            assert unpacked["etc/lab/floating"].strip() == unpacked["etc/lab/services"] == ""
            assert "etc/lab/vary.sh" not in unpacked

    def test_the_gateway_s_rules_are_of_its_own_network(self, state):
        """Addresses follow the lab's LAN, and a set of addresses is named."""
        rules = files(VARIED_LAB, "gateway", state)[RULES]

        assert f"DNAT\tnet\tloc:{VARIED_LAB.swarm[-1].lan}:9000" in rules
        assert "net:+blocked" in rules

    def test_reset_knows_what_to_leave(self, state):
        """The floating addresses of others, and the names of their services."""
        held = {
            node.name: files(VARIED_LAB, node.name, state)["etc/lab/floating"].strip()
            for node in VARIED_LAB.nodes
        }

        assert {name: address for name, address in held.items() if address} == {
            "docker02": "10.77.0.61/24",
            "docker03": "10.77.0.60/24",
        }
        names = files(VARIED_LAB, "docker06", state)["etc/lab/services"].split()
        assert names == list(neighbours.SERVICES)

    def test_an_instance_may_be_in_an_included_file(self, state):
        """Then the main file only includes it; else it is the main file."""
        included = files(VARIED_LAB, "docker02", state)
        main = files(VARIED_LAB, "docker03", state)["etc/keepalived/keepalived.conf"]

        assert "include /etc/keepalived/conf.d/*.conf" in included["etc/keepalived/keepalived.conf"]
        assert "virtual_router_id 61" in included["etc/keepalived/conf.d/mail.conf"]
        assert "virtual_router_id 60" in main

    def test_every_name_is_known_by_both(self, state):
        """A machine is found by what the site calls it and by what it calls itself."""
        hosts = files(VARIED_LAB, "docker01", state)["etc/lab/hosts"]

        assert "10.77.0.12 docker02.example.org docker02\n" in hosts


class TestBlueprint:
    """The container of a node."""

    def test_another_trait_is_another_machine(self, state):
        """Whatever differs makes a container that is not the same."""
        node = VARIED_LAB.node("docker06")
        other = replace(node, traits=Traits(banner=True))
        specs = {Blueprint.of(VARIED_LAB, one, state, "v").spec for one in (node, other)}

        assert len(specs) == 2

    def test_what_is_unpacked_can_be_read_by_its_programs(self, state):
        """Files of others belong to root and can be read by anybody."""
        packed = Blueprint.of(VARIED_LAB, VARIED_LAB.node("docker03"), state, "v").files

        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            entry = archive.getmember("etc/keepalived/keepalived.conf")

        assert (entry.uid, entry.mode) == (0, 0o644)
