// The library's API by its own names, called by rpc from an Elixir node as on an Elixir gateway (03 §6, 04, 06): return
// terms, shapes of errors, and who gets the later answers of a request that a node hands over.
"use strict";
const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually } = require("./harness");

let run, gateway, svc;
const GW = ":'beamgate@127.0.0.1'";

before(async () => {
  run = await Run.start();
  svc = await run.beam("svc");
  gateway = await run.gateway(config());
});
after(() => run?.stop());

const is = async (code, want) => assert.equal(await svc.run(code), want);
const rpc = (module, fn, args) => `:rpc.call(${GW}, ${module}, ${fn}, ${args})`;

describe("Executor", () => {
  const request = (type, args = "%{}", more = "") =>
    `%PhoenixGenApi.Structs.Request{request_type: "${type}", request_id: "r1", service: "user_service", args: ${args}, user_id: "u1"${more}}`;
  const execute = (...a) => rpc("PhoenixGenApi.Executor", ":execute!", `[${request(...a)}]`);
  const response = (fields) => `Map.equal?(%PhoenixGenApi.Structs.Response{${fields}}, `;

  it("runs a request through the pipeline and gives its Response with the service's own terms (F-112, E-135)", async () => {
    await is(`${response('request_id: "r1", success: true, result: "hi"')} ${execute("echo", '%{"msg" => "hi"}')})`, "true");
    await is(`${execute("dates")}.result.date`, "~D[2024-01-02]");
    await is(`${execute("charlist")}.result`, '"abc"'.replaceAll('"', "'"));
    await is(`match?(%{error: "unsupported function: nope version latest", success: false}, ${execute("nope")})`, "true");
    await is(`${execute("fail_error")}.error`, '"Internal Server Error"');
  });

  it("by rex and by erpc alike", async () => {
    const req = request("echo", '%{"msg" => "hi"}');
    await is(`:rpc.block_call(${GW}, PhoenixGenApi.Executor, :execute!, [${req}]).result`, '"hi"');
    await is(`:erpc.call(${GW}, PhoenixGenApi.Executor, :execute!, [${req}]).result`, '"hi"');
    await is(`:erpc.multicall([${GW}], PhoenixGenApi.Executor, :execute!, [${req}]) |> hd() |> elem(1) |> Map.get(:result)`, '"hi"');
  });

  it("raises what the library raises for arguments and payloads (E-008, E-021)", async () => {
    await is(`try do :erpc.call(${GW}, PhoenixGenApi.Executor, :execute!, [${request("echo")}]) rescue e -> elem(e.original, 1) end`,
      '%ArgumentError{message: "missing or nil argument \\"msg\\" in \\"echo\\""}');
    await is(`{:badrpc, {:EXIT, {e, [{m, f, _, _}]}}} = ${rpc("PhoenixGenApi.Executor", ":execute_params!", '[%{"service" => "x"}]')}; {e.__struct__, e.code, e.message, m, f}`,
      '{PhoenixGenApi.Errors.DecodeError, :missing_field, "Missing required fields: request_type, request_id", PhoenixGenApi.Executor, :execute_params!}');
    await is(`{:badrpc, {:EXIT, {e, _}}} = ${execute("echo", '%{"msg" => {1, 2}}')}; e.code`, ":invalid_payload");
    await is(`match?({:badrpc, {:EXIT, {:function_clause, [{PhoenixGenApi.Executor, :execute!, [:x], []}]}}}, ${rpc("PhoenixGenApi.Executor", ":execute!", "[:x]")})`, "true");
  });

  it("takes user and roles from the Request, which a node of the cluster vouches for (E-051, E-053)", async () => {
    const extra = `TestService.Supporter.extra([TestService.Supporter.fun("admins", :plain, [], check_permission: {:role, ["admin"]})])`;
    await svc.run(`${extra}; TestService.Supporter.set_version("2")`);
    await eventually(async () => (await svc.run(`${execute("admins")}.error`)) === '"Permission denied"', "pulled");
    await is(`${execute("admins", "%{}", ', user_roles: ["admin"]')}.success`, "true");
    const params = '%{"request_type" => "admins", "request_id" => "p", "service" => "user_service", "user_roles" => ["admin"]}';
    await is(`${rpc("PhoenixGenApi.Executor", ":execute_params!", `[${params}]`)}.request_id`, '"p"');
  });

  it("acknowledges async and sends the result to the caller (E-136)", async () => {
    await is(`%{success: true, async: true, result: nil} = ${execute("echo_async", '%{"msg" => "later"}')}
      receive do {:async_call, r} -> {r.result, r.async} after 3000 -> :nothing end`, '{"later", false}');
    await is(`${execute("notify", '%{"msg" => "x"}')}`, "{:ok, :no_response}");
  });

  it("streams to the caller until it is stopped (E-145, E-146, E-152)", async () => {
    await is(`%{result: :init, has_more: true} = ${execute("stream", '%{"n" => 2}')}
      for _ <- 1..4 do
        receive do {:stream_response, r} -> {r.has_more, r.result} after 3000 -> :nothing end
      end |> Enum.map(fn {m, %PhoenixGenApi.Structs.Response{result: r}} -> {m, :nested, r}; x -> x end)`,
      "[{true, :nested, %{started: 2}}, {true, %{chunk: 1}}, {true, %{chunk: 2}}, {false, %{done: true, total: 2}}]");
    await is(`%{result: :init} = ${execute("stream_ticks", '%{"ms" => 20}')}
      receive do {:stream_response, %{result: %{tick: 2}}} -> :ok end
      stop = ${rpc("PhoenixGenApi.StreamCall", ":stop", '["r1"]')}
      other = ${rpc("PhoenixGenApi.StreamCall", ":stop", '["nobody"]')}
      last = receive do {:stream_response, %{has_more: false} = r} -> {r.success, r.result} after 3000 -> :nothing end
      {stop, other, last}`, "{:ok, {:error, :not_found}, {true, nil}}");
  });

  it("drops the request of a caller that dies, and none waits in vain", async () => {
    await is(`pid = spawn(fn -> ${execute("slow_long", '%{"ms" => 15000}')} end); Process.sleep(300); Process.exit(pid, :kill)`, "true");
    await eventually(async () => (await gateway.metric("requests_in_flight")) === 0, "dropped");
    assert.equal((await gateway.state()).get("processes") < 30, true);
    await is(`${execute("slow_timeout", '%{"ms" => 1000}')}.error`, '"Internal Server Error"');
  });
});

describe("RateLimiter", () => {
  const LIMITS = "rate_limiter:\n  global_limits: [{key: user_id, max_requests: 2, window_ms: 60000}]\n" +
    "  api_limits: [{service: s, request_type: t, key: args.k, max_requests: 1, window_ms: 60000}]\n";
  const call = (gw, fn, args = "") => `:rpc.call(:'${gw}@127.0.0.1', PhoenixGenApi.RateLimiter, :${fn}, [${args}])`;
  const limiter = (fn, args) => call("limited", fn, args);
  const request = `%PhoenixGenApi.Structs.Request{request_type: "t", request_id: "r", service: :s, user_id: "u2", args: %{"k" => "v"}}`;

  before(async () => {
    await run.gateway(config() + LIMITS, { name: "limited" });
    await run.gateway(`${config()}${LIMITS}security:\n  admin_actions: [update_rate_limit_config]\n`, { name: "admin" });
  });

  it("checks a value and tells the details of a refusal (E-073, E-079, E-081)", async () => {
    const check = limiter("check_rate_limit", '"u1", :global, :user_id');
    await is(`{${check}, ${check}, elem(${check}, 1)}`, "{:ok, :ok, :rate_limited}");
    await is(`{:error, :rate_limited, d} = ${check}; {d.retry_after_ms in 1..60_000, Map.delete(d, :retry_after_ms)}`,
      '{true, %{current_requests: 2, key: "u1", max_requests: 2, scope: :global, window_ms: 60000}}');
    await is(limiter("get_rate_limit_status", '"u1", :global, :user_id'),
      '[%{current_requests: 2, key: "u1", max_requests: 2, remaining: 0, scope: :global, window_ms: 60000}]');
    await is(limiter("reset_rate_limit", '"u1", :global, :user_id'), ":ok");
    await is(`hd(${limiter("get_rate_limit_status", '"u1", :global, :user_id')}).remaining`, "2");
  });

  it("checks a request by all limits that apply to it (E-072)", async () => {
    const check = limiter("check_rate_limit", request);
    await is(check, ":ok");
    await is(`{:error, :rate_limited, d} = ${check}; Map.take(d, [:key, :scope])`, '%{key: "s:t:v", scope: {"s", "t"}}');
    await is(limiter("get_rate_limit_status", '"v", {:s, "t"}, "k"'),
      '[%{current_requests: 1, key: "s:t:v", max_requests: 1, remaining: 0, scope: {:s, "t"}, window_ms: 60000}]');
    await is(limiter("check_rate_limit", '"v", {"other", "t"}, "k"'), ":ok");
  });

  it("shows its limits and its state (E-070, O-050)", async () => {
    await is(limiter("get_configured_limits"), '%{api: [%{key: "k", max_requests: 1, request_type: "t", service: "s", ' +
      'window_ms: 60000}], global: [%{key: :user_id, max_requests: 2, window_ms: 60000}]}');
    await is(`s = ${limiter("status")}; [i] = s.instances; {s.status, s.instance_count, i.instance_index, i.ets.api.size}`, "{:ok, 1, 0, 1}");
  });

  it("lets itself be changed only where the operator allows it (S-080, E-081)", async () => {
    const limit = "%{key: :device_id, max_requests: 5, window_ms: 1000}";
    for (const [fn, args] of [["update_config", "%{global_limits: []}"], ["set_global_limits", "[]"], ["clear", ""],
      ["add_global_limit", limit], ["remove_global_limit", ":user_id"]]) {
      await is(limiter(fn, args), "{:error, :admin_action_denied}");
      await is(call("admin", fn, args), ":ok");
    }
    assert.match(await svc.run(`:rpc.call(:'limited@127.0.0.1', PhoenixGenApi, :rl_global, [[]])`), /^:ok$/);
    await is(`length(${limiter("get_global_limits")})`, "1");
    await is(call("admin", "get_global_limits"), "[%{key: :device_id, max_requests: 5, window_ms: 1000}]");
    await is(call("admin", "update_config", "%{detail_error: true}"), "{:error, :admin_action_denied}");
    await is(`${call("admin", "update_config", `%{api_limits: [], global_limits: [${limit}, ${limit}]}`)}; ${call("admin", "get_configured_limits")}`,
      "%{api: [], global: [%{key: :device_id, max_requests: 5, window_ms: 1000}, %{key: :device_id, max_requests: 5, window_ms: 1000}]}");
  });

  it("refuses limits that are none (E-081)", async () => {
    const set = (e) => `{:badrpc, {:EXIT, {%ArgumentError{message: m}, _}}} = ${call("admin", "set_global_limits", e)}; m`;
    await is(set("[%{key: :user_id}]"), '"limit 1 must be a map with key, max_requests and window_ms"');
    await is(set("[%{key: :user_id, max_requests: 1, window_ms: 0}]"), '"window_ms 0 is not 1 to 604800000"');
    assert.match(await svc.run(call("admin", "set_global_limits", ":x")), /:function_clause/);
    assert.match(await svc.run(call("admin", "set_global_limits", "[%{key: :user_id, max_requests: 1, window_ms: 9} | :x]")), /:function_clause/);
  });
});

const FUN = `TestService.Supporter.fun("f", :echo, [{"msg", :string}], nodes: [:a@h, :b@h, :c@h], choose_node_mode: :hash)`;
const REQ = `%PhoenixGenApi.Structs.Request{request_type: "f", request_id: "req_123", service: "user_service", user_id: "u1", args: %{"msg" => "m"}}`;

describe("the rules", () => {
  const raised = (call) => `(try do ${call.replace(":rpc.call", ":erpc.call")} rescue e -> elem(e.original, 1) end)`;

  it("NodeSelector chooses as for a request (E-161..E-169, E-192)", async () => {
    const selector = (fn, args) => rpc("PhoenixGenApi.NodeSelector", `:${fn}`, `[${args}]`);
    await is(selector("get_node", `${FUN}, ${REQ}`), "{:ok, :a@h}");
    await is(`nodes = [:a@h, :b@h, :c@h]; first = Enum.at(nodes, :erlang.phash2("m", 3)); {:ok, [first | nodes -- [first]]} ==
      ${selector("get_nodes", `%{${FUN} | choose_node_mode: {:hash, "msg"}}, ${REQ}`)}`, "true");
    await is(`${selector("reset_round_robin", "")}; for _ <- 1..4, do: elem(${selector("get_node", `%{${FUN} | choose_node_mode: :round_robin}, ${REQ}`)}, 1)`,
      "[:a@h, :b@h, :c@h, :a@h]");
    await is(`${raised(selector("get_node", `%{${FUN} | nodes: :local}, ${REQ}`))}.message`, '"invalid FunConfig: nodes :local cannot run on a native gateway"');
    await is(selector("resolve_nodes_list", `%{${FUN} | nodes: {M, :f, []}}`), "{:error, {:dynamic_node_resolution_failed, :not_run_here}}");
    await is(selector("resolve_nodes_list", FUN), "{:ok, [:a@h, :b@h, :c@h]}");
    await is(`{:ok, c} = ${selector("resolve_nodes", FUN)}; c == ${FUN}`, "true");
    await is(`{${selector("choose_node_valid?", FUN)}, ${selector("choose_node_valid?", `%{${FUN} | choose_node_mode: :best}`)}}`, "{true, false}");
    await is(`for n <- [1, 3, 9, 99], do: ${selector("calculate_backoff", "n, [jitter: false]")}`, "[100, 400, 5000, 5000]");
    await is(`${selector("calculate_backoff", "2")} in 100..300`, "true");
    await is(selector("cleanup_sticky_table", ""), ":ok");
  });

  it("Permission says what a request would be told (E-050..E-055)", async () => {
    const allowed = (mode, req = REQ) => rpc("PhoenixGenApi.Permission", ":check_permission", `[${req}, %{${FUN} | check_permission: ${mode}}]`);
    await is(`{${allowed("false")}, ${allowed(":any_authenticated")}, ${allowed('{:arg, "msg"}')}, ${allowed('{:role, ["admin"]}')}}`, "{true, true, false, false}");
    await is(allowed('{:role, ["admin"]}', `%{${REQ} | user_roles: ["admin"]}`), "true");
    const must = (mode) => rpc("PhoenixGenApi.Permission", ":check_permission!", `[${REQ}, %{${FUN} | check_permission: ${mode}}]`);
    await is(must("false"), "nil");
    await is(`e = ${raised(must('{:arg, "msg"}'))}; {e.__struct__, e.user_id, e.permission_mode}`, '{PhoenixGenApi.Permission.PermissionDenied, "u1", {:arg, "msg"}}');
    await is(`${raised(rpc("PhoenixGenApi.Permission", ":check_permission", `[${REQ}, %{${FUN} | permission_callback: {M, :f, []}}]`))}.message`,
      '"a permission_callback runs on its service\'s node only"');
  });

  it("ArgumentHandler converts and refuses as for a request (E-100..E-104)", async () => {
    const convert = (fn, args) => rpc("PhoenixGenApi.ArgumentHandler", `:${fn}`, `[${args}]`);
    await is(convert("convert_args!", `${FUN}, ${REQ}`), '["m"]');
    await is(convert("validate_args!", `${FUN}, ${REQ}`), ":ok");
    await is(`${raised(convert("convert_args!", `${FUN}, %{${REQ} | args: %{}}`))}.message`, '"missing or nil argument \\"msg\\" in \\"f\\""');
    await is(`${raised(convert("convert_args!", `%{${FUN} | timeout: 1}, ${REQ}`))}.message`,
      '"invalid FunConfig: timeout must be a positive integer between 100 and 300000, or :infinity"');
    await is(`for f <- [:string_max_bytes, :list_max_items, :map_max_items], do: ${rpc("PhoenixGenApi.ArgumentHandler", "f", "[]")}`, "[3000, 1000, 1000]");
  });

  it("Security and Telemetry answer (S-080, S-082, O-033)", async () => {
    const security = (fn, args) => rpc("PhoenixGenApi.Security", `:${fn}`, `[${args}]`);
    await is(security("admin_action_allowed?", ":enable_tracing"), "false");
    assert.match(await svc.run(security("admin_action_allowed?", ":nonsense")), /:function_clause/);
    await is(security("validate_mfa", "{M, :f, []}"), ":ok");
    await is(security("validate_mfa", "{:os, :cmd, []}"), "{:error, {:mfa_not_allowed, {:os, :cmd, []}}}");
    await is(`e = ${rpc("PhoenixGenApi.Telemetry", ":list_events", "[]")}; {length(e), hd(e), List.last(e)}`,
      "{30, [:phoenix_gen_api, :executor, :request, :start], [:phoenix_gen_api, :config, :enable]}");
  });
});

describe("JsonConfig", () => {
  const generate = (fn, args) => rpc("PhoenixGenApi.JsonConfig", `:${fn}`, `[${args}]`);

  it("makes example requests of what is registered (F-140, F-141, F-142, F-144)", async () => {
    await is(`${generate("export_service", '"user_service"')} |> Enum.filter(& &1.request_type == "get_user") |> Enum.map(& &1.version)`, '["2.0.0"]');
    await is(`m = ${generate("generate", '"user_service", [format: :map, user_id: "u9"]')}; m["get_user - get_user"]`,
      '%{"data" => %{"args" => %{"user_id" => ""}, "device_id" => "device_1", "request_id" => "request_1", "request_type" => "get_user", ' +
      '"service" => "user_service", "user_id" => "u9", "version" => "2.0.0"}, "event" => "phoenix_gen_api"}');
    const json = JSON.parse(JSON.parse(await svc.run(`${generate("export_all", '[format: :json, arg_values: %{"echo" => %{"msg" => "hey"}}, descriptions: %{"echo" => "says"}]')}`)));
    assert.deepEqual(json["echo - says"].data.args, { msg: "hey" });
    assert.deepEqual(json["d_num - d_num"].data.args, { v: 18 });
    assert.equal(json["echo - says"].data.version, null);
    await is(`{k, v} = ${generate("export_single", FUN)}; {k, v["data"]["args"]}`, '{"f - f", %{"msg" => ""}}');
    await is(generate("generate", "[:nobody]"), "[]");
  });

  it("refuses what it does not know (F-143)", async () => {
    const message = (args) => `{:badrpc, {:EXIT, {e, _}}} = ${generate("generate", args)}; e.message`;
    await is(message('"x", [format: :xml]'), '"invalid format: :xml"');
    await is(message('"x", [descriptions: 1]'), '"invalid descriptions option: 1"');
    await is(message('"x", [arg_values: :y]'), '"invalid arg_values option: :y"');
  });
});

describe("GenServer calls", () => {
  const call = (name, request) => `GenServer.call({${name}, ${GW}}, ${request})`;

  it("to the processes that an Elixir gateway registers are answered in its shapes (S-101)", async () => {
    await is(`${call("PhoenixGenApi.ConfigReceiver", ":get_all_pushed_services")}`, "%{}");
    await is(call("PhoenixGenApi.ConfigReceiver", '{:verify, "x", "1"}'), "{:error, :not_found}");
    await is(call("PhoenixGenApi.ConfigReceiver", "{:push, :x, false}"), "{:error, :invalid_push_config_data}");
    await is(`${call("PhoenixGenApi.ConfigReceiver", ":status")}.status`, ":ok");
    await is(`Map.keys(${call("PhoenixGenApi.ConfigPuller", ":get_services")})`, '["user_service"]');
    await is(`${call("PhoenixGenApi.ConfigDb", '{:disable, {"user_service", "plain", nil}}')}; ${rpc("PhoenixGenApi.ConfigDb", ":get", '["user_service", "plain"]')}`,
      "{:error, :disabled}");
    await is(call("PhoenixGenApi.ConfigDb", '{:enable, {"user_service", "plain", nil}}'), ":ok");
    await is(call(":rate_limiter_instance_0", ":get_configured_limits"), "%{api: [], global: []}");
    await is(`${call(":async_pool", ":status")}.circuit_open`, "false");
    await is(`GenServer.cast({PhoenixGenApi.ConfigPuller, ${GW}}, :pull)`, ":ok");
    await is(`GenServer.multi_call([${GW}], PhoenixGenApi.ConfigPuller, :get_all_versions, 3000) |> elem(1) |> length()`, "0");
  });

  it("that nobody knows are told so, and nobody is killed", async () => {
    await is(call("PhoenixGenApi.ConfigDb", ":dance"), "{:error, :notsup}");
    await is(call("PhoenixGenApi.ConfigDb", "{:disable, :x}"), "{:error, :notsup}");
    await is(call("PhoenixGenApi.ConfigDb", "{:disable, {1, 2, 3}}"), "{:error, :function_clause}");
    await is(`p = ${rpc(":erlang", ":whereis", "[PhoenixGenApi.ConfigDb]")}; Process.exit(p, :kill); Process.sleep(50); p == ${rpc(":erlang", ":whereis", "[PhoenixGenApi.ConfigDb]")}`, "true");
  });
});
