"""The choice of cuts follows from a seed and leaves no command out."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from chaos.sampling import FAULTS, MOMENTS, Command, load, order, population, recorded, save


def command(text: str, state: str = "drifted", **particulars: object) -> Command:
    """Return a command of this text."""
    settled = {"host": "10.0.0.1", "digest": text, "kind": "command", "has_input": False}
    settled |= {"usual_s": 0.1, "times": 3, "state": state, "text": text}
    return Command(**(settled | particulars))  # type: ignore[arg-type]


WRITE = command("mv -f", has_input=True)
RELOAD = command("shorewall reload")
LOOK = command("hostname")
ASK = command("GET /nodes", kind="request")
COMMANDS = [WRITE, RELOAD, LOOK, ASK]


def test_same_seed_gives_the_same_cuts_and_more_of_them_begin_alike() -> None:
    whole = [cut.key for cut in order(COMMANDS, 7)]
    assert [cut.key for cut in islice(order(COMMANDS, 7), 20)] == whole[:20]
    assert [cut.key for cut in order(COMMANDS, 8)] != whole


def test_every_cut_is_made_once() -> None:
    cuts = list(order(COMMANDS, 1))
    possible = len(FAULTS) * sum(len(command.moments) for command in COMMANDS)
    assert len({cut.key for cut in cuts}) == len(cuts) == possible
    assert {cut.moment for cut in cuts if cut.command == WRITE} == set(MOMENTS)
    assert all(0 <= cut.number < 3 and 0 <= cut.fraction < 1 for cut in cuts)


def test_changing_commands_come_first_and_more_often() -> None:
    first = [cut.command.changes for cut in islice(order(COMMANDS, 1), 8)]
    assert first == [True, True, True, False] * 2


def test_a_command_without_input_is_not_cut_in_it() -> None:
    assert LOOK.moments == ("before", "running", "after")
    assert ASK.moments == ("before", "half input", "running", "after")


def test_a_command_is_cut_in_the_first_state_in_which_it_is_sent() -> None:
    slow = command("hostname", state="removed")
    package = command("apt-get install", state="removed")
    assert population([[LOOK], [slow, package]]) == [LOOK, package]


def test_what_changes_a_host_is_cut_in_every_state() -> None:
    again = command("mv -f", state="removed", has_input=True)
    assert population([[WRITE], [again]]) == [WRITE, again]


def test_a_log_is_read_into_commands(tmp_path: Path) -> None:
    lines = [
        {"event": "sent", "name": f"10.0.0.1/abc/{n}", "kind": "command", "text": "date"}
        | {"input_bytes": 0, "seconds": seconds}
        for n, seconds in enumerate((0.1, 9.0, 0.2))
    ]
    found = recorded("drifted", [*lines, {"event": "cut"}])
    assert [(c.host, c.digest, c.times, c.usual_s) for c in found] == [("10.0.0.1", "abc", 3, 0.2)]
    save(found, tmp_path / "commands")
    assert load(tmp_path / "commands") == found
