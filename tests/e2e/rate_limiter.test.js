// Rate limits as clients and the operator see them: whose share is counted, dry runs, the end of a window, and what
// SIGUSR1 tells.
"use strict";
const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually } = require("./harness");
const { Conn } = require("./client");

let run;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
});
after(() => run?.stop());

const start = (name, text) => run.gateway(`${config()}\nrate_limiter:\n${text}`, { name });
const open = async (gateway, user) => (await Conn.open(gateway, `user_id=${user}&vsn=2.0.0`)).join();
const limited = /^Rate limit exceeded\. Please retry after \d+ seconds\.$/;

describe("rate limits", () => {
  it("a user's share is one over all sockets, and nobody else's", async () => {
    const gateway = await start("users", "  global_limits: [{key: user_id, max_requests: 2, window_ms: 600000}]\n");
    const [one, two, other] = [await open(gateway, "u1"), await open(gateway, "u1"), await open(gateway, "u2")];
    assert.equal((await one.call("echo", { msg: "x" })).push.success, true);
    assert.equal((await two.call("echo", { msg: "x" })).push.success, true);
    for (const conn of [one, two]) {
      const { push, reply } = await conn.call("echo", { msg: "x" }, { user_id: "u3" });
      assert.match(push.error, limited);
      assert.equal(push.can_retry, true);
      assert.deepEqual(reply, { status: "ok", response: "echo" });
    }
    assert.equal((await other.call("echo", { msg: "x" })).push.success, true);
    assert.equal(await gateway.metric("requests_rate_limited_total"), 2);
    assert.equal(await gateway.metric("rate_limit_values"), 2);
    await gateway.waitLine(/msg="rate limit" service=\* request_type=\* key="user_id" max_requests=2 .* values=2 refused=2/);
    await gateway.stop();
  });

  it("ip_address is the peer's address, whoever it says it is", async () => {
    const gateway = await start("peers", "  global_limits: [{key: ip_address, max_requests: 3, window_ms: 600000}]\n");
    const errors = [];
    for (const user of ["a", "b", "c", "d"]) {
      const conn = await open(gateway, user);
      errors.push((await conn.call("echo", { msg: "x" }, { ip_address: user })).push.error);
      conn.terminate();
    }
    assert.deepEqual(errors.slice(0, 3), [null, null, null]);
    assert.match(errors[3], limited);
    await gateway.stop();
  });

  it("an argument's value has a share of its own, which comes back when the window is over", async () => {
    const limit = "{service: user_service, request_type: echo, key: args.msg, max_requests: 1, window_ms: 1500}";
    const gateway = await start("args", `  cleanup_interval_ms: 200\n  api_limits: [${limit}]\n`);
    const conn = await open(gateway, "u1");
    assert.equal((await conn.call("echo", { msg: "a" })).push.result, "a");
    assert.match((await conn.call("echo", { msg: "a" })).push.error, limited);
    assert.equal((await conn.call("echo", { msg: "b" })).push.result, "b");
    await eventually(async () => (await gateway.metric("rate_limit_values")) === 0, "counters are given back");
    assert.equal((await conn.call("echo", { msg: "a" })).push.result, "a");
    await gateway.stop();
  });

  it("a dry run counts and logs what it would refuse, and refuses nothing", async () => {
    const limit = "{key: user_id, max_requests: 1, window_ms: 600000, dry_run: true}";
    const gateway = await start("dry", `  global_limits: [${limit}]\n`);
    const conn = await open(gateway, "u1");
    for (let i = 0; i < 3; i++) assert.equal((await conn.call("echo", { msg: "x" })).push.success, true);
    await gateway.waitLine(/msg="rate limit exceeded" dry_run=true scope=global .* key="user_id" value="u1"/);
    assert.equal(await gateway.metric("requests_rate_dry_run_total"), 2);
    assert.equal(await gateway.metric("requests_rate_limited_total"), 0);
    await gateway.stop();
  });

  it("enabled: false limits nothing", async () => {
    const limit = "{key: user_id, max_requests: 0, window_ms: 600000}";
    const gateway = await start("off", `  enabled: false\n  global_limits: [${limit}]\n`);
    const conn = await open(gateway, "u1");
    assert.equal((await conn.call("echo", { msg: "x" })).push.success, true);
    await gateway.stop();
  });
});
