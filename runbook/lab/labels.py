"""The label that everything a lab made carries, and is found again by."""

LAB = "edge-runbook.lab"
NODE = "edge-runbook.node"
SPEC = "edge-runbook.spec"
OWNER = "edge-runbook.owner"


def labels(lab: str, **more: str) -> dict[str, str]:
    """Return the labels of an object of a lab, with what else it is marked with."""
    keys = {"node": NODE, "spec": SPEC, "owner": OWNER}
    return {LAB: lab} | {keys[name]: value for name, value in more.items()}


def selector(lab: str) -> dict[str, str | list[str] | bool]:
    """Return the filter that finds the objects of a lab."""
    return {"label": f"{LAB}={lab}"}
