# The service `kinds`: one function of every kind that a FunConfig can describe, for tests/e2e/kinds.test.js, which has one row or
# more for each. KindsService holds what runs, KindsService.Supporter the FunConfigs, the wrong ones too. What a test cannot
# see in an answer, a function notes with note/2, and notes/1 tells.
#
# The nodes k1, k2 and k3 of a test all run this; the FunConfigs come from k1.

defmodule KindsService do
  @moduledoc false
  alias PhoenixGenApi.Structs.{FunConfig, Request, Response, StreamHelper}

  # What came in, as Elixir sees it: the type of every argument shows.
  def see(a), do: {:ok, inspect(a, limit: :infinity)}
  def see(a, b), do: see([a, b])
  def see(a, b, c), do: see([a, b, c])
  def nothing, do: {:ok, "no arguments"}
  def keys(info), do: {:ok, info |> Map.keys() |> Enum.sort()}
  def user(info), do: {:ok, [info.user_id, info.device_id]}
  def where(_), do: where()
  def where, do: {:ok, node()}
  def version(v), do: {:ok, v}
  def sleep(ms), do: with(:ok <- Process.sleep(ms), do: {:ok, ms})

  # Results (E-200 .. E-233)
  def result("ok"), do: {:ok, 1}
  def result("bare map"), do: %{a: 1}
  def result("bare list"), do: [1, "b", nil]
  def result("bare binary"), do: "text"
  def result("bare atom"), do: :ok
  def result("bare number"), do: 5
  def result("nil"), do: nil
  def result("error atom"), do: {:error, :not_found}
  def result("error text"), do: {:error, "no such user"}
  def result("error term"), do: {:error, %{code: 5}}
  def result("error 3"), do: {:error, :a, :b}
  def result("tuple"), do: {:a, :b, :c}
  def result("empty tuple"), do: {}
  def result("raise"), do: raise("boom")
  def result("exit"), do: exit(:boom)
  def result("throw"), do: throw(%{thrown: true})
  def result("response"), do: {:ok, %Response{request_id: "x", result: 1, success: true}}
  def result("bad utf8"), do: {:ok, <<0xFF>>}
  def result("bitstring"), do: {:ok, <<1::3>>}
  def result("pid"), do: {:ok, self()}
  def result("reference"), do: {:ok, make_ref()}
  def result("function"), do: {:ok, &where/0}
  def result("tuple inside"), do: {:ok, %{t: {1, 2}}}
  def result("keywords"), do: {:ok, [a: 1]}
  def result("improper"), do: {:ok, [1 | 2]}
  def result("charlist"), do: {:ok, [104, 105]}
  def result("atoms"), do: {:ok, [nil, true, false, :a, KindsService]}
  def result("integers"), do: {:ok, [0, -1, 4_294_967_296, -123_456_789_012_345_678_901_234_567_890]}
  def result("floats"), do: {:ok, [1.0, 0.1, 100.0, 1.0e3, 1.2e3, 12345.0, 1.0e-5, 9_007_199_254_740_992.0, 1.0e22]}
  def result("keys"), do: {:ok, %{1 => "i", 2.5 => "f", :a => "a", "b" => "b"}}
  def result("tuple key"), do: {:ok, %{{1, 2} => 3}}
  def result("escapes"), do: {:ok, "\" \\ / \n \u0001 \u2028 <&> é 😀"}
  def result("date"), do: {:ok, ~D[2024-01-02]}
  def result("time"), do: {:ok, ~T[03:04:05.000006]}
  def result("naive"), do: {:ok, ~N[2024-01-02 03:04:05]}
  def result("utc"), do: {:ok, ~U[2024-01-02 03:04:05Z]}
  def result("decimal"), do: {:ok, %{__struct__: Decimal, sign: 1, coef: 110, exp: -2}}
  def result("map set"), do: {:ok, MapSet.new([:admin])}
  def result("struct"), do: {:ok, %StreamHelper{request_id: "x"}}
  def result("deep"), do: {:ok, Enum.reduce(1..60, [], fn _, deep -> [deep] end)}

  # Permissions
  def allow_u1(%Request{user_id: user}), do: user == "u1"
  def allow_if(%Request{args: args}, wanted), do: args["v"] == wanted
  def allow_ok(_), do: :ok
  def allow_raise(_), do: raise("no")

  # Hooks
  def before_change(request, config), do: {:ok, put_in(request.args["v"], "changed"), config}
  def before_changing(request, config, to), do: {:ok, put_in(request.args["v"], to), config}
  def before_config(request, config), do: {:ok, request, %FunConfig{config | mfa: {KindsService, :where, []}}}
  def before_user(request, config), do: {:ok, %Request{request | user_id: "somebody"}, config}
  def before_forbidden(request, config), do: {:ok, request, %FunConfig{config | mfa: {:os, :cmd, ['true']}}}
  def before_reject(_, _), do: {:error, :not_today}
  def before_other(_, _), do: :whatever
  def before_raise(_, _), do: raise("no \"luck\"")
  def before_slow(_, _), do: Process.sleep(3_000)
  def after_note(request, _config, result), do: note({:after, request.request_id}, result_of(result))
  def after_noting(request, _config, result, more), do: note({:after, request.request_id}, [result_of(result), more])
  def after_raise(_, _, _), do: raise("nobody sees this")

  defp result_of(%Response{} = r), do: Map.take(r, [:success, :result, :error, :async])
  defp result_of(other), do: inspect(other)

  # Retry: how often and where it ran.
  def failing(id, how), do: with(:ok <- note({:ran, id}, node()), do: fail(how))
  def third_time(id), do: with(:ok <- note({:ran, id}, node()), do: if(length(notes({:ran, id})) < 3, do: raise("no"), else: {:ok, "third"}))

  defp fail("error"), do: {:error, :not_now}
  defp fail("raise"), do: raise("boom")
  defp fail("slow"), do: Process.sleep(2_000)

  # Streams. What is said before the call returns comes after its own frame (E-154).
  def stream(id, words, info) do
    stream = StreamHelper.new(info)
    note({:stream, id}, is_pid(info.stream_pid))
    spawn(fn -> with(:ok <- Process.sleep(50), do: Enum.each(words, &say(stream, &1))) end)
    {:ok, "begun"}
  end

  def stream_early(info) do
    stream = StreamHelper.new(info)
    StreamHelper.send_result(stream, 1)
    StreamHelper.send_last_result(stream, 2)
    {:ok, "begun"}
  end

  def stream_error(_info), do: {:error, :cannot}

  def stream_dies(info) do
    stream = StreamHelper.new(info)

    spawn(fn ->
      Process.sleep(50)
      StreamHelper.send_result(stream, 1)
      Process.sleep(200)
      exit(:producer_crashed)
    end)

    {:ok, "begun"}
  end

  defp say(stream, %{"chunk" => value}), do: StreamHelper.send_result(stream, value)
  defp say(stream, %{"last" => value}), do: StreamHelper.send_last_result(stream, value)
  defp say(stream, "complete"), do: StreamHelper.send_complete(stream)
  defp say(stream, "noise"), do: send(stream.stream_pid, {:something, :else})
  defp say(stream, %{"error" => text}), do: StreamHelper.send_error(stream, text)
  defp say(_stream, %{"wait" => ms}), do: Process.sleep(ms)

  # Nodes
  def three, do: [:"k1@127.0.0.1", :"k2@127.0.0.1", :"k3@127.0.0.1"]
  def nodes(which), do: Enum.map(which, &:"#{&1}@127.0.0.1")

  # What was noted, oldest first.
  def note(key, value) do
    add = fn -> Application.put_env(:kinds, key, [value | Application.get_env(:kinds, key, [])]) end
    :global.trans({__MODULE__, self()}, add, [node()])
  end

  def notes(key), do: Enum.reverse(Application.get_env(:kinds, key, []))
  def note_id(id), do: note({:none, id}, "ran")
  def noted(of, id), do: {:ok, notes({String.to_existing_atom(of), id})}

  # What Phoenix.Token.sign/3 makes of data, with the secret that the test gives the gateway.
  def token(data, secret, salt) do
    key = :crypto.pbkdf2_hmac(:sha256, secret, salt, 1000, 32)
    payload = Base.url_encode64(:erlang.term_to_binary({data, System.system_time(:millisecond), 86_400}), padding: false)
    mac = :crypto.mac(:hmac, :sha256, key, "SFMyNTY." <> payload)
    "SFMyNTY.#{payload}.#{Base.url_encode64(mac, padding: false)}"
  end
end

# As services offer it so that gateways find the nodes of a role (E-160).
defmodule ClusterHelper do
  @moduledoc false
  def get_nodes(:kinds), do: [node()]
  def get_nodes(_), do: []
end

defmodule KindsService.Supporter do
  @moduledoc false
  alias PhoenixGenApi.Structs.FunConfig

  @base %FunConfig{service: "kinds", choose_node_mode: :random, timeout: 5_000, response_type: :sync}

  def get_config(_), do: {:ok, all() ++ Application.get_env(:kinds, :wrong, [])}

  # The wrong ones, offered from now on beside the others.
  def offer_wrong, do: Application.put_env(:kinds, :wrong, wrong())

  defp all, do: types() ++ shapes() ++ responses() ++ permissions() ++ modes() ++ node_lists() ++ hooks() ++ retries() ++ versions()

  defp fun(name, function, args, more \\ []) do
    {mfa_args, more} = Keyword.pop(more, :mfa_args, [])
    args = for a <- args, do: if(is_binary(a), do: {a, :any}, else: a)

    usual = [
      request_type: name,
      nodes: [node()],
      mfa: {KindsService, function, mfa_args},
      arg_types: Map.new(args),
      arg_orders: Enum.map(args, &elem(&1, 0))
    ]

    @base |> struct!(usual) |> struct!(more)
  end

  # Each type alone, then each option.
  defp types do
    plain = ~w(string num boolean uuid datetime naive_datetime list list_string list_num list_uuid list_map map any)a

    specs = [
      {"string_tuple", {:string, 4}},
      {"string_tuple_options", {:string, [max_bytes: 4]}},
      {"string_max", [type: :string, max_bytes: 4]},
      {"num_tuple", {:num, 4}},
      {"list_max", [type: :list, max_items: 2]},
      {"list_tuple", {:list, 2}},
      {"list_string_tuple", {:list_string, 2}},
      {"list_string_three", {:list_string, 2, 4}},
      {"list_string_max", [type: :list_string, max_items: 2, max_item_bytes: 4]},
      {"list_num_max", [type: :list_num, max_items: 2]},
      {"list_uuid_tuple", {:list_uuid, 1}},
      {"list_map_max", [type: :list_map, max_items: 1]},
      {"map_tuple", {:map, 2}},
      {"map_required", [type: :map, required: ["name"]]},
      {"map_accept", [type: :map, accept: ["name", "age"]]},
      {"map_both", [type: :map, max_items: 2, required: ["name"], accept: ["name", "age"]]},
      {"allow_nil", [type: :string, allow_nil?: true]},
      {"default", [type: :num, default_value: 18]},
      {"default_nil", [type: :num, default_value: 18, allow_nil?: true]}
    ]

    for(t <- plain, do: fun("type_#{t}", :see, [{"v", t}])) ++ for {name, spec} <- specs, do: fun("spec_#{name}", :see, [{"v", spec}])
  end

  # How arguments reach the function.
  defp shapes do
    ab = [{"a", :string}, {"b", :num}]

    [
      fun("none", :nothing, [], arg_types: nil, arg_orders: nil),
      fun("none_empty", :nothing, [], arg_types: %{}, arg_orders: []),
      fun("one_no_order", :see, [{"v", :string}], arg_orders: nil),
      fun("one_empty_order", :see, [{"v", :string}], arg_orders: []),
      fun("ordered", :see, ab, arg_orders: ["b", "a"]),
      fun("as_map", :see, [{"c", [type: :num, allow_nil?: true]} | ab], arg_orders: :map),
      fun("own_first", :see, [{"v", :string}], mfa_args: [:first, "second"]),
      fun("info", :keys, [], request_info: true),
      fun("info_user", :user, [], request_info: true),
      fun("info_last", :see, [{"v", :string}], mfa_args: [1], request_info: true)
    ]
  end

  defp responses do
    stream = [response_type: :stream, request_info: true]
    words = [{"id", :string}, {"words", :any}]

    [
      fun("sync", :result, ["v"]),
      fun("async", :result, ["v"], response_type: :async),
      fun("async_typed", :see, [{"v", :num}], response_type: :async),
      fun("none_type", :note_id, [{"id", :string}], response_type: :none),
      fun("none_raise", :result, ["v"], response_type: :none),
      fun("notes", :noted, [{"of", :string}, {"id", :string}]),
      fun("stream", :stream, words, stream),
      fun("stream_short", :stream, words, [timeout: 400] ++ stream),
      fun("stream_typed", :stream, [{"id", :string}, {"words", :list_map}], stream),
      fun("stream_early", :stream_early, [], stream),
      fun("stream_error", :stream_error, [], stream),
      fun("stream_dies", :stream_dies, [], stream),
      fun("stream_keys", :keys, [], stream),
      fun("slow_short", :sleep, ["v"], timeout: 200),
      fun("slow_infinite", :sleep, ["v"], timeout: :infinity),
      fun("slow_async_short", :sleep, ["v"], timeout: 200, response_type: :async)
    ]
  end

  defp permissions do
    may = fn name, more -> fun("may_#{name}", :see, ["v"], more) end

    [
      may.("all", check_permission: false),
      may.("user", check_permission: :any_authenticated),
      may.("arg", check_permission: {:arg, "v"}),
      fun("may_arg_map", :see, [{"v", [type: :map, allow_nil?: true]}, {"id", [type: :string, allow_nil?: true]}],
        arg_orders: :map,
        check_permission: {:arg, "id"}
      ),
      may.("role", check_permission: {:role, ["admin", "root"]}),
      may.("role_atom", check_permission: {:role, [:admin]}),
      may.("role_nobody", check_permission: {:role, []}),
      may.("callback", permission_callback: {KindsService, :allow_u1, []}),
      may.("callback_two", permission_callback: {KindsService, :allow_u1}),
      may.("callback_args", permission_callback: {KindsService, :allow_if, ["yes"]}),
      may.("callback_ok", permission_callback: {KindsService, :allow_ok, []}),
      may.("callback_raise", permission_callback: {KindsService, :allow_raise, []}),
      may.("callback_first", permission_callback: {KindsService, :allow_u1, []}, check_permission: {:role, ["nobody"]})
    ]
  end

  defp modes do
    on = fn name, mode -> fun("mode_#{name}", :where, ["v"], nodes: KindsService.three(), choose_node_mode: mode) end

    [
      on.("random", :random),
      on.("hash", :hash),
      on.("hash_key", {:hash, "v"}),
      on.("round_robin", :round_robin),
      on.("sticky", {:sticky, "v"}),
      on.("sticky_field", {:sticky, "user_id"})
    ]
  end

  defp node_lists do
    on = fn name, nodes, more -> fun("nodes_#{name}", :where, [], [nodes: nodes] ++ more) end
    dead = :"dead@127.0.0.1"

    [
      on.("text", ["k2@127.0.0.1"], []),
      on.("nil", [nil, :"k2@127.0.0.1"], []),
      on.("question", {KindsService, :nodes, [["k2"]]}, []),
      on.("question_none", {KindsService, :nodes, [[]]}, []),
      on.("question_raise", {KindsService, :no_such_question, []}, []),
      on.("connected", {:erlang, :nodes, []}, []),
      on.("node_list", {Node, :list, []}, []),
      on.("role", {ClusterHelper, :get_nodes, [:kinds]}, []),
      on.("dead", [dead], []),
      on.("fall_over", [dead, :"k2@127.0.0.1"], choose_node_mode: :round_robin)
    ]
  end

  defp hooks do
    before = fn name, hook, more -> fun("before_#{name}", :see, ["v"], [before_execute: hook] ++ more) end
    k = KindsService

    [
      before.("change", {k, :before_change}, []),
      before.("args", {k, :before_changing, ["by argument"]}, []),
      before.("config", {k, :before_config}, []),
      before.("user", {k, :before_user}, mfa: {k, :see, []}, request_info: true),
      before.("forbidden", {k, :before_forbidden}, []),
      before.("reject", {k, :before_reject}, after_execute: {k, :after_note}),
      before.("other", {k, :before_other}, []),
      before.("raise", {k, :before_raise}, []),
      before.("slow", {k, :before_slow}, hook_timeout: 200),
      fun("after", :result, ["v"], after_execute: {k, :after_note}),
      fun("after_args", :result, ["v"], after_execute: {k, :after_noting, ["more"]}),
      fun("after_raise", :result, ["v"], after_execute: {k, :after_raise}),
      fun("after_async", :result, ["v"], response_type: :async, after_execute: {k, :after_note}),
      fun("after_denied", :see, ["v"], check_permission: {:role, ["nobody"]}, after_execute: {k, :after_note})
    ]
  end

  defp retries do
    args = [{"id", :string}, {"how", :string}]
    two = KindsService.nodes(["k1", "k2"])
    try = fn name, retry, more -> fun("retry_#{name}", :failing, args, [retry: retry, timeout: 300] ++ more) end

    [
      try.("nil", nil, nodes: two, choose_node_mode: :round_robin),
      try.("number", 2, []),
      try.("same", {:same_node, 1}, nodes: two),
      try.("all", {:all_nodes, 1}, nodes: two, choose_node_mode: :round_robin),
      try.("half", 0.5, []),
      fun("retry_third", :third_time, [{"id", :string}], retry: 3),
      try.("async", 1, response_type: :async)
    ]
  end

  defp versions do
    v = fn name, version, more -> fun("v_#{name}", :version, [], [mfa_args: [version || "none"], version: version] ++ more) end

    [
      v.("many", "1.0.0", []),
      v.("many", "10.0.0", disabled: true),
      v.("many", "9.0.0", []),
      v.("many", "9.0.1-rc.1", []),
      v.("many", "2.0.0", []),
      v.("many", nil, []),
      v.("rc", "1.0.0-rc.1", []),
      v.("rc", "1.0.0", []),
      v.("only_rc", "1.0.0-rc.1", []),
      v.("only_rc", "1.0.0-beta", []),
      v.("zero", "0.0.0", []),
      v.("text", "abc", []),
      v.("off", "1.0.0", disabled: true),
      v.("off_all", nil, disabled: true)
    ]
  end

  # {FunConfig with one field wrong}: the message each gets is in the test.
  def wrong do
    bad = fn name, more -> struct!(fun("wrong_#{name}", :see, [{"v", :string}]), more) end

    [
      bad.("request_type", request_type: :atom),
      bad.("nodes", nodes: []),
      bad.("nodes_number", nodes: [5]),
      bad.("mode", choose_node_mode: {:hash, :atom}),
      bad.("timeout_short", timeout: 99),
      bad.("timeout_long", timeout: 300_001),
      bad.("mfa", mfa: {KindsService, "see", []}),
      bad.("types", arg_types: %{"v" => :no_such_type}),
      bad.("orders", arg_orders: ["v", "w"]),
      bad.("orders_twice", arg_orders: ["v", "v"]),
      bad.("no_order", arg_types: %{"a" => :num, "b" => :num}, arg_orders: nil),
      bad.("response_type", response_type: :later),
      bad.("permission", check_permission: {:arg, :v}),
      bad.("callback", permission_callback: "no"),
      bad.("request_info", request_info: "yes"),
      bad.("version", version: :one),
      bad.("retry", retry: 0),
      bad.("before", before_execute: {KindsService, "x"}),
      bad.("after", after_execute: 5),
      bad.("hook_timeout", hook_timeout: 0),
      bad.("local", nodes: :local),
      bad.("forbidden", mfa: {:os, :cmd, []}),
      bad.("two", timeout: 5, retry: -1)
    ]
  end
end
