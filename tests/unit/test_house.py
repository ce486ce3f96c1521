"""The house: its rooms and what each imports, as CONTRIBUTING.md draws them; those of the tests."""

from __future__ import annotations

import ast
import re
import socket
import subprocess
from collections.abc import Iterator

import pytest
from fakes import TOP

ROW = re.compile(r"^\| `([a-z.]+)` \|[^|]*\|([^|]*)\|$", re.MULTILINE)


def drawn() -> dict[str, set[str]]:
    """Return the map: the rooms from the ground up, and which others each imports."""
    rows = ROW.findall((TOP / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    return {room: set(re.findall(r"[a-z.]+", others)) for room, others in rows}


def room_of(module: str, seen_from: str) -> str:
    """Return the room of a module; those of the archive are one to whoever is outside."""
    depth = 2 if module.startswith("runbook.records.") and seen_from == "records" else 1
    return ".".join(module.split(".")[1 : 1 + depth])


def imported(source: str) -> Iterator[str]:
    """Return what a module imports, wherever in it, and for its types only, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def built() -> dict[str, set[str]]:
    """Return the rooms there are, and which others each imports."""
    rooms: dict[str, set[str]] = {}
    for path in (TOP / "runbook").rglob("*.py"):
        within = path.relative_to(TOP).with_suffix("").parts
        here = ".".join(part for part in within if part != "__init__")
        side = (*within, "")[1]
        names = [name for name in imported(path.read_text()) if name.startswith("runbook.")]
        rooms.setdefault(room_of(here, side), set()).update(room_of(name, side) for name in names)
    return {room: others - {room} for room, others in rooms.items() if room}


def test_the_map_shows_the_house_as_it_stands() -> None:
    """There is no arrow but those that are drawn, and each that is drawn is there."""
    assert built() == drawn()


def test_arrows_go_to_what_stands_above_in_the_map() -> None:
    """So there is no circle of rooms."""
    order = list(drawn())
    arrows = {(room, other) for room, others in drawn().items() for other in others}

    assert {(a, b) for a, b in arrows if order.index(b) > order.index(a)} == set()


@pytest.mark.parametrize("kind", ["unit", "process"])
def test_tests_have_the_rooms_of_the_house(kind: str) -> None:
    """What a test is about, its folder says as the package's does."""
    tests = TOP / "tests" / kind
    rooms = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}

    assert [room for room in rooms if not (TOP / "runbook" / room).is_dir()] == []


def test_no_unit_test_starts_a_program() -> None:
    """Nor does it use a socket; what does has its place in tests/process."""
    with pytest.raises(pytest.fail.Exception, match=r"^subprocess.Popen .* tests/process$"):
        subprocess.run(["true"], check=False)
    with socket.socket() as one, pytest.raises(pytest.fail.Exception, match=r"^socket.bind"):
        one.bind(("127.0.0.1", 0))


def test_no_file_of_tests_is_too_long_to_see_through() -> None:
    """What grows is split by subject."""
    lines = {path: path.read_text().count("\n") for path in (TOP / "tests").rglob("*.py")}

    assert [path for path, count in lines.items() if count > 500] == []


def test_each_file_of_tests_has_a_name_of_its_own() -> None:
    """They are no packages, so pytest knows them by their names."""
    names = [path.name for path in (TOP / "tests").rglob("test_*.py")]

    assert sorted(set(names)) == sorted(names)
