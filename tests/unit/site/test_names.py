"""Names of hosts, as they are compared."""

from __future__ import annotations

import pytest

from runbook.site.names import as_declared, same_host, short


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("docker06", "docker06"),
        ("DOCKER06", "docker06"),
        ("docker06.example.org", "docker06"),
        ("Docker06.Example.org.", "docker06"),
        (" docker06\n", "docker06"),
        ("", ""),
    ],
)
def test_short(name: str, label: str) -> None:
    """The first label in small letters; nothing stays nothing."""
    assert short(name) == label


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("docker06", "DOCKER06.example.org", True),
        ("docker06.a.example", "docker06.b.example", True),
        ("docker06", "docker060", False),
        ("docker06", "docker", False),
        ("", "", False),
    ],
)
def test_same_host(one: str, other: str, same: bool) -> None:
    """Short forms are compared whole, and no name is nobody's."""
    assert same_host(one, other) is same
    assert same_host(other, one) is same


def test_as_declared() -> None:
    """A host's own name becomes the declared one; a stranger keeps his."""
    hosts = ("docker01", "DOCKER02.example.org")

    assert as_declared("Docker01.lan", hosts) == "docker01"
    assert as_declared("docker02", hosts) == "DOCKER02.example.org"
    assert as_declared("docker03.lan", hosts) == "docker03.lan"
