"""Who holds the VIP, and where it is not the one that should, why."""

from __future__ import annotations

from collections.abc import Mapping

from runbook.changes import Check
from runbook.hosts.live import Live
from runbook.site import Site
from runbook.waiting import until

HOLDER = "exactly the manager with the highest priority holds the VIP"
PROBE = "ip -o -4 addr show to {vip}/32"
# Both are in the kernel's own time; a reload is a change of the unit's state, too.
_AGE = (
    "since=$(systemctl show keepalived -p StateChangeTimestampMonotonic --value)\n"
    "echo $(cut -d' ' -f1 /proc/uptime) ${since:-0}"
)
# What speaks against a manager's holding the VIP and hearing the others, by name; each prints one
# line, or nothing. A rule counts that drops VRRP by name or number, then a chain that drops all.
_DROPPED = "(-p (vrrp|112) |(protocol|l4proto|pkttype).* (vrrp|112|multicast)[ ,]|224[.]0[.]0[.]18)"
_REASONS = {
    "stopped": "systemctl is-active -q keepalived || echo keepalived is not running",
    "filtered": "r=$({ iptables-save; nft list ruleset; } 2>/dev/null)\n"
    f"{{ echo \"$r\" | grep -iE '{_DROPPED}.*(drop|reject)' ||"
    " echo \"$r\" | grep -E '^:INPUT DROP|hook input .*policy drop'; }"
    " | head -n 1 | sed -E 's/^[[:space:]]*/the rule /'",
    "said": "journalctl -q -u keepalived -o cat -n 200 | grep -iE "
    "'FAULT|failed|mismatch|invalid|ignor|VRRP_Script.*(now|timed)' | tail -n 1",
}


def how(text: str) -> str:
    """Return how an address is there, from what ``PROBE`` printed; empty where it is not."""
    words = text.split()
    return f"{words[3]} on {words[1]}" if len(words) > 3 else ""


def holders(live: Live) -> str:
    """Return the managers that hold the VIP now, as one line; empty where none does."""
    return _named(_held(live))


def _named(held: Mapping[str, str]) -> str:
    return ", ".join(host for host, how in held.items() if how)


def _held(live: Live) -> dict[str, str]:
    probe = {"vip": PROBE.format(vip=live.site.keepalived.vip)}
    seen = live.gather(dict.fromkeys(live.site.managers, probe), sudo=False)
    return {host: how(texts["vip"]) for host, texts in seen.items()}


def expected_holder(site: Site) -> str:
    """Return the manager that should hold the VIP: the one with the highest priority."""
    return max(site.managers, key=lambda host: site.managers[host].priority)


def _age_s(text: str) -> float:
    """Return for how long keepalived is as it is, from what ``_AGE`` printed."""
    now, since = text.split()
    return float(now) - int(since) / 1e6


def holder_check(live: Live, delay_s: float = 0) -> Check:
    """Wait until the expected manager alone holds the VIP, and say who does, and else why.

    A manager that hears nobody takes the VIP only some time after its start, so what is seen counts
    once that time is over on each of them.

    Args:
        live: The site.
        delay_s: How long keepalived waits after its start, in seconds.
    """
    keepalived, expected = live.site.keepalived, expected_holder(live.site)
    # RFC 5798, 6.1: three adverts and a skew of at most one until a backup takes over, twice where
    # a lower one was first; a health check must have succeeded `rise` times before.
    health = keepalived.health_check
    delay_s += health.interval * health.rise if health else 0
    election_s, settle_s = 4 * keepalived.advert_int + delay_s, 8 * keepalived.advert_int + 5
    settle_s += delay_s
    live.say(None, f"waiting up to {settle_s:.0f} s for {expected} to hold {keepalived.vip}")
    probes = {"vip": PROBE.format(vip=keepalived.vip), "age": _AGE}

    def look() -> tuple[str, bool]:
        told = live.gather(dict.fromkeys(live.site.managers, probes), sudo=False)
        # Less than nothing is the age in a container that has an uptime of its own.
        is_over = not any(0 <= _age_s(texts["age"]) < election_s for texts in told.values())
        return _named({host: how(texts["vip"]) for host, texts in told.items()}), is_over

    seen, _ = until(look, holds=lambda look: look == (expected, True), timeout_s=settle_s)
    if seen != expected:
        seen = f"{seen or 'nobody'}: {why_not(live)}"
    return Check(HOLDER, "every manager", expected, seen)


def why_not(live: Live) -> str:
    """Return the likely reason why the VIP is not where it should be."""
    expected, held = expected_holder(live.site), {h: how for h, how in _held(live).items() if how}
    asked = live.gather(dict.fromkeys(live.site.managers, _REASONS))
    found = {host: {k: v.strip() for k, v in texts.items()} for host, texts in asked.items()}
    reasons = [_own(live, host, how, found[host]) for host, how in held.items()]
    told = [reason for reason in reasons if reason]
    if len(held) > 1 and not told:
        told = ["VRRP does not pass between them (IP protocol 112, to 224.0.0.18)"]
        told += [f"{host} has {f['filtered']}" for host, f in found.items() if f["filtered"]]
    if expected not in held:
        words = found[expected]
        told += [f"{expected}: {words[k]}" for k in ("stopped", "filtered", "said") if words[k]]
    return "; ".join(told) or "no reason found; see journalctl -u keepalived on each manager"


def _own(live: Live, host: str, held: str, found: Mapping[str, str]) -> str:
    """Return why a manager has the VIP that keepalived did not give it; empty where it did."""
    if found["stopped"]:
        return f"{host} has {held} although {found['stopped']} there: take it off the interface"
    if not held.startswith(f"{live.site.keepalived.vip}/32 "):
        return (
            f"{host} has {held}, which is not how keepalived gives it: a fixed address of the host"
        )
    return ""
