"""What a run refuses: the message says where, what and what to do, and nothing is changed."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import OWN_LAB, SITES, TOP, Break, Done, Operator, SiteWriter
from witnesses import Snapshot, must, snapshot, touched

from runbook.lab import Lab

pytestmark = pytest.mark.leaves("bare")


def refused(done: Done, status: int, *telling: str) -> None:
    """Assert that a run ended as it should and said what an operator needs."""
    assert done.status == status, done.text
    missing = [words for words in telling if words not in done.text]
    assert missing == [], done.text


class TestInput:
    """Errors in what the operator gave: exit status 2, before any host is asked."""

    def test_missing_site_file(self, operator: Operator) -> None:
        """The file is named."""
        path = "parameters/none.yml"
        refused(operator("run", site=path), 2, f"{path}: there is no such file")

    def test_yaml_error(self, operator: Operator, tmp_path: Path) -> None:
        """File, line and column are named."""
        path = tmp_path / "torn.yml"
        path.write_text("name: torn\nlan: [10.77.0.0/24\nmanagers: {}\n")
        refused(operator("run", site=path), 2, f"{path}:3:9")

    @pytest.mark.parametrize(
        ("settings", "telling"),
        [
            ({"traefik": {"web_prot": 80}}, ("traefik.web_prot", "web_port")),
            ({"keepalived": {"vip": "10.9.9.9"}}, ("keepalived.vip", "10.9.9.9", OWN_LAB.lan)),
            (
                {"managers": {"docker02": {"priority": 3}}},
                ("priority", "3", "docker01", "docker02"),
            ),
        ],
        ids=["unknown setting", "VIP outside the LAN", "same priority twice"],
    )
    def test_setting(
        self,
        operator: Operator,
        write_site: SiteWriter,
        settings: dict[str, Any],
        telling: tuple[str, ...],
    ) -> None:
        """Setting, value and what it collides with are named."""
        site = write_site(settings)
        refused(operator("run", site=site), 2, f"{site}:1:", *telling)

    def test_unknown_step(self, operator: Operator) -> None:
        """The steps there are, are named."""
        done = operator("run", "--only", "treafik")
        refused(done, 2, "no step 'treafik'", "preflight, network, traefik, keepalived, shorewall")


@pytest.fixture
def ssh_site(lab: Lab, tmp_path: Path, write_site: SiteWriter) -> Any:
    """Write a site whose SSH configuration is the lab's with something replaced in it."""

    def write(old: str, new: str) -> Path:
        text = lab.state.ssh_config.read_text()
        assert old in text
        config = tmp_path / "ssh_config"
        config.write_text(text.replace(old, new))
        return write_site({"ssh": {"config": str(config), "connect_timeout": 3}})

    return write


@pytest.fixture
def unchanged(bare: Lab) -> Any:
    """Compare all witnesses before the test and after it."""
    before: list[Snapshot] = [snapshot(bare)]
    yield bare
    assert touched(before[0], snapshot(bare)) == set()


class TestReaching:
    """A host that is not reached, or is not the right one: exit status 3."""

    def test_unknown_host_key(
        self, unchanged: Lab, operator: Operator, ssh_site: Any, tmp_path: Path
    ) -> None:
        """The key offered is shown, and how to confirm it."""
        empty = tmp_path / "known_hosts"
        empty.touch()
        site = ssh_site(str(unchanged.state.known_hosts), str(empty))
        done = operator("run", site=site)
        refused(done, 3, "the host key of gateway", "is not known", "SHA256:", "runbook trust")
        assert empty.read_text() == ""

    def test_changed_host_key(
        self, unchanged: Lab, operator: Operator, ssh_site: Any, tmp_path: Path
    ) -> None:
        """Both keys are shown, and that somebody may be in between."""
        keys = unchanged.state
        mine, other = (keys.host_key(node)[1].split()[1] for node in ("docker02", "docker05"))
        known = tmp_path / "known_hosts"
        known.write_text(keys.known_hosts.read_text().replace(mine, other))
        done = operator("run", site=ssh_site(str(keys.known_hosts), str(known)))
        refused(done, 3, "THE HOST KEY OF docker02", "HAS CHANGED", "ssh-keygen -R", "in between")

    def test_wrong_user(self, unchanged: Lab, operator: Operator, ssh_site: Any) -> None:
        """User, key and where to look are named."""
        done = operator("run", site=ssh_site("User gerard", "User nobody"))
        refused(done, 3, "gateway", "does not let nobody in", "User and IdentityFile")

    def test_sudo_refused(self, unchanged: Lab, operator: Operator, broken: Break) -> None:
        """Host, user and the rule that is missing are named."""
        rule = "/etc/sudoers.d/gerard"
        broken("docker03", f"mv {rule} /root/sudoers", f"mv /root/sudoers {rule}")
        done = operator("run")
        refused(done, 3, "docker03", "sudo does not let gerard act as root", "NOPASSWD: ALL")

    def test_host_down(self, bare: Lab, operator: Operator, write_site: SiteWriter) -> None:
        """The host that does not answer is named, and how long it was waited for."""
        before = snapshot(bare)
        site = write_site({"ssh": {"connect_timeout": 3}})
        with closing(docker.from_env()) as client:
            node = client.containers.get(bare.topology.container(bare.topology.node("docker06")))
            node.pause()
            try:
                done = operator("run", site=site)
            finally:
                node.unpause()
        refused(done, 3, "docker06", "did not answer within 3 s", "check that docker06 is up")
        bare.up()  # returns once the Swarm has it as ready again
        assert touched(before, snapshot(bare)) == set()


class TestSwarm:
    """A Swarm that is not as it should be: exit status 3."""

    def test_engine_stopped(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """The manager without its engine is named, and how to start it."""
        broken("docker01", "true", ALL_READY)  # mended last
        broken("docker02", STOP_ENGINE, START_ENGINE)
        before = snapshot(bare)
        done = operator("run")
        refused(done, 3, "docker02: the Docker Engine does not answer")
        assert touched(before, snapshot(bare)) == set()

    def test_no_quorum(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """That the Swarm cannot decide anything is said, not what the engine happens to answer."""
        broken("docker01", "true", ALL_READY)  # mended last
        for node in ("docker02", "docker03"):
            broken(node, STOP_ENGINE, START_ENGINE)
        done = operator("run")
        refused(done, 3, "quorum", "docker02", "docker03")

    def test_overlay_is_different(
        self, bare: Lab, operator: Operator, write_site: SiteWriter, broken: Break
    ) -> None:
        """The field, what it is and what is declared are named."""
        create = "docker network create -d overlay --attachable backbone"
        broken("docker01", create, "docker network rm backbone")
        before = snapshot(bare)
        done = operator("run", site=write_site({"network": {"name": "backbone"}}))
        refused(done, 3, "network 'backbone' exists", "attachable is True, declared False")
        refused(done, 3, "docker network rm backbone")
        assert touched(before, snapshot(bare)) == set()

    def test_port_taken(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """Host, port and the service that has it are named."""
        ended = "timeout 20 sh -c 'while docker ps | grep -q \" web\\.\"; do sleep 0.2; done'"
        broken("docker02", "true", ended)  # mended last
        broken(
            "docker01",
            "docker service create --quiet --name web "
            f"--constraint node.hostname=={bare.topology.node('docker02').hostname} "
            "--publish mode=host,published=80,target=80 demo:1",
            "docker service rm web",
        )
        before = snapshot(bare)
        done = operator("run")
        refused(done, 3, "docker02: port 80 is taken by service web", "stop service web")
        assert touched(before, snapshot(bare)) == set()


STOP_ENGINE = "systemctl stop docker.socket docker"
START_ENGINE = "systemctl start docker.socket docker"
ALL_READY = (
    'timeout 60 sh -c \'until [ "$(docker node ls -q | wc -l)" -eq '
    '"$(docker node ls | grep -c " Ready ")" ]; do sleep 0.2; done\''
)


class TestLan:
    """Strangers on the LAN: exit status 3."""

    def test_vip_answered_by_a_stranger(self, bare: Lab, operator: Operator, broken: Break) -> None:
        """The stranger's MAC address is named."""
        vip = bare.topology.vip
        address = f"{vip}/24 dev enp0s3"
        broken("docker05", f"ip addr add {address}", f"ip addr del {address}; ip neigh flush all")
        mac = must(bare, "docker05", "cat /sys/class/net/enp0s3/address").strip()
        before = snapshot(bare)
        done = operator("run")
        refused(done, 3, f"docker01: {vip} is answered by a stranger", mac, "another VIP")
        assert touched(before, snapshot(bare)) == set()

    @pytest.mark.leaves("unknown")
    def test_vrid_used_by_a_stranger(self, bare: Lab, operator: Operator) -> None:
        """The address that already sends adverts with our VRID is named."""
        address = bare.topology.lan_address(99)
        instance = (
            "vrrp_instance X { interface enp0s3\n virtual_router_id 51\n priority 9\n"
            f" virtual_ipaddress {{\n {address}\n }}\n}}\n"
        )
        must(
            bare,
            "docker04",
            "apt-get install -y -q --no-install-recommends keepalived >/dev/null; "
            f"printf '%s' '{instance}' > /etc/keepalived/keepalived.conf; "
            "systemctl restart keepalived; "
            f"timeout 20 sh -c 'until ip addr | grep -q {address}; do sleep 0.2; done'",
        )
        before = snapshot(bare)
        done = operator("run")
        refused(done, 3, f"{bare.topology.lan_address(14)} already sends VRRP adverts with VRID 51")
        refused(done, 3, "another keepalived.virtual_router_id")
        assert touched(before, snapshot(bare)) == set()


class TestSite:
    """What the site itself does not allow."""

    def test_unaccepted_risk(
        self, unchanged: Lab, operator: Operator, write_site: SiteWriter
    ) -> None:
        """The risk is named, and how to accept it with a reason."""
        done = operator("run", site=write_site({"accepted_risks": []}))
        refused(done, 3, "insecure-dashboard", "public-dashboard", "accepted_risks")

    @pytest.mark.leaves("edge")
    def test_image_that_cannot_be_pulled(
        self, bare: Lab, operator: Operator, write_site: SiteWriter
    ) -> None:
        """The engine's own word for it ends the wait early; the right image heals it."""
        site = write_site({"traefik": {"image": "traefik:3.99"}})
        begun = time.monotonic()
        done = operator("run", site=site)
        refused(done, 1, "Traefik does not start", "traefik:3.99", "can be pulled")
        assert time.monotonic() - begun < 80  # the wait itself has 90 seconds
        healed = operator("run")
        assert healed.status == 0, healed.text
        images = must(
            bare,
            "docker01",
            "docker service inspect -f "
            "'{{.Spec.TaskTemplate.ContainerSpec.Image}}' traefik_traefik",
        )
        assert images.strip() == "traefik:3.7"


def test_site_of_the_lab_is_what_is_refused_above() -> None:
    """The tests above vary this file, which must exist."""
    assert (TOP / SITES["varied"]).is_file()
