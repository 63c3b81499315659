// The gateway among OTP 27 nodes: the release that the recordings were made with. Skipped, with the reason, where
// OTP 27 cannot be had (tests/interop/otp27.sh).
"use strict";
const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { ROOT, Run, config, eventually, patience } = require("./harness");
const { Conn } = require("./client");

const got = spawnSync("sh", [path.join(ROOT, "tests/interop/otp27.sh")], { encoding: "utf8" });
const skip = got.status === 0 ? false : got.stdout.trim() || "OTP 27 cannot be had";
const elixir = path.join(ROOT, "build/otp27/elixir");
const GW = ":'beamgate@127.0.0.1'";

describe("OTP 27", { skip }, () => {
  let run, gateway, svc;
  before(async () => {
    run = await Run.start();
    svc = await run.beam("svc", { elixir });
    gateway = await run.gateway(config());
  });
  after(() => run?.stop());

  it("is OTP 27", async () => {
    assert.equal(await svc.run("System.otp_release()"), '"27"');
  });

  it("serves functions: sync, async, none, errors, timeouts (E-135..E-137, E-201)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    assert.equal((await conn.call("echo", { msg: "é😀" })).push.result, "é😀");
    assert.deepEqual((await conn.call("get_user", { user_id: "1" })).push.result, {
      id: "1",
      name: "User Number 1",
      v: 2,
      email: "user1@example.com",
    });
    for (const type of ["fail_error", "fail_raise", "fail_exit", "no_such_fun"]) {
      assert.equal((await conn.call(type)).push.error, "Internal Server Error", type);
    }
    assert.equal((await conn.call("fail_throw")).push.result, "boom");
    assert.equal((await conn.call("slow_timeout", { ms: 1000 })).push.error, "Internal Server Error");
    await conn.close();
  });

  it("may ping, call, monitor and spawn into the gateway (D-01)", async () => {
    assert.equal(await svc.run(`Node.ping(${GW})`), ":pong");
    assert.equal(await svc.run(`:rpc.call(${GW}, :erlang, :node, [])`), ':"beamgate@127.0.0.1"');
    const undef = await svc.run(`:rpc.call(${GW}, :no_module, :no_function, [1])`);
    assert.equal(undef, "{:badrpc, {:EXIT, {:undef, [{:no_module, :no_function, [1], []}]}}}");
    const code = `{pid, ref} = Node.spawn_monitor(${GW}, :no_module, :no_function, [])
      receive do {:DOWN, ^ref, :process, ^pid, {:undef, _}} -> :undef after 3000 -> :nothing end`;
    assert.equal(await svc.run(code), ":undef");
    assert.equal(
      await svc.run(`try do GenServer.call({:nobody, ${GW}}, :hello, 5000) catch :exit, {r, _} -> r end`),
      ":noproc",
    );
  });

  it("has its calls answered when it is killed, and is found again", async () => {
    const conn = await (await Conn.open(gateway)).join();
    const answer = conn.call("slow_long", { ms: 15000 });
    await eventually(async () => (await gateway.metric("requests_in_flight")) === 1, "in flight");
    const began = Date.now();
    await svc.kill();
    assert.equal((await answer).push.error, "Internal Server Error");
    assert.ok(Date.now() - began < patience(5000));
    svc = await run.beam("svc", { elixir });
    await eventually(async () => (await conn.call("echo", { msg: "x" })).push.success, "calls work again");
    await conn.close();
  });

  it("links to and from an OTP 25 node at the same time", async () => {
    const peer = await run.beam("peer25");
    assert.equal(await peer.run(`Node.ping(${GW})`), ":pong");
    assert.equal(await svc.run(`Node.ping(${GW})`), ":pong");
  });
});
