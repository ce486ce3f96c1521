"""A real site in systemd containers: a gateway, a Swarm and a client outside.

from runbook.lab import Lab, Topology

lab = Lab.load("lab")
code, text = lab.exec("docker01", ["ip", "-br", "address"])
"""

from runbook.lab.errors import LabError
from runbook.lab.lab import Lab
from runbook.lab.topology import VARIED_LAB, Node, Role, Topology

__all__ = ["VARIED_LAB", "Lab", "LabError", "Node", "Role", "Topology"]
