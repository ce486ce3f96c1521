"""A runbook that takes a Docker Swarm and its Shorewall gateway to a highly available edge."""
