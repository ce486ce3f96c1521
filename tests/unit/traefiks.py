"""Traefik as recorded on the lab, and the article's site with other settings of it."""

from __future__ import annotations

from typing import Any

from fakes import Recordings, declared, live, parameters, recorded, recorded_json

from runbook.hosts.live import Live
from runbook.site import Site


def site(**settings: Any) -> Site:
    """Return the article's site with other settings of Traefik."""
    return declared("article", traefik=settings).site


ENGINE = {
    "GET /services": recorded_json("services"),
    "GET /networks": recorded_json("networks"),
    "GET /nodes": recorded_json("nodes"),
    "GET /tasks": recorded_json("tasks"),
}


def lab(recording: str = "traefik-docker01", **engine: Any) -> Live:
    """Return the lab's site with the recorded host and engine, or another answer of its."""
    answers = ENGINE | {f"GET /{name}": body for name, body in engine.items()}
    return live(parameters("lab"), Recordings({"docker01": recorded(recording)}), answers)
