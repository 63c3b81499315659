// Clicks through the real Observer (D-20): all tabs again and again, with their columns sorted, windows of processes, ports,
// sockets and tables opened and closed, pages turned, intervals changed, nodes switched away and back, while clients come,
// call and go. Nothing in Observer may crash or ask, every call of a client must be answered, nothing may be left at the
// end. One round takes some ten seconds; `make observer-clicks MINUTES=10` goes on, on OTP 25 and OTP 27.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { describe, it } = require("node:test");
const { ROOT, Run, config, eventually, sleep } = require("./harness");
const { Conn } = require("./client");
const { ObserverGui, missing, usedKb } = require("./observer_gui");

const MINUTES = Number(process.env.MINUTES || 0);
const GW = "beamgate@127.0.0.1";
const otp27 = path.join(ROOT, "build/otp27");
const has27 = fs.existsSync(path.join(otp27, "elixir")) && fs.existsSync(path.join(otp27, "root/usr/bin/observer.ready"));
const lacking = missing();

// wx says so when ObserverDriver.texts() reads a row that goes meanwhile: not Observer's doing.
const OWN_FAULT = /invalid item index in GetItem|GetString.. : wrong listbox index/;

// A second pair of eyes: asks what Observer asks and checks the three answers of which Observer would die (08 §5.2): a
// scheduler whose total does not grow, allocators without carriers, a tree with a box that hangs on none.
const WATCH = `
defmodule Watch do
  def start, do: spawn(fn -> Process.register(self(), :watch); Process.flag(:trap_exit, true); run() end)

  defp run do
    Node.spawn_link(:"${GW}", :observer_backend, :fetch_stats, [self(), 100])
    {:ok, tree} = :rpc.call(:"${GW}", :appmon_info, :start_link2, [self(), self(), []])
    :gen_server.cast(tree, {self(), :app, :beamgate, true, []})
    Process.send_after(self(), :allocators, 500)
    loop(nil, %{stats: 0, allocators: 0, trees: 0})
  end

  defp loop(last, seen) do
    receive do
      {:stats, 1, [{1, active, total}], {{:input, _}, {:output, _}}, [{:total, m} | _]} ->
        true = active <= total and m > 0 and (last == nil or total > last)
        loop(total, count(seen, :stats))
      :allocators ->
        Process.send_after(self(), :allocators, 500)
        info = :rpc.call(:"${GW}", :observer_backend, :sys_info, [])
        [_ | _] = info[:alloc_info]
        for {_, instances} <- info[:alloc_info], {:instance, _, kinds} <- instances, {_, kind} <- kinds,
          do: true = elem(List.keyfind(kind, :carriers_size, 0), 1) > 0
        loop(last, count(seen, :allocators))
      {:delivery, _, :app, :beamgate, {root, names, edges, []}} ->
        known = MapSet.new(names, &elem(&1, 1))
        true = root in known and Enum.all?(edges, fn {a, b} -> a in known and b in known end)
        loop(last, count(seen, :trees))
      {:tell, whom} ->
        send(whom, {:seen, seen})
        loop(last, seen)
      :stop -> :ok
    end
  end

  defp count(seen, what), do: Map.update!(seen, what, &(&1 + 1))

  def seen do
    send(:watch, {:tell, self()})
    receive(do: ({:seen, seen} -> seen), after: (5000 -> :watch_has_ended))
  end
end
Watch.start(); :ok`;

// Clients that come, join, call, leave or just vanish, one after the other, until stop().
class Visitors {
  constructor(gateway, count) {
    Object.assign(this, { gateway, visits: 0, calls: 0, slowest: 0, stopped: false });
    this.loops = Promise.all(Array.from({ length: count }, (_, i) => this.loop(i)));
    this.loops.catch((e) => (this.failed = e));
  }

  async loop(i) {
    for (let n = 0; !this.stopped; n++) {
      const client = await Conn.open(this.gateway, `user_id=visitor${i}&vsn=2.0.0`);
      await client.join();
      for (let call = 0; call < 3; call++) {
        const began = Date.now();
        const { push } = await client.call("echo", { msg: `${n}` });
        assert.equal(push.success, true, JSON.stringify(push));
        this.slowest = Math.max(this.slowest, Date.now() - began);
        this.calls++;
        await sleep(50);
      }
      if (n % 3) await client.close();
      else client.terminate();
      this.visits++;
      await sleep(100);
    }
  }

  stop() {
    this.stopped = true;
    return this.loops;
  }
}

// One Observer that is clicked through.
class Clicker {
  constructor(gui) {
    this.gui = gui;
    this.windows = 0;
    this.rounds = 0;
  }

  drive(code) {
    return this.gui.node.run(`ObserverDriver.${code}`, 20000);
  }

  // Observer lives, has crashed nowhere and asks nothing: the only windows are those that were opened.
  async well(titles = "[]") {
    assert.equal(await this.drive("errors()"), "[]");
    assert.deepEqual(this.gui.node.lines.filter((l) => /crash|Unexpected|Unhandled|Error/i.test(l) && !OWN_FAULT.test(l)), []);
    assert.equal(await this.drive("tab_processes()"), (this.tabs ??= await this.drive("tab_processes()")), "the same processes");
    if (titles) assert.equal(await this.gui.node.run("for w <- ObserverDriver.top_windows(), do: ObserverDriver.title(w)"), titles);
  }

  // open opens a window in which all patterns are on one of its pages, use does something in it; then it is closed. Rows
  // move while clients come and go: when the click has met another one, that window is closed, and once more.
  async window(open, patterns = [], use = async () => {}) {
    for (let left = 5, right = false; !right; left--) {
      await this.drive(open);
      const opened = async () => (await this.drive("top_windows() |> length()")) === "1";
      await eventually(opened, `a window by ${open}`);
      const shown = this.gui.shows(patterns, "ObserverDriver.all_pages(hd(ObserverDriver.top_windows()))", left ? 2000 : 15000);
      right = await shown.catch((e) => {
        if (!left) throw e;
      });
      if (right) await use();
      await this.well(null);
      await this.drive("close_windows()");
      await eventually(async () => (await this.drive("top_windows() |> length()")) === "0", "it closes");
      this.windows++;
    }
  }

  async sortAll(columns) {
    for (let c = 0; c < columns; c++) await this.drive(`sort(${c})`);
    await this.drive("sort(0)");
  }

  // What is done in each tab after it has been turned to.
  get inTabs() {
    const { gui } = this;
    return {
      System: async () => {
        await gui.shows([/^beamgate \d/, /^\d+ Secs|^\d+ Mins/]);
        await this.drive('menu("View", "Refresh")');
        await this.interval("Refresh interval", 1);
      },
      "Load Charts": () => this.interval("Graph Settings", 100 + 100 * (this.rounds % 9)),
      "Memory Allocators": async () => {
        await gui.shows([/^malloc \| [1-9]/]);
        await this.interval("Graph Settings", 1000);
      },
      Applications: async () => {
        await gui.shows([/^beamgate$/]);
        await this.window("open_box(~r/^channel api:lobby user steady/)", [/^beamgate:channel api/, /user_id\s+<<"steady/]);
        await this.window("open_box(~r/^beamgate_clients$/)", [/^beamgate_clients$/]);
      },
      Processes: async () => {
        await gui.shows([/user steady/]);
        await this.interval("Refresh Interval", 1 + (this.rounds % 3));
        await this.sortAll(6);
        await this.drive("sort_oldest_first()");
        await this.window("open_row(~r/channel api.*steady/)", [/^beamgate:channel api/, /topic\s+<<"api:lobby">>/]);
        await this.window("open_row(~r/socket.*steady/)", [/^beamgate:socket/, /address\s+<<"127.0.0.1">>/]);
        await this.window("open_row(~r/link svc/)", [/^beamgate:link svc/]);
        await this.window("open_row(~r/beamgate_cluster/)", [/^beamgate_cluster$/]);
      },
      Ports: async () => {
        await gui.shows([/ \| nodes \| tcp_inet \| 1$/, / \| websocket \|/]);
        await this.interval("Refresh Interval...", 10);
        await this.sortAll(5);
        await this.window("open_row(~r/ nodes /)", [/^Local Port Number:$/]);
        await this.window("open_row(~r/svc@127/)", [/^Total received:$/]);
        await this.window("open_row(~r/ websocket /)", [/^Remote Address:$/, /^127\.0\.0\.1$/]);
      },
      Sockets: async () => {
        await gui.shows([/^#Socket<0\.\d+> \| /]);
        await this.interval("Refresh Interval...", 10);
        await this.sortAll(8);
        await this.window("open_row(~r/#Socket<0\\.1>/)", [/^Local Address:$/]);
      },
      "Table Viewer": async () => {
        await gui.shows([/ConfigDb \|/]);
        await this.interval("Refresh Interval...", 10);
        await this.sortAll(6);
        await this.window("open_row(~r/ConfigDb/)", [/\{<<"user_service">>,<<"echo">>,/], async () => {
          assert.notEqual(await this.drive("sort_tables()"), "0");
        });
        await this.window("open_row(~r/sticky_nodes/)");
      },
      "Trace Overview": async () => {},
    };
  }

  interval(entry, value) {
    return this.drive(`change_interval("${entry}", ${value})`);
  }

  async round() {
    for (const [name, use] of Object.entries(this.inTabs)) {
      await this.gui.tab(name);
      await use();
      await this.well();
      await this.awayAndBack();
    }
    this.rounds++;
  }

  // Looks at its own node for a moment, then at the gateway again, in whatever tab that is.
  async awayAndBack() {
    for (const node of [this.gui.node.node, GW]) {
      await this.drive(`menu("Nodes", "${node}")`);
      await this.gui.shows([new RegExp(`^Observer - ${node}$`)]);
      await this.drive("settle()");
    }
    await this.well();
  }
}

const descriptors = (gateway) => fs.readdirSync(`/proc/${gateway.process.pid}/fd`).length;
// What Observer and the second pair of eyes have started and still use: not one more for each time that a tab was turned to.
const WORKERS = `for p <- :rpc.call(:"${GW}", :erlang, :processes, []),
  {:initial_call, {_, f, _}} when f in [:appmon_info, :observer_stats] <- [:rpc.call(:"${GW}", :erlang, :process_info, [p, :initial_call])],
  reduce: %{}, do: (n -> Map.update(n, f, 1, &(&1 + 1)))`;
const processes = (node) => node.run(`:rpc.call(:"${GW}", :erlang, :system_info, [:process_count])`);

function clicks(otp, { elixir, skip }) {
  it(`Observer of OTP ${otp} is clicked through while clients come and go`, { skip }, async (t) => {
    const run = await Run.start();
    let gui, visitors;
    const steady = [];
    try {
      const svc = await run.beam("svc");
      // Those that stay send no heartbeat.
      const gateway = await run.gateway(config().replace("    user_id_param: user_id\n", "    user_id_param: user_id\n    timeout_ms: 86400000\n"));
      for (let i = 0; i < 5; i++) steady.push(await (await Conn.open(gateway, `user_id=steady${i}&vsn=2.0.0`)).join());
      const before = await processes(svc);
      const files = descriptors(gateway);
      await svc.run(WATCH);
      gui = await ObserverGui.start(run, { elixir });
      await gui.node.run("ObserverDriver.keep_errors()");
      await gui.node.run(`true = Node.connect(:"${GW}"); :observer.start()`, 20000);
      await eventually(() => gui.node.run(`ObserverDriver.menu("Nodes", "${GW}")`), "the Nodes menu has it");
      const clicker = new Clicker(gui);
      visitors = new Visitors(gateway, 4);
      const end = Date.now() + MINUTES * 60000;
      let first;
      do {
        await clicker.round();
        first ??= await usedKb(svc);
        if (visitors.failed) throw visitors.failed;
      } while (Date.now() < end);
      const last = await usedKb(svc);
      await visitors.stop();
      assert.equal(await svc.run(WORKERS), "%{appmon_info: 2, observer_stats: 2}");
      const seen = await svc.run("Watch.seen()");
      assert.match(seen, /^%\{allocators: [1-9]\d*, stats: [1-9]\d*, trees: [1-9]\d*\}$/, "no answer that Observer dies of");
      await svc.run("send(:watch, :stop)");
      await clicker.well();
      await gui.node.kill(); // not observer:stop(): after hundreds of windows OTP's wx driver dies while it takes them apart
      await eventually(async () => (await processes(svc)) === before, `${before} processes, as before`);
      await eventually(() => descriptors(gateway) === files, `${files} descriptors, as before`);
      t.diagnostic(`${clicker.rounds} rounds, ${clicker.windows} windows; ${visitors.visits} visits of clients, ${visitors.calls} calls, ` +
        `the slowest ${visitors.slowest} ms; looked at besides: ${seen}; ${first} kB in use after the first round, ${last} kB after the last`);
    } finally {
      gui?.end();
      if (visitors) visitors.stopped = true;
      for (const c of steady) c.terminate();
      await run.stop();
    }
  });
}

const chosen = (otp) => (process.env.OTP && process.env.OTP !== String(otp) ? "another one was asked for" : false);

describe("Observer, click by click (D-20)", () => {
  clicks(25, { elixir: "elixir", skip: chosen(25) || (lacking.length ? `not installed: ${lacking}` : false) });
  clicks(27, {
    elixir: path.join(otp27, "elixir"),
    skip: chosen(27) || (lacking.length ? `not installed: ${lacking}` : has27 ? false : "OTP 27 with Observer is brought by make observer"),
  });
});
