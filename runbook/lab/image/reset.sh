#!/bin/sh
# Take the node back to what ready.sh kept: its packages, its files, its addresses, no containers.
# Says what it took away.
set -eu
baseline=/var/lib/lab/baseline

for unit in $(systemctl list-units --all --plain --no-legend 'run-*' 'runbook*' | awk '/\.(service|timer) /{print $1}'); do
    systemctl stop "$unit" && echo "stopped $unit"
done

# Until it succeeds: "removal … is already in progress", by the engine itself after a service, and a
# volume of such a container is in use until then.
until_done() {
    tries=50
    while ! said=$("$@" 2>&1 >/dev/null); do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "$said" >&2; exit 1; }
        sleep 0.2
    done
}
no_containers() { # but those of other people's services
    docker ps --all --format '{{.ID}} {{.Label "com.docker.swarm.service.name"}}' |
        grep -vwFf /etc/lab/services | cut -d' ' -f1 | xargs -r docker rm --force
}
no_volumes() { docker volume ls --quiet | xargs -r docker volume rm --force; }

# A look into the engine's folders costs nothing, a start of its client a tenth of a second.
if ls -d /var/lib/docker/containers/*/ >/dev/null 2>&1; then until_done no_containers; fi
if ls -d /var/lib/docker/volumes/*/ >/dev/null 2>&1; then until_done no_volumes; fi

# An engine that was stopped while it started a task leaves the interfaces of its networks behind, in
# place of those that it would make.
for link in $(ls /sys/class/net | grep -e '^vx-' -e '^ov-'); do
    ip link del "$link"
done

# Packages installed since. Not by dpkg --purge, which takes seconds on every node: their units are
# stopped, their files removed unless another package has them too, and dpkg's own records restored
# with the files below.
dpkg-query --show --showformat '${binary:Package}\n' | sort >/run/packages
extra=$(comm -13 "$baseline/packages" /run/packages)
if [ -n "$extra" ]; then
    # shellcheck disable=SC2086  # a list of words
    dpkg --listfiles $extra | sort --unique | comm -23 - "$baseline/paths" | sort --reverse >/run/paths
    for unit in $(sed -n 's,.*/systemd/system/\([^/]*\.service\)$,\1,p' /run/paths); do
        systemctl stop "$unit"
    done
    # Children first; rm says no to the folders, rmdir to those somebody else uses.
    xargs --delimiter '\n' rm -f </run/paths 2>/dev/null || true
    xargs --delimiter '\n' rmdir </run/paths 2>/dev/null || true
    echo "purged $(echo "$extra" | tr '\n' ' ')"
fi

# What the host's engine mounts into /etc is not the node's to restore.
restored=$(cd "$baseline" && rsync -a --delete --omit-dir-times --relative --out-format='%o /%n' \
    --exclude=/etc/hosts --exclude=/etc/hostname --exclude=/etc/resolv.conf \
    etc home opt root usr/local var/backups var/lib/apt var/lib/dpkg var/lib/systemd / |
    grep -v ' /var/lib/' | sed 's/^del\. /removed /; s/^send /restored /')
rm -rf /var/lib/runbook /run/runbook* /tmp/runbook*
if [ -n "$restored" ]; then
    echo "$restored"
    systemctl daemon-reload
    if echo "$restored" | grep -q ' /etc/docker/'; then systemctl restart docker; fi
    if echo "$restored" | grep -q ' /etc/ssh/'; then systemctl reload ssh; fi
    if echo "$restored" | grep -q ' /etc/sysctl'; then sysctl --quiet --system; fi
    if echo "$restored" | grep -q ' /etc/keepalived/' && grep -q '^keepalived' "$baseline/packages"; then
        systemctl restart keepalived
    fi
fi
systemctl reset-failed

sysctl --quiet --write net.ipv4.ip_nonlocal_bind=0
while read -r name address; do
    for other in $(ip -o -4 addr show dev "$name" | awk -v own="$address" '$4 != own {print $4}'); do
        if grep -qxF "$other" /etc/lab/floating; then continue; fi # somebody else's
        ip addr del "$other" dev "$name"
        echo "removed $other from $name"
    done
done </etc/lab/interfaces
ip neigh flush all

# Only the rules count: headings have the time, chains have counters, and two of Shorewall's chains
# have a random name.
rules() { sed -n '/^:sha-[lr]h-/d; /^-A/p; s/^\(:[^ ]* [^ ]*\).*/\1/p' "$@"; }
if [ -d /etc/shorewall ]; then
    iptables-save >/run/rules
    if [ "$(rules /run/rules)" != "$(rules "$baseline/rules")" ] ||
        echo "$restored" | grep -q ' /etc/shorewall/'; then
        # The restored files are older than what was compiled from those they replace, and Shorewall
        # compiles only when a file is newer (AUTOMAKE, shorewall.conf(5)); it needs the compiled one
        # to stop, though.
        systemctl stop shorewall
        rm -f /var/lib/shorewall/firewall /var/lib/shorewall/restore* /var/lib/shorewall/safe*
        systemctl start shorewall
        echo "restarted shorewall"
    fi
    if [ -e /etc/lab/live.sh ]; then sh /etc/lab/live.sh; fi
    for set in $(ipset list -name); do
        grep -qs "^create $set " /etc/ipset.conf || ipset destroy "$set"
    done
    conntrack --flush >/dev/null 2>&1 || true # some kernels have no such table to flush
elif [ "$(iptables -S INPUT; iptables -S OUTPUT)" != "-P INPUT ACCEPT
-P OUTPUT ACCEPT" ]; then
    iptables -F INPUT
    iptables -F OUTPUT
    iptables -P INPUT ACCEPT
    iptables -P OUTPUT ACCEPT
    echo "cleared the filter"
fi

# What the journal keeps of the ledgers of earlier runs would be held against the next archive.
if journalctl --quiet --identifier=runbook-audit --lines=1 | grep -q .; then
    journalctl --quiet --rotate
    journalctl --quiet --vacuum-size=1 2>/dev/null # only archived files; 0 would mean no limit
    echo "emptied the journal"
fi
