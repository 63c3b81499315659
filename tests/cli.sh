#!/bin/sh
# The command line of the built binary: --version, --help, --check, exit codes, cookies, start and stop. Needs neither
# epmd nor an Erlang node.
# Usage: tests/cli.sh path/to/beamgate
set -u
bin=${1:?usage: tests/cli.sh path/to/beamgate}
root=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset BEAMGATE_COOKIE BEAMGATE_PUSH_TOKEN NOTIFY_SOCKET
failed=0 count=0

# expect NAME EXIT_CODE PATTERN COMMAND...: runs the command; its exit code must be the one, and its output
# (both streams) must match the extended regular expression.
expect() {
    name=$1 code=$2 pattern=$3
    shift 3
    out=$(timeout 20 "$@" 2>&1 </dev/null)
    got=$?
    count=$((count + 1))
    if [ "$got" -eq "$code" ] && printf '%s\n' "$out" | grep -Eq -- "$pattern"; then
        echo "ok   $name"
    else
        echo "FAIL $name: exit $got, want $code; output, want /$pattern/:"
        printf '%s\n' "$out" | sed 's/^/     /'
        failed=$((failed + 1))
    fi
}

# Everything but the cookie, without a port of its own.
printf 'node: {name: cli@127.0.0.1, epmd: false}\nlisten: {port: 0}\n%s\n' \
    'sockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]' >"$tmp/no_cookie.yml"
printf 'secretcookie\n' >"$tmp/cookie" && chmod 600 "$tmp/cookie"
printf 'secretcookie\n' >"$tmp/open_cookie" && chmod 644 "$tmp/open_cookie"
: >"$tmp/empty_cookie" && chmod 600 "$tmp/empty_cookie"
sed "s|epmd: false|epmd: false, cookie_file: $tmp/cookie|" "$tmp/no_cookie.yml" >"$tmp/good.yml"
sed 's|name: cli@127.0.0.1, ||' "$tmp/good.yml" >"$tmp/no_name.yml"
sed 's|/cookie}|/nocookie}|' "$tmp/good.yml" >"$tmp/lost_cookie.yml"
printf 'listen: {prot: 4000}\n' >"$tmp/bad.yml"

expect "--version names the version" 0 '^beamgate [0-9]+\.[0-9]+\.[0-9]+$' "$bin" --version
expect "--help names every option" 0 '--cookie-file FILE' "$bin" --help
expect "--help names the exit codes" 0 '78 the configuration' "$bin" --help
expect "an unknown option is wrong usage" 2 'Try beamgate --help' "$bin" --what
expect "an argument too many is wrong usage" 2 'unexpected argument "stop"' "$bin" file.yml stop
expect "a file beside -c is wrong usage" 2 'unexpected argument "b.yml"' "$bin" -c a.yml b.yml
expect "an option without its value is wrong usage" 2 'Try beamgate --help' "$bin" --check

expect "--check of a good file says so" 0 "^$tmp/good.yml: good$" "$bin" --check "$tmp/good.yml"
expect "--check of a file whose cookie file is missing says so" 78 'nocookie: the cookie file cannot be read' \
    "$bin" --check "$tmp/lost_cookie.yml"
expect "--check of the shipped file with a cookie says good" 0 'beamgate.yml: good' \
    "$bin" --check "$root/rel/beamgate.yml" --cookie-file "$tmp/cookie"
expect "--check tells line and nearest key" 78 'bad.yml:1: unknown key "prot" in listen; did you mean "port"\?' \
    "$bin" --check "$tmp/bad.yml"
expect "--check tells what is missing too" 78 'the key "sockets" is missing' "$bin" --check "$tmp/bad.yml"
expect "--check without a cookie is a warning" 0 'warning: names no cookie' "$bin" --check "$tmp/no_cookie.yml"
expect "--check without a name is a warning" 0 'warning: no node name' "$bin" --check "$tmp/no_name.yml"
expect "--check sees a bad --name" 78 '--name: "x" is not a node name' "$bin" --check "$tmp/good.yml" --name x
expect "--check sees a bad --log-level" 78 '--log-level: "loud" is not a level' \
    "$bin" --check "$tmp/good.yml" --log-level loud
expect "a readable cookie file is a warning" 0 'warning: others can read this cookie file; run: chmod 600' \
    "$bin" --check "$tmp/good.yml" --cookie-file "$tmp/open_cookie"
expect "an empty cookie file is an error" 78 'empty_cookie: the cookie is empty' \
    "$bin" --check "$tmp/good.yml" --cookie-file "$tmp/empty_cookie"

expect "a start without its file says which" 78 'nowhere.yml: cannot be read: No such file' "$bin" -c "$tmp/nowhere.yml"
expect "the file may stand without -c" 78 'nowhere.yml: cannot be read: No such file' "$bin" "$tmp/nowhere.yml"
expect "a start without a cookie says what to do" 78 'no_cookie.yml: no cookie: set node.cookie_file to a file' \
    "$bin" -c "$tmp/no_cookie.yml"
expect "a start without a name says what to do" 78 'no node name: set node.name or give --name' \
    "$bin" -c "$tmp/no_name.yml"
expect "an empty BEAMGATE_COOKIE is an error" 78 'BEAMGATE_COOKIE: the cookie is empty' \
    env BEAMGATE_COOKIE= "$bin" -c "$tmp/good.yml"
expect "an empty BEAMGATE_PUSH_TOKEN is an error" 78 'BEAMGATE_PUSH_TOKEN: the push token is empty' \
    env BEAMGATE_PUSH_TOKEN= "$bin" --check "$tmp/good.yml"

# Starts the gateway in the background; its log goes to $tmp/log. Waits until it has started.
start() {
    "$bin" "$@" 2>"$tmp/log" &
    pid=$!
    for _ in $(seq 100); do
        grep -q 'msg="started"' "$tmp/log" && return
        sleep 0.05
    done
    echo "FAIL no start within 5 s" && cat "$tmp/log" && exit 1
}

# ended NAME EXIT_CODE PATTERN: the started gateway ends so, and its log matches.
ended() {
    wait "$pid"
    echo "$?" >"$tmp/code"
    expect "$1" "$2" "$3" sh -c 'cat "$1/log"; exit "$(cat "$1/code")"' sh "$tmp"
}

start "$tmp/good.yml"
port=$(sed -n 's/.*msg="started".* listen=127.0.0.1:\([0-9]*\).*/\1/p' "$tmp/log")
sed "s/port: 0/port: $port/; s/cli@/other@/" "$tmp/good.yml" >"$tmp/same_port.yml"
expect "a port that is taken ends the start with its number" 1 "msg=\"cannot start\".*$port" "$bin" "$tmp/same_port.yml"
kill -USR1 "$pid"
cp "$tmp/good.yml" "$tmp/before.yml"
echo "pull: {interval_ms: 5000}" >>"$tmp/good.yml"
sed -i "s/port: 0/port: 1/" "$tmp/good.yml"
kill -HUP "$pid"
sleep 0.2
expect "SIGHUP takes what can change while running" 0 'msg="option changed" option="pull.interval_ms"' cat "$tmp/log"
expect "SIGHUP says what needs a restart" 0 'msg="option changed in the file only" option="listen.port"' cat "$tmp/log"
echo "pul: {interval_ms: 5000}" >>"$tmp/good.yml"
kill -HUP "$pid"
sleep 0.2
expect "SIGHUP refuses a wrong file and says where" 0 'good.yml:[0-9]*: unknown key .*"pul.*did you mean' cat "$tmp/log"
expect "after a refused reload the gateway goes on" 0 'msg="configuration not reloaded" errors=1' cat "$tmp/log"
cp "$tmp/before.yml" "$tmp/good.yml"
expect "SIGUSR1 writes the state" 0 'part=state msg="server" node=cli@127.0.0.1 .*ready=true' cat "$tmp/log"
kill -TERM "$pid"
ended "SIGTERM ends with 0" 0 'msg="stopped" exit_code=0'
start "$tmp/good.yml"
kill -INT "$pid"
ended "SIGINT ends with 0" 0 'msg="stopped" exit_code=0'
if grep -q secretcookie "$tmp/log"; then
    echo "FAIL the cookie is in the log"
    failed=$((failed + 1))
fi

for f in "$tmp"/*.yml; do
    if "$bin" --check "$f" --cookie-file "$tmp/cookie" 2>&1 | grep -q secretcookie; then
        echo "FAIL the cookie is shown for $f"
        failed=$((failed + 1))
    fi
done
echo "$count checks, $failed failed"
[ "$failed" -eq 0 ]
