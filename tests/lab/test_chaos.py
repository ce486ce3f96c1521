"""The most dangerous of the cuts that `make chaos` draws from; see tests/chaos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chaos.experiment import Site, look
from chaos.states import FILE_DRIFTED, PACKAGE_REMOVED, RULES_DRIFTED, SERVICE_DRIFTED
from conftest import Operator, SiteWriter

from runbook.lab import Lab

RULES_SENT = "(?=.*mv -f)(?=.*/etc/shorewall/rules)"
KEEPALIVED_SENT = "(?=.*mv -f)(?=.*/etc/keepalived/keepalived.conf)"
# State, what is cut, when, by what.
CUTS = [
    (RULES_DRIFTED, RULES_SENT, "half input", "killed runner"),
    (RULES_DRIFTED, "--noflush && echo", "half input", "killed runner"),
    (FILE_DRIFTED, KEEPALIVED_SENT, "half input", "timeout"),
    (PACKAGE_REMOVED, "apt-get .*install", "running", "lost host"),
    (SERVICE_DRIFTED, "stack deploy -c", "after", "killed kernel"),
    (SERVICE_DRIFTED, "GET /v[0-9.]+/services", "running", "interrupt"),
]


@pytest.mark.leaves("edge")
def test_cuts(edge: Lab, operator: Operator, write_site: SiteWriter, tmp_path: Path) -> None:
    """Nothing foreign lost, nothing half-written, the status true, and the next run converges."""
    site = Site(edge, write_site({}), tmp_path, *look(edge))
    found = {}
    for state, pattern, moment, fault in CUTS:
        cut = {"pattern": pattern, "moment": moment, "fault": fault, "fraction": 0.4, "usual_s": 1}
        came = site.make(state, json.dumps(cut), fault)
        found[pattern, moment, fault] = came["violations"] if came["met"] else ["not met"]
    assert found == {cut[1:]: [] for cut in CUTS}
    check = operator("check", site=site.file)
    assert check.status == 0, check.text
