// An operator's session: a real IEx on a terminal of its own, in the cluster of the gateway. What the shell functions of
// the library print appears at the prompt, through the I/O protocol of IEx's group leader (O-110..O-118).
"use strict";
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, patience, within } = require("./harness");
const { Conn } = require("./client");

// IEx on a pseudo-terminal made by script(1); type() gives what the screen shows between the line and the next prompt.
class Iex {
  constructor(run) {
    const flags = "--name op@127.0.0.1 --erl '-start_epmd false'";
    const options = { env: { ...run.env, TERM: "dumb", COLUMNS: "200" }, cwd: run.dir };
    this.screen = "";
    this.process = spawn("script", ["-qec", `iex ${flags}`, "/dev/null"], options);
    this.process.stdout.on("data", (d) => {
      this.screen += d;
      this.look?.();
    });
    this.ended = new Promise((resolve) => this.process.once("close", resolve));
  }

  // The text up to the prompt numbered n, without the line that was typed.
  prompt(n) {
    const shown = new Promise((resolve) => {
      this.look = () => {
        const text = this.screen.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "").replaceAll("\r", "");
        const at = text.indexOf(`iex(op@127.0.0.1)${n}>`);
        if (at >= 0) resolve(text.slice(0, at));
      };
      this.look();
    });
    return within(patience(20000), shown, () => `prompt ${n} of iex\n${this.screen}`);
  }

  async start() {
    this.n = 1;
    await this.prompt(1);
    return this;
  }

  async type(code) {
    this.screen = "";
    this.process.stdin.write(`${code}\n`);
    return (await this.prompt(++this.n)).split("\n").slice(1).join("\n");
  }

  async stop() {
    this.process.stdin.end("\x03a\n");
    this.process.kill("SIGKILL");
    await this.ended;
  }
}

let run, gateway, iex;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  const limits = "rate_limiter:\n  global_limits: [{key: user_id, max_requests: 3, window_ms: 60000}]\n" +
    "  api_limits: [{service: user_service, request_type: echo, key: user_id, max_requests: 2, window_ms: 1000}]\n";
  gateway = await run.gateway(`${config()}\n${limits}security:\n  admin_actions: [update_rate_limit_config]\n`);
  iex = await new Iex(run).start();
});
after(async () => {
  await iex?.stop();
  await run?.stop();
});

describe("an operator at an IEx prompt", () => {
  it("gives the gateway a name and sees that it is there", async () => {
    assert.match(await iex.type("gw = :'beamgate@127.0.0.1'; Node.ping(gw)"), /^:pong$/m);
    await iex.type("ask = fn f, a -> :rpc.call(gw, PhoenixGenApi, f, a) end");
  });

  it("asks whether it is well (O-116)", async () => {
    const text = await iex.type("ask.(:health_print, [])");
    for (const line of [/^=== PhoenixGenApi Health Check ===$/, /^Node: beamgate@127.0.0.1$/, /^Status: ✅ ok$/,
      /^Checked at: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z$/, /^--- VM ---$/, /^ {2}Memory: {6}\d+\.\d MB total$/,
      /^ {2}Uptime: {6}0h 0m \d+s$/, /^--- Node ---$/, /^ {2}Connected: .*svc@127\.0\.0\.1/, /^--- PhoenixGenApi ---$/,
      /^ {4}✅ config_db {2}pid=#PID</, /^:ok$/]) {
      assert.match(text, new RegExp(line.source, "m"));
    }
    assert.ok(text.indexOf("Health Check") < text.lastIndexOf(":ok"), "printed before the answer");
  });

  it("looks at the numbers (O-117)", async () => {
    const text = await iex.type("ask.(:stats_print, [])");
    assert.match(text, /^=== PhoenixGenApi Statistics ===$/m);
    assert.match(text, /^ {4}Count: {5}\d+$/m);
    assert.match(text, /^ {4}async_pool:\n {6}Status: {3}ok\n {6}Idle: \d+ {2}Busy: 0 {2}Queued: 0$/m);
    assert.match(await iex.type("ask.(:debug_print, [[process_limit: 3]])"),
      /--- Top 3 Processes by Memory ---\nPID +Name +Memory +Status\n-{70}\n(#PID<.*\n){3}/);
    assert.match(await iex.type("ask.(:cache_status, [])"), /^Total cached configs: \d+\nServices: \["user_service"\]$/m);
    assert.match(await iex.type("ask.(:pool_status, [])"), /^Async Pool:\n {2}Idle: \d+ \| Busy: 0 \| Queued: 0\n {2}Circuit Open: false$/m);
  });

  it("finds out what happens to a call (O-070, O-117)", async () => {
    const text = await iex.type('ask.(:call_flow_print, ["user_service", "hooked"])');
    assert.match(text, /^=== Call Flow: user_service\/hooked ===\nService: {6}user_service$/m);
    assert.match(text, /^MFA: {10}\{TestService, :echo, \[\]\}$/m);
    assert.match(text, /^ {2}Reachable: {3}\[:"svc@127\.0\.0\.1"\]$/m);
    assert.match(text, /^ {4}user_id: 3 req \/ 60000ms$/m);
    assert.match(text, /^ {2}Before: Elixir\.TestService\.before\/2/m);
    assert.match(text, /^ {2}1\. \[channel\] /m);
    assert.match(await iex.type('ask.(:call_flow_print, ["user_service", "nope"])'), /^❌ Config not found: :not_found$/m);
    const plan = await iex.type('ask.(:inspect_print, [%{service: "user_service", request_type: "echo", user_id: "u7"}])');
    assert.match(plan, /^User ID: {6}"u7"$/m);
    assert.match(plan, /^--- Execution Plan ---\n {2}1\. /m);
    const flows = await iex.type("ask.(:flows_print, [[include_disabled: true]])");
    assert.match(flows, /^Total: \d\d+$/m);
    assert.match(flows, /^"user_service" {11}"echo" {19}nil {9}false {3}\[:"svc@127\.0\.0\.1"\]$/m);
    assert.match(flows, / \[DISABLED\]$/m);
  });

  it("sees who is in the cluster, who has pushed, and what was refused (O-115, O-117)", async () => {
    const text = await iex.type("ask.(:cluster_print, [])");
    assert.match(text, /^Self: beamgate@127\.0\.0\.1\nConnected nodes \(2\): \[/m);
    assert.match(text, /^ {2}svc@127\.0\.0\.1: \d+ processes\n( {4}- .*\n)* {4}- rex$/m, "the others were asked");
    assert.match(await iex.type("ask.(:pushed_services_status, [])"), /^No pushed services registered\.$/m);
    assert.match(await iex.type("ask.(:failed_configs_print, [])"), /^Showing: 1 entries \(limit: 100\)\n\nID +Service +Request Type/m);
    assert.match(await iex.type("ask.(:failed_configs_summary, [])"), /^Total: {2}1\nPull: {3}1\nPush: {3}0\n\n--- By Service ---\n {2}"user_service": 1 failed\n\n--- Newest ---\n {2}#\d+ "user_service"\/"local_svc" \[pull\] /m);
  });

  it("is told of requests as they happen, at the prompt (O-033)", async () => {
    const conn = await (await Conn.open(gateway, "user_id=u9&vsn=2.0.0")).join();
    assert.match(await iex.type('ask.(:attach_telemetry, ["iex", fn event, _, about, _ -> IO.puts("seen #{List.last(event)} #{about.request_type}") end])'), /^:ok$/m);
    await conn.call("where", { msg: "x" });
    await eventually(async () => iex.screen.includes("seen stop where"), "the handler's text");
    assert.match(await iex.type('ask.(:detach_telemetry, ["iex"])'), /^:ok$/m);
    await conn.close();
  });

  it("watches a user's rate limit and changes it (O-110..O-112)", async () => {
    const conn = await (await Conn.open(gateway)).join();
    await conn.call("echo", { msg: "x" });
    await conn.close();
    assert.match(await iex.type('ask.(:rl_status, ["u1"])'),
      /^=== Rate Limit Status for u1 ===\n\nGlobal Limits:\n {2}Scope: :global \| Used: 1\/3 \| Remaining: 2\n\nAPI Limits:\n {2}user_service\/echo \| Used: [01]\/2 \| Remaining: [12]$/m);
    assert.match(await iex.type("ask.(:rl_config, [])"), /^ {2}Key: :user_id \| Max: 3 \| Window: 60000ms\n\nAPI Limits:\n {2}user_service\/echo \| Key: :user_id \| Max: 2 \| Window: 1000ms$/m);
    assert.match(await iex.type("ask.(:rl_global, [:add, %{key: :ip_address, max_requests: 9, window_ms: 1000}])"),
      /^Global rate limit added\/updated: %\{key: :ip_address.*\}\n\n\n=== Global Rate Limits ===\n\n {2}Key: :user_id \| Max: 3 \| Window: 60000ms\n {2}Key: :ip_address \| Max: 9 \| Window: 1000ms$/m);
    assert.match(await iex.type("ask.(:rl_global, [:remove, :ip_address])"), /^Global rate limit removed for key: :ip_address$/m);
    assert.doesNotMatch(await iex.type("ask.(:rl_global, [])"), /ip_address/);
  });

  it("is told what he got wrong, as by any node", async () => {
    assert.match(await iex.type("ask.(:rl_status, [:nobody])"), /\{:badrpc,\s+\{:EXIT, \{:function_clause,\s+\[\{PhoenixGenApi, :rl_status, \[:nobody\], \[\]\}\]\}\}\}/);
    assert.match(await iex.type("ask.(:nonsense, [])"), /\{:badrpc,\s+\{:EXIT, \{:undef,\s+\[\{PhoenixGenApi, :nonsense, \[\], \[\]\}\]\}\}\}/);
    assert.match(await iex.type("Enum.take(:rpc.call(gw, PhoenixGenApi.ConfigDb, :__info__, [:functions]), 2)"), /^\[add: 1, batch_add: 1\]$/m);
  });

  it("whose screen has gone does not hold the gateway", async () => {
    const code = "io = spawn(fn -> :ok end); me = self(); spawn(fn -> Process.group_leader(self(), io); " +
      "send(me, :rpc.call(gw, PhoenixGenApi, :cache_status, [])) end); receive do x -> x after 9000 -> :hangs end";
    assert.match(await iex.type(code), /\{:badrpc,\s+\{:EXIT, \{:terminated,\s+\[\{PhoenixGenApi, :cache_status, 0, \[\]\}\]\}\}\}/);
    const silent = "deaf = spawn(fn -> Process.sleep(60_000) end); spawn(fn -> Process.group_leader(self(), deaf); " +
      "send(me, :rpc.call(gw, PhoenixGenApi, :cache_status, [])) end); receive do x -> x after 9000 -> :hangs end";
    assert.match(await iex.type(silent), /\{:badrpc,\s+\{:EXIT, \{:timeout, /);
  });
});
