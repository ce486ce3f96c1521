"""A reload of the firewall that shuts the operator out takes itself back."""

from __future__ import annotations

import re
import time

import pytest
from conftest import Break, Operator
from witnesses import RELOAD, must, snapshot, touched

from runbook.lab import Lab
from runbook.steps.shorewall import ROLLBACK_S

RULES = "/etc/shorewall/rules"
SLACK_S = 20  # for the restore itself, on a busy machine


@pytest.mark.leaves("unknown")
def test_lock_out_is_taken_back(bare: Lab, operator: Operator, broken: Break) -> None:
    """New logins fail after the reload: the run says so, and the gateway goes back by itself."""
    # As if somebody had written it and not yet reloaded: the pending change brings it to life.
    mend = f"sed -i '/^DROP net fw tcp 22$/d' {RULES}; {RELOAD}"
    broken("gateway", f"sed -i '/^?SECTION NEW/a DROP net fw tcp 22' {RULES}", mend)
    before, ours = snapshot(bare), f"-j DNAT --to-destination {bare.topology.vip}:"
    done = operator("run", "--only", "shorewall")
    failed = time.monotonic()
    assert done.status == 1, done.text
    assert re.search(r"gateway.* no new SSH connection came through", done.text), done.text
    assert f"wait {ROLLBACK_S} s" in done.text
    while (back := snapshot(bare))["gateway units runbook"] or back["gateway saved firewalls"]:
        assert time.monotonic() - failed < ROLLBACK_S + SLACK_S, back
        time.sleep(0.5)
    leftovers = {"gateway saved firewalls"}  # of a run that was killed before
    assert touched(before, back) - leftovers == {f"gateway file {RULES}", "gateway backups"}
    # Nor does it come back when somebody else reloads, or at the next boot.
    must(bare, "gateway", RELOAD)
    assert ours not in snapshot(bare)["gateway firewall"]
    must(bare, "gateway", mend)
    again = operator("run", "--only", "shorewall")
    assert again.status == 0, again.text
    assert ours in snapshot(bare)["gateway firewall"]
