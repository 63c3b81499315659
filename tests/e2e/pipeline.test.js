// What the recordings do not show of the request pipeline: streams that are stopped or lose their producer, nodes that are a
// question to the service, hooks that fail, clients that leave or do not read.
"use strict";
const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, patience } = require("./harness");
const { Conn } = require("./client");

let run, gateway, svc;

before(async () => {
  run = await Run.start();
  svc = await run.beam("svc");
  gateway = await run.gateway(config());
});
after(() => run?.stop());

const inFlight = () => gateway.metric("requests_in_flight");

function ask(conn, request_type, args, request_id, ref = request_id) {
  conn.send(["1", ref, "api:lobby", "api", { service: "user_service", request_type, request_id, args }]);
}

// Starts a stream and reads up to its first chunk.
async function startStream(conn, request_type, args, id) {
  ask(conn, request_type, args, id);
  const init = await conn.recvJson(5000, "init");
  assert.deepEqual([init[4].result, init[4].has_more], ["init", true]);
  assert.deepEqual((await conn.recvJson(5000, "reply"))[4], { status: "ok", response: request_type });
  assert.equal((await conn.recvJson(5000, "nested")).at(4).result.success, true);
  assert.equal((await conn.recvJson(5000, "first chunk"))[4].has_more, true);
}

// Skips chunks up to the frame that ends the stream.
async function lastFrame(conn, ms = 10000) {
  for (;;) {
    const frame = await conn.recvJson(ms, "the stream's last frame");
    if (frame[3] === "api" && !frame[4].has_more) return frame;
  }
}

describe("streams", () => {
  it("are stopped by the client: one last frame, then the reply (E-152 want)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    await startStream(conn, "stream_ticks", { ms: 5 }, "s1");
    conn.send(["1", "stop", "api:lobby", "api:stop", { request_id: "s1" }]);
    const last = await lastFrame(conn);
    assert.deepEqual([last[4].success, last[4].result, last[4].request_id], [true, null, "s1"]);
    assert.deepEqual(await conn.recvJson(5000, "reply"), ["1", "stop", "api:lobby", "phx_reply", { status: "ok", response: {} }]);
    conn.send(["1", "again", "api:lobby", "api:stop", { request_id: "s1" }]);
    assert.deepEqual((await conn.recvJson(5000, "reply"))[4], { status: "error", response: { reason: "no such stream" } });
    assert.deepEqual(await conn.fence(), []);
    assert.equal(await inFlight(), 0);
    await conn.close();
  });

  it("end when the client leaves; the producer's messages are dropped (E-151 want)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    await startStream(conn, "stream_ticks", { ms: 5 }, "s2");
    conn.ws.terminate();
    await eventually(async () => (await inFlight()) === 0, "nothing in flight");
  });

  it("of a client that does not read end with its socket, others go on", async () => {
    const slow = await (await Conn.open(gateway)).join();
    const other = await (await Conn.open(gateway)).join();
    ask(slow, "stream_flood", { n: 400 }, "flood");
    slow.ws._socket.pause();
    const closed = eventually(async () => (await gateway.metric("client_slow_closed_total")) >= 1, "the slow client is closed", 20000);
    for (let i = 0; i < 20; i++) assert.equal((await other.call("echo", { msg: "x" })).push.result, "x");
    await closed;
    slow.ws.terminate();
    await eventually(async () => (await inFlight()) === 0, "nothing in flight");
    await other.close();
  });

  it("of a client that reads nothing for max_unread_ms end with its socket and code 1008", async () => {
    const text = config() + "limits:\n  max_buffered_bytes: 100000000\n  max_unread_ms: 1000\n";
    const gw = await run.gateway(text, { name: "unread" });
    const slow = await (await Conn.open(gw)).join();
    ask(slow, "stream_flood", { n: 100 }, "flood");
    slow.ws._socket.pause();
    await eventually(async () => (await gw.metric("client_slow_closed_total")) === 1, "the slow client is closed", 10000);
    await eventually(async () => (await gw.metric("requests_in_flight")) === 0, "nothing in flight");
    slow.ws._socket.resume();
    assert.equal((await slow.closed).code, 1008);
    await gw.stop();
  });

  for (const way of ["rex", "spawn"])
    it(`end with an error when their producer dies on a node that lives, over ${way} (E-150 want)`, async () => {
      const gw = await run.gateway(config().replace("node:\n", `node:\n  call_way: ${way}\n`) + "requests:\n  stream_grace_ms: 400\n", { name: `gone${way}` });
      const conn = await (await Conn.open(gw)).join();
      for (const how of ["raise", "kill", "return"]) {
        await startStream(conn, "stream_dies", { how }, how);
        const last = await lastFrame(conn);
        assert.deepEqual([last[4].success, last[4].error, last[4].request_id], [false, "Stream producer is gone", how]);
        assert.deepEqual(await conn.fence(), []);
      }
      // The process that ran the function has sent and ended; that is no loss, whatever the grace.
      await startStream(conn, "stream_relay", { ms: 1500 }, "relayed");
      assert.deepEqual((await conn.recvJson(5000, "chunk"))[4].result, { chunk: 1 });
      assert.equal((await lastFrame(conn))[4].success, true);
      assert.equal(await gw.metric("requests_in_flight"), 0);
      await conn.close();
      await gw.stop();
    });

  it("end with an error when their node is killed (E-150 want)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    await startStream(conn, "stream_ticks", { ms: 5 }, "s3");
    await svc.kill();
    const last = await lastFrame(conn);
    assert.deepEqual([last[4].success, last[4].error], [false, "Stream producer is gone"]);
    assert.deepEqual(await conn.fence(), []);
    svc = await run.beam("svc");
    await eventually(async () => (await conn.call("echo", { msg: "x" })).push.success, "calls work again");
    await conn.close();
  });
});

describe("nodes that are a question to the service (E-160)", () => {
  let conn;
  before(async () => (conn = await (await Conn.open(gateway)).join()));
  after(() => conn.close());

  it("are asked there", async () => {
    for (let i = 0; i < 3; i++) assert.equal((await conn.call("dyn_here", { msg: "x" })).push.result, "x");
  });

  it("an empty answer is an error", async () => {
    assert.equal((await conn.call("dyn_nowhere", { msg: "x" })).push.error, "Internal Server Error");
  });

  it("{:erlang, :nodes, []} are those the gateway is connected to", async () => {
    assert.match((await conn.call("dyn_connected", { msg: "x" })).push.result, /^svc@/);
  });
});

describe("hooks that fail (E-043, E-046)", () => {
  let conn;
  before(async () => (conn = await (await Conn.open(gateway)).join()));
  after(() => conn.close());

  it("a hook that is too slow is given up after hook_timeout", async () => {
    const began = Date.now();
    const { push, reply } = await conn.call("hook_slow", { msg: "x" });
    assert.equal(push.error, 'hook rejected: "hook timed out after 200ms"');
    assert.equal(reply.status, "ok");
    assert.ok(Date.now() - began < patience(1500));
  });

  it("a hook that raises rejects with its message", async () => {
    const { push } = await conn.call("hook_raise", { msg: "x" });
    assert.equal(push.error, 'hook rejected: "\\"no luck\\""');
  });
});

describe("hooks on a node of their own (E-046 want)", () => {
  it("run there and nowhere else", async () => {
    const text = config() + 'requests:\n  hook_node: "hooks@127.0.0.1"\n';
    const gw = await run.gateway(text, { name: "companion" });
    const conn = await (await Conn.open(gw)).join();
    const refused = 'hook rejected: "hook could not be run"';
    assert.equal((await conn.call("hook_where", { msg: "x" })).push.error, refused);
    const hooks = await run.beam("hooks");
    await eventually(async () => (await conn.call("hook_where", { msg: "x" })).push.result === "hooks@127.0.0.1", "the hook runs on its node");
    assert.match((await conn.call("where", { msg: "x" })).push.result, /^svc@/);
    await hooks.kill();
    await eventually(async () => (await conn.call("hook_where", { msg: "x" })).push.error === refused, "the loss is noticed");
    await conn.close();
    await gw.stop();
  });
});

describe("arguments that are converted (E-114)", () => {
  it("a date with any offset becomes a DateTime in UTC", async () => {
    const conn = await (await Conn.open(gateway)).join();
    assert.equal((await conn.call("when", { v: "2024-01-01T00:30:00+07:00" })).push.result, "2023-12-31T17:30:00Z");
    assert.equal((await conn.call("when", { v: "2024-01-01T00:30:00Z" })).push.result, "2024-01-01T00:30:00Z");
    const { push, reply } = await conn.call("when", { v: "tomorrow" });
    assert.deepEqual([push.error, reply.response], ["Request processing failed", 'invalid datetime format for "v": invalid_format']);
    await conn.close();
  });
});
