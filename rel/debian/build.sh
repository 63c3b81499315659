#!/bin/sh
# Makes beamgate_VERSION_ARCH.deb in DIR: build.sh VERSION DIR. The libraries that it depends on are those that the
# program was linked with, by their packages on this machine.
set -eu
version=$1 dir=$2
root=$dir/deb
arch=$(dpkg --print-architecture)
rm -rf "$root"
make -s install DESTDIR="$root" PREFIX=/usr UNITDIR=/lib/systemd/system
strip --strip-unneeded "$root/usr/bin/beamgate"
gzip -9n "$root"/usr/share/man/man1/*.1
install -D -m 644 LICENSE "$root/usr/share/doc/beamgate/copyright"
gzip -9nc CHANGELOG.md >"$root/usr/share/doc/beamgate/changelog.gz"
mkdir -p "$root/DEBIAN"
for script in postinst prerm postrm; do install -m 755 "rel/debian/$script" "$root/DEBIAN/$script"; done

# libwebsockets.so.17 => /lib/x86_64-linux-gnu/libwebsockets.so.17 becomes libwebsockets17: sonames are in the names of
# Debian's packages, so no versions are needed but the C library's.
depends=$(readelf -d "$root/usr/bin/beamgate" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | while read -r so; do
    file=$(ldd "$root/usr/bin/beamgate" | awk -v so="$so" '$1 == so {print $3}')
    dpkg -S "*/$(basename "$(dirname "$file")")/$(basename "$(readlink -f "$file")")" 2>/dev/null | head -1 | cut -d: -f1
done | sort -u | sed "s/^libc6$/libc6 (>= $(dpkg-query -W -f '${source:Upstream-Version}' libc6))/" | paste -sd, | sed 's/,/, /g')

cat >"$root/DEBIAN/control" <<CONTROL
Package: beamgate
Version: $version
Architecture: $arch
Maintainer: beamgate <beamgate@localhost>
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: $depends
Recommends: erlang-base
Section: net
Priority: optional
Description: native gateway between Phoenix-channel clients and an Elixir cluster
 beamgate joins a running Elixir or Erlang cluster as a hidden node, learns from
 the service nodes which functions they offer, and serves Phoenix-channel clients
 over WebSocket itself. It takes the place of a gateway that runs on the BEAM.
CONTROL
dpkg-deb --root-owner-group --build "$root" "$dir/beamgate_${version}_$arch.deb"
