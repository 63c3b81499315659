#!/bin/sh
# Unpacks OTP 27 and Elixir 1.18 from Debian 13 into build/otp27, beside what is installed and without touching it, with
# a start script build/otp27/elixir. They bring their own C library, since theirs is newer than Debian 12's.
# Exits 0 when the script is there, 1 with a reason when it cannot be had.
set -u
cd "$(dirname "$0")/../.." || exit 1
out=$PWD/build/otp27
[ -x "$out/elixir" ] && exit 0
fail() {
    echo "OTP 27 cannot be had: $1"
    exit 1
}
[ "$(uname -m)" = x86_64 ] || fail "only x86_64 is known here"
command -v apt-get >/dev/null 2>&1 || fail "no apt-get"

rm -rf "$out" && mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial" "$out/debs" || exit 1
echo "deb http://deb.debian.org/debian trixie main" >"$out/apt/sources.list"
apt="-q -o Dir::Etc::sourcelist=$out/apt/sources.list -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists=$out/apt/lists -o Dir::Cache=$out/apt/cache -o APT::Sandbox::User=root"
# shellcheck disable=SC2086 # options
apt-get $apt update >"$out/apt/log" 2>&1 || fail "apt-get update: $(tail -n 1 "$out/apt/log")"
# shellcheck disable=SC2086
(cd "$out/debs" && apt-get $apt download erlang-base erlang-crypto elixir libc6 libstdc++6 libgcc-s1 libtinfo6 zlib1g \
    libsystemd0 libcap2 libssl3t64 libzstd1) >"$out/apt/log" 2>&1 || fail "download: $(tail -n 1 "$out/apt/log")"
for deb in "$out"/debs/*.deb; do
    dpkg-deb -x "$deb" "$out/root" || fail "cannot unpack $deb"
done
rm -rf "$out/debs" "$out/apt"

lib=$out/root/usr/lib/x86_64-linux-gnu
loader="$lib/ld-linux-x86-64.so.2 --library-path $lib"
erlang=$out/root/usr/lib/erlang
bin=$(echo "$erlang"/erts-*/bin)
for tool in erl_child_setup inet_gethost; do
    mv "$bin/$tool" "$bin/$tool.real"
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$loader" "$bin/$tool.real" >"$bin/$tool"
    chmod +x "$bin/$tool"
done
elixir=$out/root/usr/lib/elixir/lib
# The arguments that harness.js gives to elixir: --name N, -pa DIR, --erl FLAGS, -e EXPRESSION.
cat >"$out/elixir.new" <<SCRIPT
#!/bin/sh
name= path= flags= code=
while [ \$# -gt 0 ]; do
    case \$1 in
    --name) name=\$2 ;;
    -pa) path=\$2 ;;
    --erl) flags=\$2 ;;
    -e) code=\$2 ;;
    esac
    shift 2
done
export ROOTDIR=$erlang BINDIR=$bin EMU=beam PROGNAME=erl
# shellcheck disable=SC2086
exec $loader $bin/beam.smp -- -root $erlang -bindir $bin -progname erl -- -home "\$HOME" -- -noshell \${ERL_EPMD_PORT:+-epmd_port \$ERL_EPMD_PORT} -name "\$name" \$flags \\
    -elixir_root $elixir -pa $elixir/elixir/ebin -pa $elixir/logger/ebin -pa "\$path" -s elixir start_cli -extra -e "\$code"
SCRIPT
chmod +x "$out/elixir.new"
mv "$out/elixir.new" "$out/elixir"
