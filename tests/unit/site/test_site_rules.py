"""What settings must be to each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import declared

from runbook.site import SiteInvalid, load

VALID = Path(__file__).parents[2] / "data" / "sites" / "valid.yml"
Changed = Callable[[str], list[str]]


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
