"""DNAT on the gateway to the VIP: a marked block of rules, and a firewall that runs them."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from functools import partial

from runbook.changes import Change, Check, unified_diff
from runbook.errors import ChangeFailed, Refused, RunbookError
from runbook.live import Live
from runbook.resources.file import BACKUPS, File, FileFacts, outside_block
from runbook.resources.service import Service, ServiceFacts
from runbook.site import Forward, Site
from runbook.steps import CONVERGED, Row, host_rows

RULES = "/etc/shorewall/rules"
ACCEPTED = "shorewall accepts its configuration"
LIVE = "the live rules are those of the files"
BOOT = "Shorewall is enabled and started"
ROLLBACK_S = 45
"""After how many seconds the gateway takes a reload back unless it is confirmed."""

# Copies the configuration, puts the candidate rules in and compiles it; nothing live is touched.
# `check -r` prints the shell that would feed iptables-restore. Its here-documents are loaded into a
# network namespace of their own, so that files and kernel are compared in the one form that
# iptables-save(8) prints. Left out: counters, and the chains that Shorewall keeps at run time (a
# hash of the rules, its own test chain, addresses blocked with `shorewall drop`, and the chains
# fooX1234 in which another shorewall command is just trying what the kernel can do).
_COMPARE = r"""
d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT
cp -a /etc/shorewall/. "$d"
printf %s {content} | base64 -d > "$d/rules"
shorewall check -r "$d" > "$d/said" 2>&1 || {{ echo refused; grep -i error "$d/said"; exit; }}
awk '/^ *cat << __EOF__/ {{on=1; next}} /^__EOF__/ {{on=0}} on' "$d/said" > "$d/restore"
plain() {{
  sed -E '/^#/d; /^:(sha-[lr]h-|shorewall )/d; /^-A (shorewall|dynamic) /d; s/ \[[0-9]+:[0-9]+\]$//
    /^(:|-A )foo1?X[0-9]+ /d'
}}
echo planned
unshare -n sh -c 'iptables-restore < "$1" && iptables-save' sh "$d/restore" 2>&1 | plain
echo live
iptables-save | plain
"""

# A reload that nobody confirmed: of a run that was killed, or of one that is at it now. Where it is
# just being taken back, what that leaves is read.
_UNCONFIRMED = """
timeout 10 sh -c 'while systemctl -q is-active runbook-rollback.service; do sleep 0.2; done'
systemctl -q is-active runbook-rollback.timer && echo yes
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen on the gateway.

    Attributes:
        host: The gateway.
        file: The rules file.
        service: What systemd says of the unit.
        refusal: What ``shorewall check`` said against the declared rules; empty where nothing.
        planned: The rules that the declared configuration compiles to, by table.
        live: The rules that the kernel has, in the same form.
        unconfirmed: Whether the gateway is about to take the last reload back.
    """

    host: str
    file: FileFacts
    service: ServiceFacts
    refusal: str
    planned: str
    live: str
    unconfirmed: bool


def required_checks(site: Site) -> tuple[str, ...]:
    """Return the names of the checks without which the step is not proven."""
    del site
    return (CONVERGED, ACCEPTED, LIVE, BOOT)


def rule(site: Site, forward: Forward) -> str:
    """Return one DNAT rule, as published: ``DNAT net loc:10.0.0.2:80 tcp 80``.

    Source: shorewall-rules(5); ``article.md``.
    """
    zones, public = site.shorewall, site.gateway.public_address
    source = ",".join(str(network) for network in forward.source)
    words = [
        "DNAT",
        f"{zones.net_zone}:{source}" if source else zones.net_zone,
        f"{zones.lan_zone}:{site.keepalived.vip}:{forward.to_port or forward.port}",
        "tcp",
        str(forward.port),
        # Columns SPORT and ORIGDEST: only packets to the public address are ours to forward.
        *(["-", str(public)] if public else []),
    ]
    return " ".join(words)


def block(site: Site, present: str) -> str:
    """Return the block's lines: the declared rules that nobody else's line already states."""
    foreign = {_normal(line) for line in outside_block(present).splitlines()}
    rules = [rule(site, forward) for forward in site.shorewall.forward]
    return "".join(f"{line}\n" for line in rules if _normal(line) not in foreign)


def _normal(line: str) -> tuple[str, ...]:
    """Return a rule's columns, without comment, trailing empty columns and an implied port."""
    words = line.partition("#")[0].split()
    while words and words[-1] == "-":
        words.pop()
    if len(words) >= 5 and words[2].count(":") == 1:
        words[2] = f"{words[2]}:{words[4]}"
    return tuple(words)


def _file(site: Site, present: str) -> File:
    return File(site.gateway.name, RULES, block(site, present), block=True)


def _service(site: Site) -> Service:
    return Service(site.gateway.name, "shorewall", RULES)


def observe(live: Live) -> Facts:
    """Read the rules file and the unit, then compile the declared rules and read the live ones."""
    site, host = live.site, live.site.gateway.name
    probes = {
        "unconfirmed": _UNCONFIRMED,  # first: taking it back also restores the file
        "file": _file(site, "").probe,
        "service": _service(site).probe,
    }
    seen = live.gather({host: probes}, said="observed")[host]
    file = _file(site, "").read(seen["file"])
    present = file.content or ""
    declared = _file(site, present).declared(present)
    encoded = base64.b64encode(declared.encode("utf-8", "surrogateescape")).decode()
    compare = {"compare": _COMPARE.format(content=shlex.quote(encoded))}
    refusal, planned, kernel = compared(live.gather({host: compare})[host]["compare"])
    service, unconfirmed = _service(site).read(seen["service"]), bool(seen["unconfirmed"].strip())
    return Facts(host, file, service, refusal, planned, kernel, unconfirmed)


def compared(text: str) -> tuple[str, str, str]:
    """Return refusal, planned rules and live rules, as the comparison printed them."""
    word, _, rest = text.partition("\n")
    if word != "planned":
        return rest.strip() or text.strip(), "", ""
    planned, _, kernel = f"\n{rest}".partition("\nlive\n")
    return "", f"{planned}\n".removeprefix("\n"), kernel


def rows(facts: Facts) -> list[Row]:
    """Return the facts as lines of a table."""
    dnat = [line for line in facts.live.splitlines() if " -j DNAT " in line]
    fields = [
        ("rules file", facts.file.identity),
        ("unit", f"{facts.service.enabled}, {facts.service.active}"),
        ("live rules", len([line for line in facts.live.splitlines() if line.startswith("-A")])),
        ("live DNAT", "\n".join(dnat) or None),
    ]
    return host_rows(facts.host, "shorewall", fields)


def plan(live: Live, facts: Facts) -> list[Change]:
    """Return the block to write and the reload that makes it live.

    Raises:
        Refused: Shorewall does not accept the rules, or they cannot be compared with the live ones.
    """
    if facts.refusal:
        raise Refused(
            f"shorewall check refuses the configuration with the declared rules: {facts.refusal}",
            host=facts.host,
            step="shorewall",
            todo="mend the file that it names; nothing was changed",
        )
    if "COMMIT" not in facts.planned:
        raise Refused(
            f"the compiled rules cannot be read: {facts.planned.strip()}",
            host=facts.host,
            step="shorewall",
            todo="rules with addresses that Shorewall only finds at run time cannot be compared",
        )
    present = facts.file.content or ""
    written = _file(live.site, present).plan(facts.file, 0)
    changes = [*written, *_boot(live.site, facts)]
    if facts.planned != facts.live or facts.unconfirmed:
        changes.append(_reload(facts, restores_file=bool(written)))
    return changes


def _boot(site: Site, facts: Facts) -> list[Change]:
    # Only whether it starts at boot: what it runs on is judged by the rules, not by a time stamp.
    current = ServiceFacts(facts.service.enabled, active="active", stale=False)
    return _service(site).plan(current, written=False, stage=1)


def _reload(facts: Facts, *, restores_file: bool) -> Change:
    before, after = facts.live, facts.planned
    if before == after:
        before, after = "as planned, and about to be taken back", "as planned"
    return Change(
        host=facts.host,
        resource="live firewall",
        action="reload",
        before=before,
        after=after,
        undo="take the block out of the rules file and run sudo shorewall reload",
        stage=2,
        make=partial(_reload_safely, facts.host, restores_file),
    )


# The timer belongs to systemd, so it fires also when this session dies with the lock-out.
# AccuracySec: systemd may otherwise wait up to a minute longer (systemd.timer(5)). The file that is
# put back is touched: Shorewall compiles only what is newer than its last compilation, and would
# bring the refused rules back at the next boot (AUTOMAKE, shorewall.conf(5)).
_SAVED = "/var/lib/shorewall/runbook-before*"
_ARM = f"""set -eu
restore="shorewall restore runbook-before && rm -f {_SAVED}"
old=$(ls -t {BACKUPS}/rules.* 2>/dev/null | head -n 1)
[ "$1" = no ] || restore="cp -p '$old' {RULES}; touch {RULES}; $restore"
systemctl stop runbook-rollback.timer 2>/dev/null || true
systemctl reset-failed runbook-rollback.service 2>/dev/null || true
shorewall save runbook-before >/dev/null
systemd-run --quiet --unit=runbook-rollback --on-active={ROLLBACK_S} \
  --timer-property=AccuracySec=100ms /bin/sh -c "$restore"
shorewall reload
"""
_DISARM = f"systemctl stop runbook-rollback.timer && rm -f {_SAVED}"


def _reload_safely(host: str, restores_file: bool, live: Live) -> None:
    """Reload the firewall, and have the gateway take it back unless a new login succeeds.

    Raises:
        ChangeFailed: The reload cut us off; the gateway goes back to what it had.
    """
    arguments = ["sh", "-c", _ARM, "reload", "yes" if restores_file else "no"]
    live.fleet[host].run(arguments, sudo=True, timeout_s=60)
    try:
        # A connection that exists lives on under any rules; only a new one proves a way in.
        with live.fleet.fresh(host) as connection:
            connection.run(["sh", "-c", _DISARM], sudo=True, timeout_s=10)
    except RunbookError as error:
        raise ChangeFailed(
            f"after the reload no new SSH connection came through ({error.message})",
            host=host,
            step="shorewall",
            todo=f"wait {ROLLBACK_S} s: the gateway then goes back to the rules it had",
        ) from error


def files(live: Live, facts: Facts) -> dict[str, dict[str, str]]:
    """Return the gateway's whole rules file as it must be, with the lines of others.

    Raises:
        Refused: Our block in the file has no end.
    """
    file = _file(live.site, facts.file.content or "")
    return {facts.host: {file.path: file.declared(facts.file.content)}}


def verify(live: Live) -> list[Check]:
    """Ask the gateway whether its files are accepted, live, and there after a boot."""
    facts = observe(live)
    difference = unified_diff(facts.planned, facts.live, "rules")
    compared_to = "equal" if "COMMIT" in facts.planned else "not compared"
    if facts.unconfirmed:  # a run that was killed has reloaded them meanwhile
        compared_to = "equal, and about to be taken back"
    boot = f"{facts.service.enabled}, {facts.service.active}"
    return [
        Check(ACCEPTED, facts.host, "accepted", facts.refusal or "accepted"),
        Check(LIVE, facts.host, "equal", difference or compared_to),
        Check(BOOT, facts.host, "enabled, active", boot),
    ]
