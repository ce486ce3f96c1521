"""Cells that let a secret out, in every way there is."""

from __future__ import annotations

import secrets

LEARN = """
import sys
from contextlib import contextmanager
from threading import Event

from runbook.events import *
from runbook.masking.secret import KNOWN, Secret

KNOWN.listen(tell_secret)
value = Secret("edge.auth", "env:EDGE_AUTH").reveal()
half = len(value) // 2

@contextmanager
def caught(stream):
    # A thread of ipykernel's brings what is written to the stream itself, after the cell perhaps.
    whole, write = Event(), stream.write

    def catch(text):
        write(text)
        if "\\n" in text:
            whole.set()

    stream.write = catch
    yield
    if hasattr(stream, "watch_fd_thread"):  # not below pytest
        assert whole.wait(60)
    stream.write = write
"""
CHANNELS = {
    "stdout": "print(value)",
    "stderr": "import sys; print(value, file=sys.stderr)",
    "two flushes": (
        "import sys\n"
        "print(value[:half], end='', flush=True)\n"
        "print('between', file=sys.stderr, flush=True)\n"
        "print(value[half:], flush=True)"
    ),
    "repr": "value",
    "repr of a mapping": "{'setting': [value], value: 1}",
    "html": "import html\nfrom IPython.display import HTML\nHTML(f'<b>{html.escape(value)}</b>')",
    "json": "from IPython.display import JSON, display\ndisplay(JSON({'deep': [value]}))",
    "logging": "import logging\nlogging.getLogger('own').warning('with %s', value)",
    "subprocess": (
        "import subprocess\nwith caught(sys.stdout):\n    "
        "subprocess.run(['echo', value], check=True)"
    ),
    "standard output itself": (
        "import os\nwith caught(sys.stdout):\n    os.write(1, (value + '\\n').encode())"
    ),
    "standard error itself": (
        "import os\nwith caught(sys.stderr):\n    os.write(2, (value + '\\n').encode())"
    ),
    "two writes": (
        "with caught(sys.stdout):\n    "
        "os.write(1, value[:half].encode())\n    "
        "os.write(1, value[half:].encode() + b'\\n')"
    ),
    "colours": "print(value[:half] + '\\x1b[31m' + value[half:] + '\\x1b[0m')",
    "base64": "import base64\nprint(base64.b64encode(f'user:{value}'.encode()).decode())",
    "url": "from urllib.parse import quote\nprint('https://x/?a=' + quote(value, safe=''))",
    "text of json": "import json\nprint(json.dumps(json.dumps({'a': value})))",
    "bytes": "value.encode()",
    "clean-up": "import atexit\natexit.register(os.write, 2, (value + '\\n').encode())",
}
"""Ways out, by what they are; each is a cell. What they show has the mask in it."""

TOLD = {
    "progress": "emit(STEP, Message('docker01', 'with ' + value))",
    "check": "emit(STEP, Check('c', 'h', value, value))",
    "outcome": (
        "emit(STEP, ChangeEnded('docker01', 'file', 'update', outcome='done', duration_ms=1,"
        " message=value))"
    ),
    "state": (
        "emit(STEP, Observed('before', {'docker01': {'file': {'text': value}}}))\n"
        "emit(STEP, Observed('after', {'docker01': {value: {'text': value}}}))"
    ),
    "plan": (
        "part = Part('0' * 64, {}, {'docker01': {'/etc/f': value}}, ())\n"
        "change = PlannedChange('docker01', 'file', 'update', before='', after=value + '\\n',"
        " diff='+' + value, summary='update file', undo='restore')\n"
        "emit(STEP, Planned('0' * 64, (change,), part))"
    ),
    "error": "emit(STEP, Failure(None, 'X', 1, value))",
    "not masked in the kernel": (
        "from IPython.display import display\n"
        "event = {'event': 'progress', 'step': STEP, 'host': None, 'message': value}\n"
        "display({'application/vnd.runbook.event+json': event}, raw=True)"
    ),
}
"""Events that hold the value; each is a cell, and what it tells is in the journal."""

TRANSCRIPT = """
import os
from datetime import UTC, datetime
from pathlib import Path

from runbook.hosts.ssh.command import Result
from runbook.hosts.transcript import Transcript

transcript = Transcript(Path(os.environ["RUNBOOK_RECORD"]) / "transcript.jsonl")
argv = ("curl", "-u", "user:" + value)
transcript.add(Result("docker01", argv, False, 1, value, "denied: " + value, datetime.now(UTC), 1))
"""
WIDGET = "import ipywidgets\nipywidgets.Password(value=value)"
RAISE = "def fail(argument):\n    raise ValueError(argument)\n\nfail(value)"
BLOCK = "import time\n(Path(site).parent / 'waits').touch()\ntime.sleep(60)"

VALUES = {
    "plain": "correct-horse-" + secrets.token_hex(6),
    "awkward": "Tr0ub4dor&3 'x' \"y\" \\ ü$ " + secrets.token_hex(4),
}
