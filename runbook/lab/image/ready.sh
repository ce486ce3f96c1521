#!/bin/sh
# Wait until the node has booted, then put right what it lost: interfaces, routes, the units named as
# arguments. Says what it changed; silent when there was nothing to do. The first time, it also keeps
# what reset.sh restores. Ends with 75 (EX_TEMPFAIL, sysexits.h) where there is no systemd to ask yet.
set -eu
case "$(systemctl is-system-running --wait)" in
    running | degraded) ;;
    *) exit 75 ;;
esac
/usr/local/lib/lab/network.sh
# All of them before any is started: a socket does not listen for a service that is masked.
for unit in "$@"; do
    if [ "$(readlink "/etc/systemd/system/$unit")" = /dev/null ]; then
        systemctl unmask --quiet "$unit"
        echo "unmasked $unit"
    fi
done
for unit in "$@"; do
    if ! systemctl is-active --quiet "$unit"; then
        systemctl reset-failed "$unit" 2>/dev/null || true
        systemctl start "$unit"
        echo "started $unit"
    fi
done
for unit in $(systemctl list-units --failed --plain --no-legend | cut -d' ' -f1); do
    if systemctl restart "$unit"; then
        echo "started $unit, which had failed"
    else
        systemctl reset-failed "$unit"
        echo "$unit had failed and does so again"
    fi
done
# What other people keep in the gateway's kernel.
if [ -e /etc/lab/live.sh ]; then sh /etc/lab/live.sh; fi

baseline=/var/lib/lab/baseline
if [ ! -e "$baseline/packages" ]; then
    rm -rf "$baseline"
    mkdir -p "$baseline"
    rsync -a --relative /etc /home /opt /root /usr/local /var/backups \
        /var/lib/apt /var/lib/dpkg /var/lib/systemd "$baseline/"
    cat /var/lib/dpkg/info/*.list | sort --unique >"$baseline/paths"
    dpkg-query --show --showformat '${binary:Package}\n' | sort >"$baseline/packages.new"
    if [ -d /etc/shorewall ]; then iptables-save >"$baseline/rules"; fi
    mv "$baseline/packages.new" "$baseline/packages"
fi
