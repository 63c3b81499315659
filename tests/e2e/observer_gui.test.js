// The GUI of Observer on the gateway, tab by tab, as an operator uses it (08 §5, D-20, D-21): texts of the widgets are
// checked, mouse clicks open, kill and trace. On the OTP of this machine; and on OTP 27 where its tree of files has
// Observer already (`make observer` brings it). OBSERVER_PICTURES=DIR keeps a picture of each tab.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { ROOT, Run, config, eventually, sleep } = require("./harness");
const { Conn } = require("./client");
const { ObserverGui, missing } = require("./observer_gui");

const GW = "beamgate@127.0.0.1";
const otp27 = path.join(ROOT, "build/otp27");
const has27 = fs.existsSync(path.join(otp27, "elixir")) && fs.existsSync(path.join(otp27, "root/usr/bin/observer.ready"));
const lacking = missing();

const LIMITS = `
rate_limiter:
  global_limits:
    - key: user_id
      max_requests: 100
      window_ms: 600000
`;

function looks(otp, { elixir, skip }) {
  describe(`Observer of OTP ${otp}`, { skip }, () => {
    let run, svc, gateway, gui;
    const clients = {};
    const opened = async () => (await gui.node.run("length(ObserverDriver.top_windows())")) !== "0";
    const pictures = process.env.OBSERVER_PICTURES && path.resolve(process.env.OBSERVER_PICTURES, `otp${otp}`);
    before(async () => {
      run = await Run.start();
      svc = await run.beam("svc");
      // Nobody sends heartbeats here.
      const text = config().replace("    user_id_param: user_id\n", "    user_id_param: user_id\n    timeout_ms: 3600000\n");
      gateway = await run.gateway(text + LIMITS);
      for (const [user, topic] of [["anna", "api:lobby"], ["bert", "api:lobby"], ["carla", "api:größe"]]) {
        clients[user] = await Conn.open(gateway, `user_id=${user}&vsn=2.0.0`);
        await clients[user].join(topic);
      }
      await clients.anna.call("echo", { msg: "x" });
      gui = await ObserverGui.start(run, { elixir, pictures });
    });
    after(async () => {
      gui?.end();
      for (const c of Object.values(clients)) c.terminate();
      await run?.stop();
    });

    it("is started on the gateway", async () => {
      if (otp < 26) {
        await gui.node.run(":observer.start()", 20000);
        await eventually(() => gui.node.run(`ObserverDriver.menu("Nodes", "${GW}")`), "the Nodes menu has it");
      } else {
        await gui.node.run(`:observer.start(:"${GW}")`, 20000);
      }
      await gui.shows([new RegExp(`^Observer - ${GW}$`)]);
      assert.deepEqual(await gui.read("ObserverDriver.tabs()"), [
        "System", "Load Charts", "Memory Allocators", "Applications", "Processes", "Ports", "Sockets", "Table Viewer", "Trace Overview",
      ]);
    });

    it("System", async () => {
      const texts = await gui.shows([/^beamgate \d/, /^x86_64|^aarch64/, /^\d+ Secs$/, /^\d+ \/ \d+ \(0 % used\)$/]);
      const value = (label) => texts[texts.indexOf(label) + 1];
      assert.match(value("System Version:"), /^beamgate \d+\.\d+\.\d+$/);
      assert.match(value("Total:"), /^\d+ [KM]iB$/);
      assert.equal(value("Schedulers:"), "1");
      assert.equal(value("ETS:").length > 0, true);
      await gui.picture("system");
    });

    it("Load Charts", async () => {
      await gui.tab("Load Charts");
      await sleep(pictures ? 20000 : 2500);
      const state = await gui.node.run("{_, tab} = ObserverDriver.env(); inspect(:sys.get_state(tab), limit: :infinity)");
      assert.ok([...state.matchAll(/memory: \{[1-9]\d{5,}, /g)].length >= 2, "two samples of memory, input and output");
      await gui.picture("load-charts");
    });

    it("Memory Allocators", async () => {
      await gui.tab("Memory Allocators");
      await gui.shows([/^total \| \d+ \| \d+ \| \d+/, /^malloc \| [1-9]\d* \| [1-9]/]);
      if (pictures) await sleep(10000);
      await gui.picture("memory-allocators");
    });

    it("Applications: the tree from the root to the channels", async () => {
      await gui.tab("Applications");
      await gui.shows([/^beamgate$/]);
      const tree = () => gui.node.run("{_, tab} = ObserverDriver.env(); inspect(:sys.get_state(tab), limit: :infinity, printable_limit: :infinity)");
      await eventually(async () => /channel api:lobby user anna/.test(await tree()), "the tree is drawn");
      const text = await tree();
      for (const box of ["beamgate_clients", "beamgate_cluster", "beamgate_config", "socket 127.0.0.1 user bert", "link svc@127.0.0.1"])
        assert.ok(text.includes(box), box);
      await gui.node.run('ObserverDriver.send_message(~r/channel api:lobby user anna/, "{hello, 1}")', 20000);
      await eventually(async () => (await gateway.metric("channel_unknown_messages_total")) === 1, "the message has come");
      await gui.picture("applications");
    });

    it("Processes: every one, with what it is about", async () => {
      await gui.tab("Processes");
      const texts = await gui.shows([/ \| beamgate:channel api:\*\/1 \| .* \| api:lobby user anna$/, / \| beamgate_cluster \|/]);
      assert.ok(texts.some((t) => / \| beamgate:socket \/socket\/1 \| \d+ \| \d+ \| 0 \| 127\.0\.0\.1 user bert$/.test(t)));
      assert.ok(texts.some((t) => / \| beamgate:link svc@127\.0\.0\.1\/1 \| [1-9]/.test(t)));
      assert.ok(texts.some((t) => /api:größe user carla$/.test(t)), texts.join("\n"));
      await gui.picture("processes");
      await gui.node.run("ObserverDriver.sort_by_pid()");
    });

    it("a process's own window, with its state", async () => {
      await gui.click("~r/channel api.*anna/", { double: true, done: opened });
      await gui.shows([/^beamgate:channel api:\*\/1$/, /^waiting$/], "ObserverDriver.texts(hd(ObserverDriver.top_windows()))");
      await gui.picture("process");
      await gui.shows([/topic\s+<<"api:lobby">>[^]*user_id\s+<<"anna">>[^]*address\s+<<"127.0.0.1">>/],
        'ObserverDriver.page(hd(ObserverDriver.top_windows()), "State")');
      await gui.picture("process-state");
      await gui.node.run("ObserverDriver.close_windows()");
      await eventually(async () => (await gui.node.run("length(ObserverDriver.top_windows())")) === "0", "its window closes");
    });

    it("garbage collects, and kills a client's process, which closes the client", async () => {
      await gui.tab("Processes");
      let collected = 0;
      await gui.click("~r/socket.*bert/", { entry: 3, done: async () => ++collected > 5 });
      await gui.shows([/socket .*user bert$/]);
      let closed = null;
      clients.bert.closed.then((c) => (closed = c));
      await gui.click("~r/socket.*bert/", { entry: 4, done: async () => closed !== null });
      assert.equal(closed.code, 1011);
      await gui.node.run('ObserverDriver.menu("View", "Refresh")');
      const gone = async () => !(await gui.texts()).some((t) => /user bert/.test(t));
      await eventually(gone, "the killed client is gone from the list");
    });

    it("Ports", async () => {
      await gui.tab("Ports");
      await gui.shows([/ \| nodes \| tcp_inet \| 1$/, / \| clients \| tcp_inet \| 2$/, / \| svc@127\.0\.0\.1 \| tcp_inet \| \d+$/,
        / \| websocket \| tcp_inet \| \d+$/]);
      await gui.picture("ports");
      await gui.click("~r/ websocket /", { double: true, done: opened });
      await gui.shows([/^Remote Address:$/, /^127\.0\.0\.1$/, /^Total received:$/, /^[1-9]\d* B$/],
        "ObserverDriver.texts(hd(ObserverDriver.top_windows()))");
      await gui.picture("port");
      await gui.node.run("ObserverDriver.close_windows()");
      await eventually(async () => (await gui.node.run("length(ObserverDriver.top_windows())")) === "0", "its window closes");
    });

    it("Sockets", async () => {
      await gui.tab("Sockets");
      await gui.shows([/^#Socket<0\.\d+> \| <\d+\.\d+\.\d+> \| \d+ \| inet \| stream \| tcp/]);
      await gui.picture("sockets");
    });

    it("Table Viewer: the library's tables, and what is in one", async () => {
      await gui.tab("Table Viewer");
      await gui.shows([/^Elixir\.PhoenixGenApi\.ConfigDb \| [1-9]\d* \| \d+ \| .* \| beamgate/, /^phoenix_gen_api_sticky_nodes \|/,
        /^rate_limiter_global \| 1 \|/]);
      await gui.picture("table-viewer");
      await gui.click("~r/rate_limiter_global/", { double: true, done: opened });
      await gui.shows([/\{<<"user_id">>,<<"anna">>\} \| 1 \| 100 \| 600000/], "ObserverDriver.texts(hd(ObserverDriver.top_windows()))");
      await gui.node.run("ObserverDriver.close_windows()");
      await eventually(async () => (await gui.node.run("length(ObserverDriver.top_windows())")) === "0", "the table closes");
      await gui.click("~r/ConfigDb/", { double: true, done: opened });
      await gui.shows([/\{<<"user_service">>,<<"echo">>,/], "ObserverDriver.texts(hd(ObserverDriver.top_windows()))");
      await gui.picture("table");
      await gui.node.run("ObserverDriver.close_windows()");
    });

    it("Trace Overview: a trace is refused, and Observer lives", async () => {
      await gui.tab("Processes");
      const asked = () => gui.node.run('ObserverDriver.button_position("OK")').then(() => true, () => false);
      await gui.click("~r/channel api.*anna/", { entry: 1, done: asked });
      await gui.press("OK");
      await gui.tab("Trace Overview");
      await gui.shows([/^beamgate@127\.0\.0\.1/]);
      await gui.picture("trace-overview");
      await gui.press("Start Trace");
      await sleep(1500);
      await gui.picture("trace-refused");
      assert.equal(await gui.node.run("is_pid(Process.whereis(:observer))"), "true");
      await gui.tab("System");
      await gui.shows([/^beamgate \d/]);
    });

    it("leaves nothing behind when its node goes", async () => {
      await gui.node.kill();
      const workers = `for p <- :rpc.call(:"${GW}", :erlang, :processes, []),
        {:initial_call, {_, f, _}} <- [:rpc.call(:"${GW}", :erlang, :process_info, [p, :initial_call])],
        f in [:observer_stats, :observer_answer, :appmon_info, :"link observer@127.0.0.1"], do: f`;
      await eventually(async () => (await svc.run(workers)) === "[]", "its workers have ended");
    });
  });
}

looks(25, { elixir: "elixir", skip: lacking.length ? `not installed: ${lacking}` : false });
looks(27, {
  elixir: path.join(otp27, "elixir"),
  skip: lacking.length ? `not installed: ${lacking}` : has27 ? false : "OTP 27 with Observer is brought by make observer",
});
