"""Managers as recorded, and others' statements in their keepalived.conf."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from fakes import Recordings, declared, done, live, recorded

from runbook.site import Site
from runbook.steps import keepalived
from runbook.steps.keepalived import CONFIGURATION

# article.md, /etc/keepalived/keepalived.conf of docker01, without the comment on its priority.
PUBLISHED = """\
vrrp_instance VI_1 {
    interface enp0s3
    priority 3
    virtual_router_id 51
    virtual_ipaddress {
        10.0.0.2
    }
}
"""
MANAGERS = ("docker01", "docker02", "docker03")
CHECKED = {"health_check": {"interval": 1, "fall": 2, "rise": 3}}


def site(**settings: Any) -> Site:
    """Return the article's site with other settings of keepalived."""
    return declared("article", keepalived=settings).site


def seen(*absent: str, **texts: Mapping[str, str]) -> Recordings:
    """Return the recorded managers, some as they were before, some with other texts."""
    return Recordings(
        {
            host: {
                **recorded(f"keepalived-{host}"),
                **(recorded("keepalived-absent") if host in absent else {}),
                "interface": recorded(f"keepalived-{host}")["interface"],
                "judged": "accepted\n",
                **texts.get(host, {}),
            }
            for host in MANAGERS
        }
    )


def as_file(content: str) -> dict[str, str]:
    """Return what the probes print of a configuration with this content that is accepted."""
    lines = enumerate(content.split("\n"), start=1)
    return {
        "file": f"0644 root:root\n{base64.b64encode(content.encode()).decode()}",
        "read": "".join(f"{CONFIGURATION}\t{n}\t{line}\n" for n, line in lines) + "read\n",
        "judged": "accepted\n",
    }


def planned(answer: Recordings, **settings: Any) -> list[tuple[int, str, str, str]]:
    """Return what is planned for the article's site, seen so, with other settings."""
    here = live(declared("article", **settings), answer)
    return done(keepalived.plan(here.site_file, keepalived.observe(here)))


def instance(name: str = "VI_2", vrid: int = 60, vip: str = "10.0.0.60") -> str:
    """Return somebody else's instance."""
    return PUBLISHED.replace("VI_1", name).replace(" 51", f" {vrid}").replace("10.0.0.2", vip)


def with_globals(*lines: str) -> str:
    """Return global definitions."""
    return "global_defs {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"
