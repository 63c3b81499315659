// What clients see when parts of the cluster fail: killed, stopped and restarted nodes, a restarted epmd, a gateway that is
// killed or told to stop. The rule throughout: every accepted request gets exactly one terminal answer, in time.
"use strict";
const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, patience, sleep, within } = require("./harness");
const { Conn } = require("./client");

let run, gateway, svc;

before(async () => {
  run = await Run.start();
  svc = await run.beam("svc");
  gateway = await run.gateway(config());
});
after(() => run?.stop());

const linksUp = () => gateway.metric("links_up");
const works = async (conn) => (await conn.call("echo", { msg: "x" })).push.success;

// Sends n requests; gives their ids.
function sendMany(conn, n, type, args, tag) {
  const ids = Array.from({ length: n }, (_, i) => `${tag}${i}`);
  for (const id of ids) {
    const payload = { service: "user_service", request_type: type, request_id: id, args };
    conn.send(["1", id, "api:lobby", "api", payload]);
  }
  return ids;
}

// Waits for as many frames as these requests must bring: {id: {push: [...], reply: [...]}}.
async function answersTo(conn, ids, ms) {
  const answers = Object.fromEntries(ids.map((id) => [id, { push: [], reply: [] }]));
  for (let i = 0; i < 2 * ids.length; i++) {
    const f = await conn.recvJson(ms, `frame ${i} of ${2 * ids.length}`);
    const id = f[3] === "api" ? f[4].request_id : f[1];
    assert.ok(answers[id], `not asked for: ${JSON.stringify(f)}`);
    answers[id][f[3] === "api" ? "push" : "reply"].push(f[4]);
  }
  return answers;
}

function assertOnce(answers, check) {
  for (const [id, { push, reply }] of Object.entries(answers)) {
    assert.equal(push.length, 1, `${id}: ${JSON.stringify(push)}`);
    assert.equal(reply.length, 1, `${id}: ${JSON.stringify(reply)}`);
    check(push[0], id);
  }
}

const failed = (push, id) => assert.deepEqual([push.success, push.error], [false, "Internal Server Error"], id);

describe("a service node that goes", () => {
  it("killed with calls in flight: each gets one error at once, and a restarted node is used again", async () => {
    const conn = await (await Conn.open(gateway)).join();
    const ids = sendMany(conn, 50, "slow_long", { ms: 15000 }, "kill");
    await eventually(async () => (await gateway.metric("requests_in_flight")) === 50, "50 in flight");
    const began = Date.now();
    await svc.kill();
    assertOnce(await answersTo(conn, ids, 5000), failed);
    assert.ok(Date.now() - began < patience(5000), "long before the 20 s of their timeout");
    const { push } = await conn.call("echo", { msg: "x" });
    failed(push, "while the node is away");
    svc = await run.beam("svc");
    await eventually(() => works(conn), "calls work again");
    assert.deepEqual(await conn.fence(), []);
    await conn.close();
  });

  it("stopped (SIGSTOP): calls end by their timeout, late answers are dropped, and it goes on after SIGCONT", async () => {
    const conn = await (await Conn.open(gateway)).join();
    assert.ok(await works(conn));
    svc.process.kill("SIGSTOP");
    const ids = sendMany(conn, 50, "slow_timeout", { ms: 1 }, "stop");
    assertOnce(await answersTo(conn, ids, 5000), failed);
    svc.process.kill("SIGCONT");
    await eventually(() => works(conn), "calls work again");
    await sleep(500);
    assert.deepEqual(await conn.fence(), [], "no late answer reaches the client");
    assert.equal(await gateway.metric("requests_in_flight"), 0);
    await conn.close();
  });

  it("killed and restarted under its name, three times, while clients call: each request has its one answer", async () => {
    const conn = await (await Conn.open(gateway)).join();
    for (let round = 0; round < 3; round++) {
      const ids = sendMany(conn, 20, "slow_long", { ms: 400 }, `before${round}_`);
      await sleep(100);
      await svc.kill();
      ids.push(...sendMany(conn, 20, "echo", { msg: "x" }, `while${round}_`));
      svc = await run.beam("svc");
      assertOnce(await answersTo(conn, ids, 8000), () => {});
      await eventually(() => works(conn), "calls work again");
    }
    assert.deepEqual(await conn.fence(), []);
    await conn.close();
  });

  it("falls over to the next node of the list when one is down (E-182 want)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    for (let i = 0; i < 4; i++) assert.equal((await conn.call("fallback", { msg: "x" })).push.result, "x");
    await conn.close();
  });
});

describe("a client that goes", () => {
  it("leaves nothing behind when it disappears with calls in flight", async () => {
    const conn = await (await Conn.open(gateway)).join();
    sendMany(conn, 20, "slow", { ms: 500 }, "gone");
    await eventually(async () => (await gateway.metric("requests_in_flight")) === 20, "20 in flight");
    conn.terminate();
    await eventually(async () => (await gateway.metric("requests_in_flight")) === 0, "forgotten", 2000);
    await eventually(async () => (await gateway.metric("channel_joined")) === 0, "channel gone (C-76)");
    await sleep(700); // the answers arrive now
    assert.equal((await gateway.get("/health")).status, 200);
  });

  it("gets no answer of a channel that it has left, and the next join is clean", async () => {
    const conn = await (await Conn.open(gateway)).join();
    sendMany(conn, 3, "slow", { ms: 200 }, "left");
    conn.send(["1", "9", "api:lobby", "phx_leave", {}]);
    assert.deepEqual((await conn.recvJson())[4], { status: "ok", response: {} });
    assert.equal((await conn.recvJson())[3], "phx_close");
    await conn.join("api:lobby", "2");
    await sleep(400);
    assert.deepEqual(await conn.fence(), []);
    await conn.close();
  });
});

describe("epmd", () => {
  it("restarted: links and calls go on, and the name is there again within seconds (D-07)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    const links = await linksUp();
    await run.epmd.kill();
    assert.ok(await works(conn), "without epmd");
    assert.equal(await linksUp(), links);
    await run.startEpmd();
    await eventually(() => run.epmdNames().includes("beamgate"), "registered again", 8000);
    const late = await run.beam("late");
    assert.equal(await late.run(":net_adm.ping(:'beamgate@127.0.0.1')"), ":pong");
    await late.kill();
    await conn.close();
  });

  it("already has the name: the second gateway says so and ends with a non-zero code (D-07)", async () => {
    const twin = await run.gateway(config(), { wait: false });
    twin.stopping = true;
    const exit = await within(patience(15000), twin.exited, () => `end of the twin\n${twin.log()}`);
    assert.notEqual(exit.code, 0);
    assert.match(twin.log(), /beamgate@127\.0\.0\.1/);
    assert.ok(await gateway.get("/health"), "the first one goes on");
  });
});

describe("the gateway itself", () => {
  it("killed -9 and restarted inside the tick time: nodes find the new one (D-03, D-08)", async () => {
    const first = await run.gateway(config(), { name: "crashing" });
    assert.equal(await svc.run(":net_adm.ping(:'crashing@127.0.0.1')"), ":pong");
    first.stopping = true;
    await first.kill("SIGKILL");
    const second = await run.gateway(config(), { name: "crashing" });
    const conn = await (await Conn.open(second)).join();
    assert.ok(await works(conn));
    assert.equal(await svc.run(":net_adm.ping(:'crashing@127.0.0.1')"), ":pong");
    await conn.close();
    await second.stop();
  });

  it("told to stop (SIGTERM): sockets close with 1012, with a channel or without (P-074 want)", async () => {
    const stopping = await run.gateway(config(), { name: "stopping" });
    const joined = await (await Conn.open(stopping)).join();
    const bare = await Conn.open(stopping);
    const end = stopping.stop();
    assert.deepEqual(await within(patience(5000), joined.closed, "close"), { code: 1012, reason: "" });
    assert.deepEqual(await within(patience(5000), bare.closed, "close"), { code: 1012, reason: "" });
    await end;
    assert.ok(!run.epmdNames().includes("stopping"), "the name is free");
  });

  it("monitors from the cluster fire when it stops (D-17)", async () => {
    const stopping = await run.gateway(config(), { name: "monitored" });
    await svc.run(`:global.whereis_name(:x); parent = self(); Node.monitor(:'monitored@127.0.0.1', true)`);
    const down = svc.run(`ref = Process.monitor({:net_kernel, :'monitored@127.0.0.1'})
      receive do {:DOWN, ^ref, :process, _, reason} -> reason after 10000 -> :nothing end`, 15000);
    await sleep(200);
    await stopping.stop();
    assert.match(await down, /^:(noconnection|shutdown|normal)$/);
  });
});
