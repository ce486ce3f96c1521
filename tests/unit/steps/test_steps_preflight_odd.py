"""Whatever programs print, the preflight makes findings of it and never ends in a traceback."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import pytest
from fakes import converged, live, parameters, recorded, swarm

from runbook.site import Site
from runbook.steps import STEPS, traefik
from runbook.steps.keepalived.objections import vip
from runbook.steps.preflight.facts import Advert, HostFacts, lan_facts, listeners, observe_hosts
from runbook.steps.preflight.findings import judge
from runbook.steps.preflight.swarm_facts import SwarmFacts, observe_swarm

SITE: Site = parameters("lab").site
HOSTS = tuple(SITE.hosts)
ODD = (
    "",
    "\n",
    " \t\n",
    "sh: 1: ss: not found\n",
    "bash: línea 1: orden no encontrada\n",
    "Permission denied",
    "%s.%N",
    "null",
    "[]",
    "{}",
    "[null, 1, {}]",
    '{"Version": null, "Swarm": null}',
    '{"Version": "28.1", "ApiVersion": null, "MinAPIVersion": "x", "Swarm": {}}',
    '{"Swarm": {"LocalNodeState": "active", "NodeID": 7}, "Version": "1"}',
    '[{"Labels": null, "Ports": null}, {"Labels": [], "Ports": [null, {"PublicPort": "80"}]}]',
    "2: eth0@if5    inet 10.0.0.12/24 brd 10.0.0.255 scope global eth0\n",
    "2: eth0    inet6 fe80::1/64 scope link\n",
    "3: tun0    inet 10.8.0.1 peer 10.8.0.2/32 scope global tun0\n",
    "1: lo: link/ether \n2: eth0: link/ether zz:zz\n",
    "default\n",
    "default via\n",
    "default dev ppp0\ndefault via 10.0.0.1 dev eth0\n",
    "LISTEN 0 128 0.0.0.0:ssh 0.0.0.0:*\nLISTEN 0\nLISTEN 0 1 *:* *:*\n",
    "/dev/sda 1 1 - 100% /\n/dev/sdb 1 1 x 0% /var\n/dev/map with space 9 9 0 100% /var lib\n",
    "listening on eth0\nIP fe80::1 > ff02::12: VRRPv3, Advertisement, vrid x, prio\n",
    "listening on eth0\n12:00 IP 10.0.0.300 > 224.0.0.18: VRRPv2, vrid 51, prio\n",
    "listening on eth0\nIP > : vrid \nreply from ARPING from\n",
    "\x00\x1b[31m\ufffd",
    "9" * 400,
)
"""What other programs, languages and networks print in the place of what is expected."""


@cache
def known() -> SwarmFacts:
    """Return the lab's Swarm, of which the engine tells, whatever snippets print."""
    return observe_swarm(live(parameters("lab"), engine=swarm()))


def facts(**texts: dict[str, str]) -> dict[str, HostFacts]:
    """Return what is read of the lab where some snippets print something else."""
    return observe_hosts(live(parameters("lab"), converged(**texts), swarm()))


def judged(hosts: dict[str, HostFacts], nodes: SwarmFacts) -> None:
    """Have every rule judge these facts."""
    assert list(judge(SITE, hosts, nodes))
    assert [found for step in STEPS for found in step.objections(parameters("lab"), hosts, nodes)]
    list(vip(SITE, hosts, ["docker01", "docker02"], ()))
    list(vip(SITE, hosts, [], ()))


@pytest.mark.parametrize("host", ["docker01", "docker04", "gateway"])
def test_each_snippet(host: str) -> None:
    """One snippet at a time prints something odd."""
    for name in recorded(f"preflight-{host}"):
        for text in ODD:
            judged(facts(**{host: {name: text}}), known())


@pytest.mark.parametrize("seed", range(40))
def test_cut_and_mixed(seed: int) -> None:
    """Outputs are cut off, doubled, mixed up or lose words, on every host at once."""
    chance = random.Random(seed)  # noqa: S311
    texts = {}
    for host in HOSTS:
        texts[host] = {
            name: broken(text, chance) for name, text in recorded(f"preflight-{host}").items()
        }
    judged(facts(**texts), known())


def broken(text: str, chance: random.Random) -> str:
    """Return a text as something may have gone wrong with it."""
    start, end = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
    words = text.split(" ")
    chance.shuffle(words)
    return chance.choice(
        (
            text,
            text[:end],
            text[start:end],
            text[:start] + text[end:],
            text + text,
            " ".join(words),
            text.replace(chance.choice(text or "x"), chance.choice(("", " ", "\n", "é"))),
            chance.choice(ODD),
        )
    )


@pytest.mark.parametrize("seed", range(40))
def test_swarm(seed: int) -> None:
    """The engine's lists lack values, or have other kinds of them."""
    chance = random.Random(seed)  # noqa: S311
    answers = {asked: altered(body, chance) for asked, body in swarm().items()}
    for asked, body in answers.items():
        answers[asked] = [one for one in body if isinstance(one, dict)] if body else None
    judged(facts(), observe_swarm(live(parameters("lab"), converged(), answers)))


def altered(value: Any, chance: random.Random) -> Any:
    """Return a JSON value some parts of which are gone, null or empty."""
    if chance.random() < 0.03:
        return chance.choice((None, "", {}, []))
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if chance.random() > 0.03}
        return {key: altered(one, chance) for key, one in kept.items()}
    if isinstance(value, list):
        return [altered(one, chance) for one in value]
    return value


class TestKnown:
    """Odd output that real programs are known to print."""

    def test_ports_null(self) -> None:
        """A container may have null for labels and ports."""
        containers = json.dumps([{"Labels": None, "Ports": None}, {"Labels": None}])

        assert listeners("", containers) == {}

    def test_curl_that_warns(self) -> None:
        """A warning of curl's before the answer is not the answer."""
        containers = 'curl: warning\n[{"Labels": {}, "Ports": [{"PublicPort": 80}]}]\n'

        assert listeners("", containers) == {80: "a container"}

    def test_without_ss(self) -> None:
        """Without ss it is not known who listens, and that is a warning."""
        assert listeners("sh: 1: ss: not found\n", "[]") is None
        found = traefik.STEP.objections(
            parameters("lab"), facts(docker02={"sockets": "sh: 1: ss: not found\n"}), known()
        )
        assert [f.what for f in found if f.subject == "port"] == [
            "ss could not tell who listens, so taken ports are known for containers only"
        ]

    def test_ipv6(self) -> None:
        """Adverts over IPv6 are another group's; a manager may advertise an IPv6 address."""
        heard = lan_facts(
            "listening on eth0\nIP6 fe80::1 > ff02::12: VRRPv3, vrid 51, prio 1\n"
            "IP 10.0.0.9 > 224.0.0.18: VRRPv3, Advertisement, vrid 51, prio 1\n"
        )
        nodes = swarm()["GET /nodes"]
        nodes[1]["ManagerStatus"]["Addr"] = "[fd00::11]:2377"
        seen = observe_swarm(live(parameters("lab"), converged(), {**swarm(), "GET /nodes": nodes}))

        assert [str(advert.source) for advert in heard.adverts or ()] == ["10.0.0.9"]
        assert isinstance((heard.adverts or ())[0], Advert)
        assert "fd00::11" in [node.address for node in seen.nodes]
