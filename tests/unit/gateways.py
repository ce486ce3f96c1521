"""The gateway as recorded, some texts of which are others, and its comparison of rules."""

from __future__ import annotations

import base64
import re
from typing import Any

from fakes import Recordings, declared, live, parameters, recorded

from runbook.changes import Change
from runbook.steps import shorewall
from runbook.steps.shorewall import rule

# article.md, /etc/shorewall/rules: the two lines that the step adds.
PUBLISHED = ("DNAT net loc:10.0.0.2:80 tcp 80", "DNAT net loc:10.0.0.2:8080 tcp 8080")


def rules(**changes: Any) -> list[str]:
    """Return the rules of the article's site with some settings changed."""
    site = declared("article", **changes).site
    return [rule(site, forward) for forward in site.shorewall.forward]


def gateway(**texts: str) -> Recordings:
    """Return the recorded gateway with other texts."""
    return Recordings({"gateway": recorded("shorewall-gateway") | texts})


def as_file(content: str) -> str:
    """Return what the probe prints of a rules file with this content."""
    return f"0644 root:root\n{base64.b64encode(content.encode()).decode()}"


def compared(text: str = "", **parts: str) -> str:
    """Return a recorded comparison with some of its parts replaced."""
    found = re.split(r"^== (\w+)\n", text or recorded("shorewall-gateway")["compare"], flags=re.M)
    said = dict(zip(found[1::2], found[2::2], strict=True)) | parts
    return "".join(f"== {name}\n{part}" for name, part in said.items())


def part(text: str, name: str) -> str:
    """Return one part of a comparison."""
    return text.partition(f"== {name}\n")[2].partition("\n== ")[0] + "\n"


CONVERGED_TEXT = recorded("shorewall-gateway")["compare"]
ALIEN = "-A POSTROUTING -s 10.8.0.0/24 -o net0 -j MASQUERADE\n"
MASQUERADE = "-A POSTROUTING -s 10.0.0.0/24 -o net0 -j MASQUERADE\n"


def planned(answer: Recordings) -> list[Change]:
    """Return what is planned for the article's site."""
    here = live(parameters("article"), answer)
    return shorewall.plan(here.site_file, shorewall.observe(here))


def with_masquerade(text: str) -> str:
    """Return rules with a VPN's line at the end of POSTROUTING."""
    return text.replace(MASQUERADE, MASQUERADE + ALIEN)
