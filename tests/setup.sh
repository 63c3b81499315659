#!/bin/sh
# Installs from Debian and npm what is missing, and nothing else; quick when nothing is. Usage: tests/setup.sh run|test
#   run   what building and the demo need
#   test  the same, and clang, valgrind, cppcheck, clang-tidy and the browser for the tests
# Needs root or sudo only to install; without, prints the exact line to run and exits 1.
set -u
cd "$(dirname "$0")/.." || exit 1
what=${1:-test}

# Commands that may come from elsewhere than Debian (command:package), then packages.
commands="gcc:gcc make:make pkg-config:pkg-config epmd:erlang-base elixirc:elixir node:nodejs npm:npm"
packages="erlang-base erlang-dev elixir libwebsockets-dev libwebsockets-evlib-uv libuv1-dev libjansson-dev libssl-dev
    libcyaml-dev libyaml-dev libcmocka-dev"
if [ "$what" = test ]; then
    commands="$commands clang:clang valgrind:valgrind cppcheck:cppcheck clang-tidy:clang-tidy chromium:chromium openssl:openssl"
    commands="$commands Xvfb:xvfb xdotool:xdotool import:imagemagick"
    packages="$packages libclang-rt-14-dev erlang-ssl erlang-observer"
fi

missing=""
for pair in $commands; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
for p in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)
    [ "$state" = "ii " ] || missing="$missing $p"
done
missing=$(printf '%s\n' $missing | sort -u | xargs)

# Runs "$@" as root; prints the line instead when that cannot be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo "$@"
    else
        return 77
    fi
}

if [ -n "$missing" ]; then
    line="apt-get install -y --no-install-recommends $missing"
    echo "installing: $missing"
    as_root apt-get update -q >/dev/null
    if [ $? = 77 ]; then
        echo "setup: these packages are missing, and this user may not install them. Run this, then try again:" >&2
        echo "    sudo apt-get update && sudo $line" >&2
        exit 1
    fi
    # shellcheck disable=SC2086 # a list of words
    if ! as_root env DEBIAN_FRONTEND=noninteractive $line >build-apt.log 2>&1; then
        tail -n 20 build-apt.log >&2
        rm -f build-apt.log
        echo "setup: installing failed. The line was:" >&2
        echo "    sudo apt-get update && sudo $line" >&2
        exit 1
    fi
    rm -f build-apt.log
fi

if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    echo "npm ci"
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null || {
        echo "setup: npm ci failed; run it by hand to see why" >&2
        exit 1
    }
    touch node_modules/.package-lock.json
fi
