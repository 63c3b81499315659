#!/bin/sh
# Makes a Debian 13 tree with OTP 27 and Elixir 1.18 for the interop tests, or reuses the one that is there.
# Usage: tests/interop/tree.sh DIR   (as root: debootstrap and chroot need it)
set -eu
dir=$1
if [ -x "$dir/usr/bin/elixir" ] && [ -f "$dir/.complete" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "interop: a Debian 13 tree is made with debootstrap, which needs root: sudo make interop" >&2
    exit 1
fi
if ! command -v debootstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
fi
# From where this machine takes its own Debian packages; debootstrap's default when that cannot be told.
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v c="$codename" '$1 == c && $2 == "main" { print $3; exit }')
rm -rf "$dir"
mkdir -p "$dir"
debootstrap --variant=minbase --include=erlang-base,erlang-runtime-tools,elixir trixie "$dir" ${mirror:+"$mirror"} \
    >"$dir.log" 2>&1 || { tail -5 "$dir.log" >&2; echo "interop: debootstrap failed, see $dir.log" >&2; exit 1; }
touch "$dir/.complete"
