// `make observer-load`: what Observer costs a gateway with 10,000 clients (D-21): how long each of its answers takes and
// how long the loop is held at a stretch for it, and whether other clients' p99 moves while Observer refreshes once
// a second (its own interval is ten). CLIENTS=10000 TIMES=5 ROUNDS=5 SECONDS=5 change it; ONLY=etop asks that alone.
"use strict";
const { execFile, spawn } = require("node:child_process");
const path = require("node:path");
const { BINARY, Run, config, sleep } = require("../e2e/harness");

const CLIENTS = Number(process.env.CLIENTS || 10000);
const TIMES = Number(process.env.TIMES || 5);
const ONLY = new RegExp(process.env.ONLY || "");
const ROUNDS = Number(process.env.ROUNDS || 5);
const SECONDS = Number(process.env.SECONDS || 5);
const LOADGEN = path.join(path.dirname(BINARY), "bench", "loadgen");
const GW = ":'beamgate@127.0.0.1'";
const LIMITS = `
limits:
  max_connections_per_address: 1000000
  max_connections_per_user: 1000000
  connects_per_s: 1000000
  connects_per_s_per_address: 1000000
  messages_per_s: 10000000
  bytes_per_s: 1000000000
  joins_per_s: 1000000
`;

// Each as a tab makes it; the value is how many it got.
const collect = (tag) => `collect = fn collect, pid, n -> receive do
      {${tag}, ^pid, rows} -> collect.(collect, pid, n + length(rows))
      {:EXIT, ^pid, _} -> n
    after 20000 -> :late end end`;
const QUESTIONS = {
  "Processes (procs_info)": `Process.flag(:trap_exit, true)
    ${collect(":procs_info")}
    collect.(collect, Node.spawn_link(${GW}, :observer_backend, :procs_info, [self()]), 0)`,
  "etop (etop_collect)": `Process.flag(:trap_exit, true)
    pid = Node.spawn_link(${GW}, :observer_backend, :etop_collect, [self()])
    receive do {^pid, info} -> length(elem(info, 8)) after 20000 -> :late end`,
  "Applications (tree)": `Process.flag(:trap_exit, true)
    {:ok, srv} = :rpc.call(${GW}, :appmon_info, :start_link2, [self(), self(), []])
    :gen_server.cast(srv, {self(), :app, :beamgate, true, []})
    receive do {:delivery, ^srv, :app, :beamgate, {_, names, _, _}} -> length(names) after 20000 -> :late end`,
  "Ports (get_port_list)": `length(:rpc.call(${GW}, :observer_backend, :get_port_list, []))`,
  "Sockets (get_socket_list)": `length(:rpc.call(${GW}, :observer_backend, :get_socket_list, []))`,
  "System (sys_info)": `length(:rpc.call(${GW}, :observer_backend, :sys_info, []))`,
  "Table Viewer (get_table_list)": `length(:rpc.call(${GW}, :observer_backend, :get_table_list, [:ets, []]))`,
  "erlang:processes/0": `length(:rpc.call(${GW}, :erlang, :processes, []))`,
  "ets:tab2list/1": `length(:rpc.call(${GW}, :ets, :tab2list, [PhoenixGenApi.ConfigDb]))`,
};

const REFRESH = `spawn(fn -> Process.register(self(), :refresher)
  Process.flag(:trap_exit, true)
  stats = Node.spawn_link(${GW}, :observer_backend, :fetch_stats, [self(), 500])
  loop = fn loop ->
    Node.spawn_link(${GW}, :observer_backend, :procs_info, [self()])
    :rpc.call(${GW}, :observer_backend, :sys_info, [])
    :rpc.call(${GW}, :observer_backend, :get_port_list, [])
    flush = fn flush -> receive do :stop -> send(stats, :exit); exit(:normal); _ -> flush.(flush) after 1000 -> :ok end end
    flush.(flush)
    loop.(loop)
  end
  loop.(loop) end)`;

function loadgen(args) {
  return new Promise((resolve, reject) =>
    execFile(LOADGEN, ["--json", ...args], { maxBuffer: 1 << 24 }, (e, out, err) =>
      e ? reject(new Error(`${e.message} ${err}`)) : resolve(JSON.parse(out)),
    ),
  );
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

async function questions(peer) {
  console.log("answer                           rows  answered in  loop held at a stretch   processor time    held, least to most");
  for (const [name, code] of Object.entries(QUESTIONS).filter(([n]) => ONLY.test(n))) {
    const results = [];
    for (let i = 0; i < TIMES; i++) {
      await sleep(3000); // what was before has left the last second
      results.push(await peer.run(`cpu = fn -> [{1, a, _}] = :rpc.call(${GW}, :erlang, :statistics, [:scheduler_wall_time]); a end
        before = cpu.()
        t = System.monotonic_time(:microsecond)
        n = (fn -> ${code} end).()
        us = System.monotonic_time(:microsecond) - t
        spent = cpu.() - before
        held = :sys.get_state({:beamgate, ${GW}}).longest_turn_us_1s
        :io_lib.format("~p ~p ~p ~p", [n, us, held, spent]) |> List.to_string()`, 60000));
    }
    const rows = results.map((r) => r.replace(/"/g, "").split(" ").map(Number));
    const [n, us, held, spent] = [0, 1, 2, 3].map((i) => median(rows.map((r) => r[i])));
    const cells = [us, held, spent].map((v, i) => `${(v / 1000).toFixed(2).padStart([10, 16, 16][i])} ms`);
    const all = rows.map((r) => r[2] / 1000);
    console.log(`${name.padEnd(30)} ${String(n).padStart(6)} ${cells.join(" ")}      ${Math.min(...all)} to ${Math.max(...all)} ms`);
  }
}

async function p99(port, peer) {
  const found = { quiet: [], observed: [] };
  for (let i = 0; i < ROUNDS; i++) {
    for (const kind of ["quiet", "observed"]) {
      if (kind === "observed") await peer.run(REFRESH);
      await sleep(500);
      const r = await loadgen(["--port", String(port), "--connections", "4", "--seconds", String(SECONDS), "--warmup", "1"]);
      found[kind].push(r);
      if (kind === "observed") await peer.run("send(:refresher, :stop)");
      await sleep(1500);
    }
  }
  return found;
}

(async () => {
  const run = await Run.start();
  await run.beam("svc");
  // The clients that only sit there send no heartbeat.
  const text = config().replace("    user_id_param: user_id\n", "    user_id_param: user_id\n    timeout_ms: 3600000\n");
  const gateway = await run.gateway(text + LIMITS);
  const peer = await run.beam("observer");
  const idle = spawn(LOADGEN, ["--port", String(gateway.port), "--mode", "idle", "--connections", String(CLIENTS), "--seconds", "600",
    "--warmup", "0", "--setup", "120"], { stdio: "ignore" });
  try {
    for (let n = 0; n < CLIENTS; await sleep(500)) n = await gateway.metric("channel_joined");
    console.log(`${CLIENTS} clients, each with a channel: ${await peer.run(`:rpc.call(${GW}, :erlang, :system_info, [:process_count])`)} processes\n`);
    if (!process.env.ONLY_P99) await questions(peer);
    if (process.env.ONLY) return;
    const found = await p99(gateway.port, peer);
    const of = (kind, key) => found[kind].map((r) => r[key]);
    console.log(`\np99 of 4 other clients' requests, ${ROUNDS} rounds of ${SECONDS} s each way, in turns:`);
    for (const kind of ["quiet", "observed"])
      console.log(`  ${kind.padEnd(9)} p50 ${median(of(kind, "p50_us"))} us, p99 ${median(of(kind, "p99_us"))} us; all p99: ${of(kind, "p99_us").join(" ")}`);
    const change = (100 * median(of("observed", "p99_us"))) / median(of("quiet", "p99_us")) - 100;
    console.log(`  change of the median p99: ${change.toFixed(1)} %`);
  } finally {
    idle.kill();
    await run.stop();
  }
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
