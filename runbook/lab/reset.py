"""Back to how the lab was just after up, without making its containers again."""

from runbook.lab.machine import Machine
from runbook.lab.parallel import flat, for_each
from runbook.lab.waiting import wait_until

NODE_TIMEOUT_S = 60
NETWORKS_TIMEOUT_S = 30.0
# Everything an operator can have put in the Swarm, in an order in which nothing is still in use.
# What is to stay is the argument, as a regular expression: names.
SERVICES = """
docker service ls --format '{{.Name}}' | grep -vxE "$1" | xargs -r docker service rm
docker config ls --quiet | xargs -r docker config rm
docker secret ls --quiet | xargs -r docker secret rm
for node in $(docker node ls --quiet); do
    format='{{range $key, $_ := .Spec.Labels}}{{$key}} {{end}}'
    keys=$(docker node inspect --format "$format" "$node")
    for key in $keys; do docker node update --label-rm "$key" "$node" >/dev/null; done
done
"""
NETWORKS = """
left=$(docker network ls --filter scope=swarm --format '{{.Name}}' |
    grep -vxE "$1|ingress")
[ -z "$left" ] || docker network rm $left
"""


def reset(machines: list[Machine], leader: Machine, others: dict[str, str]) -> list[str]:
    """Remove what was deployed and installed since up; return a sentence for each removal.

    Args:
        machines: Every machine of the lab, all of them running.
        leader: A manager that answers.
        others: Services and networks of other people that stay, with their ids.

    Raises:
        LabError: A node cannot be reset; carries what it said.
    """
    removed = leader.must("sh", "-c", SERVICES, "sh", "|".join(others), timeout_s=NODE_TIMEOUT_S)
    done = [f"removed {object_id} from the Swarm" for object_id in removed.split()]
    done += flat(for_each(machines, _reset_node))
    wait_until(
        lambda: _networks_gone(leader, others),
        "the Swarm's networks to go",
        timeout_s=NETWORKS_TIMEOUT_S,
        detail=lambda: leader.run("docker", "network", "ls").stdout,
    )
    return done


def _reset_node(machine: Machine) -> list[str]:
    said = machine.must("/usr/local/lib/lab/reset.sh", timeout_s=NODE_TIMEOUT_S)
    return [f"{machine.node.name}: {line}" for line in said.splitlines()]


def _networks_gone(leader: Machine, others: dict[str, str]) -> bool:
    """Remove the networks, which the engine refuses while a task still ends, and say if it did."""
    return leader.run("sh", "-c", NETWORKS, "sh", "|".join(others)).code == 0
