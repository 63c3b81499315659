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
