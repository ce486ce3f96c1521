"""A reload that keeps what others have in the firewall, and takes itself back unless confirmed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from runbook.changes import Change
from runbook.errors import ChangeFailed, Refused, RunbookError
from runbook.hosts.live import Live
from runbook.steps.shorewall import comparison
from runbook.steps.shorewall.comparison import IPTABLES, PLAIN, Compared
from runbook.steps.shorewall.ruleset import insertions, parsed, told_apart, with_foreign

if TYPE_CHECKING:
    from runbook.hosts.connection import Connection

RULES = "/etc/shorewall/rules"
ROLLBACK_S = 45
"""After how many seconds the gateway takes a reload back unless it is confirmed."""
_RELOAD_S = 120
"""How long the gateway may take to compile, and to save and reload, each."""

# What is needed to go back is in Shorewall's own folder, in files runbook-before*: the rules file
# from before we wrote it (named by the digest of what we wrote, so that nothing is put in the place
# of what somebody else has written since), the compiled firewall, and the live rules of everybody.

# A reload that nobody confirmed: of a run that was cut off, or of one that is at it now.
UNCONFIRMED = """
systemctl -q is-active runbook-rollback.timer runbook-rollback.service && echo yes
"""
_TAKEN_BACK = """
while systemctl -q is-active runbook-rollback.timer runbook-rollback.service; do sleep 0.2; done
"""

# Keeps the rules file before it is replaced. $1 is the digest of what replaces it. A file of ours
# that was never loaded is not what to go back to: the one before it is.
_KEEP = """set -eu
cd /var/lib/shorewall
rules=$(readlink -f /etc/shorewall/rules)
if [ ! -e "$rules" ]; then : > "runbook-before.rules.$1.absent"; exit; fi
before=runbook-before.rules.$(sha256sum < "$rules" | cut -c-64)
if [ firewall -nt "$rules" ]; then rm -f runbook-before.rules.*; fi
[ -e "$before" ] || before=$rules
cp -p "$before" runbook-new.rules
mv -f runbook-new.rules "runbook-before.rules.$1"
"""

# Goes back. The compiled firewall comes back with its time stamp: Shorewall compiles only what is
# newer than that (AUTOMAKE, shorewall.conf(5)), and must do at the next boot what it would have
# done before.
_BACK = """cd /var/lib/shorewall || exit
rules=$(readlink -f /etc/shorewall/rules)
before=runbook-before.rules.$(sha256sum < "$rules" | cut -c-64)
if [ -e "$before" ]; then cp -p "$before" "$rules.runbook" && mv -f "$rules.runbook" "$rules"; fi
[ ! -e "$before.absent" ] || rm -f "$rules"
if [ -e runbook-before.armed ]; then
  cp -p runbook-before.firewall firewall
  TMPDIR=/run shorewall restore runbook-before >/dev/null || exit
fi
rm -f runbook-before* runbook-new*
systemctl stop runbook-rollback.timer 2>/dev/null
"""

# The timer belongs to systemd, so it fires also when this session dies with the lock-out. It is set
# when everything is compiled and saved, so that its seconds are for the reload and the new login.
# AccuracySec: systemd may otherwise wait up to a minute longer (systemd.timer(5)).
_RELOAD = f"""set -eu
{IPTABLES}
cd /var/lib/shorewall
export TMPDIR=/run
rules=$(readlink -f {RULES})
if [ firewall -nt "$rules" ]; then rm -f runbook-before.rules.*; fi
rm -f runbook-before.armed
cp -p firewall runbook-before.firewall
shorewall save runbook-before >/dev/null
cmp firewall runbook-before
: > runbook-before.armed
printf %s "$1" > runbook-before.sh
systemctl reset-failed runbook-rollback.service 2>/dev/null || true
systemd-run --quiet --unit=runbook-rollback --on-active={ROLLBACK_S} \
  --timer-property=AccuracySec=100ms /bin/sh /var/lib/shorewall/runbook-before.sh
echo '== live'; "$iptables-save" | {PLAIN}
mv -f runbook-new firewall
if ! said=$(shorewall reload -f 2>&1); then
  echo "$said" | grep -aE 'ERROR|^ip[a-z-]*restore' >&2 || echo "$said" | tail -n 5 >&2
  exit 65
fi
echo '== reloaded'; "$iptables-save" | {PLAIN}
"""
_COMPILE = """
cd /var/lib/shorewall && TMPDIR=/run shorewall compile /var/lib/shorewall/runbook-new 2>&1
"""
_INSERT = f"""{IPTABLES}
"$iptables-restore" -w 10 --noflush && echo '== inserted' && "$iptables-save" | {PLAIN}
"""
# $1 is what to do, $2 what takes it back.
_GUARDED = 'sh -c "$1" guarded "$2" || { status=$?; sh -c "$2"; exit $status; }'
_CONFIRM = """systemctl -q is-active runbook-rollback.timer || exit 75
systemctl stop runbook-rollback.timer
! systemctl -q is-active runbook-rollback.service || exit 75
rm -f /var/lib/shorewall/runbook-before* /var/lib/shorewall/runbook-new*
"""


def await_taken_back(host: str, live: Live) -> None:
    """Wait until a reload is confirmed or taken back: till then others' rules may be only saved.

    Raises:
        Refused: It takes longer than the gateway may take for it.
    """
    live.say(host, f"waits up to {ROLLBACK_S} s for an unconfirmed reload to be taken back")
    bound = f"timeout {ROLLBACK_S + _RELOAD_S} sh -c '{_TAKEN_BACK}'"
    waited = live.fleet[host].run(
        ["sh", "-c", bound], sudo=True, timeout_s=ROLLBACK_S + 2 * _RELOAD_S, check=False
    )
    if waited.status != 0:
        raise Refused(
            "an unconfirmed reload is still being taken back",
            host=host,
            step="shorewall",
            todo="see `systemctl status runbook-rollback.service`, and run again when it has ended",
        )


def keeping_the_old(change: Change) -> Change:
    """Return the writing of the rules file, with the file before it kept until all is confirmed."""
    return replace(change, make=partial(_write, change))


def _write(change: Change, live: Live) -> None:
    digest = hashlib.sha256(change.after.encode("utf-8", "surrogateescape")).hexdigest()
    kept = live.fleet[change.host].run(["sh", "-c", _KEEP, "keep", digest], sudo=True, check=False)
    if kept.status != 0:
        raise ChangeFailed(
            f"{' '.join(kept.stderr.split())}: the rules file cannot be kept, and was not written",
            host=change.host,
            step="shorewall",
            todo="mend what it says and run again",
        )
    change.make(live)


def reload(host: str, live: Live) -> None:
    """Reload the firewall with what others have in it, unless a new login does not succeed.

    Raises:
        ChangeFailed: The gateway has gone back to what it had, or will do so.
    """
    connection = live.fleet[host]
    try:
        compared = _compiled(host, live)
        _reload(connection, compared)
    except Refused as error:  # such as a lost connection; by now something may have been changed
        raise _lost(host, error) from error
    try:
        # A connection that exists lives on under any rules; only a new one proves a way in.
        with live.fleet.fresh(host) as fresh:
            confirmed = fresh.run(["sh", "-c", _CONFIRM], sudo=True, timeout_s=10, check=False)
    except RunbookError as error:
        raise ChangeFailed(
            f"after the reload no new SSH connection came through ({error.message})",
            host=host,
            step="shorewall",
            todo=f"wait {ROLLBACK_S} s: the gateway then goes back to the rules it had",
        ) from error
    if confirmed.status != 0:
        raise _failed(host, "the new SSH connection came too late to confirm the reload")


def _compiled(host: str, live: Live) -> Compared:
    content = live.fleet[host].run(["cat", RULES], sudo=True).stdout
    probes = {
        "compile": _COMPILE,
        "compare": comparison.probe(content, str(live.site.keepalived.vip)),
    }
    compared = comparison.read(live.gather({host: probes})[host]["compare"])
    if compared.refusal or compared.failure:
        _take_back(live.fleet[host])
        raise _failed(host, compared.refusal or compared.failure)
    return compared


def _reload(connection: Connection, compared: Compared) -> None:
    said = comparison.sections(_guarded(connection, _RELOAD))
    reloaded = parsed(said["reloaded"])
    before = told_apart(parsed(said["live"]), compared.planned, compared.loaded)
    wanted = with_foreign(reloaded, compared.planned, before)
    if missing := insertions(reloaded, wanted):
        reloaded = parsed(_guarded(connection, _INSERT, stdin=missing))
    left = insertions(reloaded, with_foreign(reloaded, compared.planned, before))
    after = told_apart(reloaded, compared.planned, compared.planned)
    if left or after.own != compared.planned:
        _take_back(connection)
        missing = " ".join(left.split()) or "others changed them meanwhile"
        raise _failed(connection.host, f"the reload did not bring the planned rules ({missing})")


def _guarded(connection: Connection, script: str, stdin: str = "") -> str:
    result = connection.run(
        ["sh", "-c", _GUARDED, "guarded", script, _BACK],
        stdin=stdin,
        sudo=True,
        timeout_s=_RELOAD_S,
        check=False,
    )
    if result.status != 0:
        raise _failed(connection.host, " ".join(result.stderr.split()) or "the reload failed")
    return result.stdout


def _take_back(connection: Connection) -> None:
    connection.run(["sh", "-c", _BACK], sudo=True, timeout_s=_RELOAD_S)


def _failed(host: str, cause: str) -> ChangeFailed:
    return ChangeFailed(
        f"{cause}: the gateway has gone back to the rules and the file it had",
        host=host,
        step="shorewall",
        todo="mend what it says and run again",
    )


def _lost(host: str, error: RunbookError) -> ChangeFailed:
    return ChangeFailed(
        f"{error.message}; whether the firewall was reloaded is not known",
        host=host,
        step="shorewall",
        todo=f"wait {ROLLBACK_S} s: an unconfirmed reload is taken back by then; then run again",
    )
