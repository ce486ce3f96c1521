"""How the machines of a varied lab differ from one another, as those of a real site do."""

import shlex
from dataclasses import dataclass

USER = "gerard"


@dataclass(frozen=True, slots=True)
class Traits:
    """What is particular to one machine; by default nothing. Equal when all of it is.

    Attributes:
        suite: The Debian release of a Swarm node.
        hostname: What the machine calls itself, where that is not its name in the lab.
        timezone: A name of the tz database; empty for UTC.
        language: The locale its messages are in, such as ``es_ES``; empty for none.
        login_shell: The operator's login shell.
        docker_group: Whether the operator may use the engine without sudo.
        sudo_rs: Whether ``sudo`` is sudo-rs, which words its refusals otherwise.
        talks: Whether ``.bashrc`` prints a line, before it asks whether anybody reads it.
        banner: Whether sshd greets before the login, and the message of the day after it.
        vrid: Virtual router id of a keepalived instance of somebody else's; 0 for none. The last
            number of its address is the same.
        vrrp_file: Where below ``/etc/keepalived`` that instance is written.
    """

    suite: str = "bookworm"
    hostname: str = ""
    timezone: str = ""
    language: str = ""
    login_shell: str = ""
    docker_group: bool = True
    sudo_rs: bool = False
    talks: bool = False
    banner: bool = False
    vrid: int = 0
    vrrp_file: str = "keepalived.conf"


PLAIN = Traits()
VARIED = {
    "gateway": Traits(timezone="Europe/Madrid"),
    "docker01": Traits(timezone="America/Caracas", docker_group=False, talks=True),
    "docker02": Traits(
        suite="trixie",
        hostname="docker02.example.org",
        sudo_rs=True,
        vrid=61,
        vrrp_file="conf.d/mail.conf",
    ),
    "docker03": Traits(timezone="Asia/Kolkata", language="es_ES", login_shell="/bin/tcsh", vrid=60),
    "docker04": Traits(hostname="DOCKER04", login_shell="/usr/bin/fish"),
    "docker05": Traits(banner=True),
}


def script(traits: Traits) -> str:
    """Return the shell commands that make a machine differ; nothing for a plain one.

    Run once, as root and before systemd, by ``entry.sh``.
    """
    lines = []
    if traits.timezone:
        zone = shlex.quote(traits.timezone)
        lines += [
            f"ln -snf /usr/share/zoneinfo/{zone} /etc/localtime",
            f"echo {zone} >/etc/timezone",
        ]
    if traits.language:
        locale = f"{traits.language}.UTF-8"
        lines += [
            f"localedef -i {traits.language} -f UTF-8 {locale}",
            # What pam_env gives to every session. Source: pam_env(8), /etc/pam.d/sshd of Debian.
            f"printf 'LANG={locale}\\nLANGUAGE={traits.language}\\n' >/etc/default/locale",
        ]
    if traits.login_shell:
        lines += [
            f"usermod --shell {traits.login_shell} {USER}",
            f"runuser --user {USER} -- {traits.login_shell} -c true",  # what it leaves at home
        ]
    if not traits.docker_group:
        lines.append(f"gpasswd --delete {USER} docker >/dev/null")
    if traits.sudo_rs:
        lines += [
            "dpkg-divert --quiet --local --rename --add /usr/bin/sudo",
            "ln -s /usr/lib/cargo/bin/sudo /usr/bin/sudo",
        ]
    if traits.talks:
        greeting = 'echo "Welcome to $(hostname), it is $(date)"'
        lines.append(f"sed -i '1i {greeting}' /home/{USER}/.bashrc")
    if traits.banner:
        lines += [
            "echo 'Authorised use only. All sessions are recorded.' >/etc/issue.net",
            "echo 'Banner /etc/issue.net' >/etc/ssh/sshd_config.d/banner.conf",
            "echo 'Maintenance on Sunday at 03:00' >/etc/motd",
        ]
    if traits.vrid:
        lines.append(
            "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"
            " keepalived >/dev/null"
        )
    return "".join(f"{line}\n" for line in ["set -eu", *lines]) if lines else ""
