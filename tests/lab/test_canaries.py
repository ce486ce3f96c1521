"""A secret of the site, said aloud in every way a notebook has, and looked for in what is left."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TOP, Done, Operator, SiteWriter, finished, until
from witnesses import must

from runbook.lab import Lab
from runbook.masking.redact import strip_ansi
from runbook.masking.variants import variants

VARIABLE = "CANARY_USERS"
LEARN = """\
import base64, html, json, logging, os, subprocess, sys, time, urllib.parse, warnings
from IPython.display import HTML, JSON, Markdown, display
import ipywidgets
from runbook.events import Message, emit
from runbook.site import load

password = load(site).secret("traefik.dashboard.users").reveal()
"""
LEAK = """\
print("stdout", password)
print("stderr", password, file=sys.stderr)
for part in (password[:9], password[9:]):
    print(part, end="", flush=True)
    print("between", file=sys.stderr, flush=True)
print(f"\\x1b[31m{password[:5]}\\x1b[1m{password[5:]}\\x1b[0m")
print(repr(password), {"a": password}, password.encode(), password[::-1])
print(json.dumps(json.dumps(password)), urllib.parse.quote(password), password.encode().hex())
print(base64.b64encode(f"bob:{password}".encode()).decode())
subprocess.run(["sh", "-c", "printf '%s\\\\n' \\"$1\\"; set -x; : \\"$1\\"", "sh", password])
os.write(1, password.encode()); os.write(2, password.encode())
logging.warning("logged %s", password)
warnings.warn(password)
display(HTML(f"<p>{html.escape(password)}</p>"), Markdown(password), JSON({password: [password]}))
display(ipywidgets.Text(value=password), ipywidgets.Password(value=password))
emit("traefik", Message("docker01", f"told {password}"))
step.live.fleet["docker01"].run(["sh", "-c", "echo $1 >&2", "sh", password])
{"result": password}
"""
FAIL = 'raise ValueError("login with " + password)'
STAY = "time.sleep(600)  # until the runner is killed"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run may leave something: records, temporary files and the operator's home."""

    operator: Operator
    folders: tuple[Path, ...]
    forms: frozenset[str]

    def hits(self) -> set[str]:
        """Return the files that hold any form of the secret now."""
        return {str(path) for path in self._files() if self.told(_read(path))}

    def _files(self) -> Iterator[Path]:
        for folder in self.folders:
            for below, _, names in os.walk(folder):  # unlike Path.rglob, it may lose a folder
                yield from (Path(below, name) for name in names)

    def told(self, text: str) -> bool:
        """Return whether a text holds any form of the secret."""
        plain = strip_ansi(text)
        return any(form in text or form in plain for form in self.forms)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else ""
    except FileNotFoundError:  # replaced or removed meanwhile
        return ""


def _masks(path: Path) -> bool:
    return "[masked:traefik.dashboard.users]" in _read(path)


@pytest.fixture
def place(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A secret in the environment, and folders that are only this test's."""
    digest = base64.b64encode(secrets.token_bytes(20)).decode()
    value = f"canary:{{SHA}}{digest}"  # a line of htpasswd(1)
    temporary = Path(tempfile.mkdtemp())  # pytest's own is too long a path for a socket
    home = tmp_path / "home"
    home.mkdir()
    for name, setting in ((VARIABLE, value), ("TMPDIR", temporary), ("HOME", home)):
        monkeypatch.setenv(name, str(setting))
    yield Place(operator, (operator.records, temporary, home), variants(value))
    shutil.rmtree(temporary)


@pytest.fixture
def site(write_site: SiteWriter) -> Path:
    """The lab, with a dashboard behind a password that is known by reference."""
    dashboard = {"insecure": False, "port": None, "host": "traefik.test"}
    users = {"users_secret": "canary_users", "users": f"env:{VARIABLE}"}
    return write_site(
        {
            "traefik": {"dashboard": dashboard | users},
            "shorewall": {"forward": [{"port": 80}]},
            "accepted_risks": [
                {"risk": "plain-http-password", "reason": "it is a canary, and nobody's password"}
            ],
        }
    )


def notebooks(folder: Path, *cells: str) -> Path:
    """Return the notebooks, of which Traefik's says the secret aloud once it has observed."""
    shutil.copytree(TOP / "notebooks", folder)
    path = folder / "20_traefik.ipynb"
    notebook = json.loads(path.read_text())
    at = next(n for n, cell in enumerate(notebook["cells"]) if cell["id"] == "observe") + 1
    parts = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    notebook["cells"][at:at] = [
        {**parts, "id": f"leak-{n}", "source": source} for n, source in enumerate(cells)
    ]
    path.write_text(json.dumps(notebook))
    return folder


def watched(place: Place, process: subprocess.Popen[str]) -> Done:
    """Wait for a run, whose secret no file held at any time while it was going on."""
    found: set[str] = set()

    def look() -> None:
        while process.poll() is None:
            found.update(place.hits())

    watcher = threading.Thread(target=look)
    watcher.start()
    done = finished(process)
    watcher.join()
    assert not place.told(done.stdout + done.stderr)
    assert "[masked:traefik.dashboard.users]" in done.stdout + done.stderr
    assert found | place.hits() == set()
    return done


@pytest.mark.leaves("unknown")
def test_whole_run(bare: Lab, place: Place, site: Path, tmp_path: Path) -> None:
    """The secret reaches the Swarm, and no file, log, page or terminal, at any moment."""
    folder = notebooks(tmp_path / "notebooks", LEARN, LEAK)
    junit = place.operator.records.parent / "junit.xml"
    options = ("--notebooks", folder, "--junit", junit)
    process = place.operator.start("run", *options, site=site)
    done = watched(place, process)
    assert done.status == 0, done.text
    assert not place.told(junit.read_text())
    (record,) = place.operator.records.glob("2*")
    masked = {re.sub("kernel-.", "kernel", path.name) for path in record.iterdir() if _masks(path)}
    told = {"20_traefik.ipynb", "journal.jsonl", "kernel.log", "report.html", "transcript.jsonl"}
    assert told <= masked
    secret = must(bare, "docker01", "docker secret ls --format '{{.Name}}'").split()
    assert secret == ["canary_users"]


@pytest.mark.leaves("unknown")
def test_error(bare: Lab, place: Place, site: Path, tmp_path: Path) -> None:
    """An exception that holds the secret shows it in no traceback and in no reason."""
    folder = notebooks(tmp_path / "notebooks", LEARN, FAIL)
    options = ("--notebooks", folder, "--plan", "--json")
    process = place.operator.start("run", *options, site=site)
    done = watched(place, process)
    assert done.status == 1, done.text
    (record,) = place.operator.records.glob("2*")
    reason = json.loads((record / "results.json").read_text())["reason"]
    assert reason == "traefik: ValueError: login with [masked:traefik.dashboard.users]"


@pytest.mark.leaves("unknown")
def test_killed(bare: Lab, place: Place, site: Path, tmp_path: Path) -> None:
    """A run that is killed right after it said the secret left it nowhere; nor does the next."""
    folder = notebooks(tmp_path / "notebooks", LEARN, LEAK, STAY)
    process = place.operator.start("run", "--notebooks", folder, "--plan", site=site)
    until(place.operator, process, lambda entry: entry.get("cell") == "leak-2")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert any("[masked:" in _read(path) for path in spools(place, "20_traefik.ipynb"))
    assert place.hits() == set()
    assert place.operator("run", "--plan", "--only", "keepalived", site=site).status == 4
    assert [path.name for path in place.operator.records.glob("2*-killed")]
    assert place.hits() == set()
    script = ["sh", place.operator.records / "verify.sh"]
    assert subprocess.run(script, capture_output=True, check=False).returncode == 0


def spools(place: Place, name: str) -> Iterator[Path]:
    """Yield the files of this name in runs under way."""
    yield from place.operator.records.glob(f".spool-*/{name}")
