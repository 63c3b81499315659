// Handlers of telemetry events that an Elixir node attaches by rpc (O-001..O-033): captures and closures of its own, which
// the gateway cannot run and calls where they came from. The library's arguments, event names, measurements and metadata.
"use strict";
const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually } = require("./harness");
const { Conn } = require("./client");

const GW = ":'beamgate@127.0.0.1'";
let run, gateway, peer, client;

// Tap.handle/4 keeps what it is called with under the config's name; Tap.take/1 gives it, oldest first, and forgets it.
const TAP = `defmodule Tap do
    def start, do: Agent.start(fn -> [] end, name: __MODULE__)
    def handle(event, measurements, metadata, config), do: put({event, measurements, metadata, config})
    def fail(_event, _measurements, _metadata, _config), do: raise("a handler that fails")
    def put(item), do: Agent.update(__MODULE__, &[item | &1])
    def all, do: Agent.get(__MODULE__, &Enum.reverse/1)
    def clear, do: Agent.update(__MODULE__, fn _ -> [] end)
    def names, do: Enum.map(all(), fn {[:phoenix_gen_api | words], _, _, _} -> Enum.join(words, ".") end)
    def last(name), do: Enum.reverse(all()) |> Enum.find(fn {[_ | w], _, _, _} -> Enum.join(w, ".") == name end)
  end
  {:ok, _} = Tap.start()
  :ok`;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  const limits = "rate_limiter:\n  cleanup_interval_ms: 1000\n" +
    "  api_limits: [{service: user_service, request_type: limited, key: user_id, max_requests: 1, window_ms: 60000}]\n";
  gateway = await run.gateway(`${config().replace("level: info", "level: debug")}\n${limits}`);
  peer = await run.beam("peer");
  assert.equal(await peer.run(TAP), ":ok");
  client = await (await Conn.open(gateway)).join("api:lobby");
});
after(async () => {
  client?.terminate();
  await run?.stop();
});

const rpc = (module, f, args = "") => `:rpc.call(${GW}, ${module}, :${f}, [${args}])`;
const attach = (args) => rpc("PhoenixGenApi", "attach_telemetry", args);
const is = async (code, want = ":ok") => assert.equal(await peer.run(code, 30000), want);
// Waits for an event of that name, and gives {measurements, metadata} through the Elixir function f.
async function event(name, f = "fn e -> e end") {
  await eventually(async () => (await peer.run(`Tap.last("${name}") != nil`)) === "true", `the event ${name}`);
  return peer.run(`{_, m, md, _} = Tap.last("${name}"); (${f}).({m, md})`);
}
const names = () => peer.run("Tap.names()");
const KEYS = "fn {m, md} -> {Map.keys(m), Map.keys(md)} end";

describe("attach_telemetry (O-033)", () => {
  it("calls a capture of the asking node with event, measurements, metadata and config (O-001, O-002)", async () => {
    await is(attach('"cap", &Tap.handle/4, %{from: "the operator"}'));
    await client.call("echo", { msg: "a secret of the client" }, { request_id: "r1" });
    assert.equal(await event("executor.request.stop", "fn {m, md} -> {Map.keys(m), is_integer(m.duration_us), md} end"),
      await peer.run(`{[:duration_us], true, %{async: false, request_id: "r1", request_type: "echo",
        service: "user_service", success: true, user_id: "u1"}}`));
    assert.equal(await peer.run(`{e, m, md, c} = Tap.last("executor.request.start")
      {e, abs(m.system_time - System.system_time()) < 60_000_000_000, Map.keys(m), md, c}`),
    await peer.run(`{[:phoenix_gen_api, :executor, :request, :start], true, [:system_time],
      %{request_id: "r1", request_type: "echo", service: "user_service", user_id: "u1"}, %{from: "the operator"}}`));
    assert.equal(await names(), '["executor.request.start", "rate_limiter.check", "executor.request.stop"]');
    assert.ok(!(await peer.run("inspect(Tap.all())")).includes("a secret"));
  });

  it("attaches once under one id, and not after detach (as the library: ok each time)", async () => {
    await is("Tap.clear()");
    await is(attach('"cap", &Tap.handle/4'));
    await client.call("echo", { msg: "x" });
    await event("executor.request.stop");
    assert.equal(await names(), '["executor.request.start", "rate_limiter.check", "executor.request.stop"]');
    await is(rpc("PhoenixGenApi", "detach_telemetry", '"cap"'));
    await is(rpc("PhoenixGenApi", "detach_telemetry", '"cap"'));
    await is("Tap.clear()");
    await client.call("echo", { msg: "x" });
    await is(attach('"later", &Tap.handle/4'));
    await client.call("echo", { msg: "x" }, { request_id: "later" });
    assert.equal(await event("executor.request.stop", "fn {_, md} -> md.request_id end"), '"later"');
    assert.equal(await peer.run("length(Tap.all())"), "3");
    await is(rpc("PhoenixGenApi", "detach_telemetry", '"later"'));
  });

  it("calls a closure with what it has bound, and prints to the asking process's group leader", async () => {
    await is(`me = self()
      bound = %{big: Enum.to_list(1..100)}
      {:ok, io} = StringIO.open("")
      gl = Process.group_leader()
      Process.group_leader(self(), io)
      :ok = ${attach('"closure", fn event, m, md, c -> IO.puts("seen"); Tap.put({event, m, Map.put(md, :bound, bound), c}) end')}
      Process.group_leader(self(), gl)
      Agent.start(fn -> io end, name: :screen)
      Tap.clear()`);
    await client.call("echo", { msg: "x" });
    assert.equal(await event("executor.request.stop", "fn {_, md} -> length(md.bound.big) end"), "100");
    assert.match(await peer.run("StringIO.contents(Agent.get(:screen, & &1))"), /seen\\nseen\\nseen/);
    await is(rpc("PhoenixGenApi", "detach_telemetry", '"closure"'));
  });

  it("refuses what the library refuses (FunctionClauseError)", async () => {
    for (const args of [":atom, &Tap.handle/4", '"id", &Tap.handle/3', '"id", fn _ -> :ok end', '"id", :not_a_function']) {
      assert.match(await peer.run(attach(args)), /^\{:badrpc, \{:EXIT, \{:function_clause, \[\{PhoenixGenApi, :attach_telemetry, /, args);
    }
    assert.match(await peer.run(attach('"big", fn _, _, _, _ -> :ok end, String.duplicate("x", 70_000)')), /:system_limit/);
  });

  it("of Executor and RateLimiter are the halves of it", async () => {
    await is("Tap.clear()");
    await is(rpc("PhoenixGenApi.Executor", "attach_telemetry", '"half", &Tap.handle/4'));
    await is(rpc("PhoenixGenApi.RateLimiter", "attach_telemetry", '"half", &Tap.handle/4, []'));
    await is(rpc("PhoenixGenApi.RateLimiter", "detach_telemetry", '"half"'));
    await client.call("echo", { msg: "x" });
    await event("executor.request.stop");
    assert.equal(await names(), '["executor.request.start", "executor.request.stop"]');
    await is(rpc("PhoenixGenApi", "detach_telemetry", '"half"'));
  });
});

describe("the events", () => {
  before(async () => {
    await is("Tap.clear()");
    await is(rpc("PhoenixGenApi.Telemetry", "attach_all", '"all", &Tap.handle/4'));
  });
  after(() => is(rpc("PhoenixGenApi.Telemetry", "detach_all", '"all"')));

  it("of a request that fails, and of one that is not run (O-002, O-003)", async () => {
    await client.call("fail_error", {}, { request_id: "bad" });
    assert.equal(await event("executor.request.stop", "fn {_, md} -> {md.request_id, md.success, md.async} end"), '{"bad", false, false}');
    const before = await peer.run('Enum.count(Tap.names(), & &1 == "executor.request.stop")');
    await client.call("add", { a: "x", b: 1 }, { request_id: "args" });
    assert.equal(await event("executor.request.exception", KEYS), await peer.run(`{[:duration_us], Enum.sort(
      ~w(kind reason request_id request_type service stacktrace user_id)a)}`));
    assert.match(await event("executor.request.exception", "fn {_, md} -> {md.kind, md.reason, md.stacktrace} end"),
      /^\{:error, "invalid argument type for .*", \[\]\}$/);
    assert.equal(await peer.run('Enum.count(Tap.names(), & &1 == "executor.request.stop")'), before);
  });

  it("of async, none and stream tell when they are accepted, and what their pool did (O-016..O-018, O-031)", async () => {
    await is("Tap.clear()");
    client.send(["1", "a", "api:lobby", "api", { service: "user_service", request_type: "echo_async", request_id: "a", args: { msg: "x" } }]);
    assert.equal(await event("worker_pool.task.stop", "fn {m, md} -> {Map.keys(m), md} end"), "{[:duration_us], %{pool_name: :async_pool}}");
    assert.equal(await event("executor.request.stop", "fn {_, md} -> {md.success, md.async} end"), "{true, true}");
    assert.equal(await event("worker_pool.task.start", "fn {m, md} -> {Map.keys(m), md} end"), "{[:system_time], %{pool_name: :async_pool}}");
    client.send(["1", "b", "api:lobby", "api", { service: "user_service", request_type: "raise_async", request_id: "b", args: {} }]);
    assert.equal(await event("worker_pool.task.exception", "fn {_, md} -> md end"),
      '%{kind: :error, pool_name: :async_pool, reason: "Internal Server Error", stacktrace: nil}');
    client.send(["1", "c", "api:lobby", "api", { service: "user_service", request_type: "notify", request_id: "c", args: { msg: "x" } }]);
    await eventually(async () => (await event("executor.request.stop", "fn {_, md} -> {md.request_id, md.async} end")) === '{"c", false}', "none");
    client.send(["1", "d", "api:lobby", "api", { service: "user_service", request_type: "stream", request_id: "d", args: { n: 2 } }]);
    await eventually(async () => (await event("worker_pool.task.stop", "fn {_, md} -> md.pool_name end")) === ":stream_pool", "stream");
    await client.fence();
  });

  it("of retries (O-004, O-005)", async () => {
    await client.call("retry_n", {}, { request_id: "again" });
    assert.equal(await event("executor.retry.exhausted", "fn {m, md} -> {m, md.request_id, md.mode, md.last_error =~ \"boom\", Map.keys(md)} end"),
      '{%{}, "again", {:all_nodes, 0}, true, [:last_error, :mode, :request_id]}');
    assert.equal(await peer.run(`for {[_, _, :retry], m, md, _} <- Tap.all(), do: {m.attempt, is_integer(m.backoff_ms), md}`),
      await peer.run(`md = %{mode: :all_nodes, nodes: [:"svc@127.0.0.1"], type: :remote}; [{2, true, md}, {1, true, md}]`));
  });

  it("of the rate limiter (O-006..O-009)", async () => {
    await client.call("limited", { msg: "x" });
    await client.call("limited", { msg: "x" }, { request_id: "over" });
    assert.equal(await event("rate_limiter.exceeded", "fn {m, md} -> {m.retry_after_ms > 0, md} end"),
      await peer.run(`{true, %{key: "user_service:limited:u1", scope: {"user_service", "limited"}, max_requests: 1,
        current_requests: 1, request_id: "over", user_id: "u1"}}`));
    assert.equal(await event("rate_limiter.check", "fn {m, md} -> {Map.keys(m), Map.keys(md), md.instance, elem(md.result, 1), Map.keys(elem(md.result, 2))} end"),
      await peer.run(`{[:duration_us], Enum.sort(~w(instance request_id request_type result service user_id)a), :rate_limiter_instance_0,
        :rate_limited, Enum.sort(~w(current_requests key max_requests retry_after_ms scope window_ms)a)}`));
    await is(rpc("PhoenixGenApi", "reset_rate_limit", '"u1", {"user_service", "limited"}, :user_id'));
    assert.equal(await event("rate_limiter.reset"), '{%{}, %{key: "u1", rate_limit_key: :user_id, scope: {"user_service", "limited"}}}');
    assert.equal(await event("rate_limiter.cleanup", "fn {m, md} -> {Map.keys(m), md} end"),
      "{[:cleaned_entries, :duration_us], %{api_limits_count: 1, global_limits_count: 0}}");
  });

  it("of hooks (O-010..O-015)", async () => {
    await client.call("hooked", { msg: "x" });
    assert.equal(await event("hook.before.stop", "fn {m, md} -> {Map.keys(m), md} end"),
      "{[:duration_us], %{function: :before, module: TestService, type: :before}}");
    assert.equal(await event("hook.after.stop", "fn {m, md} -> {Map.keys(m), md} end"),
      "{[:duration_us], %{function: :after_hook, module: TestService, type: :after}}");
    assert.equal(await event("hook.before.start", KEYS), "{[:system_time], [:function, :module, :type]}");
    assert.equal(await event("hook.after.start", KEYS), "{[:system_time], [:function, :module, :type]}");
    await client.call("hook_slow", { msg: "x" });
    assert.equal(await event("hook.before.exception", "fn {_, md} -> md end"), await peer.run(`%{function: :before_slow, module: TestService,
      type: :before, kind: :timeout, reason: "hook timed out after 200ms", stacktrace: nil}`));
    await client.call("hook_raise", { msg: "x" });
    await eventually(async () => /no luck/.test(await event("hook.before.exception", "fn {_, md} -> {md.kind, md.reason} end")), "the raise");
  });

  it("of configs: pulled, pushed and changed by hand (O-022..O-030)", async () => {
    await is(rpc("PhoenixGenApi.ConfigPuller", "force_pull"));
    assert.equal(await event("config.pull.stop", "fn {m, md} -> {Map.keys(m), m.count > 50, md} end"),
      '{[:count, :duration_us], true, %{service: "user_service", version: "1"}}');
    assert.equal(await event("config.pull.start", "fn {m, md} -> {Map.keys(m), md} end"), '{[:system_time], %{service: "user_service"}}');
    assert.match(await event("config.batch_add"), /^\{%\{count: \d+\}, %\{service: "user_service"\}\}$/);
    const fun = 'TestPusher.fun("told", "a", :echo, [{"msg", :string}])';
    await is(`TestPusher.push(${GW}, TestPusher.config("told", "7", [${fun}]), [])`, "{:ok, :accepted}");
    assert.equal(await event("config.push"), '{%{count: 1}, %{service: "told", version: "7"}}');
    const db = (f, args) => rpc("PhoenixGenApi.ConfigDb", f, args);
    for (const [f, name] of [["disable", "disable"], ["enable", "enable"], ["delete", "delete"]]) {
      await is(db(f, '"told", "a"'));
      assert.equal(await event(`config.${name}`), '{%{}, %{request_type: "a", service: "told", version: nil}}');
    }
    await is(db("add", fun));
    assert.equal(await event("config.add"), '{%{}, %{request_type: "a", service: "told", version: nil}}');
    await is(db("batch_add", `[${fun}]`), "{:ok, 1}");
    await eventually(async () => (await event("config.batch_add")) === '{%{count: 1}, %{service: "told"}}', "batch_add by hand");
    await is(rpc("PhoenixGenApi.ConfigReceiver", "delete_pushed_service", '"told"'));
  });

  it("bear names that list_events gives, and come to attach_many's handlers", async () => {
    await is(`Enum.all?(Tap.all(), fn {e, _, _, _} -> e in ${rpc("PhoenixGenApi.Telemetry", "list_events")} end)`, "true");
    await is(`${rpc("PhoenixGenApi.Telemetry", "attach_many",
      '"many", [[:phoenix_gen_api, :executor, :request, :stop], [:not, :ours]], fn e, _, md, c -> Tap.put({e, :many, md, c}) end, :mine')}`);
    await is("Tap.clear()");
    await client.call("echo", { msg: "x" });
    await eventually(async () => (await peer.run("Enum.count(Tap.all(), & elem(&1, 1) == :many)")) === "1", "one of them");
    await is(rpc("PhoenixGenApi.Telemetry", "detach_all", '"many"'));
    assert.match(await peer.run(rpc("PhoenixGenApi.Telemetry", "attach_many", '"many", [:x], &Tap.handle/4')), /:badarg/);
  });
});

describe("a handler", () => {
  it("that raises is detached, and nothing else suffers", async () => {
    await is(attach('"raises", &Tap.fail/4'));
    await is(attach('"good", &Tap.handle/4'));
    await is("Tap.clear()");
    await client.call("echo", { msg: "x" });
    await gateway.waitLine(/msg="handler has failed" id="raises" outcome=exit reason=".*a handler that fails/);
    await event("executor.request.stop");
    assert.equal(await gateway.metric("telemetry_handlers"), 1);
    await is(rpc("PhoenixGenApi", "detach_telemetry", '"good"'));
    assert.equal(await gateway.metric("telemetry_handlers"), 0);
  });

  it("that is slow holds up no request, gets a bounded number of events in their order, and the others are counted", async () => {
    await is("Tap.clear()");
    await is(attach('"slow", fn e, m, md, c -> Process.sleep(200); Tap.handle(e, m, md, c) end'));
    const began = Date.now();
    for (let i = 0; i < 300; i++) await client.call("echo", { msg: "x" }, { request_id: `n${i}` });
    assert.ok(Date.now() - began < 200 * 900, "requests do not wait for the handler");
    await eventually(async () => (await gateway.metric("telemetry_dropped_total")) > 0, "events are dropped");
    await is(rpc("PhoenixGenApi", "detach_telemetry", '"slow"'));
    await eventually(async () => (await peer.run("length(Tap.all()) >= 3")) === "true", "the first three");
    assert.equal(await peer.run('Enum.take(Tap.names(), 3)'), '["executor.request.start", "rate_limiter.check", "executor.request.stop"]');
  });

  it("goes with its node", async () => {
    const other = await run.beam("other");
    assert.equal(await other.run(attach('"other", fn _, _, _, _ -> :ok end')), ":ok");
    await eventually(async () => (await gateway.metric("telemetry_handlers")) >= 1, "attached");
    await other.kill();
    await gateway.waitLine(/msg="handler detached" id="other" reason=nodedown/);
    await client.call("echo", { msg: "x" });
  });

  it("of attach_default_logger is the gateway's own log", async () => {
    await is(rpc("PhoenixGenApi.Telemetry", "attach_default_logger"));
    await client.call("echo", { msg: "x" }, { request_id: "logged" });
    await gateway.waitLine(/level=debug part=telemetry msg="event" event=executor.request.stop measurements="%\{duration_us: \d+\}" metadata=".*logged/);
    await is(rpc("PhoenixGenApi.Telemetry", "detach_default_logger"));
    await gateway.waitLine(/msg="handler detached" id="phoenix-gen-api-default-logger" reason=asked/);
  });
});
