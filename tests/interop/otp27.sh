#!/bin/sh
# Makes a Debian 13 tree with OTP 27 and Elixir 1.18 in build/otp27/root by debootstrap, beside what is installed and
# without touching it, and a start script build/otp27/elixir that runs in it with the loopback of this machine.
# With the word observer also installs Observer there. Exits 0 when all is there, 1 with a reason when it cannot be had.
set -u
cd "$(dirname "$0")/../.." || exit 1
out=$PWD/build/otp27
# The mark says that the packages were installed whole.
mark=$out/root/usr/bin/observer.ready
[ -x "$out/elixir" ] && { [ "${1:-}" != observer ] || [ -e "$mark" ]; } && exit 0
fail() {
    echo "OTP 27 cannot be had: $1"
    exit 1
}
[ "$(id -u)" = 0 ] || fail "debootstrap and chroot need root: sudo make interop"
add_observer() {
    [ "${1:-}" = observer ] && [ ! -e "$mark" ] || return 0
    DEBIAN_FRONTEND=noninteractive chroot "$out/root" apt-get install -y -q --no-install-recommends erlang-observer \
        fonts-dejavu-core >>"$out/log" 2>&1 || fail "erlang-observer: $(tail -n 1 "$out/log"), see build/otp27/log"
    touch "$mark"
}
if [ -x "$out/elixir" ]; then
    add_observer "$@"
    exit 0
fi
if ! command -v debootstrap >/dev/null 2>&1; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap >/dev/null 2>&1 ||
        fail "debootstrap is not installed"
fi

# From where this machine takes its own Debian packages; debootstrap's default when that cannot be told.
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v c="$codename" '$1 == c && $2 == "main" { print $3; exit }')
rm -rf "$out" && mkdir -p "$out/root" || exit 1
debootstrap --variant=minbase --include=erlang-base,erlang-runtime-tools,erlang-ssl,elixir trixie "$out/root" \
    ${mirror:+"$mirror"} >"$out/log" 2>&1 || fail "debootstrap: $(tail -n 1 "$out/log"), see build/otp27/log"

# The arguments that harness.js gives to elixir. The tree sees the compiled code, the cookie and the certificates at the
# same paths.
cat >"$out/elixir.new" <<'SCRIPT'
#!/bin/sh
root=$(dirname "$0")/root
previous=
for arg in "$@"; do
    if [ "$previous" = -pa ]; then
        mkdir -p "$root$arg" && cp -r "$arg/." "$root$arg/" || exit 1
    fi
    previous=$arg
done
mkdir -p "$root$HOME" && cp "$HOME/.erlang.cookie" "$root$HOME/" && chmod 400 "$root$HOME/.erlang.cookie" || exit 1
for file in "$HOME"/*.conf "$HOME"/certs-*; do
    if [ -e "$file" ]; then cp -r "$file" "$root$HOME/" || exit 1; fi
done
exec chroot "$root" elixir "$@"
SCRIPT
chmod +x "$out/elixir.new"
mv "$out/elixir.new" "$out/elixir"
add_observer "$@"
