"""What the preflight reads of each host, in one command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address

from runbook.hosts.live import Answers, Live
from runbook.site import Site
from runbook.steps.preflight.answers import parsed, part, text_at

LISTEN_S = 1.2
"""How long adverts of other VRRP routers are listened for; the default interval is one second."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """A host's engine; ``error`` is set where it does not answer.

    Attributes:
        node_id: Its own ID in the Swarm, by which it is found in the Swarm's list.
        controls: Whether it is a manager at present.
        swarm_error: Why it is in no Swarm, where it tried to be.
        unit: What ``systemctl is-enabled docker`` says.
    """

    version: str = ""
    api: str = ""
    min_api: str = ""
    swarm: str = ""
    error: str = ""
    node_id: str = ""
    controls: bool = False
    swarm_error: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Advert:
    """A VRRP advert on the wire."""

    source: IPv4Address
    virtual_router_id: int


@dataclass(frozen=True, slots=True)
class LanFacts:
    """What the first manager hears on the LAN; ``None`` where the tool for it is missing."""

    adverts: tuple[Advert, ...] | None
    vip_macs: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What Shorewall is and does on the gateway."""

    version: str
    zones: tuple[str, ...]
    started: bool
    forwarding: str
    ip_forward: bool
    stopped_rules: bool


@dataclass(frozen=True, slots=True)
class VrrpFacts:
    """Whether keepalived runs on a manager, and what of its firewall concerns adverts."""

    running: bool
    firewall: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What was read on one host; ``None`` stands for what could not be read.

    Attributes:
        free_kib: Space left on the filesystem of each folder that is written to, in KiB.
        read_only: Those of them on which root cannot write.
    """

    hostname: str
    system: str
    apt: bool
    clock_offset_s: float | None
    addresses: Mapping[str, str]
    macs: tuple[str, ...]
    default_via: str
    listeners: Mapping[int, str] | None
    engine: EngineFacts | None = None
    lan: LanFacts | None = None
    gateway: GatewayFacts | None = None
    vrrp: VrrpFacts | None = None
    free_kib: Mapping[str, int] = field(default_factory=dict)
    read_only: tuple[str, ...] = ()


_COMMON = {
    "hostname": "uname -n",
    "clock": "date +%s.%N",
    "system": '. /etc/os-release; echo "$PRETTY_NAME"',
    "apt": "command -v apt-get",
    "addresses": "ip -o -4 addr show",
    "macs": "ip -o link show",
    "route": "ip -4 route show default",
    "space": "df -kP / /etc /var /var/lib/docker 2>/dev/null",
    # access(2) tells root of a filesystem that is mounted read-only, and writes nothing.
    "read_only": "for d in /etc /var; do [ -w $d ] || echo $d; done",
}
_ADVERT = re.compile(r"\bIP ((?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.|(?= ))){4}) > .*\bvrid (\d+)\b")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
# The engine's socket is asked with curl: each start of the docker CLI costs a tenth of a second.
# Root's .curlrc is left out, which may print more than the answer.
_ASK = "curl -q -sS -m 10 --unix-socket /var/run/docker.sock http://engine"
_ENGINE = {
    "version": f"{_ASK}/version",
    "info": f"{_ASK}/info",
    "unit": "systemctl is-enabled docker",
}
_LISTENERS = {"sockets": "ss -Hltnp", "containers": f"{_ASK}/containers/json"}
# A rule on VRRP, on its multicast address, or a policy that drops what no rule admits.
_VRRP = {
    "vrrp_running": "systemctl is-active keepalived",
    "firewall": "{ iptables-save; nft list ruleset; } 2>/dev/null | grep -Ei -e "
    "'-p (vrrp|112) |-d 224\\.|(protocol|l4proto) (vrrp|112) |daddr 224\\.|^:INPUT DROP'"
    " -e 'hook input .*policy drop'",
}
_GATEWAY = {
    "shorewall": "shorewall version",
    # What runs has the zones of INCLUDE, of variables and of any other form of the file.
    "zones": "cat /var/lib/shorewall/zones /etc/shorewall/zones 2>/dev/null",
    "started": "shorewall status >/dev/null && echo yes",
    "forwarding": "sed -n 's/^IP_FORWARDING=//p' /etc/shorewall/shorewall.conf",
    "ip_forward": "sysctl -n net.ipv4.ip_forward",
    "stopped": "grep -v '^ *#' /etc/shorewall/stoppedrules 2>/dev/null | grep -c .",
}


def _lan_probe(site: Site, address: IPv4Address) -> str:
    """Return the snippet that asks for the VIP and listens for adverts, both at once."""
    vip = shlex.quote(str(site.keepalived.vip))
    return (
        f"i=$(ip -o -4 addr show to {address}/32 | awk '{{print $2; exit}}')\n"
        f'arping -b -c 2 -w 1 -I "$i" {vip} 2>&1 &\n'
        f"timeout {LISTEN_S} tcpdump -nnl -i \"$i\" 'ip proto 112' 2>&1\n"
        "wait"
    )


def _probes(site: Site, host: str) -> dict[str, str]:
    if host == site.gateway.name:
        return _COMMON | _GATEWAY
    probes = _COMMON | _ENGINE
    if host in site.managers:
        probes = probes | _LISTENERS | _VRRP
    if host == site.first_manager:
        probes = probes | {"lan": _lan_probe(site, site.managers[host].address)}
    return probes


def observe_hosts(live: Live) -> dict[str, HostFacts]:
    """Read every declared host in one command each."""
    hosts = [*live.site.managers, *live.site.workers, live.site.gateway.name]
    seen = live.gather({host: _probes(live.site, host) for host in hosts}, said="observed")
    return {host: _host(texts) for host, texts in seen.items()}


def _host(texts: Answers) -> HostFacts:
    return HostFacts(
        hostname=texts["hostname"].strip(),
        system=texts["system"].strip(),
        apt=texts["apt"].startswith("/"),
        clock_offset_s=clock_offset(texts["clock"], texts.started, texts.ended),
        addresses=_addresses(texts["addresses"]),
        macs=tuple(re.findall(rf"link/ether ({_MAC.pattern})", texts["macs"].lower())),
        default_via=default_via(texts["route"]),
        listeners=listeners(texts["sockets"], texts["containers"]) if "sockets" in texts else {},
        engine=engine_facts(texts) if "version" in texts else None,
        lan=lan_facts(texts["lan"]) if "lan" in texts else None,
        gateway=_gateway(texts) if "zones" in texts else None,
        vrrp=_vrrp(texts) if "vrrp_running" in texts else None,
        free_kib=_free(texts["space"]),
        read_only=tuple(re.findall(r"^/\S*$", texts["read_only"], re.MULTILINE)),
    )


def clock_offset(said: str, started: datetime, ended: datetime) -> float | None:
    """Return by how many seconds a host's clock is certainly off, with its sign.

    The clock was read between the start and the end of the command. How long login and sudo took
    before, or the other snippets after, is not known, and no offset that explains it is one.
    ``None`` where ``date`` printed no number; one without %N prints whole seconds at least.
    """
    seconds = re.match(r"\s*(\d+)(\.\d+)?", said)
    if seconds is None:
        return None
    there, grain = float(seconds[0]), 0 if seconds[2] else 1
    return max(0.0, there - ended.timestamp()) + min(0.0, there + grain - started.timestamp())


def default_via(text: str) -> str:
    """Return the next hop of the route that is taken, from ``ip -4 route show default``.

    The first is, which has the least metric; its next hops, where it has several, follow it.
    """
    first = re.match(r"\s*default.*(?:\n\s+nexthop.*)*", text)
    via = re.search(r"\bvia (?!inet6)(\S+)", first[0]) if first else None
    return via[1] if via else ""


def _addresses(text: str) -> dict[str, str]:
    """Return interface names by address, from ``ip -o -4 addr show``."""
    found = re.findall(r"^\d+: (\S+)\s+inet ([\d.]+)", text, re.MULTILINE)
    return {address: interface.partition("@")[0] for interface, address in found}


def _free(text: str) -> dict[str, int]:
    """Return the space left by mount point in KiB, from ``df -kP``."""
    found = re.findall(r"^\S.*\s\d+\s+\d+\s+(-?\d+)\s+\S+%\s+(/.*)$", text, re.MULTILINE)
    return {mount: int(free) for free, mount in found}


def _vrrp(texts: Mapping[str, str]) -> VrrpFacts:
    lines = [" ".join(line.split()) for line in texts["firewall"].splitlines()]
    return VrrpFacts(texts["vrrp_running"].strip() == "active", tuple(filter(None, lines)))


def engine_facts(texts: Mapping[str, str]) -> EngineFacts:
    """Return what ``/version`` and ``/info`` of a host's engine say.

    Source: Docker Engine API, SystemVersion and SystemInfo.
    """
    server, about, unit = parsed(texts["version"]), parsed(texts["info"]), texts["unit"].strip()
    version, state = text_at(server, "Version"), text_at(about, "Swarm", "LocalNodeState")
    if not version or not state:
        said = " ".join(f"{texts['version']} {texts['info']}".split())
        return EngineFacts(error=said[:300] or "no answer", unit=unit)
    return EngineFacts(
        version=version,
        api=text_at(server, "ApiVersion"),
        min_api=text_at(server, "MinAPIVersion"),
        swarm=state,
        node_id=text_at(about, "Swarm", "NodeID"),
        controls=part(about, "Swarm", "ControlAvailable") is True,
        swarm_error=text_at(about, "Swarm", "Error"),
        unit=unit,
    )


def listeners(sockets: str, containers: str) -> dict[int, str] | None:
    """Return who listens on each TCP port: a service of the Swarm, or a program's name.

    ``None`` where ``ss`` said something else than sockets.
    """
    if sockets.strip() and not re.search(r"^LISTEN\b", sockets, re.MULTILINE):
        return None
    found: dict[int, str] = {}
    for line in sockets.splitlines():
        words = line.split()
        port = words[3].rpartition(":")[2] if len(words) > 3 else ""
        if words and words[0] == "LISTEN" and port.isdecimal():
            program = re.search(r'\(\("([^"]+)"', line)
            found[int(port)] = program[1] if program else "a program"
    # The proxy of a container that starts or stops is there without the container. Whose it is will
    # show in a moment; the foreign ones that stay are found by their containers.
    found = {port: program for port, program in found.items() if program != "docker-proxy"}
    # Without a userland proxy a published port has no socket, so containers are asked as well.
    answer = parsed(containers)
    for container in answer if isinstance(answer, list) else []:
        service = part(container, "Labels", "com.docker.swarm.service.name")
        for port in part(container, "Ports") or []:
            udp = part(port, "Type") == "udp"  # what Traefik publishes is TCP
            if isinstance(public := part(port, "PublicPort"), int) and not udp:
                found[public] = f"service {service}" if service else "a container"
    return found


def lan_facts(text: str) -> LanFacts:
    """Return what arping and tcpdump printed.

    Source: ``reply from a [MAC]`` or ``bytes from MAC`` of the two arpings; tcpdump(8),
    ``IP a > b: VRRPv2, … vrid 51, …``.
    """
    adverts, macs = set(), set()
    for line in text.splitlines():
        if " from " in line and (mac := _MAC.search(line.lower())):
            macs.add(mac[0])
        elif advert := _ADVERT.search(line):
            adverts.add(Advert(IPv4Address(advert[1]), int(advert[2])))
    return LanFacts(
        # Both say first what they do; without that, they did not.
        adverts=tuple(sorted(adverts, key=str)) if "listening on" in text else None,
        vip_macs=tuple(sorted(macs)) if "ARPING" in text else None,
    )


def _gateway(texts: Mapping[str, str]) -> GatewayFacts:
    zones = re.findall(
        r"^[ \t]*(?!INCLUDE\b)([A-Za-z]\w*)(?=[\s:#]|$)", texts["zones"], re.MULTILINE
    )
    return GatewayFacts(
        version=texts["shorewall"].strip(),
        zones=tuple(dict.fromkeys(zones)),
        started=texts["started"].strip() == "yes",
        forwarding=texts["forwarding"].partition("#")[0].strip().strip("'\""),
        ip_forward=texts["ip_forward"].strip() == "1",
        stopped_rules=texts["stopped"].strip() not in ("", "0"),
    )
