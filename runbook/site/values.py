"""The kinds of value a setting can have, and the sentence an operator reads when one is not that.

No value is turned into another type: a port is a number in the file, an address is text.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from runbook.masking import secret

SITE_NAME: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
# A domain ends in a label that begins with a letter, so an address is no name (RFC 1123, 2.1). The
# underscore is no letter of a host name, and OpenSSH, the kernel and Swarm take it all the same.
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
HOST_NAME: Final = rf"^{_LABEL}((\.{_LABEL})*\.[A-Za-z]([A-Za-z0-9_-]{{0,61}}[A-Za-z0-9])?)?$"
DOMAIN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
INTERFACE: Final = r"^[A-Za-z0-9._-]+$"
ZONE: Final = r"^[A-Za-z][A-Za-z0-9_]*$"
# Source: swarmkit, manager/controlapi/common.go: services and networks; secrets may have dots.
SWARM_NAME: Final = r"^[a-zA-Z0-9]([a-zA-Z0-9_-]*[a-zA-Z0-9])?$"
DOTTED_NAME: Final = r"^[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?$"
INSTANCE: Final = r"^[A-Za-z0-9_.-]+$"
FOLDER: Final = r"^~?(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$"
IMAGE: Final = r"^[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*(@sha256:[0-9a-f]{64})?$"
REFERENCE: Final = rf"^{secret.REFERENCE}$"

SHAPES: Final = {
    SITE_NAME: "must be a name of small letters, digits and inner hyphens",
    HOST_NAME: "must be a host name, short or fully qualified: letters, digits and inner hyphens",
    DOMAIN: "must be a DNS name or an address: small letters, digits, hyphens and dots",
    INTERFACE: "must be the name of a network interface, such as enp0s3",
    ZONE: "must be a Shorewall zone: letters, digits and underscores, a letter first",
    SWARM_NAME: "must be a Swarm name: letters, digits and inner '_' and '-'",
    DOTTED_NAME: "must be a Docker secret's name: letters, digits and inner '_', '.' and '-'",
    INSTANCE: "must be one word of letters, digits, '_', '.' and '-'",
    FOLDER: "must be a folder such as ~/traefik or /srv/traefik, without spaces",
    IMAGE: "must be an image with its tag, such as traefik:v3.7.9",
    REFERENCE: "must say where the secret is: env:NAME, file:PATH or command:WORDS",
}
"""What each pattern asks for, in words."""

SECRETS: Final = (("traefik", "dashboard", "users"),)
"""The settings that name a secret by reference; what stands there may be the secret itself."""


def discreet(path: tuple[str | int, ...], message: str) -> str:
    """Return a message about a value, or one that does not repeat it where it may be a secret."""
    hidden = any(path[: len(setting)] == setting for setting in SECRETS)
    return SHAPES[REFERENCE] if hidden else message


def _address(value: object) -> IPv4Address:
    # IPv4Address(167772162) is 10.0.0.2, so a number has to be turned away before it.
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except AddressValueError as error:
        raise ValueError("must be an IPv4 address such as 10.0.0.2") from error


def _subnet(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    wanted = "must be a subnet with its prefix length, such as 10.0.0.0/24"
    text = value if isinstance(value, str) else ""
    if not text.partition("/")[2].isdecimal():  # IPv4Network reads "10.0.0.0" as a /32
        raise ValueError(wanted)
    try:
        subnet = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError) as error:
        raise ValueError(wanted) from error
    if str(subnet.network_address) != text.partition("/")[0]:
        raise ValueError(f"must be a subnet without host bits; write {subnet}")
    return subnet


def _version(value: object) -> object:
    if type(value) is not int or value not in (2, 3):  # Literal itself would take 3.0 for 3
        raise ValueError("must be 2 or 3")
    return value


Address = Annotated[IPv4Address, BeforeValidator(_address)]
Subnet = Annotated[IPv4Network, BeforeValidator(_subnet)]
VrrpVersion = Annotated[Literal[2, 3], BeforeValidator(_version)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Flag = Annotated[bool, Field(strict=True)]
SiteName = Annotated[str, Field(pattern=SITE_NAME, max_length=63)]
HostName = Annotated[str, Field(pattern=HOST_NAME, max_length=253)]
Domain = Annotated[str, Field(pattern=DOMAIN, max_length=253)]
# 15 characters at most: linux/if.h, IFNAMSIZ.
Interface = Annotated[str, Field(pattern=INTERFACE, max_length=15)]
# Five characters at most, and 19 with a short LOGFORMAT: shorewall-zones(5), shorewall.conf(5).
Zone = Annotated[str, Field(pattern=ZONE, max_length=19)]
SwarmName = Annotated[str, Field(pattern=SWARM_NAME, max_length=63)]
# A service has the stack's name before its own, and 63 characters at most: len("_traefik") less.
StackName = Annotated[str, Field(pattern=SWARM_NAME, max_length=55)]
SecretName = Annotated[str, Field(pattern=DOTTED_NAME, max_length=64)]
Image = Annotated[str, Field(pattern=IMAGE)]
Reference = Annotated[str, Field(pattern=REFERENCE)]
