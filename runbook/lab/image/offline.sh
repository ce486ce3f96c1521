#!/bin/sh
# Leave the machine a package source that needs no network: a repository on its own disk that holds
# the packages named, with everything they pull in, and nothing else. "apt-get install" stays real.
set -eu
repository=/srv/apt
mkdir -p "$repository/partial"
if [ $# -gt 0 ]; then
    apt-get install -y -qq --download-only -o APT::Sandbox::User=root \
        -o Dir::Cache::archives="$repository" "$@"
fi
rm -rf "$repository/partial" "$repository/lock"
cd "$repository"
: >Packages
for package in *.deb; do
    [ -e "$package" ] || continue
    dpkg-deb --field "$package"
    echo "Filename: ./$package"
    echo "Size: $(stat -c %s "$package")"
    echo "SHA256: $(sha256sum "$package" | cut -d' ' -f1)"
    echo
done >Packages
{
    echo "Suite: lab"
    echo "Date: $(date -Ru)"
    echo "SHA256:"
    echo " $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages"
} >Release
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
echo "deb [trusted=yes] file:$repository ./" >/etc/apt/sources.list
apt-get update -qq
