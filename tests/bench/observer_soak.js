// `make observer-soak`: many Observers on one gateway for a long time must leave nothing behind (D-22). WATCHERS=20 processes of
// a real node ask what Observer's tabs ask, once a second each, for MINUTES=60, with CLIENTS=50 clients to look at; one of them
// after the other is killed and begun anew, in the middle of whatever it asked. At the end all leave; then the gateway must
// have the processes and descriptors it had, and no more memory than after the first tenth of the time. Prints a line now
// and then; fails by its exit code.
"use strict";
const fs = require("node:fs");
const { Run, config, eventually, sleep } = require("../e2e/harness");
const { Conn } = require("../e2e/client");
const { usedKb } = require("../e2e/observer_gui");

const MINUTES = Number(process.env.MINUTES || 60);
const WATCHERS = Number(process.env.WATCHERS || 20);
const CLIENTS = Number(process.env.CLIENTS || 50);
const GROWTH_KB = 1024;
const GW = ":'beamgate@127.0.0.1'";
const COUNT = `:rpc.call(${GW}, :erlang, :system_info, [:process_count])`;

// One Observer: charts and the tree of the application all the time, the other tabs in turn, as observer_backend's callers
// do it. What it asked one at a time goes through rpc, so an answer that is lost ends the watcher.
const WATCH = `
defmodule Watch do
  def run do
    Process.flag(:trap_exit, true)
    Node.spawn_link(${GW}, :observer_backend, :fetch_stats, [self(), 500])
    {:ok, tree} = ask(:appmon_info, :start_link2, [self(), self(), []])
    :gen_server.cast(tree, {self(), :app_ctrl, ${GW}, true, []})
    :gen_server.cast(tree, {self(), :app, :beamgate, true, []})
    loop(0)
  end

  defp ask(m, f, a) do
    answer = :rpc.call(${GW}, m, f, a, 20000)
    if match?({:badrpc, _}, answer), do: exit({m, f, answer})
    answer
  end

  defp loop(n) do
    Node.spawn_link(${GW}, :observer_backend, :procs_info, [self()])
    case rem(n, 7) do
      0 -> ask(:observer_backend, :sys_info, [])
      1 -> ask(:observer_backend, :get_port_list, [])
      2 -> ask(:observer_backend, :get_socket_list, [])
      3 -> ask(:observer_backend, :get_table_list, [:ets, [sys_hidden: true, unread_hidden: true]])
      4 -> ask(:observer_backend, :get_table, [self(), PhoenixGenApi.ConfigDb, :ets])
      5 -> Node.spawn_link(${GW}, :observer_backend, :etop_collect, [self()])
      6 -> window(Enum.random(ask(:erlang, :processes, [])))
    end
    flush()
    loop(n + 1)
  end

  # The window of a process; it may have ended meanwhile.
  defp window(pid) do
    ask(:erlang, :process_info, [pid, [:links, :monitors, :memory, :dictionary]])
    :rpc.call(${GW}, :sys, :get_status, [pid, 1000])
  end

  defp flush, do: receive(do: (_ -> flush()), after: (1000 -> :ok))

  def start(i), do: spawn(fn -> Process.register(self(), :"watch#{i}"); run() end)
  def stop(i), do: (p = Process.whereis(:"watch#{i}")) && Process.exit(p, :kill)
  def alive(n), do: Enum.count(1..n, &Process.whereis(:"watch#{&1}"))
end
:ok`;

const descriptors = (gateway) => fs.readdirSync(`/proc/${gateway.process.pid}/fd`).length;

// They send no heartbeat and stay longer than the run.
async function start(run) {
  const text = config().replace("    user_id_param: user_id\n", "    user_id_param: user_id\n    timeout_ms: 86400000\n");
  const gateway = await run.gateway(text);
  for (let i = 0; i < CLIENTS; i++) await (await Conn.open(gateway, `user_id=u${i}&vsn=2.0.0`)).join();
  return gateway;
}

async function main() {
  const run = await Run.start();
  try {
    const svc = await run.beam("svc");
    const gateway = await start(run);
    const alive = async () => {
      if ((await svc.run(`Watch.alive(${WATCHERS})`)) !== String(WATCHERS)) throw new Error(`an Observer has ended\n${svc.log()}`);
    };
    await svc.run(WATCH);
    const before = Number(await svc.run(COUNT));
    const files = descriptors(gateway);
    const used = await usedKb(svc);
    await svc.run(`for i <- 1..${WATCHERS}, do: Watch.start(i); :ok`);
    const steps = Math.max(10, Math.round(MINUTES));
    let first, last;
    for (let step = 1; step <= steps; step++) {
      await sleep((MINUTES * 60000) / steps);
      await alive();
      const again = (step % WATCHERS) + 1;
      await svc.run(`Watch.stop(${again}); Process.sleep(100); Watch.start(${again}); :ok`);
      last = gateway.rss();
      if (step >= steps / 10) first ??= last;
      const now = `${await usedKb(svc)} kB in use, ${await svc.run(COUNT)} processes`;
      console.log(`${((step * MINUTES) / steps).toFixed(1)} min: ${last} kB, ${now}`);
    }
    await svc.run(`for i <- 1..${WATCHERS}, do: Watch.stop(i); :ok`);
    await eventually(async () => Number(await svc.run(COUNT)) === before, `${before} processes, as before`);
    await eventually(() => descriptors(gateway) === files, `${files} descriptors, as before`);
    const left = await usedKb(svc) - used;
    console.log(`${WATCHERS} Observers for ${MINUTES} min: ${last - first} kB more after the first tenth; of what they used ` +
      `${left} kB, no process and no descriptor are left`);
    if (last - first > GROWTH_KB) throw new Error(`memory grew by ${last - first} kB`);
  } finally {
    await run.stop();
  }
}

main().then(() => process.exit(0), (e) => {
  console.error(e.message);
  process.exit(1);
});
