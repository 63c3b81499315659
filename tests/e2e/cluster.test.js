// The gateway as a member of the cluster, seen from real BEAM nodes: what 08 §3 says that a node may do to another, and
// the checks D-01..D-17 that can be seen from outside. Elixir runs on the node; inspect() shows what it got.
"use strict";
const assert = require("node:assert/strict");
const net = require("node:net");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, sleep } = require("./harness");
const { Conn } = require("./client");

let run, gateway, svc, peer;
const GW = ":'beamgate@127.0.0.1'";

before(async () => {
  run = await Run.start();
  svc = await run.beam("svc");
  gateway = await run.gateway(config());
  peer = await run.beam("peer");
});
after(() => run?.stop());

// Runs code on the peer; the milliseconds it took come with the result.
async function timed(code) {
  const [, ms, value] = /^\{(\d+), ([^]*)\}$/.exec(
    await peer.run(`{us, v} = :timer.tc(fn -> ${code} end); {div(us, 1000), v}`),
  );
  return { ms: Number(ms), value };
}

describe("connecting", () => {
  it("is registered in epmd under its name (D-07)", () => {
    assert.ok(run.epmdNames().includes("beamgate"));
  });

  it("answers net_adm:ping and Node.ping (D-13)", async () => {
    assert.equal(await peer.run(`:net_adm.ping(${GW})`), ":pong");
    assert.equal(await peer.run(`Node.ping(${GW})`), ":pong");
  });

  it("accepts Node.connect and stays hidden (08 §1.3)", async () => {
    assert.equal(await peer.run(`Node.connect(${GW})`), "true");
    assert.equal(await peer.run(`{${GW} in Node.list(:hidden), ${GW} in Node.list()}`), "{true, false}");
  });

  it("refuses a node with another cookie (D-04)", async () => {
    const stranger = await run.beam("stranger", { flags: "-setcookie other" });
    assert.equal(await stranger.run(`Node.ping(${GW})`), ":pang");
    assert.equal(await peer.run(`Node.ping(${GW})`), ":pong", "others are served as before");
    await stranger.kill();
  });

  it("answers a ping at once while 100 silent connections hold its port (D-02)", async () => {
    const port = Number(await peer.run("{:ok, l} = :erl_epmd.names('127.0.0.1'); :proplists.get_value('beamgate', l)"));
    const idle = Array.from({ length: 100 }, () => net.connect(port, "127.0.0.1"));
    for (const s of idle) s.on("error", () => {});
    await sleep(100);
    await peer.run(`Node.disconnect(${GW})`);
    const { ms, value } = await timed(`Node.ping(${GW})`);
    for (const s of idle) s.destroy();
    assert.equal(value, ":pong");
    assert.ok(ms < 1000, `ping took ${ms} ms`);
  });

  it("survives bytes that are no handshake on its port (D-10)", async () => {
    const port = Number(await peer.run("{:ok, l} = :erl_epmd.names('127.0.0.1'); :proplists.get_value('beamgate', l)"));
    for (const bytes of ["GET / HTTP/1.1\r\n\r\n", "\0\0", "\xff\xff" + "x".repeat(70000), "\0\x15n\0\x05\0\x07"]) {
      const s = net.connect(port, "127.0.0.1");
      s.on("error", () => {});
      s.end(Buffer.from(bytes, "latin1"));
    }
    await sleep(100);
    assert.equal(await peer.run(`Node.ping(${GW})`), ":pong");
  });

  it("connects again after Node.disconnect, from either side, a hundred times (D-03, D-08)", async () => {
    const code = `Enum.map(1..100, fn _ -> Node.disconnect(${GW}); Node.ping(${GW}) end) |> Enum.frequencies()`;
    assert.equal(await peer.run(code, 30000), "%{pong: 100}");
  });

  it("stays up when idle for longer than the tick time (D-06)", async () => {
    const ticking = await run.beam("ticking", { flags: "-kernel net_ticktime 4" });
    await ticking.run(`Node.ping(${GW}); :net_kernel.monitor_nodes(true, [node_type: :all, nodedown_reason: true])`);
    const down = `receive do {:nodedown, _, info} -> info after 7000 -> :up end`;
    const code = `Node.ping(${GW}); :net_kernel.monitor_nodes(true, [node_type: :all, nodedown_reason: true]); ${down}`;
    assert.equal(await ticking.run(code, 15000), ":up");
    await ticking.kill();
  });
});

describe("calls into the gateway", () => {
  it("rpc:call of a function it has (S-001, S-002)", async () => {
    assert.equal(await peer.run(`:rpc.call(${GW}, :erlang, :node, [])`), ":\"beamgate@127.0.0.1\"");
  });

  it("rpc:call of a function it does not have is undef, as from a BEAM (S-122)", async () => {
    const value = await peer.run(`:rpc.call(${GW}, :no_module, :no_function, [1])`);
    assert.equal(value, "{:badrpc, {:EXIT, {:undef, [{:no_module, :no_function, [1], []}]}}}");
  });

  it("erpc:call returns, and raises undef", async () => {
    assert.equal(await peer.run(`:erpc.call(${GW}, :erlang, :node, [])`), ":\"beamgate@127.0.0.1\"");
    const value = await peer.run(
      `try do :erpc.call(${GW}, :no_module, :no_function, []) catch k, e -> {k, e} end`,
    );
    assert.match(value, /^\{:error, \{:exception, :undef, \[\{:no_module, :no_function, \[\], \[\]\}\]\}\}$/);
  });

  it("rpc:multicall and erpc:multicall", async () => {
    const nodes = `[${GW}, node()]`;
    assert.equal(
      await peer.run(`:rpc.multicall(${nodes}, :erlang, :node, [])`),
      '{[:"beamgate@127.0.0.1", :"peer@127.0.0.1"], []}',
    );
    assert.equal(
      await peer.run(`:erpc.multicall(${nodes}, :erlang, :node, [])`),
      '[ok: :"beamgate@127.0.0.1", ok: :"peer@127.0.0.1"]',
    );
  });

  it("rpc:cast and erpc:cast do no harm", async () => {
    assert.equal(await peer.run(`{:rpc.cast(${GW}, :erlang, :node, []), :erpc.cast(${GW}, :no, :no, [])}`), "{true, :ok}");
    assert.equal(await peer.run(`Node.ping(${GW})`), ":pong");
  });

  it("rpc:block_call reaches rex", async () => {
    assert.equal(await peer.run(`:rpc.block_call(${GW}, :erlang, :node, [])`), ":\"beamgate@127.0.0.1\"");
  });

  it("a call of a fun is undef, not a hang (08 §3.1)", async () => {
    const { ms, value } = await timed(`try do :erpc.call(${GW}, fn -> 1 end, 3000) catch k, _ -> k end`);
    assert.equal(value, ":error");
    assert.ok(ms < 2000, `${ms} ms`);
  });

  it("a thousand calls at once are all answered", async () => {
    const code = `1..1000 |> Enum.map(fn _ -> :erpc.send_request(${GW}, :erlang, :node, []) end)
      |> Enum.map(&:erpc.receive_response(&1, 10000)) |> Enum.frequencies()`;
    assert.equal(await peer.run(code, 20000), '%{"beamgate@127.0.0.1": 1000}');
  });

  it("a caller that gives up finds an empty mailbox later (D-14)", async () => {
    const code = `try do :gen_server.call({:net_kernel, ${GW}}, {:is_auth, node()}, 0) catch :exit, _ -> :late end
      Process.sleep(300)
      Process.info(self(), :messages)`;
    assert.equal(await peer.run(code), "{:messages, []}");
  });

  it("works with a trace token set (D-16)", async () => {
    const code = `:seq_trace.set_token(:label, 17); v = :rpc.call(${GW}, :erlang, :node, []); :seq_trace.set_token([]); v`;
    assert.equal(await peer.run(code), ":\"beamgate@127.0.0.1\"");
  });
});

describe("processes", () => {
  it("GenServer.call of a name that does not exist ends at once with noproc (D-13)", async () => {
    const { ms, value } = await timed(`try do GenServer.call({:nobody, ${GW}}, :hello, 5000) catch :exit, {r, _} -> r end`);
    assert.equal(value, ":noproc");
    assert.ok(ms < 1000, `${ms} ms`);
  });

  it("a message to a name or pid that does not exist is dropped", async () => {
    await peer.run(`send({:nobody, ${GW}}, :hello); GenServer.cast({:nobody, ${GW}}, :hello)`);
    assert.equal(await peer.run(`Node.ping(${GW})`), ":pong");
  });

  it("a monitor of a name that does not exist fires with noproc (D-11)", async () => {
    const code = `ref = Process.monitor({:nobody, ${GW}})
      receive do {:DOWN, ^ref, :process, _, reason} -> reason after 3000 -> :nothing end`;
    assert.equal(await peer.run(code), ":noproc");
  });

  it("a monitor of a name that exists is held, and taken back (D-11)", async () => {
    const code = `ref = Process.monitor({:net_kernel, ${GW}})
      held = receive do {:DOWN, ^ref, _, _, reason} -> reason after 300 -> :held end
      {held, Process.demonitor(ref, [:flush, :info])}`;
    assert.equal(await peer.run(code), "{:held, true}");
  });

  it("Node.spawn gives a pid of the gateway, and a monitor of it ends (D-15)", async () => {
    const code = `{pid, ref} = Node.spawn_monitor(${GW}, :no_module, :no_function, [])
      reason = receive do {:DOWN, ^ref, :process, ^pid, r} -> r after 3000 -> :nothing end
      {node(pid), reason}`;
    assert.equal(await peer.run(code), '{:"beamgate@127.0.0.1", {:undef, [{:no_module, :no_function, [], []}]}}');
  });

  it("a link to a process that has ended breaks with noproc (D-12)", async () => {
    const code = `Process.flag(:trap_exit, true)
      pid = Node.spawn(${GW}, :erlang, :node, [])
      Process.sleep(100)
      Process.link(pid)
      receive do {:EXIT, ^pid, reason} -> reason after 3000 -> :nothing end`;
    assert.equal(await peer.run(code), ":noproc");
  });

  it("link and unlink of a pid leave no link behind (D-12)", async () => {
    const code = `Process.flag(:trap_exit, true)
      pid = Node.spawn(${GW}, :erlang, :node, [])
      for _ <- 1..50, do: (Process.link(pid); Process.unlink(pid))
      Process.sleep(100)
      {Process.info(self(), :links), Node.ping(${GW})}`;
    assert.match(await peer.run(code), /^\{\{:links, \[\]\}, :pong\}$/);
  });

  it("an exit signal to a pid that is not there does nothing", async () => {
    const code = `pid = Node.spawn(${GW}, :erlang, :node, []); Process.exit(pid, :kill); Node.ping(${GW})`;
    assert.equal(await peer.run(code), ":pong");
  });
});

describe("calls out of the gateway", () => {
  it("IO.puts in a called function prints on the service node and does not hang (D-18)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    const { push } = await conn.call("say", { msg: "from the client" });
    assert.equal(push.result, "said");
    await svc.waitLine(/said: from the client/, 3000);
    await conn.close();
  });

  it("terms of any size go both ways, 2 MB too", async () => {
    const conn = await (await Conn.open(gateway)).join();
    const { push } = await conn.call("big", { n: 2000000 });
    assert.equal(push.result.length, 2000000);
    await conn.close();
  });

  it("200 requests in flight on one channel are all answered, each once", async () => {
    const conn = await (await Conn.open(gateway)).join();
    for (let i = 0; i < 200; i++) {
      const payload = { service: "user_service", request_type: "slow", request_id: `f${i}`, args: { ms: 50 } };
      conn.send(["1", `${i}`, "api:lobby", "api", payload]);
    }
    const frames = [];
    for (let i = 0; i < 400; i++) frames.push(await conn.recvJson());
    assert.deepEqual(await conn.fence(), []);
    const pushes = frames.filter((f) => f[3] === "api").map((f) => f[4]);
    assert.equal(new Set(pushes.map((p) => p.request_id)).size, 200);
    assert.ok(pushes.every((p) => p.success));
    await conn.close();
  });
});

describe("what the gateway knows of the services", () => {
  it("a function that is no longer offered disappears, a new one appears (S-029, S-058 wants)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    await svc.run(`TestService.Supporter.hide(["plain"])
      TestService.Supporter.extra([TestService.Supporter.fun("brand_new", :plain)])
      TestService.Supporter.set_version("2")`);
    await eventually(async () => (await conn.call("brand_new")).push.success, "the new function is there");
    const { push } = await conn.call("plain");
    assert.equal(push.error, "unsupported function: plain version latest");
    await svc.run(`TestService.Supporter.hide([]); TestService.Supporter.extra([]); TestService.Supporter.set_version("3")`);
    await eventually(async () => (await conn.call("plain")).push.success, "the old function is back");
    assert.equal((await conn.call("brand_new")).push.success, false);
    await conn.close();
  });

  it("the version is asked for on each round, the configs only when it changed (S-055)", async () => {
    const checks = async () => Number(await svc.run("TestService.Supporter.version_checks()"));
    const all = () => svc.run("TestService.Supporter.pulls()");
    // A config refused for its module may be good the next time, so with one of those each round is a full one.
    await svc.run(`TestService.Supporter.hide(["local_svc"]); TestService.Supporter.set_version("only good ones")`);
    const pulledBefore = Number(await all());
    await eventually(async () => Number(await all()) > pulledBefore, "the new version is pulled");
    const pulls = await all();
    const first = await checks();
    await eventually(async () => (await checks()) >= first + 2, "two more rounds");
    assert.equal(await all(), pulls);
    await svc.run("TestService.Supporter.hide([])");
  });

  it("a bad FunConfig leaves the good ones of its service alone (S-057)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    await svc.run(`bad = %{TestService.Supporter.fun("bad", :plain) | timeout: 5}
      TestService.Supporter.extra([bad, :not_even_a_config, TestService.Supporter.fun("good", :plain)])
      TestService.Supporter.set_version("4")`);
    await eventually(async () => (await conn.call("good")).push.success, "the good one is there");
    assert.equal((await conn.call("bad")).push.error, "unsupported function: bad version latest");
    await svc.run(`TestService.Supporter.extra([]); TestService.Supporter.set_version("5")`);
    await conn.close();
  });
});
