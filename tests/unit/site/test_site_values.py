"""What one setting may be, by itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from runbook.site import SiteInvalid, load

VALID = Path(__file__).parents[2] / "data" / "sites" / "valid.yml"
Changed = Callable[[str], list[str]]


class TestValues:
    """One value by itself."""

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ("22:22", 'must be a whole number, not "22:22"'),
            ('"80"', 'must be a whole number, not "80"; write 80 without quotes'),
            ("80.0", "must be a whole number, not 80.0; write 80"),
            ("80.5", "must be a whole number, not 80.5"),
            ("080", "080 starts with a zero, which some programs read as octal; write 80"),
            ("0o17", "0o17 is not a decimal number; write 15"),
            ("8e1", "8e1 has an exponent; write the number in full"),
            ("true", "must be a whole number, not true"),
            ("no", 'must be a whole number, not "no"'),
            ("0", "must be at least 1, not 0"),
            ("65536", "must be at most 65535, not 65536"),
        ],
    )
    def test_port(self, problems: Changed, written: str, said: str) -> None:
        """A port is a decimal number, written as one, and nothing is turned into it."""
        assert problems(f"traefik:\n  web_port: {written}\n") == [f"3:13: traefik.web_port: {said}"]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (
                "network: {attachable: no}",
                'attachable: must be true or false, not "no"; write false',
            ),
            ("network: {attachable: 0}", "attachable: must be true or false, not 0"),
            ("network: {encrypted: 'true'}", 'encrypted: must be true or false, not "true"'),
            ("network: {mtu: 500}", "mtu: must be at least 576, not 500"),
            ("network: {subnet: 10.9.0.0}", 'such as 10.0.0.0/24, not "10.9.0.0"'),
            ("network: {subnet: 10.9.0.0/33}", 'such as 10.0.0.0/24, not "10.9.0.0/33"'),
            ("network: {subnet: 10.9.0.7/24}", 'not "10.9.0.7/24"; write 10.9.0.0/24'),
            ("network: {subnet: 10.9.0.0/0.0.0.255}", 'not "10.9.0.0/0.0.0.255"'),
            ("network: {name: a b}", "name: must be a Swarm name: letters, digits"),
            (
                "keepalived: {vip: 167772162}",
                "must be an IPv4 address such as 10.0.0.2, not 167772162",
            ),
            ("keepalived: {vip: 10.0.0.02}", 'such as 10.0.0.2, not "10.0.0.02"'),
            ("keepalived: {vip: 10.0.0.2/24}", 'such as 10.0.0.2, not "10.0.0.2/24"'),
            ("keepalived: {virtual_router_id: 0}", "virtual_router_id: must be at least 1, not 0"),
            ("keepalived: {virtual_router_id: 256}", "must be at most 255, not 256"),
            ("keepalived: {version: 4}", "version: must be 2 or 3, not 4"),
            ("keepalived: {version: 3.0}", "version: must be 2 or 3, not 3.0"),
            ("keepalived: {advert_int: '1'}", 'must be a number, not "1"; write 1 without quotes'),
            ("keepalived: {advert_int: true}", "advert_int: must be a number, not true"),
            ("keepalived: {advert_int: 0.001}", "advert_int: must be at least 0.01, not 0.001"),
            ("keepalived: {interface: eth0;reboot}", "must be the name of a network interface"),
            ("keepalived: {interface: a234567890123456}", "must have 15 characters or fewer"),
            ("keepalived: {instance: VI 1}", "instance: must be one word"),
            ("managers: {docker01: {priority: 255}}", "priority: must be at most 254, not 255"),
            ("managers: {docker01: 10.0.0.11}", 'lines of `name: value`, not "10.0.0.11"'),
            ("managers: {-docker05: {}}", "managers.-docker05: must be a host name, short or"),
            ("managers: {10.0.0.15: {}}", "managers.10.0.0.15: must be a host name, short or"),
            ("managers: {a..b: {}}", "managers.a..b: must be a host name, short or"),
            ("name: Lab", "name: must be a name of small letters"),
            ("workers: [docker04]", "workers: must be lines of `name: value`, not a list"),
            ("traefik: {image: traefik}", "must be an image with its tag, such as traefik:v3.7.9"),
            ("traefik: {folder: ../x}", "folder: must be a folder such as ~/traefik"),
            ("traefik: {folder: ~/a b}", "folder: must be a folder such as ~/traefik"),
            ("traefik: {folder: ~/../x}", "folder: must be a folder such as ~/traefik"),
            ("shorewall: {net_zone: my-net}", "net_zone: must be a Shorewall zone"),
            ("shorewall: {net_zone: the_outside_of_it_all}", "must have 19 characters or fewer"),
            ("shorewall: {forward: 80}", "must be a list, each item after a hyphen, not 80"),
            ("acceptance: {url_host: 'a`b'}", "url_host: must be a DNS name or an address"),
            ("name: 5", 'name: must be text, not 5; write "5" in quotes'),
            ("name: {a: 1}", "name: must be text, not a mapping"),
            ("traefik:", "traefik: has no value"),
            ("nonsense: 1", "nonsense: is not a setting; known here: extends, name, lan"),
            ("extend: a.yml", "extend: is not a setting; did you mean extends?"),
            ("keepalived: {priorty: 1}", "keepalived.priorty: is not a setting; known here: vip"),
            ("keepalived: {advertint: 1}", "is not a setting; did you mean advert_int?"),
            ("records: {key: ''}", "records.key: must have 1 characters or more"),
            ("records: {key: [a]}", "records.key: must be text, not a list"),
            ("records: {witness: yes}", 'must be true or false, not "yes"; write true'),
            ("records: {retention_days: 0}", "retention_days: must be at least 1, not 0"),
            ("records: {retention_days: 36501}", "must be at most 36500, not 36501"),
            ("records: {retention_days: 1.5}", "must be a whole number, not 1.5"),
            ("records: {require: ticket}", "must be a list, each item after a hyphen"),
            (
                "records: {require: [tickets]}",
                "must be 'signature', 'ticket', 'reason' or 'approval', not \"tickets\"",
            ),
            (
                "accepted_risks: [{risk: fire, reason: it is warm here}]",
                "or 'plain-http-password', not",
            ),
        ],
    )
    def test_refusal(self, problems: Changed, line: str, said: str) -> None:
        """A wrong value is refused in a sentence that says what is wanted and what was seen."""
        (problem,) = [p for p in problems(f"{line}\n") if said in p]

        assert problem.startswith("2:")

    def test_no_value(self, problems: Changed) -> None:
        """A setting with nothing behind it is reported at its name, not at the next line."""
        assert problems("traefik:\n  web_port:\nname: other\n") == [
            "3:3: traefik.web_port: has no value"
        ]

    def test_every_wrong_value_has_a_sentence(self, tmp_path: Path) -> None:
        """No objection of the models reaches an operator in their own words, or as a traceback."""
        site = tmp_path / "site.yml"
        whole = YAML(typ="safe", pure=True).load(FULL.format(base=VALID))
        for path in paths(whole):
            for wrong in ("x y", "-1", "0.5", "1e3", "true", "null", "[[]]", "{a: 1}", "9" * 30):
                site.write_text(with_value(whole, path, wrong))
                try:
                    load(site)
                except SiteInvalid as error:
                    assert "nput should" not in str(error), str(error)  # noqa: PT017


FULL = """
extends: {base}
traefik: {{refresh_seconds: 5, dashboard: {{insecure: true, port: 8080, host: null, users: null}}}}
keepalived: {{version: 3, advert_int: 0.2, interface: eth0, health_check: {{fall: 2}}}}
shorewall: {{forward: [{{port: 80, to_port: 80, source: [203.0.113.0/24]}}]}}
acceptance: {{client: a, client_address: 203.0.113.9, demonstration: {{image: "demo:1"}}}}
records: {{key: a, witness: true, retention_days: 30, require: [ticket]}}
accepted_risks: [{{risk: insecure-dashboard, reason: only a test of sentences}}]
"""


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a tree."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*path, step))


def with_value(tree: Any, path: tuple[Any, ...], wrong: str) -> str:
    """Return a tree as YAML on one line, with one value written otherwise."""
    changed = part = copy.deepcopy(tree)
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = "HERE"
    return json.dumps(changed).replace('"HERE"', wrong)
