// The gateway among OTP 27 nodes: the release that the recordings were made with. Skipped, with the reason, where
// OTP 27 cannot be had (tests/interop/otp27.sh).
"use strict";
const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { ROOT, Run, config, eventually, patience } = require("./harness");
const { Certs, distFlags } = require("./certs");
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

  it("pushes its functions as any service does, term for term (S-110..S-123)", async () => {
    const fun = (type, more = "[]") => `TestPusher.fun("pushed27", "${type}", :echo, [{"msg", :string}], ${more})`;
    const push = (version, funs, opts = "[]") =>
      svc.run(`TestPusher.push(${GW}, TestPusher.config("pushed27", "${version}", [${funs}]), ${opts})`);
    const receiver = (fn, args) => svc.run(`:rpc.call(${GW}, PhoenixGenApi.ConfigReceiver, :${fn}, [${args}])`);
    const bad = fun("bad", 'version: "1.0.0", timeout: 1');
    assert.equal(await push("1", fun("a")), "{:ok, :accepted}", "S-110");
    assert.equal(await push("1", fun("a")), "{:ok, :skipped, :version_matches}", "S-111");
    assert.equal(await push("1", fun("a"), "[force: true]"), "{:ok, :accepted}", "S-112");
    assert.equal(await push("", fun("a")), '{:error, {:validation_failed, ["config_version must be a non-empty string"]}}', "S-113");
    assert.equal(await receiver("push", ":x, []"), "{:error, :invalid_push_config_data}", "S-114");
    assert.equal(await push("2", `${fun("a", 'version: "1.0.0"')}, ${bad}`), "{:ok, :accepted}", "S-116");
    assert.match(await push("3", bad), /^\{:error, \{:all_invalid, \["invalid FunConfig: request_type=/, "S-117");
    assert.equal(await push("3", fun("a", "mfa: {:os, :cmd, []}")), "{:error, :batch_add_failed}", "S-118");
    const verify = (service, version) => svc.run(`TestPusher.verify(${GW}, "${service}", "${version}")`);
    assert.equal(await verify("pushed27", "2"), "{:ok, :matched}", "S-119");
    assert.equal(await verify("pushed27", "9"), '{:ok, :mismatch, "2"}', "S-119");
    assert.equal(await verify("nobody", "2"), "{:error, :not_found}", "S-119");
    assert.equal(await push("4", fun("a").replace('"pushed27"', '"other"')),
      '{:error, {:validation_failed, ["all fun_configs must have the same service name as the push config"]}}', "S-120");
    assert.equal(await receiver("push", `TestPusher.config("pushed27", "2", [${fun("a")}])`), "{:ok, :skipped, :version_matches}", "S-121");
    assert.match(await receiver("no_such", "1"), /^\{:badrpc, \{:EXIT, \{:undef, \[/, "S-122");
    const old = `Map.drop(${fun("old", 'version: "0.0.0"')}, [:permission_callback, :hook_timeout])`;
    assert.equal(await push("5", old), "{:ok, :accepted}", "S-123");
    assert.equal(await receiver("delete_pushed_service", '"pushed27"'), ":ok");
  });

  it("is refused without the token (S-115)", async () => {
    const text = config().replace(/^services:\n(?: .*\n|\n)*/m, "") + 'push:\n  token: "open sesame"\n';
    const guarded = await run.gateway(text, { name: "guarded27" });
    const push = `TestPusher.push(:'guarded27@127.0.0.1', TestPusher.config("s", "1", [TestPusher.fun("s", "a", :echo, [{"msg", :string}])]))`;
    assert.equal(await svc.run(push), "{:error, :invalid_push_token}");
    await guarded.stop();
  });

  it("calls the library's API by its own names (E-081, S-073, O-113)", async () => {
    const rpc = (module, fn, args) => `:rpc.call(${GW}, ${module}, :${fn}, [${args}])`;
    const is = async (code, want) => assert.equal(await svc.run(code), want);
    const request = `%PhoenixGenApi.Structs.Request{request_type: "echo", request_id: "r", service: "user_service", args: %{"msg" => "hi"}, user_id: "u"}`;
    await is(`${rpc("PhoenixGenApi.Executor", "execute!", request)}.result`, '"hi"');
    await is(`${rpc("PhoenixGenApi.ConfigDb", "count", "")} > 50`, "true");
    await is(`{:ok, c} = ${rpc("PhoenixGenApi.ConfigDb", "get", '"user_service", "echo"')}; {c.__struct__, c.mfa}`,
      "{PhoenixGenApi.Structs.FunConfig, {TestService, :echo, []}}");
    await is(`${rpc("PhoenixGenApi.RateLimiter", "get_configured_limits", "")} == %{global: [], api: []}`, "true");
    await is(`${rpc("PhoenixGenApi.Diagnostics", "health_check", "")}.checks.phoenix_gen_api.mode`, ":gateway");
    await is(`length(${rpc("PhoenixGenApi.Telemetry", "list_events", "")})`, "30");
    await is(`GenServer.call({PhoenixGenApi.ConfigReceiver, ${GW}}, :get_all_pushed_services)`, "%{}");
    await is(rpc(":erlang", "function_exported", "PhoenixGenApi.ConfigDb, :get, 3"), "true");
    await is(`gl = Process.group_leader(); {:ok, io} = StringIO.open(""); Process.group_leader(self(), io)
      answer = ${rpc("PhoenixGenApi", "cache_status", "")}; Process.group_leader(self(), gl)
      {answer, StringIO.contents(io) |> elem(1) |> String.split("\\n") |> Enum.at(1)}`,
      '{:ok, "=== ConfigDb Cache Status ==="}');
  });

  it("attaches handlers of telemetry events, which run there (O-033)", async () => {
    const rpc = (fn, args) => svc.run(`:rpc.call(${GW}, PhoenixGenApi, :${fn}, [${args}])`);
    await svc.run("{:ok, _} = Agent.start(fn -> [] end, name: :tap); defmodule Tap27, do: (def h(e, _, md, c), do: Agent.update(:tap, &[{List.last(e), md.request_id, c} | &1]))");
    assert.equal(await rpc("attach_telemetry", '"capture", &Tap27.h/4, :captured'), ":ok");
    assert.equal(await rpc("attach_telemetry", '"closure", fn e, m, md, _ -> Tap27.h(e, m, md, :bound) end'), ":ok");
    const conn = await (await Conn.open(gateway)).join();
    await conn.call("echo", { msg: "x" }, { request_id: "t27" });
    await eventually(async () => (await svc.run("Enum.count(Agent.get(:tap, & &1), &(elem(&1, 0) == :stop))")) === "2", "both are called");
    assert.equal(await svc.run("Enum.sort(for {:stop, id, c} <- Agent.get(:tap, & &1), do: {c, id})"), '[bound: "t27", captured: "t27"]');
    for (const id of ["capture", "closure"]) assert.equal(await rpc("detach_telemetry", `"${id}"`), ":ok");
    await conn.close();
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

describe("OTP 27 over TLS", { skip }, () => {
  let run;
  before(async () => (run = await Run.start()));
  after(() => run?.stop());

  it("serves the gateway and calls it, both verified", async () => {
    const certs = new Certs(run);
    const ca = certs.authority();
    // A host that is an address: OTP 25 looks for it among the DNS names, OTP 27 among the addresses.
    const names = "DNS:127.0.0.1,IP:127.0.0.1";
    const [ours, theirs] = ["gw", "svc"].map((name) => certs.leaf(name, ca, { names }));
    const svc = await run.beam("svc", { elixir, flags: distFlags(run, "svc", theirs, ca) });
    const files = `node:\n  tls_certificate: ${ours.crt}\n  tls_key: ${ours.key}\n  tls_ca: ${ca.crt}\n`;
    const gateway = await run.gateway(config().replace("node:\n", files));
    assert.ok(gateway.lines.some((l) => /link up.*node="svc@127.0.0.1".*tls=TLSv1\.[23]/.test(l)), gateway.log());
    const conn = await (await Conn.open(gateway)).join();
    assert.equal((await conn.call("add", { a: 19, b: 23 })).push.result, 42);
    await svc.run(`Node.disconnect(${GW})`);
    assert.equal(await svc.run(`Node.ping(${GW})`), ":pong");
    assert.equal(await svc.run(`:rpc.call(${GW}, :erlang, :node, [])`), ':"beamgate@127.0.0.1"');
    await conn.close();
  });
});
