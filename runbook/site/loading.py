"""A site file, with those it extends, as one validated site whose every value has an origin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from runbook.masking.secret import Secret
from runbook.site.model import Site
from runbook.site.problems import Problem, SiteInvalid
from runbook.site.reading import Node, Scalar, Step, read, setting_name
from runbook.site.rules import ADVISED, REQUIRED
from runbook.site.sentences import problem_at, problems_of
from runbook.site.shape import salvage
from runbook.site.values import SECRETS

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective value.

    Attributes:
        name: Full name, such as ``keepalived.vip``.
        value: The value; ``None`` for one that is absent and for an empty list or mapping.
        origin: ``file:line`` where it is declared, or ``default``.

    """

    name: str
    value: Scalar
    origin: str


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A valid site and where it comes from.

    Attributes:
        path: The file that was asked for.
        site: What it declares.
        settings: Every effective value with its origin, in the order of the models.
        warnings: What is valid but had better be otherwise.
        ssh_config_path: ``ssh.config`` seen from the file that declares it; ``None`` when absent.
        key_path: ``records.key``, likewise.
        secrets: The secrets that it names, each by its setting; none is read.

    """

    path: Path
    site: Site
    settings: tuple[Setting, ...]
    warnings: tuple[Problem, ...]
    ssh_config_path: Path | None
    key_path: Path | None = None
    secrets: tuple[Secret, ...] = ()

    def secret(self, name: str) -> Secret | None:
        """Return the secret that a setting names, not yet read; ``None`` where it names none.

        Args:
            name: The setting, such as ``traefik.dashboard.users``.
        """
        return next((secret for secret in self.secrets if secret.name == name), None)


def load(path: str | Path) -> SiteFile:
    """Return the site that a file declares, validated whole.

    Args:
        path: A parameters file; the files it extends are relative to it.

    Raises:
        SiteInvalid: Something is wrong; carries every problem of every file concerned.

    """
    path = Path(path)
    tree, files, problems = _layered(path)
    plain = tree.plain()
    site: Any
    try:
        site = Site.model_validate(plain)
        problems += _findings(site, tree)
    except ValidationError as error:
        told = {(p.file, p.line, p.column, p.setting) for p in problems}
        found = (*problems_of(error, tree), *_findings_of_part(salvage(plain), tree))
        problems += [p for p in found if (p.file, p.line, p.column, p.setting) not in told]
    if problems:
        raise SiteInvalid(str(path), _in_order(problems, files))
    warnings = [problem_at(tree, *finding) for rule in ADVISED for finding in rule(site)]
    return SiteFile(
        path=path,
        site=site,
        settings=tuple(_settings(site, tree, ())),
        warnings=_in_order(warnings, files),
        ssh_config_path=_seen_from_here(tree.find(("ssh", "config"))),
        key_path=_seen_from_here(tree.find(("records", "key"))),
        secrets=tuple(_secrets(tree)),
    )


def _layered(path: Path) -> tuple[Node, tuple[str, ...], list[Problem]]:
    """Return the merged tree, the files it is from (nearest first), and how they are written."""
    problems: list[Problem] = []
    layers: list[Node] = []
    try:
        for tree, found in _layers(path):
            problems += found
            layers.append(tree)
    except SiteInvalid as error:
        raise SiteInvalid(str(path), (*problems, *error.problems)) from error
    merged = layers[-1]
    for layer in reversed(layers[:-1]):
        merged = _merged(merged, layer)
    return merged, tuple(layer.at.file for layer in layers), problems


def _layers(path: Path) -> Iterator[tuple[Node, tuple[Problem, ...]]]:
    """Yield the tree of a file, then that of the file it extends, and so on."""
    seen: list[Path] = []
    following: Path | None = path
    while following:
        tree, problems = read(following)
        seen.append(following.resolve())
        extends = tree.child("extends")
        yield tree.without("extends"), problems
        following = _extended(extends, seen) if extends else None


def _extended(extends: Node, seen: list[Path]) -> Path:
    at, path = extends.at, _seen_from_here(extends)
    if not extends.value or path is None:
        message = "must be the name of a file, relative to this one"
    elif not os.path.exists(path):  # of a name that no file can have, pathlib's own would raise
        message = f"there is no file {path} that can be read"
    elif path.resolve() in seen:
        message = f"{path} leads back to this file; a circle has no end"
    else:
        return path
    raise SiteInvalid(at.file, (Problem(at.file, at.line, at.column, "extends", message),))


def _merged(base: Node, top: Node) -> Node:
    """Return ``base`` with what ``top`` says instead: mappings are merged, all else is replaced."""
    if not isinstance(base.value, dict) or not isinstance(top.value, dict):
        return top
    entries = dict(base.value)
    for name, node in top.value.items():
        entries[name] = _merged(entries[name], node) if name in entries else node
    return Node(entries, top.at, top.name_at)


def _findings(site: Site, tree: Node) -> list[Problem]:
    return [problem_at(tree, *finding) for rule in REQUIRED for finding in rule(site)]


def _findings_of_part(part: Any, tree: Node) -> Iterator[Problem]:
    """Yield what the rules say of the sound parts; a rule stops where it needs another part."""
    for rule in REQUIRED:
        with suppress(AttributeError):
            for finding in rule(part):
                yield problem_at(tree, *finding)


def _in_order(problems: list[Problem], files: tuple[str, ...]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda p: (files.index(p.file), p.line, p.column)))


def _settings(value: Any, tree: Node, path: tuple[Step, ...]) -> Iterator[Setting]:
    entries: Any = ()
    if isinstance(value, BaseModel):
        entries = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, tuple):
        entries = enumerate(value)
    else:
        yield _setting(value, tree, path)
        return
    if value in ({}, ()):
        yield _setting(None, tree, path)
    for step, item in entries:
        yield from _settings(item, tree, (*path, step))


def _setting(value: Any, tree: Node, path: tuple[Step, ...]) -> Setting:
    node = tree.find(path)
    shown = value if value is None or isinstance(value, str | int | float) else str(value)
    return Setting(setting_name(path), shown, str(node.name_at) if node else DEFAULT)


def _seen_from_here(node: Node | None) -> Path | None:
    """Return a path that a file declares, as seen from where the file was named."""
    if node is None or not isinstance(node.value, str):
        return None
    # pathlib's own raises for a user that there is not; this leaves the name as it is.
    return Path(os.path.normpath(Path(node.at.file).parent / os.path.expanduser(node.value)))


def _secrets(tree: Node) -> Iterator[Secret]:
    for setting in SECRETS:
        node = tree.find(setting)
        if node is not None and isinstance(node.value, str):
            yield Secret(setting_name(setting), node.value, folder=Path(node.at.file).parent)
