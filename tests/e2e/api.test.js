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
