"""What a setting may be, and what settings must be to each other."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import declared
from ruamel.yaml import YAML

from runbook.site import Site, SiteInvalid, load, rules

VALID = Path(__file__).parents[2] / "data" / "sites" / "valid.yml"
Changed = Callable[[str], list[str]]


@pytest.fixture
def problems(tmp_path: Path) -> Changed:
    """What is wrong with a valid site once these lines are added to it or replace others."""

    def changed(text: str) -> list[str]:
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {VALID}\n{text}")
        with pytest.raises(SiteInvalid) as caught:
            load(site)
        lines = caught.value.problems
        return [
            str(line).replace(f"{site}:", "").replace(str(VALID), "valid.yml") for line in lines
        ]

    return changed


@pytest.fixture
def warnings(tmp_path: Path) -> Changed:
    """What had better be otherwise in a valid site with these lines."""

    def changed(text: str) -> list[str]:
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {VALID}\n{text}")
        lines = load(site).warnings
        return [
            str(line).replace(f"{site}:", "").replace(str(VALID), "valid.yml") for line in lines
        ]

    return changed


def spread(priorities: Iterable[int], interval_s: float) -> Site:
    """Return a site with managers of these priorities and VRRP 3 at this interval."""
    site = load(VALID).site
    one = next(iter(site.managers.values()))
    managers = {f"m{n}": one.model_copy(update={"priority": n}) for n in priorities}
    timing = site.keepalived.model_copy(update={"version": 3, "advert_int": interval_s})
    return site.model_copy(update={"managers": managers, "keepalived": timing})


def proposed(priorities: Iterable[int], interval_s: float) -> str:
    """Return what the warning about close priorities ends with."""
    ((_, said),) = rules.priorities_are_apart(spread(priorities, interval_s))
    return said.rpartition("; ")[2]


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


class TestVip:
    """The floating IP."""

    def test_outside_the_lan(self, problems: Changed) -> None:
        """The VIP is an address of the LAN."""
        assert problems("keepalived: {vip: 10.0.1.2}\n") == [
            "2:19: keepalived.vip: 10.0.1.2 is not in the LAN 10.0.0.0/24"
        ]

    @pytest.mark.parametrize(
        ("vip", "which"), [("10.0.0.0", "network"), ("10.0.0.255", "broadcast")]
    )
    def test_reserved(self, problems: Changed, vip: str, which: str) -> None:
        """The first and the last address of the LAN are no host's."""
        assert problems(f"keepalived: {{vip: {vip}}}\n") == [
            f"2:19: keepalived.vip: {vip} is the {which} address of the LAN 10.0.0.0/24"
        ]

    @pytest.mark.parametrize(
        ("vip", "name"),
        [("10.0.0.12", "docker02"), ("10.0.0.14", "docker04"), ("10.0.0.1", "gateway")],
    )
    def test_taken(self, problems: Changed, vip: str, name: str) -> None:
        """The VIP is the own address of no manager, worker or gateway."""
        assert problems(f"keepalived: {{vip: {vip}}}\n") == [
            f"2:19: keepalived.vip: {vip} is the address of {name}; the VIP must be nobody's own"
        ]


class TestHosts:
    """Managers, workers and the gateway together."""

    def test_address_outside_the_lan(self, problems: Changed) -> None:
        """Every host, the gateway's LAN side included, is on the LAN."""
        assert problems("gateway: {address: 10.9.0.1}\nworkers: {w: {address: 10.0.0.0}}\n") == [
            "2:20: gateway.address: 10.9.0.1 is not in the LAN 10.0.0.0/24",
            "3:24: workers.w.address: 10.0.0.0 is the network address of the LAN 10.0.0.0/24",
        ]

    def test_address_of_two_hosts(self, problems: Changed) -> None:
        """An address belongs to one host."""
        assert problems("workers: {w: {address: 10.0.0.13}}\n") == [
            "2:24: workers.w.address: 10.0.0.13 is also the address of docker03"
        ]

    def test_name_of_two_hosts(self, problems: Changed) -> None:
        """A name belongs to one host, whatever it is for."""
        assert problems("workers:\n  docker01: {address: 10.0.0.15}\n") == [
            "3:3: workers.docker01: docker01 is also the name of a host under managers"
        ]
        assert problems("gateway:\n  name: docker04\n") == [
            "3:9: gateway.name: docker04 is also the name of a host under workers"
        ]

    @pytest.mark.parametrize("name", ["DOCKER01", "docker01.example.org", "Docker01.b.example"])
    def test_short_form_of_two_hosts(self, problems: Changed, name: str) -> None:
        """Nor may two be one name in short form, in any case: hosts are told apart by it."""
        (problem,) = problems(f"workers:\n  {name}: {{address: 10.0.0.15}}\n")

        assert problem == (
            f"3:3: workers.{name}: {name} and docker01 under managers are both 'docker01' in short "
            "form, by which hosts are told apart; give one another name"
        )

    def test_two_domains(self, problems: Changed) -> None:
        """Two full names that begin alike are refused as well."""
        (problem,) = problems(
            "workers:\n  web.a.example: {address: 10.0.0.15}\n"
            "  web.b.example: {address: 10.0.0.16}\n"
        )

        assert "web.b.example and web.a.example under workers are both 'web'" in problem

    @pytest.mark.parametrize(
        "name", ["DOCKER07", "docker07.example.org", "Docker07.a-b.example", "7", "web_7"]
    )
    def test_names_of_hosts(self, name: str) -> None:
        """A host may be declared by any name that it can have: short, full, in capitals."""
        assert name in declared(workers={name: {"address": "10.0.0.17"}}).site.workers
        assert declared(gateway={"name": name}).site.gateway.name == name

    def test_priority_of_two_managers(self, problems: Changed) -> None:
        """A priority belongs to one manager, or chance decides who holds the VIP."""
        assert problems("managers: {docker03: {priority: 150}}\n") == [
            "2:33: managers.docker03.priority: 150 is also the priority of docker02; "
            "each needs its own"
        ]

    def test_no_managers(self, tmp_path: Path) -> None:
        """A site has at least one manager."""
        site = tmp_path / "site.yml"
        text = VALID.read_text()
        start, end = text.index("  docker01"), text.index("workers:")
        site.write_text(text[:start].rstrip().removesuffix(":") + ": {}\n" + text[end:])
        with pytest.raises(SiteInvalid, match="managers: must have at least 1 entry"):
            load(site)


class TestNetwork:
    """The overlay."""

    @pytest.mark.parametrize("subnet", ["10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/8"])
    def test_overlap(self, problems: Changed, subnet: str) -> None:
        """The overlay shares nothing with the LAN, or containers cannot reach it."""
        assert problems(f"network: {{subnet: {subnet}}}\n") == [
            f"2:19: network.subnet: {subnet} overlaps the LAN 10.0.0.0/24; "
            "containers could not reach the LAN"
        ]


class TestAdvertInterval:
    """Seconds between two adverts."""

    def test_fraction_in_version_2(self, problems: Changed) -> None:
        """Version 2 counts in whole seconds."""
        assert problems("keepalived: {advert_int: 0.2}\n") == [
            "2:26: keepalived.advert_int: 0.2 is not whole seconds, as version 2 needs; "
            "write 1, or version: 3"
        ]

    @pytest.mark.parametrize("line", ["{advert_int: 2}", "{version: 3, advert_int: 0.2}"])
    def test_accepted(self, warnings: Changed, line: str) -> None:
        """Whole seconds are well in either version, a fraction in version 3."""
        assert warnings(f"keepalived: {line}\n") == []


class TestDashboard:
    """Open on a port, guarded on a virtual host, or off."""

    @pytest.mark.parametrize(
        "form",
        [
            "{}",
            "{insecure: false}",
            "{host: a.test, users_secret: u}",
            "{host: a.test, users_secret: u, users: env:U}",
            "{insecure: true, port: 81}",
        ],
    )
    def test_forms(self, warnings: Changed, form: str) -> None:
        """Each of the three forms is valid, and off is the default."""
        assert warnings(f"traefik: {{dashboard: {form}}}\n") == []

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ("{insecure: true}", "2:11: traefik.dashboard: needs `port` when insecure is true"),
            (
                "{insecure: true, port: 8080, host: a.test}",
                "2:57: traefik.dashboard.host: has no effect when insecure is true; "
                "remove one of the two",
            ),
            (
                "{insecure: true, port: 8080, users_secret: u}",
                "2:65: traefik.dashboard.users_secret: has no effect when insecure is true; "
                "remove one of the two",
            ),
            (
                "{insecure: true, port: 8080, users: env:U}",
                "2:58: traefik.dashboard.users: has no effect when insecure is true; "
                "remove one of the two",
            ),
            (
                "{users: env:U}",
                "2:30: traefik.dashboard.users: needs `users_secret` and `host`: "
                "the secret to make, and what it guards",
            ),
            (
                "{host: a.test, users: env:U}",
                "2:11: traefik.dashboard: needs `users_secret` with `host`: "
                "nobody is let in without a password",
            ),
            (
                "{users_secret: u, users: env:U}",
                "2:11: traefik.dashboard: needs `host` with `users_secret`: "
                "the virtual host it answers on",
            ),
            (
                "{port: 8080}",
                "2:29: traefik.dashboard.port: has no effect unless insecure is true; remove it",
            ),
            (
                "{host: a.test}",
                "2:11: traefik.dashboard: needs `users_secret` with `host`: "
                "nobody is let in without a password",
            ),
            (
                "{users_secret: u}",
                "2:11: traefik.dashboard: needs `host` with `users_secret`: "
                "the virtual host it answers on",
            ),
            (
                "{insecure: true, port: 80}",
                "2:45: traefik.dashboard.port: 80 is the web port; the dashboard needs another",
            ),
        ],
    )
    def test_mixed_forms(self, problems: Changed, form: str, said: str) -> None:
        """Half a form, or two at once, is refused."""
        assert problems(f"traefik: {{dashboard: {form}}}\n") == [said]


class TestRequirements:
    """What a run that changes something must have."""

    @pytest.mark.parametrize(
        "require",
        ["[]", "[signature]", "[ticket, reason]", "[approval, reason, signature, ticket]"],
    )
    def test_accepted(self, warnings: Changed, require: str) -> None:
        """Any of them, in any order, and nothing by default."""
        assert warnings(f"records: {{require: {require}}}\n") == []

    @pytest.mark.parametrize(
        ("require", "said"),
        [
            (
                "[ticket, approval]",
                "2:29: records.require[1]: approval needs `signature` too: "
                "it is held against the operator's key",
            ),
            ("[reason, ticket, reason]", "2:37: records.require[2]: reason is listed twice"),
        ],
    )
    def test_refused(self, problems: Changed, require: str, said: str) -> None:
        """An approval that could be the operator's own, or a word said twice."""
        assert problems(f"records: {{require: {require}}}\n") == [said]

    @pytest.mark.parametrize(
        ("require", "wrong"),
        [("[approval, signatur]", [1]), ("[signatur, approval]", [0]), ("[a, a]", [0, 1])],
    )
    def test_misspelt(self, problems: Changed, require: str, wrong: list[int]) -> None:
        """A word that is none is told as that, and nothing is concluded from it."""
        said = [line.split(": ")[1:3] for line in problems(f"records: {{require: {require}}}\n")]

        assert said == [[f"records.require[{n}]", said[0][1]] for n in wrong]
        assert said[0][1].startswith("must be 'signature', 'ticket'")


class TestForwards:
    """What the gateway forwards to the VIP."""

    def test_unpublished_port(self, problems: Changed) -> None:
        """A forwarded port is one that Traefik publishes."""
        assert problems("shorewall: {forward: [{port: 8080}, {port: 81, to_port: 82}]}\n") == [
            "2:30: shorewall.forward[0].port: 8080 is not published on the VIP; "
            "Traefik publishes 80",
            "2:57: shorewall.forward[1].to_port: 82 is not published on the VIP; "
            "Traefik publishes 80",
        ]

    def test_unknown_dashboard_port(self, problems: Changed) -> None:
        """Where the dashboard's port is missing, nothing is said of the rule that forwards it."""
        dashboard = "traefik: {dashboard: {insecure: true}}\n"

        assert problems(dashboard + "shorewall: {forward: [{port: 8080}]}\n") == [
            "2:11: traefik.dashboard: needs `port` when insecure is true"
        ]

    def test_published_ports(self, warnings: Changed) -> None:
        """The web port and an insecure dashboard's port may be forwarded, under any number."""
        dashboard = "traefik: {web_port: 81, dashboard: {insecure: true, port: 8080}}\n"
        forwards = "shorewall: {forward: [{port: 80, to_port: 81}, {port: 8080}]}\n"

        assert warnings(dashboard + forwards) == []

    def test_port_forwarded_twice(self, problems: Changed) -> None:
        """One port has one rule."""
        assert problems("shorewall: {forward: [{port: 80}, {port: 80}]}\n") == [
            "2:42: shorewall.forward[1].port: 80 is forwarded twice; list every source in one rule"
        ]


class TestUnsoundParts:
    """Rules look at what is sound when something else is not."""

    def test_rules_and_values_together(self, problems: Changed) -> None:
        """A wrong value does not hide a broken rule elsewhere, nor in the same part."""
        assert problems(
            "keepalived: {vip: 10.0.1.2, virtual_router_id: 0}\n"
            "managers: {docker02: {address: x, priority: 100}}\n"
        ) == [
            "2:19: keepalived.vip: 10.0.1.2 is not in the LAN 10.0.0.0/24",
            "2:48: keepalived.virtual_router_id: must be at least 1, not 0",
            '3:32: managers.docker02.address: must be an IPv4 address such as 10.0.0.2, not "x"',
            "valid.yml:15:15: managers.docker03.priority: 100 is also the priority of docker02; "
            "each needs its own",
        ]

    def test_no_conclusions_from_unsound_values(self, problems: Changed) -> None:
        """A rule does not judge by a value that is itself refused."""
        assert problems("traefik: {web_port: 0o17}\nlan: 10.9.0.0\n") == [
            "2:21: traefik.web_port: 0o17 is not a decimal number; write 15",
            "3:6: lan: must be a subnet with its prefix length, such as 10.0.0.0/24, "
            'not "10.9.0.0"',
        ]


class TestWarnings:
    """What is valid but had better be otherwise."""

    def test_none(self, warnings: Changed) -> None:
        """A sound site has no warnings."""
        assert warnings("") == []

    def test_even_managers(self, warnings: Changed) -> None:
        """A fourth manager adds a machine and no tolerance."""
        assert warnings("managers:\n  d: {address: 10.0.0.15, priority: 50}\n") == [
            "2:1: managers: 4 managers survive the loss of 1, as 3 do; use an odd number"
        ]

    def test_close_priorities(self, warnings: Changed) -> None:
        """The article's 3, 2 and 1 are so close that two backups may become master together."""
        lines = "".join(f"  docker0{n}: {{priority: {4 - n}}}\n" for n in (1, 2, 3))

        assert warnings("managers:\n" + lines) == [
            "4:24: managers.docker02.priority: 2 is close to the 3 of docker01: their timers end "
            "3.9 ms apart, and both may become master for a moment; "
            "200, 150 and 100 are well apart"
        ]

    @pytest.mark.parametrize("interval_s", [0.01, 0.05, 0.06, 0.07, 0.1, 0.15, 1])
    @pytest.mark.parametrize("managers", [2, 3, 4, 5, 7])
    def test_what_is_proposed_holds(self, managers: int, interval_s: float) -> None:
        """Never what is set already: with it, the warning is gone."""
        proposal = proposed(range(managers, 0, -1), interval_s)
        if proposal.endswith(" s is enough"):
            interval_s = float(proposal.split()[0])
            proposal = proposed(range(managers, 0, -1), interval_s)
        numbers = [int(number) for number in re.findall(r"\d+", proposal)]

        assert len(numbers) == managers
        assert list(rules.priorities_are_apart(spread(numbers, interval_s))) == []

    @pytest.mark.parametrize(
        ("keepalived", "close"),
        [
            ("{advert_int: 40}", False),
            ("{version: 3, advert_int: 0.2}", False),
            ("{version: 3, advert_int: 0.1}", True),
        ],
    )
    def test_skew_counts_the_interval(
        self, warnings: Changed, keepalived: str, close: bool
    ) -> None:
        """Priorities 50 apart are close when version 3 counts in tenths of a second."""
        assert bool(warnings(f"keepalived: {keepalived}\n")) is close

    def test_skew_of_version_2_is_in_seconds(self, warnings: Changed) -> None:
        """In version 2 a longer interval does not set the backups further apart."""
        assert warnings("keepalived: {advert_int: 40}\nmanagers: {docker01: {priority: 151}}\n")

    def test_risk_that_does_not_apply(self, warnings: Changed) -> None:
        """A risk that this site does not take need not be accepted."""
        line = "accepted_risks: [{risk: public-dashboard, reason: left from before}]\n"

        assert warnings(line) == [
            "2:25: accepted_risks[0].risk: public-dashboard is accepted, "
            "but this site does not take it; remove it"
        ]

    def test_nothing_to_ask(self, warnings: Changed) -> None:
        """Acceptance needs the gateway's name or public address."""
        assert warnings("gateway: {public_address: null}\n") == [
            "1:1: acceptance.url_host: acceptance has nothing to ask; "
            "set url_host, or public_address of the gateway"
        ]
