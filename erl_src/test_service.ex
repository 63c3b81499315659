# The service `user_service` of the recorded exchanges: every function that a recording calls, with the
# FunConfig that the recording implies, and a few more that the tests of the cluster need. TestService holds the
# functions, TestService.Supporter the configs; its registry may be changed while the node runs, which is how
# the tests see a function disappear or a service change its version.

defmodule TestService do
  @moduledoc false
  alias PhoenixGenApi.Structs.StreamHelper

  # results
  def echo(msg), do: {:ok, msg}
  def add(a, b), do: {:ok, a + b}
  def get_user(id), do: find(id, fn n -> user(n) end)
  def get_user_v2(id), do: find(id, fn n -> Map.put(user(n), :v, 2) end)
  def list_users, do: {:ok, Enum.map(1..50, &user/1)}
  def slow(ms), do: with(:ok <- Process.sleep(ms), do: {:ok, %{slept: ms}})
  def notify(_msg), do: :ok
  def big(n), do: {:ok, String.duplicate("x", n)}
  def whoami(info), do: {:ok, info}
  def prefixed(a, b, msg), do: {:ok, [a, b, msg]}
  def mapargs(args), do: {:ok, %{got: args}}
  def arg(v), do: {:ok, v}
  def where(_v), do: {:ok, node()}
  def say(msg), do: with(:ok <- IO.puts("said: " <> msg), do: {:ok, "said"})

  def values do
    {:ok,
     %{
       "int" => 1,
       "neg" => -3,
       "big" => 12_345_678_901_234_567_890,
       "float" => 1.5,
       "f2" => 100.0,
       "f3" => 1.0e22,
       "e" => 1.0e-10,
       "t" => true,
       "f" => false,
       "n" => nil,
       "atom" => :hello,
       "str" => "héllo \"q\" \\ / \n\t\u0001 \u2028 😀",
       "list" => [1, 2, 3],
       "nested" => %{"a" => %{"b" => []}}
     }}
  end

  def dates do
    {:ok,
     %{
       date: ~D[2024-01-02],
       time: ~T[03:04:05.000006],
       naive: ~N[2024-01-02 03:04:05],
       utc: ~U[2024-01-02 03:04:05Z]
     }}
  end

  def tuple_inside, do: {:ok, %{tuple: {1, 2}}}
  def charlist, do: {:ok, 'abc'}
  def badutf8, do: {:ok, <<0xFF, 0xFE, ?x>>}
  def kw, do: {:ok, [a: 1, b: 2]}
  def int_keys, do: {:ok, %{1 => "x", 2.5 => "y"}}
  def nil_result, do: {:ok, nil}
  def unencodable, do: {:ok, %{pid: self()}}
  def plain, do: %{plain: true}
  def plain_atom, do: :done
  def weird_tuple, do: {:a, :b, :c}

  # failures
  def fail_error, do: {:error, :not_found}
  def fail_error3, do: {:error, :a, :b}
  def fail_raise, do: raise("boom")
  def fail_exit, do: exit(:boom)
  def fail_throw, do: throw(:boom)

  # streams
  def stream(n, info) do
    producer(info, fn s ->
      chunks(s, n)
      StreamHelper.send_last_result(s, %{total: n, done: true})
    end)

    {:ok, %{started: n}}
  end

  def stream_inline(n, info) do
    s = StreamHelper.new(info)
    chunks(s, n)
    StreamHelper.send_last_result(s, %{done: true})
    {:ok, "inline_returned"}
  end

  def stream_complete(n, info) do
    producer(info, fn s ->
      chunks(s, n)
      StreamHelper.send_complete(s)
    end)

    {:ok, "started"}
  end

  def stream_error(info) do
    producer(info, fn s ->
      chunks(s, 1)
      StreamHelper.send_error(s, :disk_full)
    end)

    {:ok, "started"}
  end

  def stream_fail(_info), do: {:error, :cannot_start}

  def stream_hang(info) do
    producer(info, fn s -> chunks(s, 1) end)
    {:ok, "started"}
  end

  # One chunk every ms milliseconds, for as long as the node lives.
  def stream_ticks(ms, info) do
    producer(info, fn s -> tick(s, ms, 1) end)
    {:ok, "started"}
  end

  defp tick(stream, ms, n) do
    StreamHelper.send_result(stream, %{tick: n})
    Process.sleep(ms)
    tick(stream, ms, n + 1)
  end

  # Hundreds of kilobytes at a time, as fast as they can be sent.
  def stream_flood(n, info) do
    producer(info, fn s ->
      Enum.each(1..n, fn _ -> StreamHelper.send_result(s, String.duplicate("x", 200_000)) end)
      StreamHelper.send_complete(s)
    end)

    {:ok, "started"}
  end

  # Sends one chunk; after that it ends as told, without a last word, while the node lives.
  def stream_dies(how, info) do
    producer(info, fn s ->
      chunks(s, 1)
      Process.sleep(50)

      case how do
        "raise" -> raise "the producer broke"
        "kill" -> Process.exit(self(), :kill)
        "return" -> :ok
      end
    end)

    {:ok, "started"}
  end

  # The function itself sends the first chunk and returns; the rest comes much later from another process.
  def stream_relay(ms, info) do
    s = StreamHelper.new(info)
    chunks(s, 1)

    spawn(fn ->
      Process.sleep(ms)
      chunks(s, 1)
      StreamHelper.send_complete(s)
    end)

    {:ok, "started"}
  end

  # nodes as a question
  def serving_nodes(:here), do: [node()]
  def serving_nodes(:nowhere), do: []

  # permission and hooks
  def before_slow(_request, _config), do: Process.sleep(2_000)
  def before_raise(_request, _config), do: raise("no luck")
  def allowed?(%{user_id: user_id}), do: user_id == "u1"
  def before(request, config), do: {:ok, put_in(request.args["msg"], "[before]" <> request.args["msg"]), config}
  def before_where(request, config), do: {:ok, put_in(request.args["msg"], "#{node()}"), config}
  def after_hook(_request, _config, result), do: result
  def reject(_request, _config), do: {:error, :not_today}

  defp user(n), do: %{id: "#{n}", name: "User Number #{n}", email: "user#{n}@example.com"}

  defp find(id, fun) do
    case Integer.parse(id) do
      {n, ""} -> {:ok, fun.(n)}
      _ -> {:error, :not_found}
    end
  end

  # A little late, so that the answer of the call itself comes first, as in the recordings.
  defp producer(info, fun) do
    spawn(fn ->
      Process.sleep(30)
      fun.(StreamHelper.new(info))
    end)
  end

  defp chunks(_stream, 0), do: :ok
  defp chunks(stream, n), do: Enum.each(1..n, &StreamHelper.send_result(stream, %{chunk: &1}))
end

defmodule TestService.Supporter do
  @moduledoc false
  alias PhoenixGenApi.Structs.FunConfig

  @service "user_service"
  @dead :"dead@127.0.0.1"

  # The registry: which request types are hidden, which FunConfigs are added, and the version to report.
  def hide(request_types), do: Application.put_env(:test_service, :hidden, request_types)
  def extra(configs), do: Application.put_env(:test_service, :extra, configs)
  def set_version(version), do: Application.put_env(:test_service, :version, version)

  def get_config_version do
    Application.put_env(:test_service, :version_checks, version_checks() + 1)
    Application.get_env(:test_service, :version, "1")
  end

  def version_checks, do: Application.get_env(:test_service, :version_checks, 0)
  def pulls, do: Application.get_env(:test_service, :pulls, 0)

  def get_config(_args) do
    Application.put_env(:test_service, :pulls, pulls() + 1)
    hidden = Application.get_env(:test_service, :hidden, [])
    extra = Application.get_env(:test_service, :extra, [])
    {:ok, Enum.reject(functions() ++ arg_types(), &(&1.request_type in hidden)) ++ extra}
  end

  # One node of several: the functions it offers run on each of these nodes.
  def get_config_for(nodes, names) do
    {:ok, all} = get_config(nil)
    {:ok, for(c <- all, c.request_type in names, do: %{c | nodes: nodes})}
  end

  def fun(request_type, function, args \\ [], more \\ []) do
    {mfa_args, more} = Keyword.pop(more, :mfa_args, [])

    struct!(
      %FunConfig{
        request_type: request_type,
        service: @service,
        nodes: [node()],
        choose_node_mode: :random,
        timeout: 5_000,
        mfa: {TestService, function, mfa_args},
        arg_types: if(args == [], do: nil, else: Map.new(args)),
        arg_orders: if(args == [], do: nil, else: Enum.map(args, &elem(&1, 0))),
        response_type: :sync
      },
      more
    )
  end

  defp functions do
    msg = [{"msg", :string}]
    n = [{"n", :num}]
    stream = [response_type: :stream, request_info: true]

    [
      fun("echo", :echo, msg),
      fun("get_user", :get_user, [{"user_id", :string}], version: "0.9.0", disabled: true),
      fun("get_user", :get_user, [{"user_id", :string}], version: "1.0.0"),
      fun("get_user", :get_user_v2, [{"user_id", :string}], version: "2.0.0"),
      fun("old", :plain, [], version: "0.1.0", disabled: true),
      fun("list_users", :list_users),
      fun("add", :add, [{"a", :num}, {"b", :num}]),
      fun("values", :values),
      fun("dates", :dates),
      fun("tuple_inside", :tuple_inside),
      fun("charlist", :charlist),
      fun("badutf8", :badutf8),
      fun("kw", :kw),
      fun("int_keys", :int_keys),
      fun("nil_result", :nil_result),
      fun("unencodable", :unencodable),
      fun("echo_async", :echo, msg, response_type: :async),
      fun("slow", :slow, [{"ms", :num}]),
      fun("slow_async", :slow, [{"ms", :num}], response_type: :async),
      fun("notify", :notify, msg, response_type: :none),
      fun("notify_fail", :fail_raise, [], response_type: :none),
      fun("stream", :stream, n, stream),
      fun("stream_inline", :stream_inline, n, stream),
      fun("stream_complete", :stream_complete, n, stream),
      fun("stream_error", :stream_error, [], stream),
      fun("stream_fail", :stream_fail, [], stream),
      fun("stream_noinfo", :list_users, [], response_type: :stream),
      fun("stream_hang", :stream_hang, [], [timeout: 300] ++ stream),
      fun("fail_error", :fail_error),
      fun("fail_error3", :fail_error3),
      fun("fail_raise", :fail_raise),
      fun("fail_exit", :fail_exit),
      fun("fail_throw", :fail_throw),
      fun("fail_async", :fail_error, [], response_type: :async),
      fun("raise_async", :fail_raise, [], response_type: :async),
      fun("plain", :plain),
      fun("plain_atom", :plain_atom),
      fun("weird_tuple", :weird_tuple),
      fun("no_such_fun", :no_such_fun),
      fun("slow_timeout", :slow, [{"ms", :num}], timeout: 300),
      fun("dead_node", :echo, msg, nodes: [@dead]),
      fun("fallback", :echo, msg,
        nodes: [@dead, node()],
        choose_node_mode: :round_robin,
        retry: {:all_nodes, 1}
      ),
      fun("retry_same", :fail_error, [], retry: {:same_node, 2}),
      fun("retry_n", :fail_raise, [], retry: 2),
      fun("hash", :echo, msg, choose_node_mode: {:hash, "msg"}),
      fun("hash0", :echo, msg, choose_node_mode: :hash),
      fun("sticky", :echo, msg, choose_node_mode: {:sticky, "msg"}),
      fun("rr", :echo, msg, choose_node_mode: :round_robin),
      fun("hooked", :echo, msg,
        before_execute: {TestService, :before},
        after_execute: {TestService, :after_hook}
      ),
      fun("hook_reject", :echo, msg, before_execute: {TestService, :reject}),
      # The module exists on a gateway only: the check of S-057 refuses it.
      fun("local_svc", :echo, msg, nodes: :local, mfa: {RefGw.LocalFunctions, :echo, []}),
      fun("whoami", :whoami, [], request_info: true),
      fun("prefixed", :prefixed, msg, mfa_args: ["p1", 2]),
      fun("perm_arg", :get_user, [{"user_id", :string}], check_permission: {:arg, "user_id"}),
      fun("perm_any", :echo, msg, check_permission: :any_authenticated),
      fun("perm_role", :echo, msg, check_permission: {:role, ["admin"]}),
      fun("perm_cb", :echo, msg, permission_callback: {TestService, :allowed?, []}),
      fun("mapargs", :mapargs, [{"x", :string}, {"y", :num}], arg_orders: :map),
      fun("echo_big", :echo, [{"msg", [type: :string, max_bytes: 2_000_000]}]),
      fun("big", :big, n, timeout: 10_000),
      fun("limited", :echo, msg),
      # not in the recordings
      fun("stream_ticks", :stream_ticks, [{"ms", :num}], [timeout: :infinity] ++ stream),
      fun("stream_flood", :stream_flood, n, [timeout: 60_000] ++ stream),
      fun("stream_dies", :stream_dies, [{"how", :string}], [timeout: :infinity] ++ stream),
      fun("stream_relay", :stream_relay, [{"ms", :num}], [timeout: 20_000] ++ stream),
      fun("dyn_here", :echo, msg, nodes: {TestService, :serving_nodes, [:here]}),
      fun("dyn_nowhere", :echo, msg, nodes: {TestService, :serving_nodes, [:nowhere]}),
      fun("dyn_connected", :where, msg, nodes: {:erlang, :nodes, []}),
      fun("hook_slow", :echo, msg, before_execute: {TestService, :before_slow}, hook_timeout: 200),
      fun("hook_raise", :echo, msg, before_execute: {TestService, :before_raise}),
      fun("hook_where", :echo, msg, before_execute: {TestService, :before_where}),
      fun("when", :arg, [{"v", :datetime}]),
      fun("where", :where, msg),
      fun("say", :say, msg),
      fun("slow_long", :slow, [{"ms", :num}], timeout: 20_000)
    ]
  end

  # Section 6 of the recordings: t_ is the simple form, x_ the keyword form with limits.
  defp arg_types do
    limits = [
      string: [max_bytes: 8],
      num: [],
      boolean: [],
      list_string: [max_items: 2, max_item_bytes: 4],
      list_num: [max_items: 2],
      map: [max_items: 3, required: ["name"], accept: ["name", "age"]],
      uuid: [],
      list_uuid: [max_items: 1],
      list_map: [max_items: 1],
      any: []
    ]

    for({type, _} <- limits, do: fun("t_#{type}", :arg, [{"v", type}])) ++
      for({type, opts} <- limits, do: fun("x_#{type}", :arg, [{"v", [type: type] ++ opts}])) ++
      [
        fun("d_num", :arg, [{"v", [type: :num, default_value: 18]}]),
        fun("n_string", :arg, [{"v", [type: :string, allow_nil?: true]}]),
        fun("tup_string", :arg, [{"v", {:string, 8}}])
      ]
  end
end
