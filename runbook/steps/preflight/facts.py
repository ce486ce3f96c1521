"""What the preflight reads: one command a host, and the Swarm through one manager."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from runbook.live import Answers, Live
from runbook.site import Site

LISTEN_S = 1.2
"""How long adverts of other VRRP routers are listened for; the default interval is one second."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """A host's engine; ``error`` is set where it does not answer."""

    version: str = ""
    api: str = ""
    min_api: str = ""
    swarm: str = ""
    error: str = ""


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
class HostFacts:
    """What was read on one host."""

    hostname: str
    system: str
    apt: bool
    clock_offset_s: float
    addresses: Mapping[str, str]
    macs: tuple[str, ...]
    default_via: str
    listeners: Mapping[int, str]
    engine: EngineFacts | None = None
    lan: LanFacts | None = None
    gateway: GatewayFacts | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the Swarm sees it."""

    hostname: str
    role: str
    state: str
    availability: str
    address: str
    reachability: str


@dataclass(frozen=True, slots=True)
class SwarmFacts:
    """The Swarm's nodes, overlay networks, ingress ports and secrets."""

    nodes: tuple[Node, ...]
    overlays: Mapping[str, tuple[IPv4Network, ...]]
    ingress_ports: Mapping[int, str]
    secrets: frozenset[str]


_COMMON = {
    "hostname": "hostname",
    "clock": "date +%s.%N",
    "system": '. /etc/os-release; echo "$PRETTY_NAME"',
    "apt": "command -v apt-get",
    "addresses": "ip -o -4 addr show",
    "macs": "ip -o link show",
    "route": "ip -4 route show default",
}
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
# The engine's socket is asked with curl: each start of the docker CLI costs a tenth of a second.
_ASK = "curl -sS -m 10 --unix-socket /var/run/docker.sock http://engine"
_ENGINE = {"version": f"{_ASK}/version", "info": f"{_ASK}/info"}
_LISTENERS = {"sockets": "ss -Hltnp", "containers": f"{_ASK}/containers/json"}
_GATEWAY = {
    "shorewall": "shorewall version",
    "zones": "cat /etc/shorewall/zones",
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
        probes = probes | _LISTENERS
    if host == next(iter(site.managers)):
        probes = probes | {"lan": _lan_probe(site, site.managers[host].address)}
    return probes


def observe_hosts(live: Live) -> dict[str, HostFacts]:
    """Read every declared host in one command each."""
    hosts = [*live.site.managers, *live.site.workers, live.site.gateway.name]
    seen = live.gather({host: _probes(live.site, host) for host in hosts}, said="observed")
    return {host: _host(texts) for host, texts in seen.items()}


def _host(texts: Answers) -> HostFacts:
    route = texts["route"].split()
    return HostFacts(
        hostname=texts["hostname"].strip(),
        system=texts["system"].strip(),
        apt=bool(texts["apt"].strip()),
        clock_offset_s=float(texts["clock"]) - texts.started.timestamp(),
        addresses=_addresses(texts["addresses"]),
        macs=tuple(
            line.split("link/ether ")[1].split()[0]
            for line in texts["macs"].splitlines()
            if "link/ether " in line
        ),
        default_via=route[route.index("via") + 1] if "via" in route else "",
        listeners=_listeners(texts["sockets"], texts["containers"]) if "sockets" in texts else {},
        engine=_engine(texts) if "version" in texts else None,
        lan=lan_facts(texts["lan"]) if "lan" in texts else None,
        gateway=_gateway(texts) if "zones" in texts else None,
    )


def _addresses(text: str) -> dict[str, str]:
    """Return interface names by address, from ``ip -o -4 addr show``."""
    words = [line.split() for line in text.splitlines()]
    return {w[3].partition("/")[0]: w[1] for w in words if len(w) > 3}


def _engine(texts: Mapping[str, str]) -> EngineFacts:
    try:
        server, about = json.loads(texts["version"]), json.loads(texts["info"])
        return EngineFacts(
            version=server["Version"],
            api=server["ApiVersion"],
            min_api=server["MinAPIVersion"],
            swarm=about["Swarm"]["LocalNodeState"],
        )
    except (json.JSONDecodeError, KeyError):
        said = " ".join(f"{texts['version']} {texts['info']}".split())
        return EngineFacts(error=said[:300] or "no answer")


def _listeners(sockets: str, containers: str) -> dict[int, str]:
    """Return who listens on each TCP port: a service of the Swarm, or a program's name."""
    found: dict[int, str] = {}
    for line in sockets.splitlines():
        words = line.split()
        if len(words) > 3:
            program = words[5].split('"')[1] if len(words) > 5 and '"' in words[5] else "a program"
            found[int(words[3].rpartition(":")[2])] = program
    # The proxy of a container that starts or stops is there without the container. Whose it is will
    # show in a moment; the foreign ones that stay are found by their containers.
    found = {port: program for port, program in found.items() if program != "docker-proxy"}
    # Without a userland proxy a published port has no socket, so containers are asked as well.
    for container in json.loads(containers) if containers.startswith("[") else []:
        service = container["Labels"].get("com.docker.swarm.service.name")
        for port in container["Ports"]:
            if "PublicPort" in port:
                found[port["PublicPort"]] = f"service {service}" if service else "a container"
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
        elif "vrid " in line and " > " in line:
            source = line.split(" > ")[0].split()[-1]
            adverts.add(Advert(IPv4Address(source), int(line.split("vrid ")[1].split(",")[0])))
    return LanFacts(
        # Both say first what they do; without that, they did not.
        adverts=tuple(sorted(adverts, key=str)) if "listening on" in text else None,
        vip_macs=tuple(sorted(macs)) if "ARPING" in text else None,
    )


def _gateway(texts: Mapping[str, str]) -> GatewayFacts:
    zones = [line.split("#")[0].split() for line in texts["zones"].splitlines()]
    return GatewayFacts(
        version=texts["shorewall"].strip(),
        zones=tuple(words[0].partition(":")[0] for words in zones if len(words) > 1),
        started=texts["started"].strip() == "yes",
        forwarding=texts["forwarding"].partition("#")[0].strip().strip("'\""),
        ip_forward=texts["ip_forward"].strip() == "1",
        stopped_rules=texts["stopped"].strip() not in ("", "0"),
    )


def observe_swarm(live: Live) -> SwarmFacts:
    """Read the Swarm's own view through the Engine API of one manager.

    Raises:
        Refused: The Swarm has no leader, so it has lost its quorum.
    """
    from runbook.swarm import translated

    with translated(live.manager, "preflight"):
        api = live.engine.api
        nodes = [_node(node) for node in api.nodes()]
        networks = api.networks(filters={"driver": "overlay"})
        services = api.services()
        names = frozenset(secret["Spec"]["Name"] for secret in api.secrets())
    return SwarmFacts(
        nodes=tuple(sorted(nodes, key=lambda node: node.hostname)),
        overlays={n["Name"]: _subnets(n) for n in networks},
        ingress_ports={
            port["PublishedPort"]: service["Spec"]["Name"]
            for service in services
            for port in service.get("Endpoint", {}).get("Ports", [])
            if port.get("PublishMode") == "ingress" and "PublishedPort" in port
        },
        secrets=names,
    )


def _node(node: Mapping[str, Any]) -> Node:
    manager = node.get("ManagerStatus") or {}
    address = manager.get("Addr", "").rpartition(":")[0] or node["Status"].get("Addr", "")
    return Node(
        hostname=node["Description"]["Hostname"],
        role=node["Spec"]["Role"],
        state=node["Status"]["State"],
        availability=node["Spec"]["Availability"],
        address=address,
        reachability="leader" if manager.get("Leader") else manager.get("Reachability", ""),
    )


def _subnets(network: Mapping[str, Any]) -> tuple[IPv4Network, ...]:
    pools = (network.get("IPAM") or {}).get("Config") or []
    return tuple(IPv4Network(pool["Subnet"]) for pool in pools if ":" not in pool["Subnet"])
