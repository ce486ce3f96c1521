"""The files a lab writes: for the operator's ssh, and onto each node."""

import io
import stat
import tarfile
from dataclasses import replace

import pytest

from runbook.errors import BadInput
from runbook.lab import LabError, Topology, node_files, ssh
from runbook.lab.state import State
from runbook.lab.tarball import Member, pack


@pytest.fixture(name="state")
def fixture_state(tmp_path):
    """Return the state of a lab that has its keys."""
    state = State.of("lab", tmp_path)
    ssh.make_keys(Topology(), state)
    return state


@pytest.fixture(name="topology")
def fixture_topology():
    """Return the default topology with a port chosen."""
    return replace(Topology(), ssh_port=2222)


class TestState:
    """Keys and files on the operator's disk."""

    def test_a_key_is_made_once(self, state):
        """The second call gives the first one's key."""
        assert state.key("id_ed25519") == state.key("id_ed25519")

    def test_nobody_else_reads_a_key(self, state):
        """The folder and every file in it are the owner's alone."""
        modes = [state.folder.stat().st_mode, *(p.stat().st_mode for p in state.folder.iterdir())]

        assert not any(stat.S_IMODE(mode) & 0o077 for mode in modes)

    def test_every_host_has_its_own_key(self, state):
        """No two nodes share a host key."""
        keys = {state.host_key(node.name)[1] for node in Topology().nodes}

        assert len(Topology().nodes) == len(keys)

    def test_no_lab_is_none(self, tmp_path):
        """Absent is not an error."""
        assert State.of("lab", tmp_path).topology() is None

    def test_a_broken_description_is_bad_input(self, state):
        """The message names the file and the way out."""
        state.write(state.description, "{")

        with pytest.raises(BadInput, match=r"lab\.json.*remove it"):
            state.topology()

    def test_removal_says_whether_there_was_anything(self, state):
        """The first removal is one, the second is not."""
        assert [state.remove(), state.remove()] == [True, False]

    def test_writing_the_same_changes_nothing(self, state):
        """A file that says so already keeps its inode."""
        state.write(state.ssh_config, "a")
        before = state.ssh_config.stat().st_ino

        state.write(state.ssh_config, "a")

        assert before == state.ssh_config.stat().st_ino


class TestLock:
    """One process at a time changes a lab."""

    def test_the_second_one_waits_in_vain(self, state, monkeypatch):
        """While one holds the lock, another gets a message and not the lab."""
        monkeypatch.setattr("runbook.lab.state.TURN_TIMEOUT_S", 0)

        with (
            state.locked(),
            pytest.raises(LabError, match="another process to leave the lab 'lab' alone"),
            state.locked(),
        ):
            pass

    def test_it_is_free_again(self, state, monkeypatch):
        """What was given back can be taken, also once the lab is removed; the signing key stays."""
        monkeypatch.setattr("runbook.lab.state.TURN_TIMEOUT_S", 0)
        with state.locked():
            state.remove()

        with state.locked():
            assert not state.folder.exists()
        left = {path.name for path in state.folder.parent.iterdir()}
        assert left == {state.signing_key.name, f"{state.signing_key.name}.pub"}


class TestOperatorFiles:
    """What ssh -F reads."""

    def test_only_the_gateway_is_reached_directly(self, topology, state):
        """Every other host has the gateway as its jump host."""
        text = ssh.operator_config(topology, state)

        assert "Host gateway\n    HostName 127.0.0.1\n    Port 2222\n" in text
        assert len(topology.nodes) - 1 == text.count("ProxyJump gateway")

    def test_host_keys_are_checked(self, topology, state):
        """Nothing is trusted on first sight."""
        text = ssh.operator_config(topology, state)

        assert "StrictHostKeyChecking yes" in text
        assert f'UserKnownHostsFile "{state.known_hosts}"' in text

    def test_known_hosts_has_every_name(self, topology, state):
        """A node is known by name and address, the gateway by its port too."""
        lines = ssh.operator_known_hosts(topology, state).splitlines()

        assert lines[0].startswith("gateway,10.0.0.1,203.0.113.2,[127.0.0.1]:2222 ssh-ed25519 ")
        assert lines[1].startswith("docker01,10.0.0.11 ssh-ed25519 ")

    def test_the_gateway_knows_the_vip_as_any_manager(self, topology, state):
        """Whoever holds the VIP answers with a key that is known for it."""
        lines = ssh.gateway_known_hosts(topology, state).splitlines()

        assert topology.managers == sum("10.0.0.2" in line.split()[0].split(",") for line in lines)

    def test_the_inner_key_opens_no_gateway(self, topology, state):
        """From the gateway one gets into the nodes, not into the gateway."""
        gateway = ssh.authorized_keys(topology.gateway, state)
        node = ssh.authorized_keys(topology.swarm[0], state)

        assert (len(gateway.splitlines()), len(node.splitlines())) == (1, 2)


class TestSeed:
    """What is unpacked onto a node."""

    def test_a_swarm_node_has_one_interface_and_the_gateway(self, topology):
        """Interface, route and resolver are those of the site."""
        node = topology.swarm[0]

        assert node_files.interfaces(topology, node) == "enp0s3 10.0.0.11/24\n"
        assert node_files.route(topology, node) == "10.0.0.1\n"
        assert node_files.resolver(topology, node).startswith("nameserver 10.0.0.1\n")

    def test_the_gateway_has_two_interfaces_and_no_way_out(self, topology):
        """Nothing in the lab leaves it."""
        gateway = topology.gateway

        assert node_files.interfaces(topology, gateway) == "net0 203.0.113.2/28\nlan0 10.0.0.1/24\n"
        assert node_files.route(topology, gateway) == ""

    def test_names_are_seen_from_where_one_is(self, topology):
        """Outside, the gateway is its outside address; inside, the other one."""
        outside = node_files.hosts(topology, topology.client)
        inside = node_files.hosts(topology, topology.swarm[0])

        assert "203.0.113.2 gateway\n" in outside
        assert "docker01" not in outside
        assert "10.0.0.1 gateway\n" in inside
        assert "10.0.0.16 docker06\n" in inside

    def test_private_keys_are_private(self, topology, state):
        """Private halves are unpacked for their owner alone."""
        files = node_files.members(topology, topology.gateway, state)

        private = [file for file in files if b"PRIVATE KEY" in file.content]

        assert {"etc/ssh/ssh_host_ed25519_key", "home/gerard/.ssh/id_ed25519"} == {
            file.path for file in private
        }
        assert {0o600} == {file.mode for file in private}

    def test_masquerade_follows_the_lan(self, state):
        """Shorewall's snat names the lab's own network."""
        topology = Topology(lan="192.168.9.0/24")

        files = {f.path: f.content for f in node_files.members(topology, topology.gateway, state)}

        assert files["etc/shorewall/snat"] == b"MASQUERADE 192.168.9.0/24 net0\n"


class TestTarball:
    """The archive the engine's API takes."""

    def test_the_same_files_are_the_same_bytes(self):
        """An archive can be compared by its digest."""
        members = [Member("a", b"1", 0o600, 1000)]

        assert pack(members) == pack(members)

    def test_owner_and_mode_are_kept(self):
        """What is unpacked has the owner and the mode that were declared."""
        packed = io.BytesIO(pack([Member("a/b", b"12", 0o600, 1000)]))

        with tarfile.open(fileobj=packed) as archive:
            entry = archive.getmember("a/b")

        assert (entry.size, entry.mode, entry.uid, entry.gid) == (2, 0o600, 1000, 1000)
