// Services push their functions to the gateway, as a real Elixir node with the library's ConfigPusher does it
// (TestPusher makes the same calls): S-110..S-123 term for term, then clients call what was pushed.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually } = require("./harness");
const { Conn } = require("./client");

let run, gateway, guarded, svc;
const GW = ":'beamgate@127.0.0.1'";
const GUARDED = ":'guarded@127.0.0.1'";
const TOKEN = "open sesame";

// A gateway that knows no service but those that push.
const bare = (more = "") => config().replace(/^services:\n(?: .*\n|\n)*/m, "") + more;

before(async () => {
  run = await Run.start();
  gateway = await run.gateway(bare());
  const file = path.join(run.dir, "push_token");
  fs.writeFileSync(file, `${TOKEN}\n`, { mode: 0o400 });
  guarded = await run.gateway(
    bare(`push:\n  token_file: ${file}\n  allow:\n    - {service: "user*", nodes: ["svc@*"]}\n` +
      `security:\n  mfa_allowlist: [TestService:echo]\n`),
    { name: "guarded" },
  );
  svc = await run.beam("svc");
});
after(() => run?.stop());

// One config of TestService: Elixir code.
const fun = (type, { service = ":users", fn = "echo", args = '[{"msg", :string}]', more = "[]" } = {}) =>
  `TestPusher.fun(${service}, "${type}", :${fn}, ${args}, ${more})`;

const pushed = (service, version, funs, { opts = "[]", more = "[]", to = GW, node = svc } = {}) => {
  const push = `TestPusher.config(${service}, "${version}", [${funs.join(", ")}], ${more})`;
  return node.run(`TestPusher.push(${to}, ${push}, ${opts})`);
};

const receiver = (fn, args, to = GW) => svc.run(`:rpc.call(${to}, PhoenixGenApi.ConfigReceiver, :${fn}, [${args}])`);
const db = (fn, args = "") => svc.run(`:rpc.call(${GW}, PhoenixGenApi.ConfigDb, :${fn}, [${args}])`);
const failed = (fn, args = "") => svc.run(`:rpc.call(${GW}, PhoenixGenApi.ConfigFailed, :${fn}, [${args}])`);

async function result(type, service = "users", args = { msg: "hello" }, to = gateway) {
  const conn = await (await Conn.open(to)).join();
  const { push } = await conn.call(type, args, { service });
  await conn.close();
  return push;
}

describe("a push of ten thousand functions", () => {
  it("is accepted while clients are served, and its caller hears it once", async () => {
    const many = `for(i <- 1..10_000, do: TestPusher.fun(:lots, "f#{i}", :echo, [{"msg", :string}], []))`;
    const answer = svc.run(`TestPusher.push(${GW}, TestPusher.config(:lots, "1", ${many}, []), [])`, 60000);
    const conn = await (await Conn.open(gateway)).join();
    for (let i = 0; i < 20; i++) await conn.call("f1", { msg: "x" }, { service: "lots" });
    assert.equal(await answer, "{:ok, :accepted}");
    assert.equal((await conn.call("f10000", { msg: "last" }, { service: "lots" })).push.result, "last");
    const from = gateway.lines.length;
    await receiver("delete_pushed_service", ":lots");
    await gateway.waitLine(/pushed service deleted.*removed=10000/, 5000, from);
    await conn.close();
  });

  it("goes on when the node that has sent it dies", async () => {
    const other = await run.beam("pusher");
    const many = `for(i <- 1..10_000, do: TestPusher.fun(:orphans, "f#{i}", :echo, [{"msg", :string}], []))`;
    // It ends once the first of its functions are in the store.
    other.run(`config = TestPusher.config(:orphans, "1", ${many}, [])
      count = fn -> :rpc.call(${GW}, PhoenixGenApi.ConfigDb, :count, []) end
      before = count.()
      spawn(fn -> TestPusher.push(${GW}, config, []) end)
      Stream.repeatedly(count) |> Enum.find(&(&1 > before))
      :erlang.halt(0, flush: false)`, 30000).catch(() => {});
    await other.exited;
    await gateway.waitLine(/functions pushed.*service="orphans".*count=10000/, 10000);
    await receiver("delete_pushed_service", ":orphans");
  });
});

describe("a push", () => {
  it("is accepted, skipped when its version is here, accepted when forced (S-110, S-111, S-112)", async () => {
    assert.equal(await pushed(":users", "1.0.0", [fun("say_it")]), "{:ok, :accepted}");
    assert.equal(await pushed(":users", "1.0.0", [fun("say_it")]), "{:ok, :skipped, :version_matches}");
    assert.equal(await pushed(":users", "1.0.0", [fun("say_it")], { opts: "[force: true]" }), "{:ok, :accepted}");
    assert.equal(await receiver("push", `TestPusher.config(:users, "1.0.0", [${fun("say_it")}])`),
      "{:ok, :skipped, :version_matches}", "push/1 (S-121)");
  });

  it("makes a function that clients call", async () => {
    const push = await result("say_it");
    assert.equal(push.success, true);
    assert.equal(push.result, "hello");
  });

  it("says what is wrong with it (S-113, S-114, S-120)", async () => {
    assert.equal(await pushed(":users", "", [fun("a")]),
      '{:error, {:validation_failed, ["config_version must be a non-empty string"]}}');
    assert.equal(await receiver("push", ":x, [force: false]"), "{:error, :invalid_push_config_data}");
    assert.equal(await pushed(":users", "2", [fun("a"), fun("b", { service: ":other" })]),
      '{:error, {:validation_failed, ["all fun_configs must have the same service name as the push config"]}}');
    assert.equal(await pushed(":users", "2", [fun("a")], { more: "nodes: nil" }),
      '{:error, {:validation_failed, ["nodes must be a non-empty list of atoms or strings"]}}');
  });

  it("is taken in parts when only some configs are valid, and these are told (S-116, S-090)", async () => {
    await failed("clear");
    const bad = fun("bad", { more: 'version: "1.0.0", timeout: 1' });
    assert.equal(await pushed('"parts"', "1", [fun("good", { service: '"parts"', more: 'version: "1.0.0"' }),
      bad.replace(":users", '"parts"')]), "{:ok, :accepted}");
    assert.equal(await failed("count"), "1");
    const entry = await svc.run(`[e] = :rpc.call(${GW}, PhoenixGenApi.ConfigFailed, :list, [[source: :push]]); ` +
      `{e.service, e.request_type, e.version, e.source, e.node, e.reason, e.config.timeout}`);
    assert.equal(entry, '{"parts", "bad", "1.0.0", :push, nil, ' +
      '["timeout must be a positive integer between 100 and 300000, or :infinity"], 1}');
  });

  it("is refused when no config is valid, or none may be called (S-117, S-118)", async () => {
    const value = await pushed('"none"', "1", [fun("x", { service: '"none"', more: 'version: "1.0.0", timeout: 1' })]);
    assert.equal(value, '{:error, {:all_invalid, ["invalid FunConfig: request_type=\\"x\\", service=\\"none\\", ' +
      'version=\\"1.0.0\\", nodes: [:\\"svc@127.0.0.1\\"], mfa: {TestService, :echo, []}, response_type: :sync, ' +
      'check_permission: false"]}}');
    const os = fun("x", { service: '"none"', more: "mfa: {:os, :cmd, []}" });
    assert.equal(await pushed('"none"', "1", [os]), "{:error, :batch_add_failed}");
    assert.equal(await svc.run(`TestPusher.verify(${GW}, "none", "1")`), "{:error, :not_found}");
  });

  it("can be verified, by atom or text (S-119)", async () => {
    const verify = (service, version) => svc.run(`TestPusher.verify(${GW}, ${service}, ${version})`);
    assert.equal(await verify(":users", '"1.0.0"'), "{:ok, :matched}");
    assert.equal(await verify('"users"', '"1.0.0"'), "{:ok, :matched}");
    assert.equal(await verify(":users", '"2.0.0"'), '{:ok, :mismatch, "1.0.0"}');
    assert.equal(await verify(":nobody", '"1.0.0"'), "{:error, :not_found}");
  });

  it("of configs of an older library is accepted, and they work (S-123)", async () => {
    const old = `Map.drop(${fun("old", { service: '"old"', more: 'version: "0.0.0"' })}, ` +
      `[:permission_callback, :hook_timeout, :before_execute, :after_execute])`;
    assert.equal(await pushed('"old"', "1", [old]), "{:ok, :accepted}");
    assert.equal((await result("old", "old")).result, "hello");
  });

  it("that drops a function removes it (S-029 want)", async () => {
    const keep = fun("keep", { service: ":changing" });
    assert.equal(await pushed(":changing", "1", [keep, fun("drop", { service: ":changing" })]), "{:ok, :accepted}");
    assert.equal((await result("drop", "changing")).result, "hello");
    assert.equal(await pushed(":changing", "2", [keep]), "{:ok, :accepted}");
    assert.match((await result("drop", "changing")).error, /^unsupported function: drop/);
    assert.equal((await result("keep", "changing")).result, "hello");
  });

  it("lets the gateway find the node again when the connection is lost (F-092)", async () => {
    assert.equal(await svc.run(`Node.disconnect(${GW})`), "true");
    await eventually(async () => (await result("say_it")).success, "calls work again");
  });

  it("of a thousand functions is taken at once", async () => {
    const many = `(for i <- 1..1000, do: ${fun("f#{i}", { service: '"many"' })})`;
    const value = await svc.run(`TestPusher.push(${GW}, TestPusher.config("many", "1", ${many}))`);
    assert.equal(value, "{:ok, :accepted}");
    assert.equal((await result("f777", "many")).result, "hello");
    assert.equal(await receiver("delete_pushed_service", '"many"'), ":ok");
    assert.match((await result("f777", "many")).error, /^unsupported function: f777/);
  });

  it("leaves nothing undefined that is not there (S-122)", async () => {
    assert.match(await receiver("no_such", "1"), /^\{:badrpc, \{:EXIT, \{:undef, \[/);
  });
});

describe("a push with module and function", () => {
  it("is pulled from then on, so that a new function is found without a push (S-026, S-064)", async () => {
    // local_svc names a module that no service has; while one is missing, no version counts as fetched.
    await svc.run('TestService.Supporter.set_version("1"); TestService.Supporter.hide(["local_svc"])');
    const more = "module: TestService.Supporter, function: :get_config, args: [nil], " +
      "version_module: TestService.Supporter, version_function: :get_config_version";
    const echo = fun("echo", { service: '"user_service"' });
    assert.equal(await pushed('"user_service"', "1", [echo], { more }), "{:ok, :accepted}");
    assert.equal((await result("echo", "user_service")).result, "hello");
    assert.equal((await gateway.get("/ready")).status, 200, "what is pushed does not make it unready");
    await eventually(async () => (await result("plain", "user_service", {})).success, "what only a pull brings");
    const services = await svc.run(`:rpc.call(${GW}, PhoenixGenApi.ConfigPuller, :get_services, []) |> Map.keys()`);
    assert.equal(services, '["user_service"]');
    assert.equal(await svc.run(`:rpc.call(${GW}, PhoenixGenApi.ConfigPuller, :get_service_version, ["user_service"])`),
      '"1"');
  });

  it("is forgotten with the service (S-043)", async () => {
    assert.equal(await receiver("delete_pushed_service", ":user_service"), ":ok");
    assert.equal(await svc.run(`:rpc.call(${GW}, PhoenixGenApi.ConfigPuller, :get_services, [])`), "%{}");
    assert.match((await result("plain", "user_service", {})).error, /^unsupported function: plain/);
  });
});

describe("a service that an operator adds", () => {
  const puller = (fn, args) => svc.run(`:rpc.call(${GW}, PhoenixGenApi.ConfigPuller, :${fn}, [${args}])`);
  const service = "%PhoenixGenApi.Structs.ServiceConfig{service: :user_service, nodes: [node()], " +
    "module: TestService.Supporter, function: :get_config, args: [nil]}";

  it("is pulled, and no more when it is deleted (S-060, S-061)", async () => {
    assert.equal(await puller("add", `[${service}]`), ":ok");
    await eventually(async () => (await result("plain", "user_service", {})).success, "the functions that are pulled");
    assert.ok((await puller("get_api_list", '"user_service"')).includes('"plain"'));
    assert.equal(await puller("delete", `[${service}]`), ":ok");
    assert.equal(await puller("get_services", ""), "%{}");
    assert.equal((await result("plain", "user_service", {})).success, true, "its functions stay");
  });

  it("raises when it cannot be pulled", async () => {
    const raised = (e) => `try do :erpc.call(${GW}, PhoenixGenApi.ConfigPuller, :add, [${e}]) rescue x -> x end`;
    assert.match(await svc.run(raised(":x")), /nodes must be a list of ServiceConfig/);
    assert.match(await svc.run(raised(`[%{${service} | nodes: {M, :f, []}}]`)), /must be a list of 1 to 1024 node names/);
  });
});

describe("the state", () => {
  it("is shown without tokens (S-041, S-042, S-044)", async () => {
    await svc.run(`Application.put_env(:phoenix_gen_api, :push_token, "${TOKEN}")`);
    assert.equal(await pushed(":shown", "1", [fun("a", { service: ":shown" })]), "{:ok, :accepted}");
    const shown = await svc.run(`c = :rpc.call(${GW}, PhoenixGenApi.ConfigReceiver, :get_pushed_config, ["shown"]); ` +
      `{c.__struct__, c.service, c.config_version, c.nodes, length(c.fun_configs), c.push_token}`);
    assert.equal(shown, '{PhoenixGenApi.Structs.PushConfig, :shown, "1", [:"svc@127.0.0.1"], 1, "[redacted]"}');
    const versions = await receiver("get_all_pushed_services", "");
    assert.ok(versions.includes(':shown => "1"'), versions);
    assert.ok(!(await receiver("status", "")).includes(TOKEN));
    assert.equal(await receiver("get_pushed_config", ":nobody"), "nil");
    assert.ok(!gateway.lines.join("\n").includes(TOKEN), "nor logged");
  });

  it("of the store can be changed by hand, and stays so over a push (S-073, S-074)", async () => {
    assert.equal(await db("disable", ':users, "say_it"'), ":ok");
    assert.match((await result("say_it")).error, /^disabled function: say_it/);
    assert.equal(await pushed(":users", "1.0.1", [fun("say_it")]), "{:ok, :accepted}");
    assert.equal(await db("get", '"users", "say_it"'), "{:error, :disabled}");
    assert.equal(await db("enable", '"users", "say_it"'), ":ok");
    assert.equal((await result("say_it")).result, "hello");
    const config = await svc.run(`{:ok, c} = :rpc.call(${GW}, PhoenixGenApi.ConfigDb, :get, [:users, "say_it"]); ` +
      `c == %{${fun("say_it")} | service: :users}`);
    assert.equal(config, "true", "the struct comes back as it was sent");
  });
});

describe("a gateway with a token and an allow-list", () => {
  const to = GUARDED;
  const echo = fun("echo", { service: '"user1"' });

  it("refuses a push without the token, or with another (S-115)", async () => {
    await svc.run("Application.delete_env(:phoenix_gen_api, :push_token)");
    assert.equal(await pushed('"user1"', "1", [echo], { to }), "{:error, :invalid_push_token}");
    await svc.run('Application.put_env(:phoenix_gen_api, :push_token, "open barley")');
    assert.equal(await pushed('"user1"', "1", [echo], { to }), "{:error, :invalid_push_token}");
  });

  it("takes one with it, and only the functions that are allowed (S-082)", async () => {
    await svc.run(`Application.put_env(:phoenix_gen_api, :push_token, "${TOKEN}")`);
    const add = fun("add", { service: '"user1"', fn: "add", args: '[{"a", :num}, {"b", :num}]' });
    assert.equal(await pushed('"user1"', "1", [echo, add], { to }), "{:ok, :accepted}");
    assert.equal((await result("echo", "user1", { msg: "x" }, guarded)).result, "x");
    assert.match((await result("add", "user1", { a: 1, b: 2 }, guarded)).error, /^unsupported function: add/);
  });

  it("refuses other services and other nodes (S-084 want)", async () => {
    const refused = "{:error, :push_not_allowed}";
    assert.equal(await pushed('"mail"', "1", [fun("a", { service: '"mail"' })], { to }), refused);
    assert.equal(await pushed('"user1"', "2", [echo], { to, more: "nodes: [:evil@host]" }), refused);
    const stranger = await run.beam("stranger");
    await stranger.run(`Application.put_env(:phoenix_gen_api, :push_token, "${TOKEN}")`);
    const more = "nodes: [:'svc@127.0.0.1']";
    assert.equal(await pushed('"user1"', "2", [echo], { to, more, node: stranger }), refused);
    await stranger.kill();
    assert.ok(!guarded.lines.join("\n").includes(TOKEN));
  });
});

describe("a snapshot of what was pushed", () => {
  const file = () => path.join(run.dir, "pushed");
  const start = (wait = true) => run.gateway(bare(`push:\n  snapshot_file: ${file()}\n`), { name: "keeper", wait });
  const KEEPER = ":'keeper@127.0.0.1'";
  const written = (size = 0) => eventually(() => fs.existsSync(file()) && fs.statSync(file()).size > size, "it is written");

  it("serves at once after kill -9, before anybody pushes again (S-077 want)", async () => {
    const first = await start();
    assert.equal(await pushed(":kept", "1.0.0", [fun("say_it", { service: ":kept" })], { to: KEEPER }), "{:ok, :accepted}");
    await written();
    assert.equal(fs.statSync(file()).mode & 0o777, 0o600);
    first.stopping = true;
    await first.kill("SIGKILL");
    const second = await start();
    await second.waitLine(/pushed functions read.*services=1 refused=0/);
    await eventually(async () => (await result("say_it", "kept", { msg: "again" }, second)).result === "again", "served");
    assert.equal(await receiver("verify", ':kept, "1.0.0"', KEEPER), "{:ok, :matched}");
    assert.equal(await pushed(":kept", "1.0.0", [fun("say_it", { service: ":kept" })], { to: KEEPER }),
      "{:ok, :skipped, :version_matches}");
    await second.stop();
  });

  it("is written at a stop, and a deleted service is not in it", async () => {
    const first = await start();
    assert.equal(await pushed(":more", "1", [fun("a", { service: ":more" })], { to: KEEPER }), "{:ok, :accepted}");
    await receiver("delete_pushed_service", ":kept", KEEPER);
    await first.stop();
    const second = await start();
    assert.equal(await receiver("get_all_pushed_services", "", KEEPER), '%{more: "1"}');
    await second.stop();
  });

  it("that is broken is said and left, and the start goes on", async () => {
    const bytes = fs.readFileSync(file());
    bytes[bytes.length - 3] ^= 1;
    fs.writeFileSync(file(), bytes);
    const gw = await start();
    await gw.waitLine(/pushed functions not read.*checksum is wrong/);
    assert.equal(await receiver("get_all_pushed_services", "", KEEPER), "%{}");
    assert.equal(await pushed(":kept", "2", [fun("say_it", { service: ":kept" })], { to: KEEPER }), "{:ok, :accepted}");
    await gw.stop();
    assert.notDeepEqual(fs.readFileSync(file()), bytes);
  });
});
