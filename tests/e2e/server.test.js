// The daemon as its operator sees it: health, readiness, limits and their answers, command line and bad configurations.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { BINARY, Child, Run, config, eventually, patience, sleep, within } = require("./harness");
const { Conn, RawConn } = require("./client");

let run, gateway;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  gateway = await run.gateway(config());
});
after(() => run?.stop());

const withLimits = (text) => `${config()}\n${text}`;

describe("health", () => {
  it("/health says 200 as long as the process lives", async () => {
    assert.equal((await gateway.get("/health")).status, 200);
  });

  it("/ready says 200 once the services have been pulled", async () => {
    assert.equal((await gateway.get("/ready")).status, 200);
  });

  it("/ready says 503 and why while a service has not been pulled", async () => {
    const lonely = await run.gateway(config().replaceAll("svc@", "nobody@"), { name: "lonely", wait: false });
    await eventually(async () => (await lonely.get("/health")).status === 200, "alive");
    const { status, body } = await lonely.get("/ready");
    assert.equal(status, 503);
    assert.match(JSON.parse(body).reason, /0 of 1 services/);
    const conn = await (await Conn.open(lonely)).join();
    assert.equal((await conn.call("echo", { msg: "x" })).push.error, "unsupported function: echo version latest");
    await conn.close();
    await lonely.stop();
  });

  it("an unknown path is 404", async () => {
    assert.equal((await gateway.get("/nope")).status, 404);
  });

  it("SIGUSR1 logs counters that move", async () => {
    const before = await gateway.metric("requests_total");
    const conn = await (await Conn.open(gateway)).join();
    await conn.call("echo", { msg: "x" });
    assert.equal(await gateway.metric("requests_total"), before + 1);
    await conn.close();
  });
});

describe("limits and their answers", () => {
  it("max_connections: one more is refused, and there is room again after one left", async () => {
    const small = await run.gateway(withLimits("limits:\n  max_connections: 3\n"), { name: "conns" });
    const conns = [];
    for (let i = 0; i < 3; i++) conns.push(await Conn.open(small));
    await assert.rejects(Conn.open(small));
    await conns.pop().close();
    await eventually(() => Conn.open(small).then((c) => conns.push(c)), "room again");
    for (const c of conns) c.terminate();
    await small.stop();
  });

  it("max_in_flight_per_channel: one more is answered as unavailable, can_retry (E-138)", async () => {
    const small = await run.gateway(withLimits("requests:\n  max_in_flight_per_channel: 2\n"), { name: "flight" });
    const conn = await (await Conn.open(small)).join();
    for (let i = 0; i < 3; i++) {
      const payload = { service: "user_service", request_type: "slow", request_id: `q${i}`, args: { ms: 300 } };
      conn.send(["1", `${i}`, "api:lobby", "api", payload]);
    }
    const refused = await conn.recvJson();
    assert.deepEqual(
      [refused[4].request_id, refused[4].error, refused[4].can_retry],
      ["q2", "Service temporarily unavailable", true],
    );
    assert.deepEqual(await conn.recvJson(), ["1", "2", "api:lobby", "phx_reply", { status: "ok", response: "slow" }]);
    for (let i = 0; i < 4; i++) await conn.recvJson();
    assert.deepEqual(await conn.fence(), []);
    await conn.close();
    await small.stop();
  });

  it("max_topic_bytes: a join of a longer topic is refused, the socket lives (P-151)", async () => {
    const conn = await Conn.open(gateway);
    const topic = `api:${"x".repeat(2000)}`;
    conn.send(["1", "1", topic, "phx_join", {}]);
    const reply = await conn.recvJson();
    assert.equal(reply[4].status, "error");
    assert.deepEqual(await conn.fence(), []);
    await conn.close();
  });

  it("max_frame_bytes: a larger message closes with 1009 (P-075)", async () => {
    const text = config().replace("user_id_param: user_id", "user_id_param: user_id\n    max_frame_bytes: 4096");
    const small = await run.gateway(text, { name: "frames" });
    const raw = await RawConn.open(small);
    raw.send({ payload: "x".repeat(5000) });
    const got = await raw.recv();
    assert.deepEqual([got.kind, got.code], ["close", 1009]);
    raw.destroy();
    await small.stop();
  });

  it("a client that does not read is closed, and the others are served meanwhile", async () => {
    const small = await run.gateway(withLimits("limits:\n  max_buffered_bytes: 1000000\n"), { name: "slow" });
    const lazy = await (await Conn.open(small)).join();
    lazy.ws._socket.pause();
    for (let i = 0; i < 60; i++) {
      const payload = { service: "user_service", request_type: "big", request_id: `b${i}`, args: { n: 900000 } };
      lazy.send(["1", `${i}`, "api:lobby", "api", payload]);
    }
    await eventually(async () => (await small.metric("client_slow_closed_total")) === 1, "closed as too slow");
    const other = await (await Conn.open(small)).join();
    assert.equal((await other.call("echo", { msg: "x" })).push.result, "x");
    assert.ok(small.rss() < 200000, `RSS ${small.rss()} kB`);
    lazy.terminate();
    await other.close();
    await small.stop();
  });

  it("sixty idle clients and their channels come and go without a trace", async () => {
    const conns = [];
    for (let i = 0; i < 60; i++) conns.push(await (await Conn.open(gateway)).join());
    assert.ok((await gateway.metric("channel_joined")) >= 60);
    for (const c of conns) c.terminate();
    await eventually(async () => (await gateway.metric("channel_joined")) === 0, "all gone");
    await eventually(async () => (await gateway.metric("client_connected")) === 0, "all gone");
  });
});

// Runs the program to its end: {code, text}.
async function program(args, env = {}) {
  const child = run.add(new Child("beamgate", BINARY, args, { env: { ...run.env, ...env }, cwd: run.dir }));
  const exit = await within(patience(10000), child.exited, () => `end of beamgate ${args}\n${child.log()}`);
  return { code: exit.code, text: child.lines.join("\n") };
}

function writeConfig(change) {
  const file = path.join(run.dir, `bad-${Math.random().toString(36).slice(2)}.yml`);
  const text = config()
    .replaceAll("@NAME@", "bad@127.0.0.1")
    .replaceAll("@PORT@", "0")
    .replaceAll("@COOKIE_FILE@", run.cookieFile)
    .replaceAll("@ROOT@", run.dir);
  fs.writeFileSync(file, change(text));
  return file;
}

describe("command line and configuration", () => {
  it("--version and --help end with 0", async () => {
    const version = await program(["--version"]);
    assert.equal(version.code, 0);
    assert.match(version.text, /beamgate \d+\.\d+\.\d+/);
    const help = await program(["--help"]);
    assert.equal(help.code, 0);
    assert.match(help.text, /--check/);
  });

  it("--check accepts a good file", async () => {
    const { code, text } = await program(["--check", writeConfig((t) => t.replace(/^console:[^]*?\n\n/m, ""))]);
    assert.equal(code, 0, text);
  });

  it("an unknown key is an error with its line and the nearest known key, and the exit code is not 0", async () => {
    const file = writeConfig((t) => t.replace("event: api", "evnet: api"));
    const line = fs.readFileSync(file, "utf8").split("\n").findIndex((l) => l.includes("evnet")) + 1;
    for (const args of [["--check", file], [file]]) {
      const { code, text } = await program(args);
      assert.notEqual(code, 0);
      assert.match(text, new RegExp(`:${line}:.*evnet`));
      assert.match(text, /event/);
    }
  });

  it("a number out of range, a missing file, and no cookie are errors that say what to do", async () => {
    const range = await program([writeConfig((t) => t.replace("interval_ms: 1000", "interval_ms: 1"))]);
    assert.notEqual(range.code, 0);
    assert.match(range.text, /interval_ms/);
    const missing = await program([path.join(run.dir, "none.yml")]);
    assert.notEqual(missing.code, 0);
    assert.match(missing.text, /none\.yml/);
    const cookie = await program([writeConfig((t) => t.replace(/^ *cookie_file.*\n/m, ""))], { HOME: path.join(run.dir, "x") });
    assert.notEqual(cookie.code, 0);
    assert.match(cookie.text, /cookie/);
  });

  it("no secret is in what it prints", async () => {
    await sleep(10);
    assert.ok(!gateway.lines.join("\n").includes(run.cookie));
  });
});
