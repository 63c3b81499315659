// `make observer-soak`: many Observers on one gateway for a long time must leave nothing behind (D-22). WATCHERS=20 processes of
// a real node ask what Observer asks, once a second each, for MINUTES=60; every other of them is killed and begun anew now
// and then. At the end all leave; then the gateway must have the processes it had, and no more memory than
// after the first tenth of the time. Prints a line now and then; fails by its exit code.
"use strict";
const { Run, config, eventually, sleep } = require("../e2e/harness");

const MINUTES = Number(process.env.MINUTES || 60);
const WATCHERS = Number(process.env.WATCHERS || 20);
const GROWTH_KB = 1024;
const GW = ":'beamgate@127.0.0.1'";
const COUNT = `:rpc.call(${GW}, :erlang, :system_info, [:process_count])`;

// One Observer: charts all the time, the other tabs in turn, as observer_backend's callers do it.
const WATCH = `
defmodule Watch do
  def run do
    Process.flag(:trap_exit, true)
    Node.spawn_link(${GW}, :observer_backend, :fetch_stats, [self(), 500])
    loop(0)
  end

  defp loop(n) do
    Node.spawn_link(${GW}, :observer_backend, :procs_info, [self()])
    case rem(n, 4) do
      0 -> :rpc.call(${GW}, :observer_backend, :sys_info, [])
      1 -> :rpc.call(${GW}, :observer_backend, :get_port_list, [])
      2 -> :rpc.call(${GW}, :observer_backend, :get_table_list, [:ets, []])
      3 -> Node.spawn_link(${GW}, :observer_backend, :get_table, [self(), PhoenixGenApi.ConfigDb, :ets])
    end
    flush()
    loop(n + 1)
  end

  defp flush, do: receive(do: (_ -> flush()), after: (1000 -> :ok))

  def start(i), do: spawn(fn -> Process.register(self(), :"watch#{i}"); run() end)
  def stop(i), do: (p = Process.whereis(:"watch#{i}")) && Process.exit(p, :kill)
end
:ok`;

async function main() {
  const run = await Run.start();
  try {
    const svc = await run.beam("svc");
    const gateway = await run.gateway(config());
    await svc.run(WATCH);
    const before = Number(await svc.run(COUNT));
    await svc.run(`for i <- 1..${WATCHERS}, do: Watch.start(i); :ok`);
    const steps = Math.max(10, Math.round(MINUTES));
    let first, last;
    for (let step = 1; step <= steps; step++) {
      await sleep((MINUTES * 60000) / steps);
      const again = (step % WATCHERS) + 1;
      await svc.run(`Watch.stop(${again}); Process.sleep(100); Watch.start(${again}); :ok`);
      last = gateway.rss();
      first ??= last;
      console.log(`${((step * MINUTES) / steps).toFixed(1)} min: ${last} kB, ${await svc.run(COUNT)} processes`);
    }
    await svc.run(`for i <- 1..${WATCHERS}, do: Watch.stop(i); :ok`);
    await eventually(async () => Number(await svc.run(COUNT)) === before, `${before} processes, as before`);
    console.log(`${WATCHERS} Observers for ${MINUTES} min: ${last - first} kB more after the first tenth, no process left`);
    if (last - first > GROWTH_KB) throw new Error(`memory grew by ${last - first} kB`);
  } finally {
    await run.stop();
  }
}

main().catch((e) => {
  console.error(e.message);
  process.exitCode = 1;
});
