"""Hosts as people keep them: other shells, startup files that talk, sudo's moods, ways in."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Break, Operator, SiteWriter

from runbook.lab import Lab

pytestmark = pytest.mark.leaves("bare")

HOME = "/home/gerard"
PLANNED = 4  # a plan with changes: the hosts were asked, and nothing was changed
SUDOERS = "/etc/sudoers.d/zz-test"


@pytest.mark.parametrize(
    "line",
    [
        "echo Welcome",
        "printf 'no end of line'",
        "echo oops >&2; set -e",
        "read one; read two; read three",
    ],
)
def test_startup_file(bare: Lab, broken: Break, operator: Operator, line: str) -> None:
    """Whatever a startup file says or does, commands and the Engine are heard as they are."""
    rc = f"{HOME}/.bashrc"
    broken(
        "docker01",
        f"cp -p {rc} /root/bashrc 2>/dev/null || : > /root/bashrc; cat > /root/line <<'EOF'\n"
        f"{line}\nEOF\ncat /root/line /root/bashrc > {rc}",
        f"cat /root/bashrc > {rc}",
    )
    done = operator.plan("traefik")

    assert done.status == PLANNED, done.text


def test_startup_file_that_goes_elsewhere(bare: Lab, broken: Break, operator: Operator) -> None:
    """What is below the operator's home is seen there, wherever a startup file went."""
    rc, folder = f"{HOME}/.bashrc", f"{HOME}/traefik"
    broken(
        "docker01",
        f"cp -p {rc} /root/bashrc; sed -i '1i cd /' {rc};"
        f"mkdir {folder}; echo theirs > {folder}/traefik.yml",
        f"cat /root/bashrc > {rc}; rm -r {folder}",
    )
    done = operator.plan("traefik")

    assert done.status == 3, done.text
    assert "~/traefik/traefik.yml was not written by the runbook" in done.text


def test_language(bare: Lab, broken: Break, operator: Operator) -> None:
    """What a host with Spanish catalogues says is had in English."""
    path = "/etc/keepalived/keepalived.conf"
    broken(
        "docker03",
        f"mv {path} {path}.kept && mkdir {path}",
        f"rmdir {path} && mv {path}.kept {path}",
    )
    done = operator.plan("keepalived")

    assert done.status == 3, done.text
    assert f"docker03: {path} cannot be read: " in done.text
    assert "Is a directory" in done.text


@pytest.mark.parametrize("shell", ["dash", "tcsh", "fish"])
def test_login_shell(bare: Lab, broken: Break, operator: Operator, shell: str) -> None:
    """Whatever shell the operator logs in to."""
    broken("docker01", f"usermod -s $(command -v {shell}) gerard", "usermod -s /bin/bash gerard")
    done = operator.plan("traefik")

    assert done.status == PLANNED, done.text


@pytest.mark.parametrize(
    "refusal",
    [
        ("docker01", "Defaults requiretty", "!requiretty"),
        ("docker01", "gerard ALL=(ALL:ALL) PASSWD: ALL", "NOPASSWD: ALL"),
        ("docker01", "gerard ALL=(ALL:ALL) !ALL", "NOPASSWD: ALL"),
        ("docker02", "gerard ALL=(ALL:ALL) PASSWD: ALL", "NOPASSWD: ALL"),
    ],
    ids=" ".join,
)
def test_sudo(bare: Lab, broken: Break, operator: Operator, refusal: tuple[str, str, str]) -> None:
    """A sudo that refuses is told in its own words, with the hint that fits."""
    node, rule, telling = refusal
    broken(node, f"echo '{rule}' > {SUDOERS} && chmod 440 {SUDOERS}", f"rm {SUDOERS}")
    done = operator.plan("keepalived")

    assert done.status == 3, done.text
    assert telling in done.text
    assert f"{node}: {'sudo-rs' if node == 'docker02' else 'sudo'}: " in done.text


@pytest.fixture
def inside(bare: Lab, broken: Break) -> Lab:
    """A bare lab in which no way leads to docker01 but through the gateway."""
    others = f"INPUT -p tcp --dport 22 ! -s {bare.topology.gateway.lan} -j REJECT"
    broken("docker01", f"iptables -I {others}", f"iptables -D {others}")
    return bare


@pytest.mark.parametrize(
    "way",
    [
        "ProxyCommand ssh -F {config} -W %h:%p -q gateway",
        "ProxyCommand sh -c 'exec ssh -F {config} -q -W \"$1:$2\" gateway' way %h %p",
        "ConnectTimeout 30s\n    ProxyJump gateway",
    ],
)
def test_way_in(
    inside: Lab, operator: Operator, write_site: SiteWriter, tmp_path: Path, way: str
) -> None:
    """A configuration that leads ssh to the hosts leads there."""
    config, theirs = tmp_path / "ssh_config", inside.state.ssh_config
    lines = (
        f"    {way.format(config=theirs)}\n" if "ProxyJump" in line else line + "\n"
        for line in theirs.read_text().splitlines()
    )
    config.write_text("".join(lines))
    done = operator.plan("traefik", write_site({"ssh": {"config": str(config)}}))

    assert done.status == PLANNED, done.text
