"""The parameters files that come with the runbook."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from pathlib import Path

import pytest

from runbook.lab.state import State
from runbook.site import Records, SiteFile, load, unaccepted_risks

PARAMETERS = Path(__file__).parents[2] / "parameters"
FILES = sorted(PARAMETERS.glob("*.yml"))


def parameters(name: str) -> SiteFile:
    """Return one of the files, loaded."""
    return load(PARAMETERS / name)


class TestAllFiles:
    """What holds for each of them."""

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
    def test_loads_and_is_accepted(self, path: Path) -> None:
        """Each is valid and accepts every risk it takes."""
        assert unaccepted_risks(load(path).site) == ()

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
    def test_names_the_schema(self, path: Path) -> None:
        """An editor finds the schema in the first line."""
        first = path.read_text().splitlines()[0]

        assert first == "# yaml-language-server: $schema=site.schema.json"


class TestArticle:
    """article.yml, value for value."""

    def test_hosts(self) -> None:
        """Three managers and three workers, with the priorities of the article."""
        site = parameters("article.yml").site

        assert list(site.managers) == ["docker01", "docker02", "docker03"]
        assert [manager.priority for manager in site.managers.values()] == [3, 2, 1]
        assert list(site.workers) == ["docker04", "docker05", "docker06"]
        assert site.gateway.name == "gateway"

    def test_network_and_traefik(self) -> None:
        """The overlay, the recipe's folder, image and both ports are the article's."""
        site = parameters("article.yml").site
        traefik = site.traefik

        assert (site.network.name, site.network.subnet) == ("frontend", None)
        assert (traefik.image, traefik.stack, traefik.folder) == (
            "traefik:2.0",
            "traefik",
            "~/traefik",
        )
        assert (traefik.web_port, traefik.dashboard.port) == (80, 8080)
        assert traefik.dashboard.insecure
        assert traefik.refresh_seconds is None

    def test_keepalived(self) -> None:
        """The instance is the article's, and nothing that it leaves out is added."""
        keepalived = parameters("article.yml").site.keepalived

        assert keepalived.vip == IPv4Address("10.0.0.2")
        assert (keepalived.interface, keepalived.instance) == ("enp0s3", "VI_1")
        assert (keepalived.virtual_router_id, keepalived.version) == (51, 2)
        assert (keepalived.advert_int, keepalived.health_check) == (1, None)

    def test_gateway(self) -> None:
        """Both ports are forwarded to the same port for everybody, whatever the address."""
        site = parameters("article.yml").site
        rules = [
            (forward.port, forward.to_port, forward.source) for forward in site.shorewall.forward
        ]

        assert rules == [(80, None, ()), (8080, None, ())]
        assert (site.shorewall.net_zone, site.shorewall.lan_zone) == ("net", "loc")
        assert site.gateway.public_address is None

    def test_asks_nothing_of_records(self) -> None:
        """Records are no part of the article, so everything is as it is by default."""
        assert parameters("article.yml").site.records == Records()

    def test_warns_of_its_priorities_only(self) -> None:
        """The article's close priorities are the one thing to warn of."""
        (warning,) = parameters("article.yml").warnings

        assert warning.setting == "managers.docker02.priority"


class TestProduction:
    """production.yml, the hardened template."""

    def test_no_warnings(self) -> None:
        """There is nothing to warn of."""
        assert parameters("production.yml").warnings == ()

    def test_takes_no_risk(self) -> None:
        """The dashboard is off, only the web port is forwarded, and nothing is accepted."""
        site = parameters("production.yml").site
        dashboard = site.traefik.dashboard

        assert (dashboard.insecure, dashboard.port, dashboard.host) == (False, None, None)
        assert [forward.port for forward in site.shorewall.forward] == [80]
        assert site.accepted_risks == ()

    def test_fails_over_within_a_second(self) -> None:
        """Version 3, a short interval, spread priorities and a health check."""
        site = parameters("production.yml").site

        assert (site.keepalived.version, site.keepalived.advert_int) == (3, 0.2)
        assert [m.priority for m in site.ordered_managers.values()] == [200, 150, 100]
        assert site.keepalived.virtual_router_id != 51
        assert site.keepalived.health_check is not None
        assert site.traefik.refresh_seconds == 5

    def test_image_is_pinned(self) -> None:
        """The tag names a patch release of Traefik 3."""
        image = parameters("production.yml").site.traefik.image

        assert re.fullmatch(r"traefik:v3\.\d+\.\d+", image)

    def test_records_answer_an_audit(self) -> None:
        """Who, why and what for are asked before a change, and the managers are witnesses."""
        site_file = parameters("production.yml")
        records = site_file.site.records

        assert records.require == ("signature", "ticket", "reason")
        assert (records.witness, records.retention_days) == (True, 400)
        assert (records.key, site_file.key_path) == (None, None)

    def test_off_the_pool_of_the_swarm(self) -> None:
        """Neither the LAN nor the overlay is the subnet that ingress takes by itself."""
        site = parameters("production.yml").site
        ingress = IPv4Network("10.0.0.0/24")

        assert site.network.subnet is not None
        assert not site.network.subnet.overlaps(ingress)
        assert not site.lan.overlaps(ingress)

    def test_every_setting_says_why(self) -> None:
        """Each setting has a comment above it; those of hosts and zones share one."""
        lines = (PARAMETERS / "production.yml").read_text().splitlines()
        shared = re.compile(r"\s*(address: 10\.20\.0\.1\d|priority: 1\d\d|lan_zone: loc)")
        bare = [
            line
            for above, line in pairwise(lines)
            if re.fullmatch(r"\s*\w+: \S.*", line)
            and not above.lstrip().startswith("#")
            and not shared.fullmatch(line)
        ]

        assert bare == []


class TestLab:
    """lab.yml: the article in containers."""

    def test_is_the_article_but_for(self) -> None:
        """Only what containers need differs from the article."""
        article = {s.name: s.value for s in parameters("article.yml").settings}
        lab = {s.name: s.value for s in parameters("lab.yml").settings}
        changed = {name for name in lab if lab[name] != article.get(name)}

        assert changed == {
            "name",
            "ssh.config",
            "traefik.image",
            "acceptance.client",
            "acceptance.client_address",
            "acceptance.demonstration.image",
            "acceptance.demonstration.port",
            "acceptance.demonstration.host",
            "records.key",
            "records.witness",
        }

    def test_is_reached_by_the_labs_ssh(self) -> None:
        """The SSH configuration is the one that the lab writes."""
        assert parameters("lab.yml").ssh_config_path == PARAMETERS.parent / ".lab/lab/ssh_config"

    def test_records_are_signed_by_the_labs_key(self) -> None:
        """The key is the operator's, which the lab makes, and the lab's managers are witnesses."""
        site_file = parameters("lab.yml")
        state = State.of("lab", PARAMETERS.parent)

        assert site_file.key_path == state.signing_key
        assert site_file.site.records.witness
