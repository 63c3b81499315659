// PhoenixGenApi.Diagnostics as an Elixir node asks it (O-040..O-098): the library's keys, the kinds of their values as Elixir sees
// them, and traces of requests that go to a process of the asking node.
"use strict";
const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually } = require("./harness");
const { Conn } = require("./client");

const GW = ":'beamgate@127.0.0.1'";
let run, gateway, peer, svc, client;

before(async () => {
  run = await Run.start();
  svc = await run.beam("svc");
  gateway = await run.gateway(config() + "security:\n  admin_actions: [enable_tracing, disable_tracing]\n");
  peer = await run.beam("peer");
  client = await (await Conn.open(gateway)).join("api:lobby");
  await client.call("echo", { msg: "first" }, { service: "user_service" });
});
after(async () => {
  client?.terminate();
  await run?.stop();
});

const rpc = (f, args = "") => `:rpc.call(${GW}, PhoenixGenApi.Diagnostics, :${f}, [${args}])`;
const is = async (code, want = "true") => assert.equal(await peer.run(code, 30000), want);
// The names of the keys of the map that the Elixir expression gives must be these.
const keys = (map, names) => is(`m = ${map}; {Enum.sort(~w(${names})a) -- Map.keys(m), Map.keys(m) -- ~w(${names})a}`, "{[], []}");

const PROCESS = "pid registered_name node status memory message_queue_len reductions total_heap_size current_function";
const MEMORY = "total processes processes_used system atom atom_used binary code ets";
const TABLE = "id name named_table type keypos protection owner heir node size memory compressed read_concurrency " +
  "write_concurrency decentralized_counters exists";
const FLOW = "service request_type version config local? nodes reachable_nodes unreachable_nodes response_type " +
  "choose_node_mode timeout mfa rate_limit permission hooks retry steps";

describe("health_check", () => {
  it("has the library's keys (O-040..O-042)", async () => {
    await keys(rpc("health_check"), "status node checked_at_ms checks");
    await keys(`${rpc("health_check")}.checks`, "vm node phoenix_gen_api beamgate");
    await keys(`${rpc("health_check")}.checks.vm`,
      "status process_count process_limit memory schedulers schedulers_online uptime");
    await keys(`${rpc("health_check")}.checks.vm.memory`, MEMORY);
    await keys(`${rpc("health_check")}.checks.node`, "status node alive? connected_nodes");
    await keys(`${rpc("health_check")}.checks.phoenix_gen_api.checks`,
      "config_db config_puller config_receiver relay_registry relay_server worker_pool_supervisor async_pool stream_pool " +
      "rate_limiter_supervisor rate_limiter_instances supervision_tree");
    await keys(`${rpc("health_check")}.checks.phoenix_gen_api.checks.config_db.process`, PROCESS);
  });

  it("has values of the library's kinds", async () => {
    await is(`h = ${rpc("health_check", "[]")}
      vm = h.checks.vm
      db = h.checks.phoenix_gen_api.checks.config_db
      {up, since} = vm.uptime
      {h.node == ${GW}, abs(h.checked_at_ms - System.system_time(:millisecond)) < 60_000, Enum.all?(vm.memory, fn {_, v} -> is_integer(v) end),
       is_integer(up) and is_integer(since), h.checks.node.alive?, node() in h.checks.node.connected_nodes,
       h.checks.phoenix_gen_api.mode, is_binary(db.registered_name), node(db.pid) == ${GW}, db.process.pid == db.pid}`,
      "{true, true, true, true, true, true, :gateway, true, true, true}");
  });

  it("says that all is well, and that it is not when there is too little memory (O-043)", async () => {
    await is(`${rpc("health_check")}.status`, ":ok");
    await is(`${rpc("health_check", "[max_memory_bytes: 1]")}.status`, ":degraded");
    await is(`{${rpc("health_check")}.checks.beamgate.ready, ${rpc("health_check")}.checks.beamgate.reason}`, '{true, ""}');
  });

  it("measures the loop", async () => {
    await is(`l = ${rpc("health_check")}.checks.beamgate.loop
      s = l.last_60s
      {s.turns > 0 and s.busy_us > 0 and s.busy_us <= s.elapsed_us and s.longest_turn_us <= l.longest_turn_us,
       l.cpu_us > 0 and l.last_1s.turns <= s.turns}`, "{true, true}");
  });
});

describe("statistics", () => {
  it("has the library's keys (O-050)", async () => {
    await keys(rpc("statistics"), "node collected_at_ms vm phoenix_gen_api beamgate");
    await keys(`${rpc("statistics")}.vm`,
      "context_switches exact_reductions garbage_collection memory port_count process_count process_limit reductions " +
      "runtime scheduler_wall_time schedulers_online schedulers uptime ets_count");
    await keys(`${rpc("statistics")}.phoenix_gen_api`,
      "client_mode telemetry_events config_db config_puller config_receiver rate_limiter worker_pool relay");
    await keys(`${rpc("statistics")}.phoenix_gen_api.config_db.ets`, TABLE);
    await keys(`${rpc("statistics")}.phoenix_gen_api.config_puller.data`,
      "status services api_list service_versions failure_count");
    await keys(`${rpc("statistics")}.phoenix_gen_api.config_receiver.data`, "status pushed_services pushed_configs");
    await keys(`${rpc("statistics")}.phoenix_gen_api.worker_pool.async_pool.data`,
      "idle_workers busy_workers queued_tasks circuit_open total_tasks_executed total_tasks_failed");
  });

  it("has values of the library's kinds, and they are measured", async () => {
    await is(`s = ${rpc("statistics")}
      vm = s.vm
      {{r, _}, {_, 0}, {0, 0, 0}, [{1, a, t}]} = {vm.runtime, vm.context_switches, vm.garbage_collection, vm.scheduler_wall_time}
      {is_integer(r), a <= t, vm.memory.total > 1_000_000, vm.port_count > 2, s.phoenix_gen_api.client_mode,
       s.phoenix_gen_api.config_db.count > 10, s.phoenix_gen_api.config_db.services, s.beamgate.connections,
       s.beamgate.metrics.requests_total > 0, is_integer(s.beamgate.malloc.heap_used_bytes)}`,
      '{true, true, true, true, false, true, ["user_service"], 1, true, true}');
  });

  it("shows the parts as they show themselves, and the 30 events (O-033, O-050)", async () => {
    await keys(`${rpc("statistics")}.phoenix_gen_api.rate_limiter.data`, "status instance_count instances");
    await keys(`hd(${rpc("statistics")}.phoenix_gen_api.rate_limiter.data.instances)`,
      "status instance_index global_limits api_limits cleanup_interval ets memory_bytes");
    await is(`${rpc("statistics")}.phoenix_gen_api.telemetry_events`, "30");
  });

  it("counts async requests and streams (E-210)", async () => {
    const before = await peer.run(`${rpc("statistics")}.phoenix_gen_api.worker_pool.async_pool.data.total_tasks_executed`);
    const other = await (await Conn.open(gateway)).join("api:lobby");
    other.send(["1", "90", "api:lobby", "api", { service: "user_service", request_type: "slow_async", request_id: "p1", args: { ms: 400 } }]);
    await eventually(async () => (await peer.run(
      `${rpc("statistics")}.phoenix_gen_api.worker_pool.async_pool.data.busy_workers`)) === "1", "one async request runs");
    await eventually(async () => Number(await peer.run(
      `${rpc("statistics")}.phoenix_gen_api.worker_pool.async_pool.data.total_tasks_executed`)) === Number(before) + 1, "it has ended");
    await other.close();
  });
});

describe("debug_report", () => {
  it("has the library's keys, and as many processes as asked for (O-060)", async () => {
    await keys(rpc("debug_report"), "node collected_at_ms processes ets_tables trace");
    await keys(`hd(${rpc("debug_report")}.processes)`, PROCESS);
    await keys(`hd(${rpc("debug_report", "[include_current_stacktrace: true]")}.processes)`, `${PROCESS} current_stacktrace`);
    await is(`d = ${rpc("debug_report", "[process_limit: 3]")}
      m = Enum.map(d.processes, & &1.memory)
      {length(m), m == Enum.sort(m, :desc), Map.keys(d.ets_tables) |> Enum.sort(), Map.keys(d.trace)}`,
      '{3, true, [":phoenix_gen_api_relay_groups", ":rate_limiter_api", ":rate_limiter_global", "PhoenixGenApi.ConfigDb", ' +
      '"PhoenixGenApi.RelayRegistry"], [:node, :trace_control_word]}');
  });
});

describe("call_flow", () => {
  it("has the library's keys (O-070), phases in order (O-074)", async () => {
    await keys(rpc("call_flow", '"user_service", "echo"'), FLOW);
    await is(`f = ${rpc("call_flow", ':user_service, "echo", nil')}
      {f.service, f.request_type, f.config.__struct__, f.local?, f.nodes == f.reachable_nodes, f.unreachable_nodes, f.response_type,
       f.mfa, f.timeout, f.retry.configured, Enum.map(f.steps, & &1.phase)}`,
      '{:user_service, "echo", PhoenixGenApi.Structs.FunConfig, false, true, [], :sync, {TestService, :echo, []}, 5000, false, ' +
      "[:channel, :decode, :config_lookup, :hooks_before, :permission, :rate_limit, :argument_validation, :node_selection, " +
      ":execution, :hooks_after, :response]}");
  });

  it("says what is not there (O-075)", async () => {
    await is(rpc("call_flow", '"user_service", "nope"'), '%{config: nil, error: :not_found, request_type: "nope", service: "user_service", ' +
      'steps: [%{desc: "ConfigDb.get(\\"user_service\\", \\"nope\\") → :not_found", phase: :config_lookup}]}');
  });

  it("is given for a request, by atom or text keys (O-080)", async () => {
    await keys(rpc("inspect_request", '%{service: "user_service", request_type: "echo", user_id: "u1"}'), `${FLOW} request`);
    await is(`${rpc("inspect_request", '%{"service" => "user_service", "request_type" => "echo", "user_id" => "u1"}')}.request`,
      '%{device_id: nil, request_id: nil, request_type: "echo", service: "user_service", user_id: "u1", version: nil}');
    await is(`match?({:badrpc, {:EXIT, {{:badmap, :x}, _}}}, ${rpc("inspect_request", ":x")})`);
  });

  it("is given for every function (O-090)", async () => {
    await is(`flows = ${rpc("list_call_flows")}
      names = Enum.map(flows, &{&1.service, &1.request_type})
      {length(flows) + Enum.count(${rpc("list_call_flows", "[include_disabled: true]")}, & &1.disabled) ==
         :rpc.call(${GW}, PhoenixGenApi.ConfigDb, :count, []), names == Enum.sort(names),
       Enum.all?(flows, &(&1.disabled == false))}`, "{true, true, true}");
    await is(`:rpc.call(${GW}, PhoenixGenApi.ConfigDb, :disable, ["user_service", "add"])
      n = length(${rpc("list_call_flows")})
      all = ${rpc("list_call_flows", "[include_disabled: true]")}
      :rpc.call(${GW}, PhoenixGenApi.ConfigDb, :enable, ["user_service", "add"])
      {length(all) > n, Enum.find(all, &(&1.disabled and &1.request_type == "add")) |> Map.keys()}`, "{true, [:disabled, :request_type, :service, :status, :version]}");
  });
});

describe("cluster_view", () => {
  it("shows who is connected and which services are where (O-085)", async () => {
    await keys(rpc("cluster_view"), "self connected connected_count registered_processes phoenix_gen_api_services node_selection");
    await is(`c = ${rpc("cluster_view")}
      {c.self == ${GW}, node() in c.connected, c.connected_count == length(c.connected), :net_kernel in c.registered_processes[${GW}],
       Process.whereis(:code_server) |> is_pid() and :code_server in c.registered_processes[:'svc@127.0.0.1'],
       c.phoenix_gen_api_services[:'svc@127.0.0.1'], c.phoenix_gen_api_services[node()], c.node_selection.strategies}`,
      '{true, true, true, true, true, ["user_service"], [], [:random, :hash, :round_robin, :sticky]}');
  });
});

describe("cluster_view, with a node that does not answer", () => {
  it("leaves that one out, and is answered by rex too", async () => {
    const mute = await run.beam("mute");
    await mute.run(`Node.connect(${GW})`);
    await mute.run(`me = self() # a process stays suspended as long as the one that did it lives
      spawn(fn -> :erlang.suspend_process(Process.whereis(:rex)); send(me, :done); Process.sleep(:infinity) end)
      receive do :done -> :ok end`);
    await is(`c = ${rpc("cluster_view")}
      {:'mute@127.0.0.1' in c.connected, Map.has_key?(c.registered_processes, :'mute@127.0.0.1'), Map.has_key?(c.registered_processes, node())}`,
      "{true, false, true}");
    await is(`c = :rpc.block_call(${GW}, PhoenixGenApi.Diagnostics, :cluster_view, []); c.self == ${GW}`);
    await mute.kill();
  });

  it("survives callers that give up", async () => {
    await is(`for _ <- 1..20, do: spawn(fn -> :rpc.call(${GW}, PhoenixGenApi.Diagnostics, :cluster_view, [], 1) end)
      Process.sleep(100)
      c = ${rpc("cluster_view")}
      c.self == ${GW}`);
  });
});

describe("wrong arguments", () => {
  it("are function_clause with the MFA, or the library's error", async () => {
    for (const call of ["health_check, [:x]", "health_check, [[1]]", "debug_report, [[process_limit: :x]]", "list_call_flows, [%{}]"])
      await is(`match?({:badrpc, {:EXIT, {:function_clause, [{PhoenixGenApi.Diagnostics, _, [_], _} | _]}}},
        :rpc.call(${GW}, PhoenixGenApi.Diagnostics, :${call}))`);
    await is(`match?({:badrpc, {:EXIT, {:undef, _}}}, ${rpc("health_check", "1, 2, 3")})`);
    await is(`Enum.map([:x, [1], self(), %{}, "all", [:all, :processes]], &:rpc.call(${GW}, PhoenixGenApi.Diagnostics, :trace_processes, [&1])) |>
      Enum.map(&elem(&1, 1)) |> Enum.map(fn {e, _} -> e; e -> e end) |> Enum.uniq() == [:invalid_trace_target]`);
  });
});

// A process that keeps what it is sent.
const COLLECT = `collector = fn name ->
      pid = spawn(fn -> Process.register(self(), name)
        loop = fn loop, acc -> receive do
          {:get, from} -> send(from, {name, Enum.reverse(acc)}); loop.(loop, acc)
          m -> loop.(loop, [m | acc]) end end
        loop.(loop, []) end)
      Process.sleep(50)
      pid end`;
const collected = (name, f = "& &1") => peer.run(`send(:${name}, {:get, self()})
      receive do {:${name}, m} -> m after 3000 -> :late end |> then(${f})`);

describe("tracing (O-095..O-098)", () => {
  const call = (type, args) => client.call(type, args, { service: "user_service" });

  it("of all requests goes to a process of the asking node, in the shape of Erlang's trace messages, and to the log", async () => {
    await is(`${COLLECT}
      t = collector.(:all_traces)
      {:ok, r} = ${rpc("trace_processes", ":all, [tracer: t]")}
      {Map.keys(r), r.tracer == t, r.flags, r.targets, r.results}`,
      '{[:flags, :results, :targets, :tracer], true, [:call, :return_to, :procs], [:all], %{":all" => 1}}');
    await call("echo", { msg: "a secret of the client" });
    await eventually(async () => Number(await collected("all_traces", "&length/1")) >= 5, "five messages");
    assert.equal(await collected("all_traces", `fn m -> Enum.map(m, fn
        {:trace, p, :call, mfa, %{node: n}} when is_pid(p) -> {:call, mfa, n}
        {:trace, p, :return_from, mfa, %{outcome: o}} when is_pid(p) -> {:return_from, mfa, o}
        {:trace, p, :send, %{success: s}, :client} when is_pid(p) -> {:send, s}
        {:trace, p, :receive, %{user_id: u, topic: t, service: s, request_type: r}} when is_pid(p) -> {:receive, u, t, s, r}
        {:trace, p, :request_end, %{}} when is_pid(p) -> :request_end end) end`),
      '[{:receive, "u1", "api:lobby", "user_service", "echo"}, {:call, {TestService, :echo, 1}, :"svc@127.0.0.1"}, ' +
      "{:return_from, {TestService, :echo, 1}, :return}, {:send, true}, :request_end]");
    assert.ok(!(await collected("all_traces")).includes("secret"));
    await gateway.waitLine(/part=trace msg="call" trace=\d+ .*node="svc@127.0.0.1"/);
    assert.ok(!gateway.lines.join("\n").includes("a secret of the client"));
    await is(rpc("stop_trace"), '{:ok, %{flags: [:call, :return_to, :procs], results: %{":all" => 1}, targets: [:all]}}');
    assert.equal(await collected("all_traces", "&List.last/1"), await peer.run(`id = 1; {:trace_ended, id, :stopped}`));
  });

  it("can be narrowed to a service, type, user, topic or request", async () => {
    for (const narrow of ['service: "user_service", request_type: "add"', 'user_id: "u1", request_type: "add"',
      'topic: "api:lobby", request_type: "add"']) {
      await is(`${COLLECT}
        if p = Process.whereis(:narrow), do: Process.exit(p, :kill)
        Process.sleep(20)
        t = collector.(:narrow)
        match?({:ok, _}, ${rpc("trace_processes", `:all, [tracer: t, log: false, ${narrow}]`)})`);
      await call("echo", { msg: "x" });
      await call("add", { a: 1, b: 2 });
      await eventually(async () => (await collected("narrow", "&length/1")) === "5", `only the second request: ${narrow}`);
      await is(`match?({:ok, _}, ${rpc("stop_trace")})`);
    }
    await is(`${COLLECT}
      t = collector.(:nobody)
      match?({:ok, _}, ${rpc("trace_processes", ':all, [tracer: t, user_id: "somebody else"]')})`);
    await call("echo", { msg: "x" });
    assert.equal(await collected("nobody", "&length/1"), "0");
    await is(`match?({:ok, _}, ${rpc("stop_trace")})`);
  });

  it("of functions sees only these", async () => {
    await is(`${COLLECT}
      t = collector.(:functions)
      {:ok, r} = ${rpc("trace_functions", "{TestService, :add}, [tracer: t, flags: [:call, :timestamp]]")}
      {Map.keys(r), r.mfas, r.match_spec, r.pattern_results["{TestService, :add, :_}"] > 0, Map.keys(r.process_trace)}`,
      "{[:flags, :match_spec, :mfas, :pattern_results, :process_trace, :tracer], [{TestService, :add, :_}], true, true, " +
      "[:flags, :results, :targets, :tracer]}");
    await call("echo", { msg: "x" });
    await call("add", { a: 1, b: 2 });
    await eventually(async () => (await collected("functions", "&length/1")) === "2", "call and return_from");
    assert.equal(await collected("functions", "fn [{:trace_ts, _, :call, mfa, _, {_, _, _}} | _] -> mfa end"), "{TestService, :add, 2}");
    await is(rpc("stop_trace_functions", "{TestService, :add}"),
      '{:ok, %{mfas: [{TestService, :add, :_}], results: %{"{TestService, :add, :_}" => 1}}}');
    await is(rpc("trace_functions", "{NoSuch, :f, 1}"), "{:error, {:invalid_mfa, [{NoSuch, :f, 1}]}}");
    await is(rpc("trace_functions", "{1, :f}"), "{:error, :invalid_mfa}");
    await is(rpc("trace_functions", "{TestService, :add}, [match_spec: :x]"), "{:error, :invalid_match_spec}");
  });

  it("of one channel is asked for by its pid; other targets are refused", async () => {
    const channel = `(${rpc("debug_report", "[process_limit: 1000]")}.processes |>
      Enum.find(&(&1.current_function == {:beamgate, :channel, 1}))).pid`;
    await is(`pid = ${channel}
      {:ok, r} = ${rpc("trace_processes", "pid, [expires_ms: 5000]")}
      on = length(${rpc("traces")})
      {:ok, s} = ${rpc("stop_trace", "pid")}
      {r.targets == [pid], Map.values(r.results), r.tracer == self(), on, Map.values(s.results)}`, "{true, [1], true, 1, [1]}");
    await is(`match?({:error, {:invalid_trace_target, [_]}}, ${rpc("trace_processes", "self()")})`);
    await is(rpc("trace_processes", ":existing"), "{:error, {:invalid_trace_target, [:existing]}}");
    await is(rpc("trace_processes", ":all, [flags: [:garbage_collection]]"), "{:error, :invalid_trace_flag}");
    await is(rpc("trace_processes", ":all, [tracer: :x]"), "{:error, :invalid_tracer}");
    await is(rpc("trace_status"), '%{node: :"beamgate@127.0.0.1", trace_control_word: 0}');
  });

  it("drops what is over its rate, says how much, and ends with its number of messages", async () => {
    await is(`${COLLECT}
      t = collector.(:bounded)
      match?({:ok, _}, ${rpc("trace_processes", ":all, [tracer: t, log: false, max_per_second: 3, max_messages: 6]")})`);
    await eventually(async () => {
      await call("echo", { msg: "x" });
      return /:trace_ended, \d+, :max_messages/.test(await collected("bounded", "&List.last/1"));
    }, "the end");
    assert.equal(await collected("bounded", "fn m -> Enum.count(m, &(elem(&1, 0) == :trace)) end"), "6");
    assert.equal(await collected("bounded", "fn m -> Enum.any?(m, &match?({:drop, n} when n > 0, &1)) end"), "true");
  });

  it("ends with its time, with its tracer, and with the tracer's node", async () => {
    await is(`${COLLECT}
      t = collector.(:short)
      match?({:ok, _}, ${rpc("trace_processes", ":all, [tracer: t, expires_ms: 100]")})`);
    await eventually(async () => /:expired/.test(await collected("short", "&inspect/1")), "it expires");
    await is(`t = spawn(fn -> receive do :go -> :ok end end)
      {:ok, _} = ${rpc("trace_processes", ":all, [tracer: t]")}
      n = length(${rpc("traces")})
      send(t, :go)
      n`, "1");
    await eventually(async () => (await peer.run(rpc("traces"))) === "[]", "the tracer's end ends it");
    const other = await run.beam("other");
    assert.equal(await other.run(`t = spawn(fn -> Process.sleep(:infinity) end)
      {:ok, _} = ${rpc("trace_processes", ":all, [tracer: t]")}; :on`), ":on");
    await other.kill();
    await eventually(async () => (await peer.run(rpc("traces"))) === "[]", "its node's end ends it");
    await gateway.waitLine(/msg="trace ended" .*reason=tracer_gone/);
  });

  it("is denied where the configuration does not allow it (S-080)", async () => {
    const guarded = await run.gateway(config(), { name: "guarded" });
    await is(`for {f, a} <- [trace_processes: [:all], trace_functions: [{TestService, :echo}], stop_trace: [], stop_trace_functions: []],
        uniq: true, do: :rpc.call(:'guarded@127.0.0.1', PhoenixGenApi.Diagnostics, f, a)`, "[error: :admin_action_denied]");
    await guarded.stop();
  });
});
