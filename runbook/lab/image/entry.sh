#!/bin/sh
# The first process of a node: make the container fit for systemd and an engine of its own, then
# become systemd.
set -eu

# The engine mounts the control groups read-only; the node's own engine has to make groups in them.
# On cgroup v1 that is a tmpfs with one mount a controller, on v2 a single mount.
mount -o remount,rw /sys 2>/dev/null || true
mount -o remount,rw /sys/fs/cgroup
for controller in /sys/fs/cgroup/*/; do
    if mountpoint -q "$controller"; then
        mount -o remount,bind,rw "$controller"
    fi
done

# Its own resolver, not the engine's embedded one: that one lives in NAT rules which Shorewall clears.
cat /etc/lab/resolv.conf >/etc/resolv.conf
cat /etc/lab/hosts >/etc/hosts

# What makes this machine differ from the others, once.
if [ -e /etc/lab/vary.sh ]; then
    sh /etc/lab/vary.sh
    mv /etc/lab/vary.sh /etc/lab/varied.sh
fi

/usr/local/lib/lab/network.sh
exec /sbin/init
