"""Deploying a stack: whose credentials a real shell hands to Docker."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Answer, Command, FakeFleet, live, parameters, silent

from runbook.resources.stack import Stack, StackFacts
from runbook.steps.traefik import parsed, recipe

COMPOSE = parsed(recipe(parameters("lab").site))
STACK = Stack("docker01", "traefik", "~/traefik/traefik.yml", COMPOSE, "lab")


class TestMake:
    """The deployment."""

    @staticmethod
    def made(stack: Stack, answer: Answer = silent) -> tuple[FakeFleet, dict[str, Any]]:
        """Return what was run for a deployment, and what came on standard input."""
        fleet = FakeFleet(answer)
        (change,) = stack.plan(StackFacts(None, {}, None, ()))
        change.make(live(parameters("lab"), fleet))
        return fleet, json.loads(fleet.commands[-1].stdin)

    @pytest.mark.parametrize(
        ("image", "login", "handed"),
        [
            ("registry.example:5000/traefik:v3.7.9", "registry.example:5000", True),
            ("registry.example:5000/traefik:v3.7.9", "https://index.docker.io/v1/", False),
            ("traefik:v3.7.9", "https://index.docker.io/v1/", True),
            ("docker.io/own/traefik:v3.7.9", "https://index.docker.io/v1/", True),
            ("own/traefik:v3.7.9", "own", False),
            ("registry.example/traefik:v3.7.9", "", False),
        ],
    )
    def test_credentials(self, tmp_path: Path, image: str, login: str, handed: bool) -> None:
        """The nodes get those for the image's registry; empty ones would replace what is there."""
        if login:
            (tmp_path / ".docker").mkdir()
            content = json.dumps({"auths": {login: {}}, "credsStore": "pass"})
            (tmp_path / ".docker/config.json").write_text(content)

        def answer(command: Command) -> Any:
            home = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
            asked = ["true"] if "docker" in command.argv else command.argv
            return subprocess.run(asked, env=home, capture_output=True, text=True, check=False)

        compose = {**STACK.compose, "services": {"traefik": {"image": image}}}
        fleet, _ = self.made(replace(STACK, compose=compose), answer)

        assert ("--with-registry-auth" in fleet.commands[-1].argv) is handed
