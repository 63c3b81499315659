#!/bin/sh
# Measures the gateway on loopback beside a bare libwebsockets echo, and prints tables. Starts an epmd, a service node
# and gateways of its own, and ends those and nothing else, by process id.
#
# Usage: run.sh BUILD_DIR      (make bench)
#   QUICK=1      two minutes in all: one window a case, the widest cases only
#   WINDOW=3     seconds of each measured window     REPEAT=1   windows per case at most: one in which other processes
#                took less than a tenth of a core ends the case; of several the least disturbed is shown
#   ROUNDS=5     of the case budget
#   ONLY="echo"  some of: ceiling echo list checked budget spawn functions heartbeat pipeline join rpc idle auth start micro
#   KEEP=1       leave the temporary directory (results.jsonl, logs)
set -u
build=$(cd "${1:?usage: run.sh BUILD_DIR}" && pwd) || exit 1
here=$(cd "$(dirname "$0")" && pwd)
loadgen=$build/bench/loadgen
quick=${QUICK:-}
window=${WINDOW:-${quick:+1.5}}
window=${window:-3}
warmup=${quick:+0.5}
warmup=${warmup:-1}
repeat=${REPEAT:-1}
rounds=${quick:+1}
rounds=${rounds:-${ROUNDS:-5}}
only=${ONLY:-ceiling echo list checked budget spawn functions heartbeat pipeline join rpc idle auth start micro}
connections="1 16 64 256"
idle_connections=10000
starts=${quick:+3}
starts=${starts:-5}

dir=$(mktemp -d "${TMPDIR:-/tmp}/beamgate-bench-XXXXXX") || exit 1
results=$dir/results.jsonl
base=$((12000 + $$ % 2000 * 10)) # below the ephemeral ports
port=$base
echo_port=$((base + 1))
export ERL_EPMD_PORT=$((base + 2)) HOME="$dir"
: > "$results"
pids=
gateway=
node=

stop() { # PID SIGNAL: ends one process of ours and waits for it
    kill "-$2" "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    left=
    for p in $pids; do [ "$p" = "$1" ] || left="$left $p"; done
    pids=$left
}

cleanup() {
    trap - EXIT INT TERM
    for p in $pids; do kill -KILL "$p" 2>/dev/null; done
    if [ -n "${KEEP:-}" ]; then echo "kept: $dir"; else rm -rf "$dir"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

die() {
    echo "bench: $*" >&2
    tail -n 20 "$dir"/*.log >&2 2>/dev/null
    exit 1
}

wait_for() { # TEXT FILE: until the file holds the text, at most 15 seconds
    n=0
    until grep -q "$1" "$2" 2>/dev/null; do
        n=$((n + 1))
        [ $n -gt 300 ] && die "no \"$1\" in $(basename "$2")"
        sleep 0.05
    done
}

wants() { case " $only " in *" $1 "*) return 0 ;; esac; return 1; }

disturbed() { # did other processes take a tenth of a core or more in the last window?
    others=$(tail -n 1 "$results" | sed 's/.*"others_percent":\([0-9]*\).*/\1/')
    [ "$others" -ge 10 ]
}

load() { # LABEL ARG...: windows of the load generator, their lines added to the results
    label=$1
    shift
    i=0
    while [ $i -lt "$repeat" ]; do
        "$loadgen" --json --label "$label" --seconds "$window" --warmup "$warmup" --service bench_service "$@" \
            >> "$results" || die "case $label failed"
        disturbed || break
        i=$((i + 1))
    done
}

start_node() {
    (cd "$dir" && openssl rand -hex 16 > cookie && chmod 400 cookie) || die "no cookie"
    cp "$dir/cookie" "$dir/.erlang.cookie"
    epmd -port "$ERL_EPMD_PORT" > "$dir/epmd.log" 2>&1 &
    pids="$pids $!"
    sleep 0.2
    erlc -o "$dir" "$here/bench_service.erl" || die "erlc failed"
    elixir_ebin=$(dirname "$(readlink -f "$(command -v elixir)")")/../lib/elixir/ebin
    # No busy waiting: the node's idle schedulers would take the cores from what is measured.
    erl -noinput -name bench_service@127.0.0.1 -start_epmd false -pa "$dir" -pa "$elixir_ebin" \
        +sbwt none +sbwtdcpu none +sbwtdio none -s bench_service main > "$dir/node.log" 2>&1 &
    node=$!
    pids="$pids $node"
    wait_for ready "$dir/node.log"
}

write_config() { # CALL_WAY FUNCTIONS [LIMITS]: LIMITS are lines of YAML
    sed -e "s|@DIR@|$dir|; s|@PORT@|$port|; s|@CALL_WAY@|$1|; s|@FUNCTIONS@|$2|" "$here/beamgate-bench.yml" > "$dir/gateway.yml"
    printf '%s\n' "${3:-}" >> "$dir/gateway.yml"
}

start_gateway() { # CALL_WAY FUNCTIONS [LIMITS]: a fresh one, until it answers a request
    write_config "$@"
    "$build/beamgate" --name "beamgate_$port@127.0.0.1" "$dir/gateway.yml" > "$dir/gateway.log" 2>&1 &
    gateway=$!
    pids="$pids $gateway"
    n=0
    until "$loadgen" --port "$port" --connections 1 --seconds 0.01 --warmup 0 --service bench_service \
        > /dev/null 2> "$dir/ready.log"; do
        n=$((n + 1))
        [ $n -gt 200 ] && die "the gateway does not answer"
        kill -0 "$gateway" 2>/dev/null || die "the gateway ended"
        sleep 0.05
    done
}

requests() { # LABEL CONNECTIONS ARG...
    what=$1
    numbers=$2
    shift 2
    for c in $numbers; do
        load "$what" --port "$port" --connections "$c" --pid "gateway=$gateway" --pid "node=$node" "$@"
    done
}

start_echo() {
    "$build/bench/lws_echo" "$echo_port" > "$dir/echo.log" 2> "$dir/echo-errors.log" &
    echo_pid=$!
    pids="$pids $echo_pid"
    wait_for listening "$dir/echo.log"
}

ceiling() {
    start_echo
    for c in $connections; do
        load ceiling --mode echo --port "$echo_port" --connections "$c" --pid "gateway=$echo_pid"
    done
    stop "$echo_pid" KILL
}

some() { if [ -n "$quick" ]; then echo "$1"; else echo "$2"; fi; }

rex_cases() {
    start_gateway rex 3
    wants echo && requests echo "$connections" --mode request --payload-template echo
    wants list && requests list_users "$(some 64 "$connections")" --mode request --payload-template list_users
    wants heartbeat && requests heartbeat "$(some 64 "$connections")" --mode heartbeat --inflight 1
    wants pipeline && requests echo_x16 64 --inflight 16 --payload-template echo
    wants join && requests join 16 --mode join --inflight 1
    stop "$gateway" TERM
}

spawn_cases() {
    start_gateway spawn 3
    requests spawn_echo "$(some 64 "$connections")" --mode request --payload-template echo
    [ -n "$quick" ] || requests spawn_list 64 --mode request --payload-template list_users
    stop "$gateway" TERM
}

# Five typed arguments and a permission; then also two rate limits, which hold and never refuse.
checked='{"service":"bench_service","request_type":"checked","request_id":"r$ID","args":{"msg":"m$ID","n":42,
    "tags":["red","green"],"at":"2026-01-02T03:04:05.678+07:00","id":"550e8400-e29b-41d4-a716-446655440000"}}'
limit="key: user_id, max_requests: 1000, window_ms: 1"
limits="rate_limiter: {global_limits: [{$limit}], api_limits: [{service: bench_service, request_type: checked, $limit}]}"
checked_cases() {
    start_gateway rex 3
    requests checked "$(some 64 "64 256")" --mode request --payload-template "$checked"
    stop "$gateway" TERM
    start_gateway rex 3 "$limits"
    requests checked_limited "$(some 64 "64 256")" --mode request --payload-template "$checked"
    stop "$gateway" TERM
}

# CASE CONNECTIONS: one window of what the budgets of CPU time are about; the bare echo is one of them, the bare rex call another.
budget_window() {
    window=1 warmup=0.3 repeat=1
    case $1 in
    echo) load "budget_echo" --port "$echo_port" --connections "$2" --pid "gateway=$echo_pid" --mode echo ;;
    call) requests budget_call "$2" --mode request --payload-template echo ;;
    maps) requests budget_maps "$2" --mode request --payload-template list_users ;;
    rex) "$build/bench/rex_call" bench_service@127.0.0.1 "$(cat "$dir/cookie")" "$2" "$window" budget_rex >> "$results" || die "rex_call failed" ;;
    limited) port=$limited_port gateway=$limited_gateway requests budget_limited "$2" --mode request --payload-template "$checked" ;;
    esac
}

# All in turns, each of them once first, second and so on, with all that serves them up at the same time: the pace of a shared
# machine changes by the minute, so only windows that lie side by side can be compared.
budget_case() {
    start_echo
    start_gateway rex 3 "$limits"
    limited_port=$port limited_gateway=$gateway
    port=$((port + 3))
    start_gateway rex 3
    for turn in $(seq "$rounds"); do
        for c in 64 256; do
            for which in $(case $((turn % 5)) in
                0) echo echo rex call limited maps ;;
                1) echo rex call limited maps echo ;;
                2) echo call limited maps echo rex ;;
                3) echo limited maps echo rex call ;;
                4) echo maps echo rex call limited ;;
                esac); do
                (budget_window "$which" "$c") || exit 1
            done
        done
    done
    stop "$echo_pid" KILL
    stop "$gateway" TERM
    stop "$limited_gateway" TERM
    port=$limited_port
}

# A gateway for each size of the table, all up at a time and measured in turns: what else the machine does meets all.
function_cases() {
    first_port=$port
    gateways=
    for f in 10 100 10000; do
        start_gateway rex $f
        gateways="$gateways $gateway"
        port=$((port + 3))
    done
    for turn in $(some 1 "1 2 3 4 5"); do
        port=$first_port
        for gateway in $gateways; do
            case $port in $first_port) f=10 ;; $((first_port + 3))) f=100 ;; *) f=10000 ;; esac
            repeat=1 requests "echo_of_$f" 64 --mode request --payload-template echo
            port=$((port + 3))
        done
    done
    for gateway in $gateways; do stop "$gateway" TERM; done
    port=$first_port
}

caller() { # LABEL CALLERS RATE SECONDS NODE PID MODULE: calls into a node by rpc; the line goes to calls.jsonl
    erl -noinput -name "bench_caller_$1@127.0.0.1" -start_epmd false -pa "$dir" +sbwt none +sbwtdcpu none +sbwtdio none \
        -s bench_caller main -extra "$1" "$5@127.0.0.1" "$6" "$2" "$3" "$4" "$7" >> "$dir/calls.jsonl" 2> "$dir/caller.log"
}

into_gateway() { # LABEL CALLERS RATE SECONDS
    caller "$@" "beamgate_$port" "$gateway" Elixir.PhoenixGenApi.ConfigDb
}

into_service() { # the same calls of the same caller, of which the gateway sees nothing
    caller "$@" bench_service "$node" bench_service
}

# WHAT LABEL: clients at 64 connections beside 5,000 calls a second, made by WHAT; by nobody when that is "none".
beside_calls() {
    calls=
    if [ "$1" != none ]; then
        "$1" "$2_$turn" 64 5000 "$((${window%.*} + ${warmup%.*} + 1))" &
        calls=$!
        pids="$pids $calls"
        sleep 1.2
    fi
    repeat=1 requests "$2" 64 --mode request --payload-template echo
    [ -z "$calls" ] || wait "$calls" || die "case rpc failed"
}

# What an incoming call costs. Then what 5,000 of them a second do to clients: the caller takes the processors from all others,
# so beside windows without calls there are such with the same calls into the service node. All three in turns, and
# each once first, second and last.
rpc_case() {
    erlc -o "$dir" "$here/bench_caller.erl" || die "erlc failed"
    start_gateway rex 3
    for n in 1 64; do into_gateway "rpc_count_$n" "$n" 0 "${window%.*}" || die "case rpc failed"; done
    for turn in $(some 1 "1 2 3 4 5 6 7 8 9"); do
        for which in $(case $((turn % 3)) in 0) echo alone service gateway ;; 1) echo service gateway alone ;; 2) echo gateway alone service ;; esac); do
            case $which in
            alone) beside_calls none echo_alone ;;
            service) beside_calls into_service echo_rpc_service ;;
            gateway) beside_calls into_gateway echo_rpc_gateway ;;
            esac
        done
    done
    stop "$gateway" TERM
    cat "$dir/calls.jsonl"
}

idle_case() {
    start_gateway rex 3
    "$loadgen" --json --label idle --mode idle --port "$port" --connections "$idle_connections" --seconds "$window" \
        --warmup 1 --pid "gateway=$gateway" >> "$results" || die "case idle failed"
    stop "$gateway" TERM
}

number_in() { # NAME JSON
    printf '%s' "$2" | sed 's/.*"'"$1"'":\([0-9.]*\).*/\1/'
}

auth_case() { # as many clients at once as connect after a restart, each with a token that is verified
    token=$(awk 'NR == 1 { print $5 }' "$here/../data/tokens/phoenix.txt")
    start_gateway rex 3
    i=0
    while [ $i -lt 3 ]; do
        line=$("$loadgen" --json --label auth --mode idle --port "$port" --connections "$idle_connections" --sources 20 \
            --path "/verified/websocket?vsn=2.0.0&token=$token" --seconds 0.01 --warmup 0 --pid "gateway=$gateway") ||
            die "case auth failed"
        printf 'auth: %s clients with a Phoenix.Token connected and joined in %s s (budget 2), %s us of the gateway each\n' \
            "$idle_connections" "$(number_in seconds_to_join_all "$line")" "$(number_in us_per_join "$line")"
        i=$((i + 1))
        sleep 1
    done
    stop "$gateway" TERM
}

start_case() {
    write_config rex 3
    i=0
    while [ $i -lt "$starts" ]; do
        "$loadgen" --json --label start --mode start --port "$port" --service bench_service \
            -- "$build/beamgate" "$dir/gateway.yml" >> "$results" 2> "$dir/start.log" || die "case start failed"
        i=$((i + 1))
    done
}

wants ceiling && ceiling
start_node
case " $only " in *" echo "* | *" list "* | *" heartbeat "* | *" pipeline "* | *" join "*) rex_cases ;; esac
wants checked && checked_cases
wants budget && budget_case
wants spawn && spawn_cases
wants functions && function_cases
wants rpc && rpc_case
wants idle && idle_case
wants auth && auth_case
wants start && start_case
awk -f "$here/report.awk" "$results"
if wants micro; then echo && "$build/bench/micro"; fi
