"""A lab that is up, the command line as an operator types it, and the state a test starts from.

A test takes ``bare`` (as after ``lab reset``) or ``edge`` (as after a run). Which of the two it
leaves behind is known by its marker, so that the next test need not make it again; after a failure
nothing is known.

The lab is a varied one, but for the article's own values and labs of a test's own. Where pytest has
several processes each of them has a varied lab of its own; they differ in their addresses only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from witnesses import must

from runbook.errors import RunbookError
from runbook.hosts.fleet import Fleet
from runbook.lab import VARIED_LAB, Lab, LabError, Topology
from runbook.notebook import walk
from runbook.steps import STEPS

TOP = Path(__file__).parents[2]
NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
OWN_LAB = VARIED_LAB
OWN_SITE = "parameters/varied.yml"
if NUMBER:
    OWN_LAB = replace(
        VARIED_LAB,
        name=f"varied{NUMBER + 1}",
        lan=f"10.77.{16 * NUMBER}.0/24",
        net=f"203.0.113.{16 + 32 * NUMBER}/28",
    )
    OWN_SITE = f".lab/{OWN_LAB.name}.yml"
LABS = {"lab": Topology(), "varied": OWN_LAB}
SITES = {"lab": "parameters/lab.yml", "varied": OWN_SITE}
# Those that do not run on a varied lab.
OTHER_LABS = {"test_run": "lab", "test_lab": "small", "test_other_site": "other"}
PROGRAMS = Path(sys.executable).parent
RUN_TIMEOUT_S = 240
WAIT_S = 120
PASSED = pytest.StashKey[bool]()
Break = Callable[[str, str, str], None]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaves(state): the lab's state after the test has passed")


def pytest_xdist_auto_num_workers() -> int:
    """Have three processes, as each of them mostly waits for its lab."""
    return 3


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let no lab be used by two processes, and keep to the order below."""
    from xdist.scheduler import LoadScopeScheduling

    class ByLab(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(Path(nodeid.partition("::")[0])) or nodeid

    config.option.loadscopereorder = False
    return ByLab(config, log)


def lab_of(path: Path) -> str:
    """Return the name of the lab that the tests of a file run on."""
    return "lab" if path.parent.name == "browser" else OTHER_LABS.get(path.stem, "varied")


def site_of(path: Path) -> str:
    """Return the site of the tests of a file, unless they name another one."""
    return SITES.get(lab_of(path), SITES["lab"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what needs the same state of a varied lab follow one another: an edge takes long.

    What boots a lab of its own comes first, and what needs none last, to fill the gaps.
    """
    items.sort(key=_stage)


def _group(path: Path) -> str:
    """Return of what the tests of a file are a part that must not be torn; empty: of nothing."""
    if path.parent.name not in ("lab", "browser"):
        return path.stem if "process" in path.parts else ""
    lab = lab_of(path)
    shares_a_story = path.stem == "test_varied"
    return lab if lab != "varied" or shares_a_story else ""


def _stage(item: pytest.Item) -> int:
    assert isinstance(item, pytest.Function)
    if item.path.parent.name not in ("lab", "browser"):
        return 4
    if lab_of(item.path) != "varied":
        return 0
    marker = item.get_closest_marker("leaves")
    if "edge" not in item.fixturenames:
        return 1
    return 2 if marker is None or marker.args[0] == "edge" else 3


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@dataclass(frozen=True, slots=True)
class Done:
    """What a command of the operator's came to."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Both outputs, with the line breaks of the terminal's width taken out."""
        return " ".join((self.stdout + self.stderr).split())

    @property
    def results(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        results: dict[str, Any] = json.loads(self.stdout)
        return results

    def step(self, name: str) -> dict[str, Any]:
        """Return the results of one step."""
        return next(step for step in self.results["steps"] if step["step"] == name)

    @property
    def changes(self) -> list[dict[str, Any]]:
        """Every planned change of every step."""
        return [change for step in self.results["steps"] for change in step["changes"]]


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone at the top of the checkout, with a site and a folder for records."""

    records: Path
    site: str

    def start(
        self, *arguments: str | Path, site: str | Path | None = None
    ) -> subprocess.Popen[str]:
        """Start ``runbook``; its first argument is the command, the site and records follow it."""
        command, *options = map(str, arguments)
        return started("runbook", command, site or self.site, "--records", self.records, *options)

    def __call__(self, *arguments: str | Path, site: str | Path | None = None) -> Done:
        """Run ``runbook`` to its end."""
        return finished(self.start(*arguments, site=site))

    def plan(self, step: str, site: str | Path | None = None) -> Done:
        """Plan one step as its notebook does, in this process, which is that much faster.

        The status is that of ``run --plan --only STEP``; the text has every diff.
        """
        return self._walk(step, site, "plan")

    def apply(self, step: str, site: str | Path | None = None) -> Done:
        """Apply and verify one step as its notebook does, in this process.

        The status is that of ``run --only STEP``, but for a refusal after the first change.
        """
        return self._walk(step, site, "apply")

    def _walk(self, step: str, site: str | Path | None, mode: str) -> Done:
        walk._fleet.cache_clear()  # a login of its own, for what a test has changed there
        fleet: Fleet | None = None
        try:
            walked = walk.open_step(step, str(TOP / (site or self.site)), mode)
            fleet = walked.live.fleet
            walked.observe()
            walked.plan()
            walked.apply()
            walked.verify()
        except RunbookError as error:
            return Done(error.exit_code, "", f"{type(error).__name__}: {error}")
        finally:
            if fleet is not None:
                fleet.close()
        changes = [change.as_dict() for change in walked._shown_plan().changes]
        told = "\n".join(f"{c['host']}: {c['summary']}\n{c['diff']}" for c in changes)
        results = {"steps": [{"step": step, "changes": changes}]}
        text = f"{len(changes)} changes planned\n{told}"
        return Done(4 if changes and mode == "plan" else 0, json.dumps(results), text)

    def archive(self, *words: str | Path) -> Done:
        """Run a command that works on records, such as ``records verify``, on the own ones."""
        return finished(started("runbook", *words, "--archive", self.records))


def started(program: str, *words: str | Path) -> subprocess.Popen[str]:
    """Start a program of the environment at the top of the checkout."""
    return subprocess.Popen(
        [PROGRAMS / program, *map(str, words)],
        cwd=TOP,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str], timeout_s: float = RUN_TIMEOUT_S) -> Done:
    """Wait for a program; nothing that an operator can cause may end in a traceback."""
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert "Traceback" not in stdout + stderr
    return Done(process.returncode, stdout, stderr)


def entries(operator: Operator) -> list[dict[str, Any]]:
    """Return the journal of the run that is under way, as far as it came."""
    found = sorted(operator.records.glob(".spool-*/journal.jsonl"))
    lines = found[-1].read_text().split("\n")[:-1] if found else []
    return [json.loads(line) for line in lines]


def until(
    operator: Operator,
    process: subprocess.Popen[str],
    reached: Callable[[dict[str, Any]], bool],
) -> None:
    """Return as soon as the run's journal has such an entry.

    Raises:
        AssertionError: The run ended before, or took too long.
    """
    end = time.monotonic() + WAIT_S
    while not any(reached(entry) for entry in entries(operator)):
        assert process.poll() is None, finished(process).text
        assert time.monotonic() < end
        time.sleep(0.02)


@dataclass
class State:
    """What is known of the lab between two tests: bare, edge or unknown."""

    known: str = "unknown"


@dataclass
class SiteWriter:
    """Writes site files; what they do not say is the lab's."""

    folder: Path
    site: str
    written: int = field(default=0)

    def __call__(self, settings: dict[str, Any], *, extends: bool = True) -> Path:
        """Write settings, nested as in the file, and return the file."""
        self.written += 1
        path = self.folder / f"site{self.written}.yml"
        base = {"extends": str(TOP / self.site)} if extends else {}
        path.write_text(json.dumps(base | settings))  # YAML 1.2 holds JSON
        return path


@dataclass
class Labs:
    """The labs of the checkout, each brought up when it is first asked for."""

    well: dict[str, Lab] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=lambda: {name: State() for name in SITES})

    def __call__(self, name: str) -> Lab:
        """Return a lab that is up and well."""
        if name not in self.well:
            self.well[name] = Lab.declare(LABS.get(name, Topology(name)), TOP)
            heal(self.well[name])
            if name == "varied" and NUMBER:
                write_own_site()
        return self.well[name]


def write_own_site() -> None:
    """Write the site of this process's varied lab: the first one's, at other addresses."""
    text = (TOP / "parameters/varied.yml").read_text()
    for first, own in (
        ("extends: ", "extends: ../parameters/"),
        ("name: varied", f"name: {OWN_LAB.name}"),
        ("../.lab/varied/", f"{OWN_LAB.name}/"),
        (VARIED_LAB.lan_address(0).removesuffix("0"), OWN_LAB.lan_address(0).removesuffix("0")),
        (VARIED_LAB.client.address, OWN_LAB.client.address),
    ):
        assert first in text
        text = text.replace(first, own)
    (TOP / OWN_SITE).write_text(text)


@pytest.fixture(scope="session")
def labs() -> Labs:
    """The labs of the checkout."""
    return Labs()


@pytest.fixture
def lab(request: pytest.FixtureRequest, labs: Labs) -> Lab:
    """The test's lab, up and well."""
    return labs(lab_of(request.path))


@pytest.fixture
def state(request: pytest.FixtureRequest, labs: Labs) -> State:
    """What is known of the test's lab."""
    return labs.states[lab_of(request.path)]


@pytest.fixture
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> Operator:
    """The operator."""
    return Operator(tmp_path / "records", site_of(request.path))


@pytest.fixture
def write_site(request: pytest.FixtureRequest, tmp_path: Path) -> SiteWriter:
    """Write a site file that extends the lab's."""
    return SiteWriter(tmp_path, site_of(request.path))


@pytest.fixture
def bare(request: pytest.FixtureRequest, lab: Lab, state: State) -> Iterator[Lab]:
    """The lab as it is before any run."""
    if state.known != "bare":
        make_bare(lab, state)
    state.known = "unknown"
    yield lab
    _remember(request, state, otherwise="unknown")


@pytest.fixture
def edge(
    request: pytest.FixtureRequest, lab: Lab, operator: Operator, state: State
) -> Iterator[Lab]:
    """The lab after a run."""
    if state.known != "edge":
        make_edge(lab, operator, state)
    state.known = "unknown"
    yield lab
    _remember(request, state, otherwise="edge")


def make_bare(lab: Lab, state: State) -> None:
    """Take the lab back to where no run has been."""
    state.known = "unknown"
    try:
        lab.reset()
    except LabError:  # what a test has stopped must run for it
        heal(lab)
        lab.reset()
    state.known = "bare"


def heal(lab: Lab) -> None:
    """Have everything run again, whatever a test has stopped or shut out."""
    try:
        lab.up()
    except LabError:  # such as a firewall that lets nobody in, which only a reset takes back
        lab.reset()


def make_edge(lab: Lab, operator: Operator, state: State) -> None:
    """Bring the lab to the declared site, as a run does."""
    if state.known != "bare":
        make_bare(lab, state)
    for step in STEPS:
        if step.manages:
            done = operator.apply(step.name)
            assert done.status == 0, done.text
    state.known = "edge"


def _remember(request: pytest.FixtureRequest, state: State, *, otherwise: str) -> None:
    marker = request.node.get_closest_marker("leaves")
    left = marker.args[0] if marker else otherwise
    state.known = left if request.node.stash.get(PASSED, False) else "unknown"


@pytest.fixture
def broken(lab: Lab) -> Iterator[Break]:
    """Break something on a node, and mend it after the test: ``broken(node, how, mend)``."""
    to_mend: list[tuple[str, str]] = []

    def breaks(node: str, how: str, mend: str) -> None:
        to_mend.append((node, mend))
        must(lab, node, how)

    yield breaks
    for node, mend in reversed(to_mend):
        must(lab, node, mend)
