"""How keepalived is started, and what it says itself of a configuration.

Source: keepalived(8); systemd.exec(5), EnvironmentFile; keepalived, core/main.c.
"""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass
from posixpath import normpath

from runbook.errors import Refused

CONFIGURATION = "/etc/keepalived/keepalived.conf"
_FLAGS = "[aBCdDeGhIlmnPRvVxX]*"  # options without a value, which can stand before one that has it
PROBE = r"""uname -n
systemctl show keepalived -p ExecStart -p Environment
systemctl show keepalived -p EnvironmentFiles --value | sed -E 's/ \(ignore_errors=.*//' |
  while read -r file; do sed 's/^/variable=/' "$file"; done 2>/dev/null
pid=$(systemctl show keepalived -p MainPID --value)
[ "${pid:-0}" = 0 ] || tr '\n\0' ' \n' <"/proc/$pid/cmdline" | sed 's/^/running=/'
"""

# Judges its standard input as keepalived would read it: in the place of its configuration, from
# where includes are followed, in a mount namespace of its own, so that the host is as it was. What
# keepalived says of the file without our block, too, is about somebody else's lines. 2.2.7 ends
# itself with SIGTERM while it checks a track script of another user, since it takes its caller for
# a parent that has gone; as the first process of a namespace it has none.
_JUDGE = rf"""at={CONFIGURATION} id=$1
mount -t tmpfs -o mode=0700 runbook /mnt && cat >/mnt/new && test -s /mnt/new || exit
sed '/^# BEGIN runbook/,/^# END runbook/d' /mnt/new >/mnt/old || exit
judged() {{
  file=/mnt/$1
  if [ -e $at ]; then mount --bind "$file" $at || exit; file=$at; fi
  unshare --fork --pid --kill-child keepalived ${{id:+-i "$id"}} -t -f "$file" >"/mnt/$1.said" 2>&1
  status=$?
  [ "$file" != $at ] || umount $at || exit
}}
judged old; before=$status; judged new
[ $status != 0 ] || exit 0
awk '{{ plain = $0; gsub(/Line [0-9]+/, "Line", plain) }}
  FILENAME ~ /old/ {{ known[plain]; next }} !(plain in known) {{ print; found = 1 }}
  END {{ exit !found }}' /mnt/old.said /mnt/new.said && exit 65
[ $before != 0 ] || {{ echo "keepalived -t ended with status $status"; exit 65; }}
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """How keepalived is started.

    Attributes:
        node: The host's own name, without a domain.
        started: The words of its command line: by the unit, and of the one that runs.
    """

    node: str
    started: tuple[tuple[str, ...], ...]

    @property
    def config_id(self) -> str:
        """What the lines with ``@`` are held against."""
        return next(iter(self._values("i", "config-id")), "") or self.node

    def refuse(self, host: str) -> None:
        """Refuse a keepalived that would not bring our instance to the LAN."""
        for path in self._values("f", "use-file"):
            if normpath(path) != CONFIGURATION:
                raise _unread(host, f"reads {path} instead of {CONFIGURATION} (--use-file)")
        for name in self._values("s", "namespace"):
            raise _unread(host, f"runs in the network namespace {name} (--namespace)")
        for words in self.started:
            only = {word for word in words if word in ("-C", "--check", "-P", "--vrrp", "--all")}
            if only and only <= {"-C", "--check"}:
                raise _unread(host, "runs without VRRP (--check)")

    def _values(self, short: str, long: str) -> list[str]:
        """Return the values of an option; getopt(3) takes it in several forms."""
        found = []
        for words in self.started:
            for word, following in zip(words, [*words[1:], ""], strict=False):
                if given := re.fullmatch(rf"-{_FLAGS}{short}(.*)|--{long}(?:=(.*))?", word):
                    found.append(given[1] or given[2] or following)
        return found


def _unread(host: str, how: str) -> Refused:
    return Refused(
        f"keepalived there {how}, so our instance would not be seen",
        host=host,
        step="keepalived",
        todo="see systemctl cat keepalived and /etc/default/keepalived there, and take the option "
        "out; restart keepalived where it runs with it",
    )


def read(text: str) -> Daemon:
    """Return what the snippet ``PROBE`` printed."""
    node, *lines = text.splitlines() or [""]
    pairs = [line.partition("=") for line in lines]
    variables: dict[str, str] = {}
    for key, _, value in pairs:
        if key in ("Environment", "variable"):
            variables |= _assigned(value, several=key == "Environment")
    unit: list[str] = []
    for key, _, value in pairs:
        if key == "ExecStart" and (argv := re.search(r"argv\[\]=(.*?) ; ", value)):
            unit += [word for part in argv[1].split()[1:] for word in _expanded(part, variables)]
    running = [value for key, _, value in pairs if key == "running"][1:]
    return Daemon(node.partition(".")[0], (tuple(unit), tuple(running)))


def _assigned(text: str, *, several: bool) -> dict[str, str]:
    """Return the variables that a line sets."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # systemd takes an open quote as it comes
        words = [text.replace('"', "")]
    pairs = [word.partition("=") for word in (words if several else words[:1])]
    return {name: value for name, sign, value in pairs if sign}


def _expanded(word: str, variables: dict[str, str]) -> list[str]:
    """Return the words that systemd makes of one: ``$NAME`` is split at blanks, ``${NAME}`` not."""
    if re.fullmatch(r"\$\w+", word):
        return variables.get(word[1:], "").split()
    return [re.sub(r"\$\{(\w+)\}", lambda m: variables.get(m[1], ""), word)]


def judging(config_id: str) -> str:
    """Return the command that judges its standard input and prints what is new about it."""
    return shlex.join(["unshare", "--mount", "sh", "-c", _JUDGE, "judge", config_id])


def judged(content: str, config_id: str) -> str:
    """Return the snippet that judges a configuration that is not on the host yet."""
    text = base64.b64encode(content.encode("utf-8", "surrogateescape")).decode()
    return f"base64 -d <<'CANDIDATE' | {judging(config_id)} && echo accepted\n{text}\nCANDIDATE"
