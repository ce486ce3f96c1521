"""What the machines of a lab themselves say, asked through the host's engine.

Nothing here uses the product's own observation: a test compares two snapshots, and what differs
between them is what was touched.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import docker

from runbook.lab import Lab, Node, Role

# A value for each thing that a run could touch, as "name<TAB>value". The stamps of systemd count
# microseconds since the boot: when a unit was last started, and when it was last anything.
_COMMON = r"""
say() { printf '%s\t%s\n' "$1" "$(tr '\n' '|')"; }
file() { stat -c '%i %y %a %U' "$1" 2>/dev/null | say "file $1"; }
content() { cat "$1" 2>/dev/null | base64 -w 0 | say "content $1"; }
unit() {
  systemctl show "$1" -p ActiveState -p UnitFileState -p MainPID -p ActiveEnterTimestampMonotonic |
    say "unit $1"
  systemctl show "$1" -p StateChangeTimestampMonotonic | say "stamp $1"
}
systemctl list-units --all --plain --no-legend 'runbook*' | awk '{print $1}' | say "units runbook"
find /var/backups/runbook -type f 2>/dev/null | sort | say "backups"
"""
_SWARM_NODE = r"""
dpkg-query -W -f '${db:Status-Status} ${Version}' keepalived 2>/dev/null | say "package keepalived"
file /etc/keepalived/keepalived.conf; content /etc/keepalived/keepalived.conf
file /home/gerard/traefik/traefik.yml; content /home/gerard/traefik/traefik.yml
unit keepalived; unit docker
ip -o -4 addr show | awk '{print $4}' | grep -v '^127\|^172' | sort | say "addresses"
docker ps --no-trunc --filter label=com.docker.swarm.service.name --format \
  '{{.Label "com.docker.swarm.service.name"}} {{.ID}}' | grep '_traefik ' | sort | say "tasks"
"""
_GATEWAY = r"""
file /etc/shorewall/rules; content /etc/shorewall/rules
unit shorewall
iptables-save | sed -E 's/ \[[0-9]+:[0-9]+\]$//; /^#/d; /^:sha-/d; /^-A shorewall /d' |
  say "firewall"
find /var/lib/shorewall -name 'runbook*' | sort | say "saved firewalls"
"""
# The demonstration of acceptance comes and goes, and its end takes a moment. An update that is done
# is watched by the Swarm for five seconds more, and the note of its end is a new version.
_LEADER = r"""
docker service ls --format '{{.Name}}' | grep -v '^runbook-' | sort | while read -r name; do
  timeout 30 sh -c 'while docker service inspect --format "{{json .UpdateStatus}}" "$1" |
    grep -q \"updating\"; do sleep 0.2; done' wait "$name"
  docker service inspect --format '{{.ID}} {{.Version.Index}}' "$name" | say "service $name"
done
docker network ls --filter scope=swarm --format '{{.Name}} {{.ID}}' | sort | say "networks"
docker config ls --format '{{.Name}} {{.ID}}' | sort | say "configs"
"""

# What is somebody else's on a machine: the runbook's own block in a shared file is not.
_FOREIGN = r"""
say() { printf '%s\t%s\n' "$1" "$(tr '\n' '|')"; }
find /etc/keepalived /etc/shorewall /etc/sudoers /etc/sudoers.d /etc/ssh /etc/docker \
  /etc/passwd /etc/group /etc/hosts /etc/hostname /etc/timezone /etc/ipset.conf /etc/motd \
  /etc/issue.net /etc/default/locale /etc/default/shorewall /etc/default/docker \
  /etc/systemd/system /srv/others /home/*/.[a-zA-Z]* /root/.[a-zA-Z]* -type f \
  -not -name '*.sample' -not -name '*config-opts' -print0 2>/dev/null |
  tar -c --null --files-from=- --hard-dereference 2>/dev/null | base64 -w 0 | say "files"
readlink /etc/localtime | say "zone"
for unit in ssh docker containerd dnsmasq; do
  systemctl show "$unit" -p ActiveState -p UnitFileState -p MainPID | say "unit $unit"
done
for set in $(ipset list -name 2>/dev/null); do
  ipset save "$set" | grep ^add | sort | say "set $set"
done
"""
# Live rules in their order. Whatever names our VIP is ours; on a Swarm node the rest of the tables
# is the engine's, and comes and goes with its containers.
_FOREIGN_RULES = r"""
{rules} | sed -E 's/ \[[0-9]+:[0-9]+\]$//; /^#/d; /^:sha-/d; /^-A shorewall /d' |
  grep -vE -e '[ :]{vip}[:/ ]' | say "rules"
"""
_FOREIGN_ADDRESSES = r"""
ip -o -4 addr show dev {interface} | awk '{{print $4}}' | grep -v '^{vip}/' | sort | say "addresses"
"""
_FOREIGN_SWARM = r"""
ours() { grep -vE '^(runbook-|{stack}_)'; }
docker service ls --format '{{.Name}}' | ours | sort | while read -r name; do
  docker service inspect --format '{{.ID}} {{.Version.Index}}' "$name" | say "service $name"
done
docker network ls --no-trunc --filter scope=swarm --format '{{.Name}} {{.ID}}' | ours | sort |
  say "networks"
docker config ls --format '{{.Name}} {{.ID}}' | ours | sort | say "configs"
docker secret ls --format '{{.Name}} {{.ID}}' | ours | sort | say "secrets"
docker node ls --format '{{.ID}} {{.Hostname}} {{.Availability}}' | sort | say "nodes"
"""

# As another administrator does it: the programs that keep rules of their own put them back.
RELOAD = "shorewall reload >/dev/null; if [ -e /etc/lab/live.sh ]; then sh /etc/lab/live.sh; fi"

Snapshot = dict[str, str]

_OURS = re.compile(rb"^# BEGIN runbook.*?(^# END runbook[^\n]*\n|\Z)", re.DOTALL | re.MULTILINE)


def must(lab: Lab, node: str, script: str, *, user: str = "root", timeout_s: int = 60) -> str:
    """Return what a shell script prints on a node; its errors are part of it.

    Raises:
        AssertionError: It failed; shows what it said.
    """
    argv = ["sh", "-c", f"exec 2>&1\n{script}"]
    inside = _inside(lab, node) if user == "root" else []
    if inside:
        command = [*inside, "timeout", "--kill-after=5", str(timeout_s), *argv]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
        )
        status, said = done.returncode, done.stdout.decode(errors="replace")
    else:
        status, said = lab.exec(node, argv, user=user, timeout_s=timeout_s)
    assert status == 0, f"{node}: {script!r} gave {status}: {said}"
    return said


_client = cache(docker.from_env)


def _inside(lab: Lab, node: str) -> list[str]:
    """Return what puts a command of root's on a node: a sixth of what the engine's own way costs.

    It is empty where only the engine can: for another user than root, or on another machine.
    """
    name = lab.topology.container(lab.topology.node(node))
    pid = _client().api.inspect_container(name)["State"]["Pid"]
    if os.geteuid() != 0 or not pid or not Path(f"/proc/{pid}/ns").is_dir():
        return []
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["nsenter", f"--target={pid}", "--all", "env", "-i", path, "HOME=/root", "LANG=C.UTF-8"]


def snapshot(lab: Lab) -> Snapshot:
    """Return every witness of the lab, named ``node thing``."""
    return _ask(lab, _script)


def foreign(lab: Lab, *, stack: str = "traefik") -> Snapshot:
    """Return what is somebody else's on the lab, named ``node thing``.

    Files byte for byte but for the runbook's block, live rules one by one and in their order, sets
    with their members, addresses, services with their version, and the daemons that hold them.

    Args:
        lab: The lab.
        stack: The stack whose services are the runbook's.
    """
    return _told_apart(_ask(lab, lambda lab, node: _foreign_script(lab, node, stack)))


def _foreign_script(lab: Lab, node: Node, stack: str) -> str:
    vip = str(lab.topology.vip).replace(".", "[.]")
    gateway = node.role is Role.GATEWAY
    rules = "iptables-save" if gateway else "{ iptables -S INPUT; iptables -S OUTPUT; }"
    script = _FOREIGN + _FOREIGN_RULES.replace("{rules}", rules).replace("{vip}", vip)
    if not gateway:
        script += _FOREIGN_ADDRESSES.format(vip=vip, interface=lab.topology.interface)
    if node.traits.vrid:  # elsewhere the daemon is ours
        script += "systemctl show keepalived -p ActiveState -p MainPID | say 'unit keepalived'\n"
    if node == lab.topology.swarm[0]:
        script += _FOREIGN_SWARM.replace("{stack}", stack)
    return script


def _told_apart(said: Snapshot) -> Snapshot:
    """Return what machines said with each file of their archives as a witness of its own."""
    found = {}
    for name, value in said.items():
        if not name.endswith(" files"):
            found[name] = value
            continue
        node = name.removesuffix(" files")
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(value))) as archive:
            for file in archive:
                content = archive.extractfile(file)
                assert content is not None, file.name
                if theirs := _OURS.sub(b"", content.read()):  # else there is nothing in it but ours
                    digest = hashlib.sha256(theirs).hexdigest()
                    found[f"{node} file /{file.name}"] = (
                        f"{file.mode:o} {file.uname}:{file.gname} {digest}"
                    )
    return found


def _ask(lab: Lab, script: Callable[[Lab, Node], str]) -> Snapshot:
    nodes = [node for node in lab.topology.nodes if node.role is not Role.CLIENT]
    with ThreadPoolExecutor(len(nodes)) as pool:
        said = pool.map(lambda node: must(lab, node.name, script(lab, node)), nodes)
    lines = [
        f"{node.name} {line}"
        for node, text in zip(nodes, said, strict=True)
        for line in text.splitlines()
    ]
    pairs = [line.partition("\t") for line in lines]
    return {name: value.strip("|") for name, _, value in pairs}


def _script(lab: Lab, node: Node) -> str:
    if node.role is Role.GATEWAY:
        return _COMMON + _GATEWAY
    return _COMMON + _SWARM_NODE + (_LEADER if node == lab.topology.swarm[0] else "")


def touched(before: Snapshot, after: Snapshot) -> set[str]:
    """Return the names of what is not as it was."""
    return {name for name in before | after if before.get(name) != after.get(name)}


def holders(lab: Lab, vip: str) -> list[str]:
    """Return the nodes that have an address now."""
    probe = f"ip -o -4 addr show to {vip}/32"
    return [node.name for node in lab.topology.swarm if must(lab, node.name, probe).strip()]


def read(lab: Lab, node: str, path: str) -> str:
    """Return a file's content."""
    return must(lab, node, f"cat {path}")


def writing(path: str, content: str) -> str:
    """Return the shell commands that write a file, as another administrator would."""
    return f"mkdir -p $(dirname {path}); cat > {path} <<'WITNESS'\n{content}WITNESS"
