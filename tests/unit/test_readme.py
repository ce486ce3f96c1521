"""README and CONTRIBUTING name what there is: commands, statuses, targets, files, settings, steps.

Each ``…_faults`` says what a text names that is not so; the last class shows each kind of fault.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any, get_args

import pytest
import rehearsal
import typer
from fakes import TOP
from pydantic import BaseModel

from runbook import cli, errors
from runbook.cli.records import app as records_app
from runbook.cli.showing import VERDICTS
from runbook.records.journal.status import ExitStatus
from runbook.site.model import Site
from runbook.steps import STEPS

README = (TOP / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
FOLDERS = ".ci benchmarks docs notebooks parameters runbook scripts tests".split()  # noqa: SIM905
FILE = re.compile(
    r"[~/][\w./-]+|[\w.*/-]*(?:/|\.(?:py|yml|ipynb|jsonl?|html|sh|md|csv|zip|diff|png))"
)
MADE = {"parameters/mysite.yml", "out.ipynb", "population.csv", "audit.zip", "audit/verify.sh"}
MADE |= {"article.md", "~/.ssh/id_ed25519"}
"""What README's own commands write; the article, not ours to give away; and the operator's key."""
OTHERS = {"auth_pass"}
"""Names of other programs that look like those of our settings."""
OF_THE_SYSTEM = {"PATH", "SHELL"}
"""What any program of a POSIX system reads."""
OF_A_RUN = {"RUNBOOK_EVENTS"}
"""What a run sets for its own kernels, beside its RunContext."""


def codes(text: str) -> list[str]:
    """Return what stands between single backquotes."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def typed(text: str) -> list[list[str]]:
    """Return the commands of the consoles, word by word."""
    lines = re.findall(r"^ *\$ (.*)$", text, re.MULTILINE)
    return [shlex.split(command, comments=True) for line in lines for command in line.split(" && ")]


# Commands and options


@cache
def tree() -> Any:
    """Return the command line as a whole; the program itself imports what is asked for."""
    whole = typer.Typer()
    whole.registered_commands = list(cli.app.registered_commands)
    for name, module in cli.GROUPS.items():
        whole.add_typer(import_module(module).app, name=name)
    return typer.main.get_command(whole)


def leaves(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command under its full name."""
    command = command or tree()
    for name, below in command.commands.items():
        if hasattr(below, "commands"):
            yield from leaves(below, (*words, name))
        else:
            yield " ".join((*words, name)), below


def options(command: Any) -> set[str]:
    own = {name for each in command.params for name in each.opts if name.startswith("-")}
    return own | {"--help"}


def command_faults(text: str) -> Iterator[str]:
    """Yield the commands that would be refused, and the options that no command has."""
    known = dict(leaves())
    for words in (words[1:] for words in typed(text) if words[:1] == ["runbook"]):
        name = next((" ".join(words[:n]) for n in (1, 2) if " ".join(words[:n]) in known), None)
        if name is None:
            yield f"no command: {' '.join(words)}"
            continue
        try:  # parsed as if it was typed, and not run
            known[name].make_context(name, words[len(name.split()) :])
        except Exception as error:
            yield f"{' '.join(words)}: {error}"
    for code in codes(text):
        words = code.removeprefix("runbook ").split()
        if code.startswith("--") and words[0] not in set().union(*map(options, known.values())):
            yield f"no option: {code}"
        if not code.startswith("runbook ") and (len(words) < 2 or words[0] not in tree().commands):
            continue
        name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known), None)
        if name is None:
            yield f"no command: {code}"
        elif unknown := {word for word in words if word.startswith("--")} - options(known[name]):
            yield f"{code}: no option {unknown}"


def list_faults(text: str) -> Iterator[str]:
    """Yield what differs between the list of all commands and the commands there are."""
    _, _, section = text.partition("\n## Commands\n")
    listed = []
    for row in re.findall(r"^\| (`runbook .*?) \|", section.partition("\n## ")[0], re.MULTILINE):
        first, *others = codes(row)
        *before, _ = first.removeprefix("runbook ").split()
        listed += [first.removeprefix("runbook ")]
        listed += [" ".join((*before, other)) for other in others]
    there = [name for name, _ in leaves()]
    yield from (f"no command: {name}" for name in listed if name not in there)
    yield from (f"not in the list: {name}" for name in there if name not in listed)


# Exit statuses


def statuses(text: str, form: str) -> dict[int, str]:
    """Return what a text says of each status; ``form`` matches numbers, then what they mean."""
    rows = re.findall(form, text, re.MULTILINE)
    return {int(n): means for numbers, means in rows for n in re.findall(r"\d+", numbers)}


def status_faults(text: str) -> Iterator[str]:
    """Yield the statuses that are not said, that do not exist, or that mean something else."""
    said = statuses(text, r"^\| ([\d, ]+) \| (.*) \|$")
    yield from (f"{n} is no exit status" for n in said if n not in tuple(ExitStatus))
    yield from (f"{s.value} is not said" for s in ExitStatus if s not in said)
    yield from meaning_faults(said)
    told = re.search(r"0 as written, [^.]*", text)
    if told is None or told[0] not in str(records_app.info.epilog):
        yield "the statuses of records verify are not said as its help says them"


def meaning_faults(said: dict[int, str]) -> Iterator[str]:
    for status in ExitStatus:
        word = status.name.lower().replace("_", " ")
        # "refused" is also in "refuses"
        if status in said and word.removesuffix("d") not in said[status].lower():
            yield f"{status.value} means {word}, not: {said[status]}"


# Targets, files, settings, variables


def target_faults(text: str) -> Iterator[str]:
    """Yield the targets that the Makefile has not."""
    targets = re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(), re.MULTILINE)
    asked = [" ".join(words) for words in typed(text)] + codes(text)
    for found in (re.match(r"make ([a-z]+)", command) for command in asked):
        if found and found[1] not in targets:
            yield f"no target: {found[1]}"


@cache
def places() -> frozenset[str]:
    """Return every file and folder of the checkout, those it ignores, and those of a record."""
    below = [path for folder in FOLDERS for path in (TOP / folder).rglob("*")]
    own = (*below, *TOP.iterdir())
    names = {path.relative_to(TOP).as_posix() + "/" * path.is_dir() for path in own}
    ignored = [line.lstrip("/") for line in (TOP / ".gitignore").read_text().split()]
    with zipfile.ZipFile(rehearsal.RECORD) as archive:
        kept = archive.namelist()
    return frozenset({*names, *ignored, *kept, *(f"{name.rpartition('/')[0]}/" for name in kept)})


@cache
def sources() -> str:
    """Return the text of the package."""
    paths = [
        p for p in (TOP / "runbook").rglob("*") if p.is_file() and "__pycache__" not in p.parts
    ]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def exists(name: str) -> bool:
    """Return whether there is such a file or folder: here, in records, or on a host."""
    if name.startswith("/"):
        return name in sources()
    if name.startswith("~/"):  # the folder is the site's to name
        return name.rpartition("/")[0] in sources()
    if any(
        fnmatch(f"/{place}".removesuffix("/"), f"*/{name}".removesuffix("/")) for place in places()
    ):
        return True
    # What not every record has, and what is in a folder that is made.
    return f'"{name}"' in sources() or name.startswith((".venv/", "records/"))


def file_faults(text: str) -> Iterator[str]:
    """Yield files and folders that are not there."""
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    words = [word for command in typed(text) for word in command if command[0] != "unzip"]
    for name in (*linked, *filter(FILE.fullmatch, codes(text) + words)):
        if name not in MADE and not exists(name):
            yield f"no file: {name}"


def settings(model: type[BaseModel] = Site, before: str = "") -> Iterator[str]:
    """Yield the name of every setting of a site."""
    for name, field in model.model_fields.items():
        yield before + name
        for part in models(field.annotation):
            yield from settings(part, f"{before}{name}.")


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def setting_faults(text: str) -> Iterator[str]:
    """Yield names that are neither settings nor fields or files of a record."""
    schemas = (TOP / "runbook/records/schemas").glob("*.json")
    fields = set(re.findall(r'"(\w+)"', "".join(path.read_text() for path in schemas)))
    known = {*settings(), *fields, *places(), *OTHERS}
    for name in codes(text):
        is_name = re.fullmatch(r"[a-z]+([._][a-z]+)+", name) and not FILE.fullmatch(name)
        if is_name and name not in known:
            yield f"no setting: {name}"


@cache
def variables() -> set[str]:
    """Return the environment variables that the package reads and nobody but a person sets."""
    found = set()
    for path in (TOP / "runbook").rglob("*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        named = {
            target.id: node.value.value
            for node in module.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(module):
            match node:
                case ast.Call(func=ast.Attribute(value=of, attr="get"), args=[name, *_]):
                    pass
                case ast.Subscript(value=of, slice=name):
                    pass
                case ast.keyword(arg="envvar", value=name):
                    of = None
                case _:
                    continue
            if of is None or ast.unparse(of) == "os.environ":
                value = named.get(name.id) if isinstance(name, ast.Name) else None
                found.add(name.value if isinstance(name, ast.Constant) else value)
    return found - {None} - OF_A_RUN - OF_THE_SYSTEM


def variable_faults(text: str) -> Iterator[str]:
    """Yield variables that nobody reads, and those that are read and not named."""
    said = {word for code in codes(text) for word in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", code)}
    said |= {word.split("=")[0] for command in typed(text) for word in command if "=" in word}
    yield from (f"nobody reads {name}" for name in said - variables())
    yield from (f"{name} is read, and not said" for name in variables() - said)


# Steps, notebooks and what a run prints


def step_faults(text: str) -> Iterator[str]:
    """Yield what is otherwise with the steps, their notebooks, and the rehearsal's results."""
    names = [step.name for step in STEPS]
    if re.findall(r"^\| ([a-z]+) \|", text, re.MULTILINE) != names:
        yield "the steps of the table are others"
    notebooks = sorted(f"notebooks/{path.name}" for path in (TOP / "notebooks").glob("*.ipynb"))
    if re.findall(r"\| `(notebooks/\S+)` \|", text) != notebooks:
        yield "the notebooks of the table are others"
    with zipfile.ZipFile(rehearsal.RECORD) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/results.json"))
        results = json.loads(archive.read(name))
    shown = re.findall(r"│ ([a-z]+) +│ +(\d+ of \d+) │ +(\d+ of \d+) │ +[\d.]+ │ (\w+) +│", text)
    if shown != [printed(step) for step in results["steps"]]:
        yield f"a run prints otherwise: {shown}"


def printed(step: dict[str, Any]) -> tuple[str, ...]:
    counts = step["counts"]
    made = f"{counts['done']} of {counts['changes']}"
    passed = f"{counts['checks_passed']} of {counts['checks_passed'] + counts['checks_failed']}"
    return step["step"], made, passed, step["status"]


def foreign_faults(text: str) -> Iterator[str]:
    """Yield parameters that a notebook has not, and an extra or an engine that is not declared."""
    declared = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    for words in (words for words in typed(text) if words[0] == "papermill"):
        cells = json.loads((TOP / words[1]).read_text())["cells"]
        (tagged,) = (cell for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
        has = re.findall(r"^(\w+):", "".join(tagged["source"]), re.MULTILINE)
        given = [name for option, name in pairwise(words) if option == "-p"]
        yield from (f"{words[1]} has no parameter {name}" for name in given if name not in has)
    for extra in re.findall(r"pip install '\.\[(\w+)\]'", text):
        if extra not in declared["optional-dependencies"]:
            yield f"no extra: {extra}"
    for engine in re.findall(r"`--engine (\w+)`", text):
        if engine not in declared["entry-points"]["papermill.engine"]:
            yield f"no engine: {engine}"


ANY_TEXT = (command_faults, target_faults, file_faults)
OF_README = (
    *ANY_TEXT,
    list_faults,
    status_faults,
    setting_faults,
    variable_faults,
    step_faults,
    foreign_faults,
)


class TestDocuments:
    """What they name is there."""

    @pytest.mark.parametrize("faults", OF_README)
    def test_readme(self, faults: Callable[[str], Iterator[str]]) -> None:
        """And what there is, README names: commands, exit statuses, variables."""
        assert list(faults(README)) == []

    @pytest.mark.parametrize("faults", ANY_TEXT)
    def test_contributing(self, faults: Callable[[str], Iterator[str]]) -> None:
        """Its targets, files and commands."""
        assert list(faults(CONTRIBUTING)) == []


class TestHelp:
    """What the program says of itself."""

    def test_exit_statuses(self) -> None:
        """The help and the command line's own docstring give every status its meaning."""
        short = statuses(str(cli.app.info.epilog), r"(\d+) ([^,.]+)")
        long = statuses(" ".join(str(cli.__doc__).split()), r"(\d+) (.+?)(?=[;,.] ?(?:\d|$))")

        assert set(short) == {0, 1, 2, 3, 4}
        assert set(long) == set(ExitStatus)
        assert [*meaning_faults(short), *meaning_faults(long)] == []

    def test_errors(self) -> None:
        """The tree of errors has each of them with its status."""
        drawn = re.findall(r"(\w+) +(\d)  ", str(errors.__doc__))
        kinds = [kind for kind in vars(errors).values() if hasattr(kind, "exit_code")]

        assert {(kind.__name__, str(kind.exit_code)) for kind in kinds} == set(drawn)

    def test_verify(self) -> None:
        """Its statuses mean what its verdicts say."""
        said = statuses(str(records_app.info.epilog), r"(\d) ([^,.]+)")

        assert len(said) == len(VERDICTS)
        assert all(said[n].removeprefix("as ") in VERDICTS[n] for n in said)

    @pytest.mark.parametrize(("name", "command"), list(leaves()))
    def test_options(self, name: str, command: Any) -> None:
        """An option that a command's help names is one of that command's."""
        texts = [str(command.help), *(str(getattr(each, "help", "")) for each in command.params)]
        told = {word for text in texts for word in re.findall(r"(?<!\S)--[a-z-]+", text)}

        assert told - {"--witness"} <= options(command), name  # verify.sh's, in witness


class TestFaults:
    """Each kind of fault is seen."""

    @pytest.mark.parametrize(
        ("faults", "old", "new", "told"),
        [
            (command_faults, "runbook lab status", "runbook lab state", "no command: lab state"),
            (command_faults, "check parameters/m", "check --all parameters/m", "--all"),
            (command_faults, "lab logs gateway", "lab logs", "node"),
            (command_faults, "runbook records open last", "runbook records look last", "look"),
            (command_faults, "`run --plan`", "`run --dry`", "--dry"),
            (command_faults, "`--only STEP`", "`--just STEP`", "--just"),
            (list_faults, "`reset`, ", "", "not in the list: lab reset"),
            (list_faults, "`reset`, ", "`reset`, `pause`, ", "no command: lab pause"),
            (status_faults, "| 4 |", "| 5 |", "5 is no exit status"),
            (status_faults, "| 4 |", "| 5 |", "4 is not said"),
            (status_faults, "bad input: nothing", "unreachable: nothing", "2 means bad input"),
            (status_faults, "0 as written, 1 altered", "0 as written, 2 altered", "verify"),
            (target_faults, "make test", "make tests", "no target: tests"),
            (file_faults, "`runbook/changes.py`", "`runbook/change.py`", "runbook/change.py"),
            (file_faults, "`statement.json`", "`statements.json`", "statements.json"),
            (file_faults, "(docs/rehearsal.png)", "(docs/run.png)", "docs/run.png"),
            (file_faults, "`/var/backups/runbook`", "`/var/lost/runbook`", "/var/lost/runbook"),
            (file_faults, "cp parameters/production.yml", "cp parameters/prod.yml", "prod.yml"),
            (setting_faults, "`records.require`", "`records.needs`", "records.needs"),
            (setting_faults, "`accepted_risks`", "`taken_risks`", "taken_risks"),
            (variable_faults, "RUNBOOK_KEY", "RUNBOOK_SSH_KEY", "nobody reads RUNBOOK_SSH_KEY"),
            (variable_faults, "DOCKER_HOST", "the engine", "DOCKER_HOST is read"),
            (step_faults, "| traefik |", "| proxy |", "steps"),
            (step_faults, "`notebooks/10_", "`notebooks/11_", "notebooks"),
            (step_faults, "12 of 12 │   4", "11 of 12 │   4", "prints otherwise"),
            (foreign_faults, "-p mode apply", "-p how apply", "no parameter how"),
            (foreign_faults, "'.[s3]'", "'.[aws]'", "no extra: aws"),
            (foreign_faults, "`--engine runbook`", "`--engine honest`", "no engine: honest"),
        ],
    )
    def test_is_told(
        self, faults: Callable[[str], Iterator[str]], old: str, new: str, told: str
    ) -> None:
        """A README that said otherwise would fail."""
        assert old in README
        assert told in " / ".join(faults(README.replace(old, new)))
