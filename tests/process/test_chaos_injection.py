"""The injection cuts where it says, against a real sshd: seen from the other end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chaos.runs import INJECT
from servers import LOOPBACK, Client, Sshd

TIMEOUT_S = 30
INPUT = "0123456789abcdef"

# A program with paramiko and none of ours; it prints how its command ended.
PROGRAM = """
import getpass, sys, threading
from pathlib import Path
import paramiko
port, key, command, written = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].encode()
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", port, getpass.getuser(), key_filename=key, allow_agent=False)
channel = client.get_transport().open_session()
channel.settimeout(20)
channel.exec_command(command)
if written:
    channel.sendall(written)
channel.shutdown_write()
try:
    said = b"".join(iter(lambda: channel.recv(100), b""))
    channel.status_event.wait(20)
    print(said.decode(), channel.exit_status)
except TimeoutError:
    print("timeout")
"""


@dataclass(frozen=True, slots=True)
class Cut:
    """What came of a cut: the program's end, the file there, and what the injection tells."""

    status: int
    said: str
    written: str | None
    told: list[dict[str, Any]]


@pytest.fixture
def cut(client: Client, sshd: Sshd, tmp_path: Path) -> Callable[..., Cut]:
    """Have a program write a file over there, and cut it."""

    def cuts(moment: str, fault: str, written: str = INPUT, command: str = "") -> Cut:
        file, log = tmp_path / "file", tmp_path / "log"
        command = command or f"cat > {file}; touch {file}.over"
        arguments = [str(sshd.port), str(client.key), command, written]
        process = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(INJECT),
                "CHAOS_LOG": str(log),
                "CHAOS_CUT": json.dumps({"pattern": "touch", "moment": moment, "fault": fault}),
                "CHAOS_BOUND": "0.2",
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if moment != "before" and str(file) in command:  # it ends a little after who started it
            await_file(file.with_suffix(".over"))
        told = [json.loads(line) for line in log.read_text().splitlines()]
        found = file.read_text() if file.exists() else None
        return Cut(process.returncode, process.stdout.strip(), found, told)

    return cuts


def await_file(path: Path) -> None:
    """Wait until it is there."""
    end = time.monotonic() + TIMEOUT_S
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("moment", "written"),
    [("before", None), ("no input", ""), ("half input", INPUT[:8]), ("after", INPUT)],
)
@pytest.mark.parametrize("fault", ["killed runner", "lost connection", "timeout"])
def test_host_has_what_was_sent_until_then(
    cut: Callable[..., Cut], moment: str, fault: str, written: str | None
) -> None:
    done = cut(moment, fault)
    assert done.written == written
    assert (done.status == -signal.SIGKILL) == fault.startswith("killed")
    assert not done.said.endswith(" 0")
    struck = [line for line in done.told if line["event"] == "cut"]
    assert [(line["moment"], line["fault"]) for line in struck] == [(moment, fault)]


def test_running_command_is_cut(cut: Callable[..., Cut]) -> None:
    done = cut("running", "killed runner", written="", command="touch -c /; sleep 20")
    assert done.status == -signal.SIGKILL
    [struck] = done.told
    assert (struck["moment"], struck["ran_s"] < 10) == ("running", True)


def test_nothing_is_cut_that_was_not_chosen(cut: Callable[..., Cut]) -> None:
    done = cut("before", "killed runner", command="echo well; cat >/dev/null")
    assert (done.status, done.said) == (0, "well\n 0")
    [sent] = done.told
    assert (sent["event"], sent["kind"], sent["input_bytes"]) == ("sent", "command", len(INPUT))
    assert sent["name"].startswith(f"{LOOPBACK}/")
