"""Another site: five managers, no workers, other names and numbers; only its file differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Operator, SiteWriter
from witnesses import holders, must, snapshot, touched

from runbook.lab import Lab, Topology

LAN = "10.99.0"
VIP = f"{LAN}.200"
MANAGERS = [f"docker{number:02}" for number in range(1, 6)]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Lab]:
    """A lab of its own, which is gone after the test."""
    topology = Topology(
        "other", managers=5, workers=0, lan=f"{LAN}.0/24", net="198.51.100.0/28", interface="lan7"
    )
    lab = Lab.declare(topology, tmp_path)
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


def test_whole_run(other: Lab, operator: Operator, write_site: SiteWriter) -> None:
    """Plan, run and check, with the VIP, the ports and the names of this site."""
    site = write_site(settings(other), extends=False)
    done = operator("run", "--json", site=site)
    assert done.status == 0, done.stderr
    before = snapshot(other)
    assert holders(other, VIP) == ["docker04"]
    assert [before[f"{host} tasks"].count("balance_traefik ") for host in MANAGERS] == [1] * 5
    configuration = must(other, "docker05", "cat /etc/keepalived/keepalived.conf")
    for line in ("vrrp_instance EDGE_7 {", "interface lan7", "virtual_router_id 177", VIP):
        assert line in configuration
    web = f"curl -s -m 2 http://{other.topology.gateway.net}"
    assert must(other, "client", f"{web}:8000/").strip() == "404 page not found"
    assert must(other, "client", f"{web}:80/ || echo closed").strip() == "closed"
    check = operator("check", site=site)
    assert check.status == 0, check.text
    assert touched(before, snapshot(other)) == set()


def settings(lab: Lab) -> dict[str, object]:
    """Return the site as its operator writes it, from nothing."""
    priorities = dict(zip(MANAGERS, (100, 120, 140, 240, 80), strict=True))
    return {
        "name": "other",
        "lan": f"{LAN}.0/24",
        "gateway": {"address": f"{LAN}.1", "public_address": "198.51.100.2"},
        "managers": {
            host: {"address": f"{LAN}.1{number}", "priority": priorities[host]}
            for number, host in enumerate(MANAGERS, start=1)
        },
        "ssh": {"config": str(lab.state.ssh_config)},
        "network": {"name": "public", "subnet": "10.201.0.0/24"},
        "traefik": {
            "image": "traefik:3.7",
            "stack": "balance",
            "folder": "~/recipes/edge",
            "web_port": 8081,
            "refresh_seconds": 2,
        },
        "keepalived": {
            "vip": VIP,
            "instance": "EDGE_7",
            "virtual_router_id": 177,
            "version": 3,
            "advert_int": 0.5,
            "health_check": {},
        },
        "shorewall": {"forward": [{"port": 8000, "to_port": 8081}]},
        "acceptance": {
            "client": "client",
            "client_address": "198.51.100.10",
            "demonstration": {"image": "demo:1", "host": "app.example.org"},
        },
    }
