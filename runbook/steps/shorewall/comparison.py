"""What Shorewall makes of its files, what it loaded last, and what the kernel has."""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass, field

from runbook.steps.shorewall import beside
from runbook.steps.shorewall.beside import Base
from runbook.steps.shorewall.ruleset import Chain, Live, Ruleset, parsed, told_apart

# Leaves what is compared. Not compared: counters, and what Shorewall keeps at run time, a hash of
# the rules, its own test chain, addresses blocked with `shorewall drop`, and the chains fooX1234 in
# which another shorewall command is just trying what the kernel can do.
PLAIN = (
    r"sed -E '/^#/d; s/ \[[0-9]+:[0-9]+\]$//; "
    r"/^:(sha-[lr]h-|shorewall )/d; /^-A (shorewall|dynamic) /d; /^(:|-A )foo1?X[0-9]+ /d'"
)

# The iptables that Shorewall is set to use: of two, each sees its own rules alone.
IPTABLES = r"""iptables=$(
  sed -nE "s/^[[:space:]]*IPTABLES=[\"']?([^\"' #]*).*/\1/p" /etc/shorewall/shorewall.conf |
    tail -n 1
)
export iptables="${iptables:-iptables}"
"""

# Shorewall reads the first `rules` in its CONFIG_PATH; shorewall.conf is shell to it, too.
_READ = r"""
path=$(CONFDIR=/etc SHAREDIR=/usr/share; . /etc/shorewall/shorewall.conf; echo "${CONFIG_PATH#:}")
first=$(IFS=:; for folder in $path; do
    if [ "$folder" -ef /etc/shorewall ] || [ -f "$folder/rules" ]; then
      echo "${folder%/}"; break
    fi
  done)
[ -z "$path" ] || [ "$first" -ef /etc/shorewall ] ||
  [ "$first/rules" -ef /etc/shorewall/rules ] || {
    echo "== failed"
    echo "Shorewall reads ${first:-nothing}${first:+/rules} instead of /etc/shorewall/rules" \
      "(CONFIG_PATH=$path in shorewall.conf)"
    exit 1
  }
"""

# Compiles the candidate beside the configuration, as `shorewall check` would; nothing live is
# touched, and what is written is in memory, in a folder of its own that is gone afterwards. Files
# that are not in that folder are those of /etc/shorewall (CONFIG_PATH, shorewall.conf(5)), and
# TRACK_RULES=File has Shorewall say of each rule where it stands.
#
# The functions of a compiled firewall then say what it would load: addresses and optional
# interfaces that Shorewall only finds at run time are found by Shorewall itself, and nothing is
# executed that would change the firewall. What comes out is loaded into a network namespace of its
# own, in which the sets exist that rules may name, so that all is compared in the one form that
# iptables-save(8) prints.
_COMPARE = (
    IPTABLES
    + _READ
    + r"""
umask 077
for place in /run /dev/shm /var/lib/shorewall; do
  d=$(mktemp -d "$place/runbook.XXXXXX" 2>&1) && break
done
[ -d "$d" ] || { echo "$d"; exit 1; }
trap 'rm -rf "$d"' EXIT; trap 'exit 129' HUP INT PIPE TERM
export TMPDIR="$d"
mkdir "$d/etc" "$d/state" || exit
printf %s CONTENT | base64 -d > "$d/etc/rules" || exit
cp /etc/shorewall/shorewall.conf "$d/etc/shorewall.conf" || exit
grep -Eiq '^TRACK_RULES="?yes' "$d/etc/shorewall.conf" ||
  printf '\nTRACK_RULES=File\n' >> "$d/etc/shorewall.conf" || exit
cp -p /var/lib/shorewall/*.* "$d/state" 2>/dev/null
said() { sed "s|$d/etc|/etc/shorewall|g" "$d/said"; }
shorewall compile "$d/etc" "$d/planned" > "$d/said" 2>&1 ||
  { echo "== refused"; said | grep -E 'ERROR' || said | tail -n 5; exit 1; }

# What a compiled firewall would feed iptables-restore; `true` is fed in its place. Under
# TRACK_RULES=Yes every rule names its file, which is not to be the passing copy. Of what the site
# has in its `init` only the lines are executed that set a variable of the rules (`&{name}`).
input() {
  sed '/^# Code imported from .*prog\.footer/,$d' "$1" > "$d/functions" || return
  cat >> "$d/functions" <<'END' || return
startup_error() { echo "ERROR: $*"; kill $$; exit 1; }
fatal_error() { echo "ERROR: $*"; kill $$; exit 1; }
stop_firewall() { exit 1; }
TERMINATOR=fatal_error VERBOSITY=-1 COMMAND=reload
initialize
VARDIR=$1 VERBOSITY=-1 IPTABLES_RESTORE=true STARTUP_LOG=
g_sha1sum1=sha-lh-1 g_sha1sum2=sha-rh-1
detect_configuration
END
  named=$(sed -nE 's/.*Invalid val.* for (address|port) variable (\w+)".*/\2/p' "$1" |
    paste -sd '|')
  sed -n '/^run_init_exit() {/,/^}/p' "$1" |
    grep -E "^[[:space:]]*(export )?(${named:--})=" >> "$d/functions"
  echo setup_netfilter >> "$d/functions"
  rm -f "$d/state/.iptables-restore-input"
  sh "$d/functions" "$d/state" > "$d/said" 2>&1 &&
    sed "s|$d/etc|/etc/shorewall|g" "$d/state/.iptables-restore-input" > "$2"
}
loaded() {
  unshare -n sh -c '! [ -s "$2" ] || ipset restore < "$2" || exit
    "$iptables-restore" < "$1" && "$iptables-save"' sh "$1" "$d/sets" 2>&1 | PLAIN
}
: > "$d/sets"
# Only the sets themselves: a rule names a set, and its entries may be a million.
if command -v ipset >/dev/null; then ipset list -t -o save | grep '^create' > "$d/sets"; fi
input "$d/planned" "$d/input" || { echo "== failed"; said; exit 1; }
echo "== planned"; loaded "$d/input"
echo "== origins"; cat "$d/input"
echo "== loaded"; ! input /var/lib/shorewall/firewall "$d/last" || loaded "$d/last"
echo "== live"; "$iptables-save" | PLAIN
"""
    + beside.PROBE
    + """
echo "== addresses"; ip -o -4 addr show
echo "== route"; ip -o -4 route get VIP
"""
)


@dataclass(frozen=True, slots=True)
class Compared:
    """The gateway's rules in one form.

    Attributes:
        refusal: What Shorewall said against the candidate, ``ERROR`` and place first; or empty.
        failure: Why nothing could be compared; empty where it could.
        planned: What the candidate compiles to.
        loaded: What Shorewall loaded last.
        live: What the kernel has, told apart.
        everything: What the kernel has.
        beside: Where a packet comes to in firewalls beside Shorewall's.
        mixed: Shorewall's tables in which others have native chains of nftables.
        origins: For each chain the file and line that each planned rule comes from.
        addresses: The gateway's addresses by interface.
        towards_vip: The interface through which the VIP is reached.
    """

    refusal: str = ""
    failure: str = ""
    planned: Ruleset = field(default_factory=dict)
    loaded: Ruleset = field(default_factory=dict)
    live: Live = field(default_factory=lambda: Live({}, {}))
    everything: Ruleset = field(default_factory=dict)
    beside: list[Base] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    origins: dict[Chain, list[str]] = field(default_factory=dict)
    addresses: dict[str, list[str]] = field(default_factory=dict)
    towards_vip: str = ""


def probe(candidate: str, vip: str) -> str:
    """Return the snippet that compiles and compares.

    Args:
        candidate: The whole rules file as declared.
        vip: The floating IP.
    """
    encoded = base64.b64encode(candidate.encode("utf-8", "surrogateescape")).decode()
    values = {"CONTENT": shlex.quote(encoded), "VIP": shlex.quote(vip), "PLAIN": PLAIN}
    return re.sub(r"\b(CONTENT|VIP|PLAIN)\b", lambda found: values[found[0]], _COMPARE)


def read(text: str) -> Compared:
    """Return what the snippet printed. What was not understood is never taken for rules."""
    said = sections(text)
    if "refused" in said:
        return Compared(refusal=_one_line(said["refused"]))
    planned, live = parsed(said.get("planned", "")), parsed(said.get("live", ""))
    if "route" not in said or not planned or "COMMIT" not in said["planned"]:
        return Compared(failure=_one_line(said.get("planned") or said.get("failed") or text))
    loaded = parsed(said["loaded"]) or planned
    return Compared(
        planned=planned,
        loaded=loaded,
        live=told_apart(live, planned, loaded),
        everything=live,
        beside=beside.of_iptables(said["beside"]) + beside.of_nftables(said["nftables"]),
        mixed=[table for table in said["mixed"].split() if table in {of for of, _ in planned}],
        origins=_origins(said["origins"]),
        addresses=_addresses(said["addresses"]),
        towards_vip=next(iter(re.findall(r" dev (\S+)", said["route"])), ""),
    )


def sections(text: str) -> dict[str, str]:
    """Return the parts of an output by the name in the line ``== name`` before each."""
    parts = re.split(r"^== (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _origins(text: str) -> dict[Chain, list[str]]:
    """Return where each rule of each chain stands, from the comment before it or in it."""
    found: dict[Chain, list[str]] = {}
    table = place = ""
    for line in text.split("\n"):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("# "):
            place = line[2:]
        elif line.startswith("-A "):
            within = re.search(r"@@@ (\S+) @@@", line)  # TRACK_RULES=Yes
            found.setdefault((table, line.split()[1]), []).append(within[1] if within else place)
            place = ""
    return found


def _addresses(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for words in map(str.split, text.splitlines()):
        if "inet" in words:
            found.setdefault(words[1], []).append(words[3].partition("/")[0])
    return found
