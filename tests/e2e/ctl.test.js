// `beamgate ctl` against a running gateway: every command for people, for programs and on a real terminal (script(1) makes
// one), and who is not let in. What the socket itself refuses: tests/unit/test_ctl_request.c.
"use strict";
const assert = require("node:assert/strict");
const { spawn, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { BINARY, Run, config, eventually, patience } = require("./harness");
const { Conn } = require("./client");

let run, gateway, socket, svc;

const LIMITS = `rate_limiter:
  global_limits: [{key: user_id, max_requests: 1000, window_ms: 60000}]
  api_limits: [{service: user_service, request_type: limited, key: user_id, max_requests: 2, window_ms: 60000}]
`;
const withSocket = (file, more = "") => `${config().replace("user_id_param: user_id", 'user_id_param: user_id\n    id: "users:{user_id}"')}control:\n  socket: ${file}\n${more}`;

before(async () => {
  run = await Run.start();
  socket = path.join(run.dir, "ctl.sock");
  svc = await run.beam("svc");
  gateway = await run.gateway(withSocket(socket, LIMITS));
});
after(() => run?.stop());

// {code, out, err} of one command line.
function ctl(args, { env = {}, at = socket, uid, program = BINARY } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ["ctl", "-s", at, ...args], { env: { ...process.env, COLUMNS: "", ...env }, uid });
    let out = "", err = "";
    child.stdout.on("data", (d) => (out += d));
    child.stderr.on("data", (d) => (err += d));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, out, err }));
    setTimeout(() => child.kill(), patience(20000)).unref();
  });
}

const query = (user) => `user_id=${encodeURIComponent(user)}&vsn=2.0.0`;

async function json(args, code = 0) {
  const got = await ctl(["--json", ...args]);
  assert.equal(got.code, code, got.err);
  return JSON.parse(got.out);
}

async function table(args) {
  const got = await ctl(args);
  assert.equal(got.code, 0, got.err);
  return got.out.trimEnd().split("\n");
}

describe("what is shown", () => {
  it("health: a tree for people, the library's map for programs, exit code by the status", async () => {
    const health = await ctl(["health"]);
    assert.match(health.out, /^status: +\S+$/m);
    const value = JSON.parse((await ctl(["--json", "health"])).out);
    assert.equal(health.code, value.status === "ok" ? 0 : 6);
    assert.equal(value.node.name ?? value.node.node ?? gateway.node, gateway.node);
  });

  it("stats, cluster", async () => {
    const stats = await json(["stats"]);
    assert.ok(Object.keys(stats).length > 3);
    const types = stats.phoenix_gen_api.config_puller.data.api_list.user_service;
    for (const name of ["add", "echo", "stream"]) assert.ok(types.includes(name), JSON.stringify(types));
    const cluster = await json(["cluster"]);
    assert.ok(cluster.connected.includes("svc@127.0.0.1"));
    assert.ok(cluster.registered_processes["svc@127.0.0.1"].includes("rex"), "the node was asked");
    assert.match((await table(["cluster"])).join("\n"), /svc@127.0.0.1/);
  });

  it("cluster: a node that does not answer is shown without its processes", async () => {
    svc.process.kill("SIGSTOP");
    try {
      const cluster = await json(["cluster"]);
      assert.ok(cluster.connected.includes("svc@127.0.0.1"));
      assert.deepEqual(Object.keys(cluster.registered_processes), [gateway.node]);
      assert.deepEqual(cluster.phoenix_gen_api_services["svc@127.0.0.1"], ["user_service"], "by its configs");
    } finally {
      svc.process.kill("SIGCONT");
    }
  });

  it("flows: sorted, all versions, of one service", async () => {
    const lines = await table(["flows"]);
    assert.match(lines[0], /^SERVICE +TYPE +VERSION +RESPONSE +STATE +NODES$/);
    assert.deepEqual(lines.slice(1), [...lines.slice(1)].sort(), "sorted");
    assert.match(lines.find((l) => / get_user +0.9.0 /.test(l)), /disabled/);
    const rows = await json(["flows", "user_service"]);
    assert.equal(rows.length, lines.length - 1);
    assert.deepEqual(rows.find((r) => r.request_type === "stream").response, "stream");
    assert.deepEqual(await json(["flows", "nobody"]), []);
  });

  it("call-flow: one function, by version, or an error", async () => {
    assert.equal((await json(["call-flow", "user_service", "get_user"])).version, "2.0.0");
    assert.equal((await json(["call-flow", "user_service", "get_user", "--version=1.0.0"])).version, "1.0.0");
    assert.match((await table(["call-flow", "user_service", "echo"])).join("\n"), /config_lookup/);
  });

  it("failed: what was refused, with the reason", async () => {
    const rows = await json(["failed"]);
    assert.match(rows.find((r) => r.request_type === "local_svc").reasons, /LocalFunctions/);
    assert.match((await table(["failed"]))[0], /^SERVICE +TYPE +VERSION +SOURCE +TIMES +LAST +REASONS$/);
  });

  it("limits, pools, services", async () => {
    const limits = await json(["limits"]);
    assert.deepEqual(limits.map((l) => [l.service, l.request_type, l.max_requests]),
      [["*", "*", 1000], ["user_service", "limited", 2]]);
    assert.deepEqual(Object.keys(await json(["pools"])), ["async_pool", "stream_pool", "breakers"]);
    const [service] = await json(["services"]);
    assert.deepEqual([service.service, service.source, service.node], ["user_service", "configured", "svc@127.0.0.1"]);
    assert.ok(service.functions > 50);
  });

  it("clients: who is connected, also of one user", async () => {
    const anna = await (await Conn.open(gateway, query("anna"))).join();
    const bob = await (await Conn.open(gateway, query("b\u202eob"))).join();
    const rows = await json(["clients"]);
    assert.equal(rows.length, 2);
    assert.deepEqual(rows.map((r) => [r.address, r.socket, r.channels]), Array(2).fill(["127.0.0.1", "/socket", 1]));
    assert.equal((await json(["clients", "--user", rows[0].user])).length, 1);
    assert.equal((await json(["clients", "--user=nobody"])).length, 0);
    await anna.close();
    await bob.close();
  });
});

describe("call", () => {
  it("prints the result of a request that goes the way of all requests", async () => {
    const got = await ctl(["call", "user_service", "echo", '{"msg": "h\u00e4"}']);
    assert.deepEqual([got.code, got.out], [0, '"h\u00e4"\n']);
    const response = await json(["call", "user_service", "add", '{"a": 1, "b": 2}']);
    assert.deepEqual([response.success, response.result], [true, 3]);
    assert.equal((await json(["call", "user_service", "get_user", '{"user_id": "1"}', "--version", "1.0.0"])).success, true);
  });

  it("asks as somebody, with roles", async () => {
    assert.equal((await ctl(["call", "user_service", "perm_role", '{"msg": "x"}', "--user=u"])).code, 1);
    const got = await ctl(["call", "user_service", "perm_role", '{"msg": "x"}', "--user=u", "--roles=guest,admin"]);
    assert.deepEqual([got.code, got.out], [0, '"x"\n']);
  });

  it("is limited like everybody", async () => {
    const call = () => ctl(["call", "user_service", "limited", '{"msg": "x"}', "--user=greedy"]);
    assert.deepEqual([(await call()).code, (await call()).code], [0, 0]);
    const third = await call();
    assert.equal(third.code, 1);
    assert.match(third.err, /[Rr]ate limit/);
  });

  it("prints a stream's parts as they come, and the answer of async", async () => {
    const got = await ctl(["--json", "call", "user_service", "stream", '{"n": 3}']);
    assert.equal(got.code, 0, got.err);
    const parts = got.out.trimEnd().split("\n").map((l) => JSON.parse(l));
    assert.ok(parts.length >= 4 && parts.every((p) => p.success));
    assert.equal(parts.at(-1).has_more, false);
    assert.deepEqual((await ctl(["call", "user_service", "echo_async", '{"msg": "later"}'])).out, '"later"\n');
  });

  it("says what is wrong, and gives code 1", async () => {
    for (const [args, why] of [
      [["user_service", "nope"], /unsupported|not found|nope/i],
      [["user_service", "add", '{"a": "x", "b": 1}'], /./],
      [["user_service", "echo", "{bad"], /third argument must be a JSON object/],
      [["user_service", "echo", "[1]"], /third argument must be a JSON object/],
      [["user_service", "fail_raise"], /./],
      [["user_service", "slow", '{"ms": 3000}', "--timeout=50"], /no answer within the time/],
      [["user_service", "slow", '{"ms": 3000}', "--timeout=x"], /number of milliseconds/],
    ]) {
      const got = await ctl(["call", ...args]);
      assert.equal(got.code, 1, `${args}: ${got.out} ${got.err}`);
      assert.match(got.err, why);
    }
  });

  it("that is interrupted leaves nothing in flight", async () => {
    const child = spawn(BINARY, ["ctl", "-s", socket, "call", "user_service", "stream_ticks", '{"ms": 5}']);
    await new Promise((resolve) => child.stdout.once("data", resolve));
    child.kill("SIGINT");
    await eventually(async () => (await gateway.metric("requests_in_flight")) === 0, "nothing in flight");
  });
});

describe("trace", () => {
  it("shows the requests of one user until it is interrupted", async () => {
    const child = spawn(BINARY, ["ctl", "-s", socket, "--json", "trace", "--user=traced"]);
    let out = "";
    child.stdout.on("data", (d) => (out += d));
    await eventually(async () => {
      await ctl(["call", "user_service", "echo", '{"msg": "seen"}', "--user=traced"]);
      return out.includes('"user_id": "traced"') || out.includes('"user_id":"traced"');
    }, "the request is traced");
    await ctl(["call", "user_service", "echo", '{"msg": "x"}', "--user=other"]);
    child.kill("SIGINT");
    await new Promise((resolve) => child.once("close", resolve));
    const rows = out.trimEnd().split("\n").map((l) => JSON.parse(l));
    assert.ok(rows.length >= 2);
    assert.doesNotMatch(out, /other/);
    for (let i = 0; i < 20; i++) assert.equal((await ctl(["call", "user_service", "add", '{"a":1,"b":2}'])).code, 0);
  });
});

describe("what is done", () => {
  it("log-level shows and changes", async () => {
    assert.equal((await ctl(["log-level"])).out, "info\n");
    assert.equal(await json(["log-level", "debug"]), "debug");
    assert.equal((await ctl(["log-level", "loud"])).code, 1);
    await json(["log-level", "info"]);
  });

  it("reload says what changed, what needs a restart, what is wrong", async () => {
    const before = fs.readFileSync(gateway.file, "utf8");
    fs.writeFileSync(gateway.file, before.replace("interval_ms: 1000", "interval_ms: 2000").replace(/port: \d+/, "port: 1"));
    const first = await json(["reload"]);
    assert.deepEqual([first.changed, first.needs_restart], [["pull.interval_ms"], ["listen.port"]]);
    fs.writeFileSync(gateway.file, `${before}wrong: 1\n`);
    const refused = await ctl(["reload"]);
    assert.equal(refused.code, 1);
    assert.match(refused.out, /unknown key "wrong"/);
    fs.writeFileSync(gateway.file, before);
    assert.deepEqual((await json(["reload"])).needs_restart, []);
  });

  it("a service that the new file leaves out goes with its functions, one that comes is pulled", async () => {
    const before = fs.readFileSync(gateway.file, "utf8");
    fs.writeFileSync(gateway.file, before.replace(/^services:\n(?: .*\n|\n)*/m, ""));
    await json(["reload"]);
    assert.deepEqual(await json(["flows"]), []);
    assert.equal((await gateway.get("/ready")).status, 200);
    fs.writeFileSync(gateway.file, before);
    await json(["reload"]);
    await eventually(async () => (await json(["flows"])).length > 50, "functions are back");
  });

  it("disconnect closes the sockets of one id", async () => {
    const one = await Conn.open(gateway, query("7")), other = await Conn.open(gateway, query("8"));
    assert.deepEqual(await json(["disconnect", "users:7"]), { closed: 1 });
    await one.closed;
    assert.deepEqual(await json(["disconnect", "users:nobody"]), { closed: 0 });
    assert.deepEqual(await other.fence(), []);
    await other.close();
  });

  it("drain --wait returns when the gateway has ended", async () => {
    const at = path.join(run.dir, "other.sock");
    const other = await run.gateway(withSocket(at).replace(/^services:\n(?: .*\n|\n)*/m, ""), { name: "other" });
    const conn = await Conn.open(other);
    other.stopping = true;
    const got = await ctl(["drain", "--wait"], { at });
    assert.deepEqual([got.code, (await other.exited).code], [0, 0]);
    assert.match(got.out, /^connections=1 /);
    assert.equal(fs.existsSync(at), false);
    conn.ws.terminate();
  });
});

describe("on a terminal", () => {
  // What a terminal of that width gets to see, as script(1) records it.
  function terminal(args, columns) {
    const file = path.join(run.dir, "typescript");
    const line = `stty cols ${columns} rows 24; unset COLUMNS; ${BINARY} ctl -s ${socket} ${args}`;
    const got = spawnSync("script", ["-q", "-e", "-c", line, file], { encoding: "utf8", timeout: patience(20000), input: "" });
    const text = fs.readFileSync(file, "utf8").split("\n").slice(1).filter((l) => !l.startsWith("Script done"));
    return { code: got.status, lines: text.map((l) => l.replace(/\r$/, "")).filter((l) => l) };
  }

  it("tables fit the width", async () => {
    const narrow = terminal("flows", 60), wide = terminal("flows", 200);
    assert.equal(narrow.code, 0);
    assert.ok(narrow.lines.length > 50 && narrow.lines.every((l) => [...l].length <= 60), narrow.lines.join("\n"));
    assert.ok(narrow.lines.some((l) => l.includes("\u2026")));
    assert.ok(!wide.lines.some((l) => l.includes("\u2026")));
  });

  it("nothing that it would obey is sent", async () => {
    const conn = await (await Conn.open(gateway, query("x\u001b]0;owned\u0007\u009b31m\u202e"))).join();
    for (const args of ["clients", "--json clients", "call user_service echo '{\"msg\":\"\u001b[2J\u009b\"}'".replace("\u001b", "\\u001b")]) {
      const { lines } = terminal(args, 120);
      assert.ok(lines.length > 0);
      assert.doesNotMatch(lines.join(""), /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/, args);
    }
    await conn.close();
  });
});

describe("who is not let in, and what is wrong", () => {
  it("no gateway, or not this one: code 3 and what to do", async () => {
    const got = await ctl(["health"], { at: path.join(run.dir, "nowhere.sock") });
    assert.equal(got.code, 3);
    assert.match(got.err, /no gateway answers on .*nowhere.sock: No such file.*\nIs it running/s);
  });

  it("another user gets code 4; and with a wrong mode the gateway still refuses", { skip: process.getuid() !== 0 && "not possible: needs root, to become another user" }, async () => {
    fs.chmodSync(run.dir, 0o755);
    const program = path.join(run.dir, "beamgate"); // the tree may lie where others cannot go
    fs.copyFileSync(BINARY, program);
    assert.equal(fs.statSync(socket).mode & 0o777, 0o600);
    const got = await ctl(["health"], { uid: 65534, program });
    assert.equal(got.code, 4, got.err);
    assert.match(got.err, /for the gateway's own user and root/);
    fs.chmodSync(socket, 0o666);
    const stranger = await ctl(["health"], { uid: 65534, program });
    fs.chmodSync(socket, 0o600);
    assert.equal(stranger.code, 1, stranger.err);
    assert.match(stranger.err, /only the gateway's own user and root may use this socket/);
  });

  it("wrong usage: code 2, and the nearest command", async () => {
    assert.match((await ctl(["helth"])).err, /did you mean health\?/);
    for (const args of [[], ["nope"], ["flows", "a", "b"], ["call", "x"], ["clients", "--usr=1"], ["--nope"], ["clients", "--user"]])
      assert.equal((await ctl(args)).code, 2, args.join(" "));
  });

  it("every command has help, without a gateway", async () => {
    const all = (await ctl(["--help"], { at: "/nowhere" })).out;
    const names = [...all.matchAll(/^ {2}([a-z-]+) /gm)].map((m) => m[1]);
    assert.ok(names.length >= 14, names.join());
    for (const name of names) assert.match((await ctl([name, "--help"], { at: "/nowhere" })).out, new RegExp(`^Usage: beamgate ctl ${name}`));
  });

  it("an answer that breaks off is code 5", async () => {
    const at = path.join(run.dir, "liar.sock");
    const liar = net.createServer((c) => c.end('{"row":{"service":"x"}}\n')).listen(at);
    await new Promise((resolve) => liar.once("listening", resolve));
    const got = await ctl(["flows"], { at });
    liar.close();
    assert.equal(got.code, 5);
    assert.equal(got.out, "");
  });
});

describe("ten thousand functions", () => {
  it("are listed while clients are served, and a reader that stops holds up nobody", async () => {
    await svc.run(`TestService.Supporter.extra(for i <- 1..10_000, do: TestService.Supporter.fun("many#{i}", :plain))`);
    await eventually(async () => (await json(["flows"])).length > 10000, "ten thousand functions", 20000);
    const lazy = net.connect(socket);
    lazy.write('{"command":"flows"}\n');
    lazy.pause();
    const conn = await (await Conn.open(gateway)).join();
    const listing = json(["flows"]);
    for (let i = 0; i < 20; i++) assert.equal((await conn.call("echo", { msg: "x" })).push.result, "x");
    assert.ok((await listing).length > 10000);
    lazy.destroy();
    await conn.close();
  });
});
