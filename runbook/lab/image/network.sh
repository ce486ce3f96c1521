#!/bin/sh
# Give the interfaces the names and the routes of the site; says what it had to change, if anything.
# /etc/lab/interfaces has one line an interface: name, address/prefix. /etc/lab/route has the default
# gateway's address, or nothing: then the machine knows its own networks only.
set -eu

while read -r name address; do
    ip="${address%/*}"
    current=$(ip -o -4 addr show | awk -v ip="$ip" '{split($4, a, "/"); if (a[1] == ip) print $2}')
    if [ -z "$current" ]; then
        echo "no interface has $ip" >&2
        exit 1
    fi
    if [ "$current" != "$name" ]; then
        ip link set "$current" down
        ip link set "$current" name "$name"
        echo "named $name"
    fi
    if ! ip link show "$name" up | grep -q .; then
        ip link set "$name" up
        echo "brought up $name"
    fi
done </etc/lab/interfaces

route=$(cat /etc/lab/route)
seen=$(ip -4 route show default | awk '{print $3; exit}')
if [ "$seen" != "$route" ]; then
    ip -4 route flush default 2>/dev/null || ip -4 route del default 2>/dev/null || true
    if [ -n "$route" ]; then ip -4 route add default via "$route"; fi
    echo "default route: ${route:-none}"
fi
