// The gateway as Observer and etop see it (08 §5, D-20..D-23), without the GUI: every tab's calls made from a real BEAM
// node, by rpc or spawn_link exactly as observer_wx makes them, and what Observer does with the answers. The GUI itself
// is `make observer`.
"use strict";
const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, patience } = require("./harness");
const { Conn } = require("./client");

const GW = ":'beamgate@127.0.0.1'";
const SLOW = patience(1);
let run, gateway, peer, client;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  gateway = await run.gateway(config());
  peer = await run.beam("peer");
  client = await Conn.open(gateway);
  await client.join("api:observer");
});
after(async () => {
  client?.terminate();
  await run?.stop();
});

const rpc = (m, f, args = "[]") => `:rpc.call(${GW}, ${m}, ${f}, ${args})`;
const is = async (code, want = "true") => assert.equal(await peer.run(code, 60000), want);

describe("System, Memory Allocators (D-20)", () => {
  it("answers sys_info with every key that the tab shows, as numbers or text", async () => {
    await is(`info = ${rpc(":observer_backend", ":sys_info")}
      keys = ~w(otp_release version system_architecture wordsize_external wordsize_internal smp_support threads
        thread_pool_size logical_processors logical_processors_online logical_processors_available schedulers
        schedulers_online uptime run_queue io_input io_output process_count process_limit port_count port_limit
        ets_count dist_buf_busy_limit total processes atom binary code ets)a
      Enum.reject(keys, &List.keymember?(info, &1, 0))`, "[]");
  });

  it("has no limit of 0: the tab divides each count by its limit", async () => {
    await is(`info = ${rpc(":observer_backend", ":sys_info")}
      for n <- [:process, :port, :ets, :atom], l = info[:"#{n}_limit"], l < 1, do: n`, "[]");
  });

  it("says how much malloc holds and uses, never nothing: Observer divides by it", async () => {
    await is(`[{:malloc, [{:instance, 0, [{:mbcs, [{:blocks, [{:malloc, [{:size, used, _, _}]}]},
        {:carriers_size, held, _, _}]}]}]}] = ${rpc(":observer_backend", ":sys_info")}[:alloc_info]
      used > 0 and held >= used`);
  });

  it("answers erlang:system_info and memory by name, and badarg for what nobody knows", async () => {
    await is(`{${rpc(":erlang", ":system_info", "[:wordsize]")}, ${rpc(":erlang", ":system_info", "[:dirty_cpu_schedulers]")}}`,
      "{8, 0}");
    await is(`match?({:badrpc, {:EXIT, {:badarg, _}}}, ${rpc(":erlang", ":system_info", "[:no_such_item]")})`);
    await is(`m = ${rpc(":erlang", ":memory")}; m[:total] > 1000000 and m[:total] == m[:processes] + m[:system]`);
    await is(`[total: t, ets: e] = ${rpc(":erlang", ":memory", "[[:total, :ets]]")}; t > e and e > 0`);
  });

  it("does not know what it has no answer for", async () => {
    await is(`match?({:badrpc, {:EXIT, {:undef, _}}}, ${rpc(":observer_backend", ":get_mnesia_loop", "[self(), 1]")})`);
  });
});

describe("Load Charts (D-20, D-22)", () => {
  it("sends stats for 30 s, each with a greater total, and stops at exit", async () => {
    const code = `me = self()
      Process.flag(:trap_exit, true)
      pid = Node.spawn_link(${GW}, :observer_backend, :fetch_stats, [me, 500])
      {n, _} = Enum.reduce(1..60, {0, {0, 0}}, fn _, {n, {a0, t0}} ->
        receive do
          {:stats, 1, [{1, a, t}], {{:input, i}, {:output, o}}, mem}
              when t > t0 and a >= a0 and a - a0 <= t - t0 and is_integer(i) and is_integer(o) ->
            true = Keyword.keys(mem) -- [:total, :processes, :atom, :binary, :code, :ets] == [:processes_used, :system, :atom_used]
            {n + 1, {a, t}}
        after 3000 -> {n, {a0, t0}} end
      end)
      send(pid, :exit)
      stopped = receive do {:EXIT, ^pid, r} -> r after 3000 -> :still_there end
      later = receive do {:stats, _, _, _, _} -> :more after 1200 -> :quiet end
      {n, stopped, later}`;
    assert.equal(await peer.run(code, 60000), "{60, :normal, :quiet}");
  });

  it("stops when the one it reports to ends, also when nobody is linked with it", async () => {
    await is(`before = ${rpc(":erlang", ":system_info", "[:process_count]")}
      pids = for _ <- 1..20, do: spawn(fn ->
        Node.spawn(${GW}, :observer_backend, :fetch_stats, [self(), 100])
        receive do :go -> :ok end end)
      Process.sleep(400)
      during = ${rpc(":erlang", ":system_info", "[:process_count]")}
      Enum.each(pids, &send(&1, :go))
      Process.sleep(400)
      {during - before, ${rpc(":erlang", ":system_info", "[:process_count]")} - before}`, "{20, 0}");
  });

  it("stops when the connection is lost", async () => {
    const count = `${rpc(":erlang", ":system_info", "[:process_count]")}`;
    const before = await peer.run(count);
    await is(`spawn(fn -> Node.spawn(${GW}, :observer_backend, :fetch_stats, [self(), 100]); Process.sleep(:infinity) end)
      Process.sleep(300); Node.disconnect(${GW})`);
    await eventually(async () => (await peer.run(count)) === before, "the worker is gone");
  });
});

// As observer_pro_wx collects rows: chunks until the worker's EXIT over the link.
const PROCS = `collect = fn collect, pid, acc -> receive do
        {:procs_info, ^pid, rows} -> collect.(collect, pid, acc ++ rows)
        {:EXIT, ^pid, :normal} -> acc
      after 5000 -> :late end end
      Process.flag(:trap_exit, true)
      procs = fn -> collect.(collect, Node.spawn_link(${GW}, :observer_backend, :procs_info, [self()]), []) end`;

// pid: the process of the channel of that topic.
const channel = (topic) => `pid = Enum.find(:rpc.call(${GW}, :erlang, :processes, []), fn p ->
        match?({:label, "${topic}" <> _}, :rpc.call(${GW}, :erlang, :process_info, [p, :label])) and
        match?({:initial_call, {_, :"channel api:*", _}}, :rpc.call(${GW}, :erlang, :process_info, [p, :initial_call])) end)`;
const CHANNEL = channel("api:observer");

describe("Processes (D-21, D-22)", () => {
  it("lists every process with name or kind, and says when that was all", async () => {
    await is(`${PROCS}
      rows = procs.()
      true = Enum.all?(rows, fn {:etop_proc_info, p, mem, reds, name, 0, about, queue} ->
        node(p) == ${GW} and mem > 0 and reds >= 0 and queue >= 0 and (is_atom(name) or match?({:beamgate, _, 1}, name)) and
          (is_list(about) or about == {:beamgate, :wait, 1}) end)
      names = Enum.map(rows, &elem(&1, 4))
      [:beamgate, :beamgate_clients, :beamgate_cluster, :beamgate_config, :net_kernel, :rex, :user,
        {:beamgate, :"channel api:*", 1}, {:beamgate, :"socket /socket", 1}, {:beamgate, :"link peer@127.0.0.1", 1}] -- names`,
      "[]");
  });

  it("says of a channel its topic and user, and counts its client's messages as work", async () => {
    await is(`${PROCS}
      row = fn -> Enum.find(procs.(), &(elem(&1, 4) == {:beamgate, :"channel api:*", 1})) end
      {List.to_string(elem(row.(), 6)), elem(row.(), 3)}`, `{"api:observer user u1", 0}`);
    client.send(["1", "9", "api:observer", "api", {}]);
    await client.fence();
    await is(`${PROCS}
      Enum.find(procs.(), &(elem(&1, 4) == {:beamgate, :"channel api:*", 1})) |> elem(3)`, "1");
  });

  it("counts the messages of a process as reductions", async () => {
    await is(`${PROCS}
      reds = fn -> Enum.find(procs.(), &(elem(&1, 4) == :rex)) |> elem(3) end
      a = reds.()
      for _ <- 1..5, do: :gen_server.call({:rex, ${GW}}, {:call, :erlang, :node, [], self()})
      reds.() - a`, "5");
  });

  it("answers the process window", async () => {
    await is(`pid = ${rpc(":erlang", ":whereis", "[:rex]")}
      items = ~w(binary catchlevel current_function error_handler garbage_collection group_leader heap_size
        initial_call last_calls links memory message_queue_len monitored_by monitors priority reductions
        registered_name sequential_trace_token stack_size status suspending total_heap_size trace trap_exit)a
      info = :rpc.call(${GW}, :erlang, :process_info, [pid, items])
      {Keyword.keys(info) == items, info[:registered_name], info[:status], is_pid(info[:group_leader]),
        Keyword.keys(info[:garbage_collection]), :rpc.call(${GW}, :erlang, :process_info, [pid, :messages]),
        :rpc.call(${GW}, :proc_lib, :translate_initial_call, [pid])}`,
      "{true, :rex, :waiting, true, [:min_heap_size, :fullsweep_after], {:messages, []}, {:beamgate, :rex, 1}}");
  });

  // As observer_procinfo: not proc_lib's own initial call, then the module's attributes, then get_status.
  it("shows the state of a process in the words of its trade (sys:get_state, sys:get_status)", async () => {
    await is(`${CHANNEL}
      {:beamgate, _, 1} = :rpc.call(${GW}, :proc_lib, :translate_initial_call, [pid])
      {:behaviour, [_]} = List.keyfind(:rpc.call(${GW}, :beamgate, :module_info, [:attributes]), :behaviour, 0)
      {:status, ^pid, {:module, _}, [_, _, parent, _, [{:header, _}, {:data, _}, {:data, [{'State', state}]}]]} =
        :rpc.call(${GW}, :sys, :get_status, [pid, 200])
      ^state = %{:sys.get_state(pid) | messages: state.messages}
      {:status, ^pid, _, _} = :sys.get_status(pid)
      {state.kind, state.topic, state.user_id, state.address, state.socket == parent, is_integer(state.client_messages)}`,
      `{:channel, "api:observer", "u1", "127.0.0.1", true, true}`);
    await is(`s = :sys.get_state({:beamgate_config, ${GW}}); s.functions > 5 and s.kind == :config`);
    await is(`link = Enum.find(${rpc(":erlang", ":processes")}, fn p ->
        match?({:initial_call, {:beamgate, :"link peer@127.0.0.1", 1}}, :rpc.call(${GW}, :erlang, :process_info, [p, :initial_call])) end)
      s = :sys.get_state(link); {s.node, s.bytes_in > 0, s.connected_by}`, '{"peer@127.0.0.1", true, :them}');
  });

  it("refuses what would change a process by sys, and answers for one that has ended", async () => {
    await is(`${CHANNEL}
      {:error, {:unknown_system_msg, :suspend}} = :sys.suspend(pid)
      {:error, {:unknown_system_msg, {:terminate, :x}}} = :sys.terminate(pid, :x)
      gone = Node.spawn(${GW}, :erlang, :node, [])
      Process.sleep(50)
      {:badrpc, {:EXIT, {:noproc, _}}} = :rpc.call(${GW}, :sys, :get_state, [gone])
      ${rpc(":erlang", ":is_process_alive", "[pid]")}`, "true");
  });

  it("takes a message, and ends a client's connection when its process is killed", async () => {
    const victim = await Conn.open(gateway);
    await victim.join("api:victim");
    await is(`${channel("api:victim")}
      send(pid, {:hello, self()})
      socket = :sys.get_state(pid).socket
      {:rpc.call(${GW}, :erlang, :garbage_collect, [pid]), :rpc.call(${GW}, :erlang, :process_info, [pid, :parent]) == {:parent, socket}}`,
      "{true, true}");
    const { closed } = victim;
    await is(`${channel("api:victim")}
      socket = :sys.get_state(pid).socket
      refs = for p <- [pid, socket], do: Process.monitor(p)
      Process.exit(socket, :kill)
      for r <- refs do receive do {:DOWN, ^r, _, _, reason} -> reason after 3000 -> :late end end`,
      "[shutdown: :closed, shutdown: :closed]");
    assert.equal((await closed).code, 1011);
  });

  it("shows links and monitors as they are", async () => {
    await is(`pid = ${rpc(":erlang", ":whereis", "[:user]")}
      Process.link(pid); Process.monitor(pid)
      me = self()
      Process.sleep(100)
      info = :rpc.call(${GW}, :erlang, :process_info, [pid, [:links, :monitored_by]])
      Process.unlink(pid)
      {me in info[:links], me in info[:monitored_by]}`, "{true, true}");
  });

  it("says undefined of a process that has ended", async () => {
    await is(`pid = Node.spawn(${GW}, :erlang, :node, [])
      Process.sleep(100)
      {:rpc.call(${GW}, :erlang, :process_info, [pid]), :rpc.call(${GW}, :erlang, :garbage_collect, [pid])}`,
      "{:undefined, false}");
  });
});

describe("Applications (D-21)", () => {
  const start = `Process.flag(:trap_exit, true)
      {:ok, srv} = :rpc.call(${GW}, :appmon_info, :start_link2, [self(), self(), []])`;

  it("delivers one application and its tree, whose root is one of its processes", async () => {
    await is(`${start}
      :gen_server.cast(srv, {self(), :app_ctrl, ${GW}, true, []})
      app = receive do {:delivery, ^srv, :app_ctrl, ${GW}, [{root, :beamgate, {:beamgate, _, _}}]} -> root after 3000 -> nil end
      :gen_server.cast(srv, {self(), :app, :beamgate, true, []})
      {root, names, edges, []} = receive do {:delivery, ^srv, :app, :beamgate, t} -> t after 3000 -> nil end
      strings = Enum.map(names, &elem(&1, 1))
      unreached = Enum.reject(strings, fn n -> n == root or List.keymember?(edges, n, 1) end)
      {is_pid(app), root in strings, Enum.uniq(strings) == strings, unreached, Enum.all?(edges, fn {a, _} -> a in strings end)}`,
      "{true, true, true, [], true}");
  });

  it("draws a channel under its socket, and a link under the cluster", async () => {
    await is(`${start}
      :gen_server.cast(srv, {self(), :app, :beamgate, true, []})
      {root, _, edges, []} = receive do {:delivery, ^srv, :app, :beamgate, t} -> t after 3000 -> nil end
      above = Map.new(edges, fn {a, b} -> {to_string(b), to_string(a)} end)
      up = fn up, n -> [n | if(above[n], do: up.(up, above[n]), else: [])] end
      find = fn prefix -> Enum.find(Map.keys(above), &String.starts_with?(&1, prefix)) end
      chain = fn prefix -> Enum.map(up.(up, find.(prefix)), &hd(String.split(&1, " "))) end
      {to_string(root), chain.("channel api:observer"), chain.("link"), chain.("beamgate_config")}`,
      '{"beamgate", ["channel", "socket", "beamgate_clients", "beamgate"], ["link", "beamgate_cluster", "beamgate"], ["beamgate_config", "beamgate"]}');
  });

  it("delivers again only when the tree changed, and stops with its client", async () => {
    await is(`${start}
      :gen_server.cast(srv, {self(), :app, :beamgate, true, []})
      receive do {:delivery, ^srv, :app, :beamgate, _} -> :ok after 3000 -> exit(:first) end
      quiet = receive do {:delivery, ^srv, _, _, _} -> false after 4500 -> true end
      Process.exit(srv, :shutdown)
      ended = receive do {:EXIT, ^srv, _} -> true after 3000 -> false end
      {quiet, ended}`, "{true, true}");
  });
});

// Each time its tab is turned to Observer starts one more, and when it is turned away it ends none that runs on a hidden node.
describe("Applications, turned to again and again (D-22)", () => {
  it("keeps one view for a client, which is silent while the tab is away", async () => {
    await is(`Process.flag(:trap_exit, true)
      start = fn -> {:ok, srv} = ${rpc(":appmon_info", ":start_link2", "[self(), self(), []]")}; srv end
      tell = fn srv, what, on -> :gen_server.cast(srv, {self(), what, if(what == :app, do: :beamgate, else: ${GW}), on, []}) end
      got = fn srv, what, ms -> receive do {:delivery, ^srv, ^what, _, _} -> true after ms -> false end end
      views = for _ <- 1..300 do
        srv = start.()
        for what <- [:app_ctrl, :app], do: tell.(srv, what, true)
        true = got.(srv, :app_ctrl, 3000) and got.(srv, :app, 3000)
        tell.(srv, :app_ctrl, false)
        srv
      end
      [srv] = Enum.uniq(views)
      other = spawn(fn -> Process.sleep(:infinity) end)
      {:ok, theirs} = ${rpc(":appmon_info", ":start_link2", "[self(), other, []]")}
      Process.exit(other, :kill)
      {theirs != srv, got.(srv, :app, 2500), Process.exit(srv, :shutdown) && receive do {:EXIT, ^srv, _} -> :ended after 3000 -> :late end}`,
      "{true, false, :ended}");
  });
});

describe("Ports, Sockets (D-21)", () => {
  it("shows listeners, links and clients' sockets with addresses and bytes", async () => {
    await is(`rows = ${rpc(":observer_backend", ":get_port_list")}
      by = fn name -> Enum.filter(rows, &(&1[:registered_name] == name and &1[:name] == 'tcp_inet')) end
      [node_port] = by.(:nodes)
      [listen] = by.(:clients)
      [link] = by.(node())
      [ws] = by.(:websocket)
      inet = ws[:inet]
      {Enum.all?(rows, &(is_port(&1[:port_id]) and is_pid(&1[:connected]))), is_integer(node_port[:inet][:local_port]),
        listen[:inet][:local_port] == ${gateway.port}, link[:input] > 0 and link[:output] > 0,
        ws[:input] > 0 and ws[:output] > 0, inet[:local_port] == ${gateway.port}, inet[:remote_address]}`,
      "{true, true, true, true, true, true, {127, 0, 0, 1}}");
  });

  it("says whose they are: the client's own process, the link's", async () => {
    await is(`rows = ${rpc(":observer_backend", ":get_port_list")}
      kind = fn name -> row = Enum.find(rows, &(&1[:registered_name] == name)); :sys.get_state(row[:connected]).kind end
      {kind.(:websocket), kind.(node()), kind.(:clients), kind.(:nodes)}`,
      "{:socket, :link, :clients, :cluster}");
  });

  // As observer_sock_wx reads them: every key of the map must be there.
  it("shows the same in the Sockets tab", async () => {
    await is(`rows = ${rpc(":observer_backend", ":get_socket_list")}
      ws = Enum.find(rows, &match?(%{fd: fd} when fd >= 0, &1))
      keys = ~w(id id_str kind fd owner domain type protocol rstates wstates monitored_by statistics options)a
      {Enum.all?(rows, fn r -> Enum.all?(keys, &Map.has_key?(r, &1)) end), ws.domain, ws.protocol, ws.statistics[:read_byte] > 0,
        List.starts_with?(ws.raddress, '127.0.0.1:'), length(rows) == ${rpc(":observer_backend", ":socket_info")}[:num_sockets]}`,
      "{true, :inet, :tcp, true, true, true}");
  });
});

// A gateway of its own, with a thousand and some.
describe("Ports, Sockets of many clients (D-21)", () => {
  const MANY = 1150;
  const BUSY = ":'busy@127.0.0.1'";
  const ask = (f) => `:rpc.call(${BUSY}, :observer_backend, ${f}, [])`;
  const opened = [];
  let busy;
  before(async () => {
    const limits = "limits:\n  max_connections_per_address: 100000\n  connects_per_s_per_address: 100000\n";
    busy = await run.gateway(config() + limits, { name: "busy" });
    await peer.run(`Node.connect(${BUSY})`);
    for (let i = 0; i < MANY; i += 50)
      opened.push(...(await Promise.all(Array.from({ length: 50 }, (_, n) => Conn.open(busy, `user_id=u${i + n}&vsn=2.0.0`)))));
  });
  after(async () => {
    for (const c of opened) c.terminate();
    await busy?.stop();
  });

  it("shows a thousand of them, and how many there are more, to all who ask at once by rpc and by erpc", async () => {
    await is(`ask = fn f -> Task.async(fn -> if rem(f, 2) == 0, do: ${ask(":get_port_list")},
        else: :erpc.call(${BUSY}, :observer_backend, :get_socket_list, []) end) end
      for {rows, i} <- Enum.with_index(Task.await_many(Enum.map(1..6, ask), 30000), 1) do
        if rem(i, 2) == 0 do
          [cut] = Enum.filter(rows, &(&1[:name] == '${MANY - 1000} clients more'))
          {cut[:id], Enum.count(rows, &(&1[:registered_name] == :websocket)), length(Enum.uniq_by(rows, & &1[:port_id])) == length(rows)}
        else
          [cut] = Enum.filter(rows, &(&1.id_str == '${MANY - 1000} clients more'))
          {cut.fd, Enum.count(rows, &(&1.fd >= 0)), length(Enum.uniq_by(rows, & &1.id)) == length(rows)}
        end
      end`, "[{-1, 1000, true}, {0, 1000, true}, {-1, 1000, true}, {0, 1000, true}, {-1, 1000, true}, {0, 1000, true}]");
  });

  it("forgets those who ask and end", async () => {
    const count = `:rpc.call(${BUSY}, :erlang, :system_info, [:process_count])`;
    const quiet = await peer.run(count);
    await peer.run(`for _ <- 1..20, p = spawn(fn -> ${ask(":get_port_list")} end), do: (Process.sleep(1); Process.exit(p, :kill)); :ok`);
    await eventually(async () => (await peer.run(count)) === quiet, "their processes end");
    await is(`length(${ask(":get_port_list")}) > 1000`);
  });
});

describe("Table Viewer (D-21)", () => {
  it("lists the stores of functions as tables", async () => {
    await is(`opts = [sys_hidden: true, unread_hidden: true]
      tables = ${rpc(":observer_backend", ":get_table_list", "[:ets, opts]")}
      {Enum.map(tables, & &1[:name]), Enum.all?(tables, &(is_integer(&1[:size]) and is_integer(&1[:memory]))),
        ${rpc(":observer_backend", ":get_table_list", "[:mnesia, opts]")}}`,
      "{[PhoenixGenApi.ConfigDb, PhoenixGenApi.ConfigFailed, :phoenix_gen_api_sticky_nodes, :rate_limiter_global, " +
        ":rate_limiter_api], true, []}");
  });

  it("counts just the tables that it lists; there is none of relay groups", async () => {
    await is(`info = ${rpc(":observer_backend", ":sys_info")}
      all = ${rpc(":ets", ":all")}
      {length(all) == info[:ets_count], info[:ets_limit],
        ${rpc(":ets", ":whereis", "[:phoenix_gen_api_relay_groups]")}, ${rpc(":ets", ":whereis", "[PhoenixGenApi.ConfigDb]")}}`,
      "{true, nil, :undefined, PhoenixGenApi.ConfigDb}");
  });

  it("gives objects by key, and a whole table that fits one answer", async () => {
    await is(`list = ${rpc(":ets", ":tab2list", "[PhoenixGenApi.ConfigDb]")}
      {key, config} = hd(list)
      {length(list) == ${rpc(":ets", ":info", "[PhoenixGenApi.ConfigDb, :size]")},
        ${rpc(":ets", ":lookup", "[PhoenixGenApi.ConfigDb, key]")} == [{key, config}],
        ${rpc(":ets", ":lookup", "[PhoenixGenApi.ConfigDb, :nothing]")}, ${rpc(":ets", ":member", "[PhoenixGenApi.ConfigDb, key]")},
        match?({:badrpc, {:EXIT, {:badarg, _}}}, ${rpc(":ets", ":tab2list", "[:no_such_table]")}),
        match?({:badrpc, {:EXIT, {:undef, _}}}, ${rpc(":ets", ":insert", "[PhoenixGenApi.ConfigDb, {1, 2}]")})}`,
      "{true, true, [], true, true, true}");
  });

  it("sends the objects of a table and its end", async () => {
    await is(`Process.flag(:trap_exit, true)
      pid = :rpc.call(${GW}, :observer_backend, :get_table, [self(), PhoenixGenApi.ConfigDb, :ets])
      collect = fn collect, acc -> receive do
        {^pid, :"$end_of_table"} -> acc
        {^pid, rows} -> collect.(collect, acc ++ rows)
      after 5000 -> :late end end
      rows = collect.(collect, [])
      ended = receive do {:EXIT, ^pid, r} -> r after 3000 -> nil end
      {length(rows) > 0 and length(rows) == ${rpc(":ets", ":info", "[PhoenixGenApi.ConfigDb, :size]")},
        Enum.all?(rows, fn [{{s, t, _v}, %{__struct__: PhoenixGenApi.Structs.FunConfig}}] -> is_binary(s) and is_binary(t) end),
        ended}`, "{true, true, :normal}");
  });
});

describe("a shell", () => {
  it("gets what there is to say of the system, the time, the application and its settings", async () => {
    await is(`{{:unix, :linux}, {_, _, _}} = {${rpc(":os", ":type")}, ${rpc(":os", ":version")}}
      pid = ${rpc(":os", ":getpid")}
      {:ok, host} = ${rpc(":inet", ":gethostname")}
      {{_, _, _}, {_, _, _}} = ${rpc(":erlang", ":localtime")}
      t = ${rpc(":os", ":system_time", "[:second]")}
      {:ok, limits} = ${rpc(":application", ":get_env", "[:beamgate, :limits]")}
      [{:beamgate, _, _}] = ${rpc(":application", ":loaded_applications")}
      {List.to_string(pid), is_list(host), abs(t - System.os_time(:second)) < 60, is_integer(limits[:max_connections])}`,
      `{"${gateway.process.pid}", true, true, true}`);
    await is(`{${rpc(":erlang", ":whereis", "[:beamgate]")} in ${rpc(":erlang", ":processes")}, :beamgate in ${rpc(":erlang", ":registered")}}`,
      "{true, true}");
  });

  it("is told no text of the configuration, and has no way to end or change the node", async () => {
    await is(`all = ${rpc(":application", ":get_all_env", "[:beamgate]")}
      flat = fn flat, kv -> Enum.flat_map(kv, fn {_, v} -> if is_list(v), do: flat.(flat, v), else: [v] end) end
      Enum.all?(flat.(flat, all), &(is_integer(&1) or is_boolean(&1))) and length(flat.(flat, all)) > 20`);
    await is(`for {m, f, a} <- [{:init, :stop, []}, {:erlang, :halt, []}, {:erlang, :get_cookie, []}, {:os, :getenv, []},
          {:os, :cmd, ['id']}, {:erlang, :trace, [:all, true, [:call]]}, {:code, :load_binary, [:x, 'x', ""]}],
        not match?({:badrpc, {:EXIT, {:undef, _}}}, :rpc.call(${GW}, m, f, a)), do: {m, f}`, "[]");
  });
});

describe("tools", () => {
  it("loads the modules and exports the functions that Observer looks for, and no others", async () => {
    await is(`{${rpc(":code", ":ensure_loaded", "[:observer_backend]")}, ${rpc(":code", ":ensure_loaded", "[:lists]")},
      ${rpc(":erlang", ":function_exported", "[:observer_backend, :procs_info, 1]")},
      ${rpc(":erlang", ":function_exported", "[:observer_backend, :procs_info, 9]")}}`,
      "{{:module, :observer_backend}, {:error, :nofile}, true, false}");
  });

  it("etop with tracing off prints its processes (D-23)", async (t) => {
    if ((await peer.run(":code.which(:etop)")) === ":non_existing")
      return t.skip("not installed: etop, which Debian's erlang-observer has");
    const out = await peer.run(`{:ok, io} = StringIO.open("")
      spawn(fn -> Process.group_leader(self(), io)
        :etop.start([{:node, ${GW}}, {:tracing, :off}, {:interval, 1}, {:output, :text}]) end)
      Process.sleep(${3500 * SLOW})
      :etop.stop()
      {_, text} = StringIO.contents(io)
      text`, 30000);
    assert.match(out, /net_kernel/);
    assert.match(out, /beamgate:'channel/);
  });

  it("answers whoever wants to trace or to run code here: it cannot be", async () => {
    await is(`Process.flag(:trap_exit, true)
      ended = fn pid -> receive do {:EXIT, ^pid, {:undef, _}} -> :undef after 5000 -> :silent end end
      {ended.(Node.spawn_link(${GW}, :observer_backend, :ttb_init_node, ['f', [], []])),
        ended.(Node.spawn_link(${GW}, fn -> :ok end)),
        match?({:badrpc, {:EXIT, {:undef, _}}}, ${rpc(":erlang", ":trace", "[:all, true, [:call]]")}),
        match?({:error, _}, :dbg.n(${GW}))}`, "{:undef, :undef, true, true}");
  });

  it("knows one application, also for the Log menu's block_call", async () => {
    await is(`[{:beamgate, _, vsn}] = :rpc.block_call(${GW}, :application, :which_applications, []); is_list(vsn)`);
  });
});
