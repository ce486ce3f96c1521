"""The declared site: parameters files, validated whole before anything is contacted."""

from runbook.site.loading import Setting, SiteFile, load
from runbook.site.model import (
    Acceptance,
    AcceptedRisk,
    Dashboard,
    Demonstration,
    Forward,
    Gateway,
    HealthCheck,
    Host,
    Keepalived,
    Manager,
    Network,
    Records,
    Shorewall,
    Site,
    Ssh,
    Traefik,
)
from runbook.site.problems import Problem, SiteInvalid
from runbook.site.risks import Risk, unaccepted_risks

__all__ = [
    "Acceptance",
    "AcceptedRisk",
    "Dashboard",
    "Demonstration",
    "Forward",
    "Gateway",
    "HealthCheck",
    "Host",
    "Keepalived",
    "Manager",
    "Network",
    "Problem",
    "Records",
    "Risk",
    "Setting",
    "Shorewall",
    "Site",
    "SiteFile",
    "SiteInvalid",
    "Ssh",
    "Traefik",
    "load",
    "unaccepted_risks",
]
