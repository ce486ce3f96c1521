"""What other people keep on a varied lab: rules, sets and tunnels, VRRP instances, applications.

None of it is the runbook's, and all of it has to be as it was after any run.
"""

from ipaddress import IPv4Network

from runbook.lab.machine import Machine
from runbook.lab.state import State
from runbook.lab.tarball import Member
from runbook.lab.topology import Node, Role, Topology
from runbook.lab.waiting import wait_until
from runbook.waiting import until

NETWORKS = ("frontend", "public")
READY_TIMEOUT_S = 60.0
VIP_TIMEOUT_S = 10.0  # an instance without a rival takes four advert intervals

STACK = """\
version: "3.8"
services:
  web:
    image: demo:1
    ports: [{target: 80, published: 9000, mode: host}]
    networks: [public]
    deploy: {mode: global}
networks: {public: {external: true}}
"""
# Each service, and how it is deployed by its owner.
SERVICES = {
    "others_web": "docker stack deploy --resolve-image never -c /srv/others/stack.yml others",
    # It takes every request that nothing else takes.
    "shop": (
        "docker service create --detach --no-resolve-image --name shop --network frontend"
        " --label traefik.enable=true --label 'traefik.http.routers.shop.rule=PathPrefix(`/`)'"
        " --label traefik.http.services.shop.loadbalancer.server.port=80 demo:1"
    ),
}
OBSERVE = f"""
docker network inspect --format '{{{{.Name}}}} {{{{.ID}}}}' {" ".join(NETWORKS)} 2>/dev/null
docker service inspect --format '{{{{.Spec.Name}}}} {{{{.ID}}}} {{{{json .Spec}}}}' \
    {" ".join(SERVICES)} 2>/dev/null
exit 0
"""
RUNNING = "docker service ls --format '{{.Name}} {{.Replicas}}'"

RULES = """\
#
# Shorewall -- /etc/shorewall/rules, see shorewall-rules(5)
#
#ACTION\tSOURCE\tDEST\tPROTO\tDPORT
?SECTION NEW
?COMMENT Abuse desk
DROP\tnet:+blocked\tall
?COMMENT
ACCEPT\tnet\tfw\ttcp\t22\t# the operators
DNS(ACCEPT)\tloc\tfw
Ping(ACCEPT)\tloc\tfw
Backup(ACCEPT) loc  fw   # nightly; ask Luis
DNAT\tnet\tloc:{others}:9000\ttcp\t9000\t# the others' application
DNAT net loc:{others}:22 tcp 2216
"""
MACRO = """\
# Our backup's own port, see shorewall-macros(5)
?FORMAT 2
PARAM\t-\t-\ttcp\t9102
"""
SETS = """\
create blocked hash:net family inet
add blocked 192.0.2.0/24
add blocked 198.51.100.128/25
"""
SETS_UNIT = """\
[Unit]
Description=Sets of addresses, before the firewall that names them
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ipset -exist -file /etc/ipset.conf restore
"""
SETS_FIRST = """\
[Unit]
Wants=ipset.service
After=ipset.service
"""
# As fail2ban's action iptables-multiport and a wg-quick's PostUp leave them. Says what was missing.
LIVE = """\
set -eu
adds() { ipset save | grep ^add | sort; }
if [ "$(adds)" != "$(grep ^add /etc/ipset.conf | sort)" ]; then
    ipset flush blocked 2>/dev/null || true
    ipset -exist -file /etc/ipset.conf restore
    echo "restored the set of blocked addresses"
fi
if ! iptables -n -L f2b-sshd >/dev/null 2>&1; then
    iptables -N f2b-sshd
    iptables -A f2b-sshd -j RETURN
    iptables -I f2b-sshd 1 -s 198.51.100.77 -j REJECT --reject-with icmp-port-unreachable
    iptables -I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
    echo "restored the chain of fail2ban"
fi
if ! iptables -t nat -C POSTROUTING -s 10.8.0.0/24 -o net0 -j MASQUERADE 2>/dev/null; then
    iptables -A FORWARD -i wg0 -j ACCEPT
    iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -o net0 -j MASQUERADE
    echo "restored the rules of the VPN"
fi
"""
# A password of more than eight characters is cut by keepalived, which warns of it at every start.
INSTANCE = """\
! somebody else's
vrrp_instance OTHERS_{vrid} {{
    state MASTER
    interface {interface}
    virtual_router_id {vrid}
    priority 250
    authentication {{
        auth_type PASS
        auth_pass verylongpassword
    }}
    virtual_ipaddress {{
        {address}
    }}
}}
"""
INCLUDING = """\
! Configuration File for keepalived
global_defs {
    router_id somebody_else
}
include /etc/keepalived/conf.d/*.conf
"""


def floating(topology: Topology, node: Node) -> str:
    """Return the address and prefix that somebody else's keepalived holds there, or nothing."""
    if not node.traits.vrid:
        return ""
    prefix = IPv4Network(topology.lan).prefixlen
    return f"{topology.lan_address(node.traits.vrid)}/{prefix}"


def members(topology: Topology, node: Node) -> list[Member]:
    """Return the files of other people on a node of a varied lab."""
    if not topology.varied:
        return []
    files = {}
    if node.role is Role.GATEWAY:
        others = topology.swarm[-1].lan
        files = {
            "etc/shorewall/rules": RULES.format(others=others),
            "etc/shorewall/macro.Backup": MACRO,
            "etc/ipset.conf": SETS,
            "etc/systemd/system/ipset.service": SETS_UNIT,
            "etc/systemd/system/shorewall.service.d/ipset.conf": SETS_FIRST,
            "etc/lab/live.sh": LIVE,
        }
    if node.role is Role.MANAGER:
        files["srv/others/stack.yml"] = STACK
    if node.traits.vrid:
        instance = INSTANCE.format(
            vrid=node.traits.vrid,
            interface=topology.interface,
            address=floating(topology, node),
        )
        files["etc/keepalived/keepalived.conf"] = INCLUDING
        files[f"etc/keepalived/{node.traits.vrrp_file}"] = instance
    return [Member(path, content.encode()) for path, content in files.items()]


def ensure(machines: list[Machine], leader: Machine, state: State) -> list[str]:
    """Have other people's networks, services and addresses there; return what had to be done.

    Args:
        machines: The Swarm's machines.
        leader: A manager that answers.
        state: Where is kept what they were like when they were made.

    Raises:
        LabError: They do not get there in time.
    """
    here = intact(leader, state)
    done = []
    for name in NETWORKS:
        if name not in here and leader.run("docker", "network", "inspect", name).code:
            leader.must("docker", "network", "create", "--driver", "overlay", name)
            done.append(f"created network {name}, which is somebody else's")
    for name, deployment in SERVICES.items():
        if name not in here:
            leader.run("docker", "service", "rm", name)
            leader.must("sh", "-c", deployment)
            done.append(f"deployed {name}, which is somebody else's")
    if done:
        state.write(state.neighbours, leader.must("sh", "-c", OBSERVE))
    wait_until(
        lambda: _run(leader),
        "other people's services to run",
        timeout_s=READY_TIMEOUT_S,
        every_s=0.3,
        detail=lambda: leader.run("docker", "service", "ps", *SERVICES).stdout,
    )
    for machine in machines:
        done += _hold(machine)
    return done


def intact(leader: Machine, state: State) -> dict[str, str]:
    """Return the networks and services of other people that are as they were made, with their ids.

    Args:
        leader: A manager that answers.
        state: Where is kept what they were like when they were made.
    """
    kept = state.neighbours.read_text().splitlines() if state.neighbours.exists() else []
    seen = leader.must("sh", "-c", OBSERVE).splitlines() if kept else []
    words = [line.split() for line in seen if line in kept]
    return {name: number for name, number, *_ in words}


def _run(leader: Machine) -> bool:
    seen = dict(
        line.split(maxsplit=1) for line in leader.run("sh", "-c", RUNNING).stdout.splitlines()
    )
    counts = [seen.get(name, "0/1").split()[0].split("/") for name in SERVICES]
    return all(running == wanted for running, wanted in counts)


def _hold(machine: Machine) -> list[str]:
    """Wait for the address of somebody else's keepalived; restart the daemon where it lost it."""
    address = floating(machine.topology, machine.node)
    if not address:
        return []

    def held() -> bool:
        return bool(
            machine.run("ip", "-o", "-4", "addr", "show", "to", address.split("/")[0]).stdout
        )

    done = []
    if not until(held, holds=bool, timeout_s=VIP_TIMEOUT_S):
        machine.must("systemctl", "restart", "keepalived")
        done = [f"restarted keepalived on {machine.node.name}"]
    wait_until(
        held,
        f"{machine.node.name} to hold {address}",
        timeout_s=VIP_TIMEOUT_S,
        detail=machine.tail,
    )
    return done
