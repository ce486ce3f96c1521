"""A real lab, small and of its own: repeatable, healed, reset, and taken away whole.

The witness is the host's engine, asked directly, and OpenSSH, which knows nothing of this code.
"""

import subprocess
import time

import pytest

from runbook.errors import BadInput
from runbook.lab import Lab, LabError, Topology, engine

NAME = "small"
TOPOLOGY = Topology(NAME, managers=1, workers=0, lan="192.168.78.0/24", net="198.51.100.16/28")
LABEL = {"label": f"edge-runbook.lab={NAME}"}
AGAIN_S = 10.0  # measured at 1 s; the bound leaves room for a busy machine
STATUS_S = 5.0  # measured at half a second


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory):
    """Return the folder that holds the small lab's keys."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module", name="small")
def fixture_small(folder):
    """Return the small lab, brought up; it is taken down whatever the tests did to it."""
    Lab.remains(NAME, folder).down()
    lab = Lab.declare(TOPOLOGY, folder)
    lab.up()
    yield lab
    Lab.remains(NAME, folder).down()


@pytest.fixture(name="whole")
def fixture_whole(small):
    """Return the small lab with everything in place."""
    small.up()
    return small


def ids():
    """Return every container of the lab with its id and the time it was started."""
    found = engine.connect().containers.list(all=True, filters=LABEL)
    return {one.name: (one.id, one.attrs["State"]["StartedAt"]) for one in found}


def ssh(lab, node, command):
    """Run a command on a node the way an operator would, and return what it printed."""
    argv = ["ssh", "-F", str(lab.state.ssh_config), node, command]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.strip()


def containers_of(lab, node):
    """Return the engine's object for a node."""
    return engine.connect().containers.get(lab.topology.container(lab.topology.node(node)))


class TestUp:
    """Bringing a lab up, again and again."""

    def test_a_second_time_changes_nothing(self, whole):
        """Nothing is said to be done, and the engine shows the same containers, not restarted."""
        before = ids()

        started = time.monotonic()
        done = whole.up()

        assert done == []
        assert time.monotonic() - started < AGAIN_S
        assert ids() == before

    def test_other_options_are_refused(self, whole, folder):
        """A lab that exists is not silently made another one."""
        with pytest.raises(BadInput, match="exists with other options"):
            Lab.declare(Topology(NAME, managers=3), folder)

    def test_another_folder_does_not_take_it_over(self, whole, tmp_path):
        """A lab of the same name from another checkout is refused, and nothing is touched."""
        before = ids()

        with pytest.raises(LabError, match=f"belongs to {whole.state.folder}"):
            Lab.declare(TOPOLOGY, tmp_path).up()

        assert ids() == before

    def test_the_site_is_as_declared(self, whole):
        """Names, interface, resolver, firewall and Swarm are there before the runbook comes."""
        assert ssh(whole, "docker01", "hostname; sudo -n id -u").split() == ["docker01", "0"]
        assert "192.168.78.11/24" in ssh(whole, "docker01", "ip -br address show enp0s3")
        assert ssh(whole, "docker01", "getent hosts gateway").split()[0] == "192.168.78.1"
        assert ssh(whole, "docker01", "docker node ls --format '{{.ManagerStatus}}'") == "Leader"
        assert ssh(whole, "gateway", "sudo shorewall status >/dev/null; echo $?") == "0"
        assert ssh(whole, "gateway", "ssh 192.168.78.11 hostname") == "docker01"
        assert ssh(whole, "client", "getent hosts gateway").split()[0] == "198.51.100.18"

    def test_an_unknown_name_is_denied_at_once(self, whole):
        """A question about the world outside is answered, with no."""
        answer = ssh(whole, "docker01", "getent hosts registry.invalid; echo $?")

        assert answer == "2"

    def test_keepalived_is_installed_from_the_nodes_own_repository(self, whole):
        """There is no keepalived before, and apt-get needs no network."""
        code, _ = whole.exec("docker01", ["dpkg", "--status", "keepalived"])

        assert code == 1
        command = "sudo apt-get update -qq && apt-cache policy keepalived"
        assert "file:/srv/apt" in ssh(whole, "docker01", command)

    def test_the_images_are_there(self, whole):
        """Traefik and the demonstration application need no registry."""
        seen = ssh(whole, "docker01", "docker images --format '{{.Repository}}:{{.Tag}}'")

        assert {"traefik:3.7", "demo:1"} <= set(seen.split())


class TestHeal:
    """Whatever is missing comes back, and only that."""

    def test_a_removed_container(self, whole):
        """It is made again; its neighbours are left alone; its engine is still in the Swarm."""
        before = ids()
        containers_of(whole, "docker01").remove(force=True)

        done = whole.up()

        after = ids()
        changed = {name for name in before if after[name] != before[name]}
        assert "created docker01" in done
        assert changed == {"edge-small-docker01"}
        assert all(node.well for node in whole.status())

    def test_a_stopped_gateway_answers_again(self, whole):
        """The operator gets in by the same door."""
        containers_of(whole, "gateway").kill()

        assert "started gateway" in whole.up()
        assert ssh(whole, "gateway", "hostname") == "gateway"

    def test_a_paused_node(self, whole):
        """It is resumed, not made again."""
        containers_of(whole, "docker01").pause()

        assert "resumed docker01" in whole.up()

    def test_a_cut_interface_and_a_stopped_engine(self, whole):
        """Repairs inside the node are told one by one."""
        whole.exec("docker01", ["systemctl", "stop", "docker.socket", "docker.service"])
        whole.exec("docker01", ["ip", "link", "set", "enp0s3", "down"])

        done = whole.up()

        assert "docker01: brought up enp0s3" in done
        assert "docker01: started docker.service" in done
        assert ssh(whole, "docker01", "ip route show default").startswith(
            "default via 192.168.78.1"
        )

    def test_a_lost_swarm(self, whole):
        """A node that left is taken in again."""
        whole.exec("docker01", ["docker", "swarm", "leave", "--force"])

        assert "started a Swarm on docker01" in whole.up()


class TestStatus:
    """How the lab is, quickly and without touching it."""

    def test_all_well(self, whole):
        """Every node is well, within the bound."""
        started = time.monotonic()
        seen = whole.status()

        assert time.monotonic() - started < STATUS_S
        assert [node.node for node in seen] == ["gateway", "docker01", "client"]
        assert all(node.well for node in seen)

    def test_a_stopped_node_shows(self, whole):
        """The others are still told."""
        containers_of(whole, "client").kill()

        seen = {node.node: node for node in whole.status()}

        assert (seen["client"].container, seen["client"].well) == ("exited", False)
        assert seen["gateway"].well

    def test_a_command_on_a_stopped_node_is_one_message(self, whole):
        """The witness says that it cannot see, rather than nothing."""
        containers_of(whole, "client").kill()

        with pytest.raises(LabError, match=r"client: .*not running"):
            whole.exec("client", ["true"])


class TestReset:
    """Back to how it was after up."""

    def test_what_was_installed_deployed_and_edited_is_gone(self, whole):
        """Packages, files, services, networks and rules are those from before; twice is nothing."""
        rules = whole.exec("gateway", ["cat", "/etc/shorewall/rules"])
        nat = whole.exec("gateway", ["iptables", "-t", "nat", "-S"])
        ssh(whole, "docker01", "sudo apt-get install -y -qq keepalived >/dev/null 2>&1")
        ssh(whole, "docker01", "docker network create -d overlay frontend")
        ssh(whole, "docker01", "docker service create -d --network frontend --name web demo:1")
        ssh(whole, "docker01", "echo x | docker config create held -")
        ssh(whole, "docker01", "mkdir traefik; sudo ip address add 192.168.78.2/32 dev enp0s3")
        rule = "DNAT net loc:192.168.78.2:80 tcp 80"
        ssh(whole, "gateway", f"echo {rule} | sudo tee --append /etc/shorewall/rules")
        ssh(whole, "gateway", "sudo systemctl restart shorewall")

        whole.reset()

        assert whole.exec("docker01", ["dpkg", "--status", "keepalived"])[0] == 1
        assert "192.168.78.2/32" not in ssh(whole, "docker01", "ip -br address; ls")
        listing = "docker service ls -q; docker config ls -q; docker ps -aq; ls"
        assert ssh(whole, "docker01", listing) == ""
        assert "frontend" not in ssh(whole, "docker01", "docker network ls")
        assert whole.exec("gateway", ["cat", "/etc/shorewall/rules"]) == rules
        assert whole.exec("gateway", ["iptables", "-t", "nat", "-S"]) == nat
        assert whole.reset() == []

    def test_keepalived_can_be_installed_again(self, whole):
        """What the reset did to dpkg's records leaves a working dpkg."""
        install = "sudo apt-get install -y -qq keepalived >/dev/null 2>&1; sudo keepalived -v"
        ssh(whole, "docker01", install)
        whole.reset()

        ssh(whole, "docker01", install)

        assert whole.exec("docker01", ["dpkg", "--audit"]) == (0, "")
        assert whole.exec("docker01", ["apt-get", "check", "-qq"]) == (0, "")
        whole.reset()


class TestDown:
    """The last class: it takes the lab away."""

    def test_everything_with_the_label_goes(self, whole):
        """Asked directly, the engine has nothing of the lab; a second time has nothing to do."""
        client = engine.connect()
        others = {one.id for one in client.containers.list(all=True)} - {
            one.id for one in client.containers.list(all=True, filters=LABEL)
        }
        containers_of(whole, "gateway").remove(force=True)  # half a lab is taken down as well

        done = whole.down()

        assert "removed container edge-small-docker01" in done
        assert client.containers.list(all=True, filters=LABEL) == []
        assert client.volumes.list(filters=LABEL) == []
        assert client.networks.list(filters=LABEL) == []
        assert not whole.state.folder.exists()
        assert others <= {one.id for one in client.containers.list(all=True)}
        assert whole.down() == []
