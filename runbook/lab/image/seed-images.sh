#!/bin/sh
# Put the site's container images where a node's engine finds them at its first start. The engine
# works in /seed, a volume, because overlay2 cannot work on a container's own overlay; what it leaves
# there becomes /var/lib/docker of the node image, and so of every fresh volume mounted over it.
# Arguments: the tags for /seed/traefik, then the tag for the demonstration application.
set -eu
root=/seed/engine
mkdir -p "$root" /run
# No containers are run, so neither control groups nor networks are needed.
dockerd --data-root "$root" --bridge none --iptables=false --ip-masq=false \
    >/seed/dockerd.log 2>&1 &
engine=$!
tries=0
until docker version >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then
        tail -n 20 /seed/dockerd.log >&2
        exit 1
    fi
    sleep 0.1
done

mkdir -p /seed/rootfs/tmp
install -m 0755 /seed/traefik /seed/rootfs/traefik
mkdir -p /seed/rootfs/etc/ssl/certs
cp /etc/ssl/certs/ca-certificates.crt /seed/rootfs/etc/ssl/certs/
tar -C /seed/rootfs -c . | docker import -c 'ENTRYPOINT ["/traefik"]' -c 'EXPOSE 80' - "$1"
docker tag "$1" "$2"

rm -rf /seed/rootfs
mkdir -p /seed/rootfs/bin /seed/rootfs/tmp /seed/rootfs/www/cgi-bin
cp /bin/busybox /seed/rootfs/bin/
for applet in awk env grep hostname sh sort; do ln -s busybox "/seed/rootfs/bin/$applet"; done
install -m 0755 /usr/local/lib/lab/demo.sh /seed/rootfs/www/cgi-bin/index.cgi
# The shell is process 1 and has to end on SIGTERM by itself.
tar -C /seed/rootfs -c . | docker import -c 'EXPOSE 80' -c 'CMD ["/bin/sh", "-c", \
    "trap exit TERM; /bin/busybox httpd -f -p 80 -h /www & wait"]' - "$3"

kill "$engine"
wait "$engine" || true
mkdir -p /var/lib/docker
cp -a "$root/." /var/lib/docker/
# What names this engine must not be inherited by every node.
rm -rf /etc/docker/key.json /var/lib/docker/engine-id /var/lib/docker/tmp /var/lib/docker/runtimes
