# gen_terms.exs: writes tests/data/terms/NAME.{hex,json,inspect,error} with a real Elixir node:
#   elixir tests/data/gen_terms.exs
#
# hex is term_to_binary/2 with atoms in UTF-8 as on the distribution channel, inspect is Kernel.inspect/2, json is what the gateway must make of it (the contract's
# E-220..E-234, written by hand below), error is what it must say when it refuses. The vectors named v_*
# come from another, newer node and are not written here.
defmodule Decimal do
  defstruct [:sign, :coef, :exp]
end

defmodule PhoenixGenApi.Structs.Response do
  defstruct request_id: nil, result: nil, success: false, error: nil, async: false, has_more: false, can_retry: false
end

defmodule MyApp.User do
  defstruct [:name, :age, :__meta__]
end

defmodule MyApp.One do
  defstruct [:name]
end

defmodule Gen do
  @dir Path.join(__DIR__, "terms")

  def ok(name, term, json), do: write(name, term, ".json", json)
  def error(name, term, text), do: write(name, term, ".error", text)
  # Fields of structs come in the order of the wire in the gateway's texts, so structs with several are left out.
  # Elixir before 1.15 shows charlists as 'abc': such texts are written by hand.
  def only_inspect(name, term, text \\ nil), do: write(name, term, text && ".inspect", text)

  defp write(name, term, ext, text) do
    hex = term |> :erlang.term_to_binary(minor_version: 2) |> Base.encode16(case: :lower)
    lines = for <<line::binary-size(96) <- hex>>, do: line <> "\n"
    rest = binary_part(hex, length(lines) * 96, byte_size(hex) - length(lines) * 96)
    File.write!(Path.join(@dir, name <> ".hex"), [lines, if(rest == "", do: [], else: [rest, "\n"])])
    inspected = inspect(term, limit: :infinity, printable_limit: :infinity, width: :infinity)
    unless inspected =~ ~r/#(PID|Ref|Port|Function|DateTime)|2024-13|PhoenixGenApi|%(MyApp.User|Decimal)|'/ do
      File.write!(Path.join(@dir, name <> ".inspect"), inspected <> "\n")
    end
    if ext, do: File.write!(Path.join(@dir, name <> ext), text <> "\n")
  end
end

defmodule Cases do
  import Gen
  alias PhoenixGenApi.Structs.Response

  def run do
    ok("nil", nil, "null")
    ok("true", true, "true")
    ok("atom", :hello, ~S("hello"))
    ok("atom_quoted", :"hello world", ~S("hello world"))
    ok("atom_utf8", :"héllo", ~S("héllo"))
    ok("module", String, ~S("Elixir.String"))
    ok("int_small", 255, "255")
    ok("int_negative", -1, "-1")
    ok("int_32", 2_147_483_647, "2147483647")
    ok("int_33", 2_147_483_648, "2147483648")
    ok("int_64", -9_223_372_036_854_775_808, "-9223372036854775808")
    ok("int_65", 9_223_372_036_854_775_808, "9223372036854775808")
    ok("int_big", 123_456_789_012_345_678_901_234_567_890, "123456789012345678901234567890")
    ok("int_huge", -Integer.pow(10, 700), "-1" <> String.duplicate("0", 700))
    ok("int_two_chunks", Integer.pow(10, 18) * 7, "7000000000000000000")
    ok("float", 1.5, "1.5")
    ok("float_list", [100.0, 1.0e22, -0.0, 0.1, 1.0e-10], "[100.0,1.0e22,-0.0,0.1,1.0e-10]")
    ok("binary", "héllo \"q\" \\ / \n\t\u0001 \u2028 😀 \d", "\"héllo \\\"q\\\" \\\\ / \\n\\t\\u0001 \u2028 😀 \d\"")
    ok("binary_empty", "", ~S(""))
    ok("list", [1, [2, []], "x", nil], ~S([1,[2,[]],"x",null]))
    ok("list_empty", [], "[]")
    ok("charlist", 'abc', "[97,98,99]")
    ok("charlist_controls", [7, 1, 255], "[7,1,255]")
    ok("map_empty", %{}, "{}")
    ok("map_text", %{"a" => %{"b" => []}}, ~S({"a":{"b":[]}}))
    ok("map_atom", %{b: 1}, ~S({"b":1}))
    ok("map_key_nil", %{nil => 1}, ~S({"nil":1}))
    ok("map_key_int", %{-5 => 1}, ~S({"-5":1}))
    ok("map_key_big", %{18_446_744_073_709_551_616 => true}, ~S({"18446744073709551616":true}))
    ok("map_key_float", %{1.5 => 1}, ~S({"1.5":1}))
    ok("map_key_module", %{Enum => 1}, ~S({"Elixir.Enum":1}))
    ok("date", ~D[2024-01-02], ~S("2024-01-02"))
    ok("date_negative", Date.new!(-1, 12, 31), ~S("-0001-12-31"))
    ok("time", ~T[03:04:05.000006], ~S("03:04:05.000006"))
    ok("time_milli", ~T[23:59:59.120], ~S("23:59:59.120"))
    ok("naive", ~N[2024-01-02 03:04:05], ~S("2024-01-02T03:04:05"))
    ok("naive_micro", ~N[2024-01-01 00:00:00.123456], ~S("2024-01-01T00:00:00.123456"))
    ok("datetime", ~U[2024-01-02 03:04:05Z], ~S("2024-01-02T03:04:05Z"))
    ok("datetime_micro", ~U[2024-01-02 03:04:05.10Z], ~S("2024-01-02T03:04:05.10Z"))
    hanoi = %{~U[2024-01-02 03:04:05Z] | time_zone: "Asia/Ho_Chi_Minh", zone_abbr: "+07", utc_offset: 25_200}
    ok("datetime_offset", hanoi, ~S("2024-01-02T03:04:05+07:00"))
    newfoundland = %{hanoi | time_zone: "America/St_Johns", zone_abbr: "NDT", utc_offset: -12_600, std_offset: 3600}
    ok("datetime_west", newfoundland, ~S("2024-01-02T03:04:05-02:30"))
    london = %{hanoi | time_zone: "Europe/London", zone_abbr: "GMT", utc_offset: 0}
    ok("datetime_zero", london, ~S("2024-01-02T03:04:05+00:00"))
    for {t, s} <- [{hanoi, "2024-01-02T03:04:05+07:00"}, {newfoundland, "2024-01-02T03:04:05-02:30"},
                   {london, "2024-01-02T03:04:05+00:00"}], do: ^s = DateTime.to_iso8601(t)

    decimals = [{1, 110, -2}, {-1, 5, 0}, {1, 1, 3}, {1, 123, 5}, {1, 5, -7}, {1, 123, -8}, {1, 123, -10}, {1, 0, -2},
                {-1, 0, 0}, {1, :NaN, 0}, {-1, :inf, 0}, {1, :inf, 0}, {1, 12_345_678_901_234_567_890_123, -3}]
    ok("decimal", Enum.map(decimals, fn {s, c, e} -> %Decimal{sign: s, coef: c, exp: e} end),
      ~S(["1.10","-5","1E+3","1.23E+7","5E-7","0.00000123","1.23E-8","0.00","-0","NaN","-Infinity","Infinity","12345678901234567890.123"]))
    ok("mapset", MapSet.new([:admin]), ~S(["admin"]))
    ok("mapset_many", MapSet.new([1, 2, [3, %{"a" => MapSet.new()}]]), ~S([1,2,[3,{"a":[]}]]))
    ok("struct_unknown", %MyApp.User{name: "n", age: nil, __meta__: {:schema, self()}}, ~S({"age":null,"name":"n"}))
    ok("struct_nested", %MyApp.User{name: %MyApp.User{name: ~D[2024-01-02]}, age: [%{d: ~T[01:02:03]}]},
      ~S({"age":[{"d":"01:02:03"}],"name":{"age":null,"name":"2024-01-02"}}))
    ok("struct_range", 1..3, ~S({"first":1,"last":3,"step":1}))
    ok("response", %Response{request_id: "r1", result: %{"a" => 1}, success: true},
      ~S({"error":null,"async":false,"success":true,"result":{"a":1},"request_id":"r1","can_retry":false,"has_more":false}))
    # V-14, in its order; the first one is v_07.
    ack = %Response{request_id: "r1", success: true, async: true}
    v14 = fn fields -> "{" <> fields <> "}" end
    ok("response_ack", ack, v14.(~S("error":null,"async":true,"success":true,"result":null,"request_id":"r1","can_retry":false,"has_more":false)))
    ok("response_init", %{ack | result: "init", has_more: true}, v14.(~S("error":null,"async":true,"success":true,"result":"init","request_id":"r1","can_retry":false,"has_more":true)))
    ok("response_last", %{ack | result: 5}, v14.(~S("error":null,"async":true,"success":true,"result":5,"request_id":"r1","can_retry":false,"has_more":false)))
    ok("response_error", %Response{request_id: "r1", error: "x"}, v14.(~S("error":"x","async":false,"success":false,"result":null,"request_id":"r1","can_retry":false,"has_more":false)))
    ok("response_retry", %Response{request_id: "r1", error: "x", can_retry: true}, v14.(~S("error":"x","async":false,"success":false,"result":null,"request_id":"r1","can_retry":true,"has_more":false)))
    ok("response_nested", %{"r" => [%Response{request_id: "r1", result: %Response{error: "x", result: ~D[2024-01-02]}, async: true}, 1]},
      ~S({"r":[{"error":null,"async":true,"success":false,"result":{"error":"x","async":false,"success":false,"result":"2024-01-02",) <>
      ~S("request_id":null,"can_retry":false,"has_more":false},"request_id":"r1","can_retry":false,"has_more":false},1]}))
    ok("response_old", Map.drop(%Response{request_id: "r", success: true}, [:can_retry, :error]),
      ~S({"error":null,"async":false,"success":true,"result":null,"request_id":"r","can_retry":false,"has_more":false}))
    ok("values", [%{"atom" => :hello}, %{"big" => 12345678901234567890}, %{"e" => 1.0e-10}, %{"f2" => 100.0}, %{"f3" => 1.0e22}],
      ~S([{"atom":"hello"},{"big":12345678901234567890},{"e":1.0e-10},{"f2":100.0},{"f3":1.0e22}]))
    ok("struct_word_as_text", %{"__struct__" => "Elixir.Date"}, ~S({"__struct__":"Elixir.Date"}))
    ok("struct_word_no_module", %{__struct__: "Elixir.Date"}, ~S({"__struct__":"Elixir.Date"}))

    error("tuple", {:ok, 1}, "cannot encode a tuple as JSON")
    error("tuple_inside", %{"users" => [1, %{pos: {1, 2}}]}, "cannot encode a tuple as JSON at result.users[1].pos")
    error("keyword", [a: 1, b: [c: 2]], "cannot encode a tuple as JSON at result[0]")
    error("tuple_in_set", MapSet.new([{1}]), "cannot encode a tuple as JSON at result[0]")
    error("tuple_in_response", %Response{result: %{"x" => {}}}, "cannot encode a tuple as JSON at result.result.x")
    error("pid", self(), "cannot encode a pid as JSON")
    error("port", hd(:erlang.ports()), "cannot encode a port as JSON")
    error("reference", [make_ref()], "cannot encode a reference as JSON at result[0]")
    error("function", &Enum.map/2, "cannot encode a function as JSON")
    error("closure", (fn x -> fn y -> {x, y} end end).(self()), "cannot encode a function as JSON")
    error("bitstring", <<5::3>>, "cannot encode a bitstring as JSON")
    error("binary_latin1", ["caf\xe9"], "cannot encode a binary that is not UTF-8 as JSON at result[0]")
    error("improper", [1, 2 | 3], "cannot encode an improper list as JSON")
    error("map_key_tuple", %{{1, 2} => 3}, "cannot encode a map key that is neither text nor number as JSON at result[?]")
    error("date_bad", %{~D[2024-01-02] | month: 13}, "cannot encode a malformed Date as JSON")

    only_inspect("inspect_atoms", [:ok, :"Foo bar", :foo?, :bar!, :"a-b", :"", :Foo, :foo@bar, :"é", :é_1, :+, :"=>", :..., :%{}, :{}, :"1a",
      Foo.Bar, :"Elixir.foo", :Elixir, :"Elixir.Foo-Bar", :"a\nb", :"\"", :nil, :do, :and, :__MODULE__, :_, :<<>>, :.., :"..//", :"//", :!])
    only_inspect("inspect_binaries", ["a", "a\"b\\c\n\t\r\e\a\b\v\f\d \#{x} # é 😀", <<255, 1>>, "", <<1, 2, 3>>, "a\0b", <<0>>])
    only_inspect("inspect_lists", [[1, 2], [], [97 | 98], [1, [2 | :x]], [a: 1], [{:"b c", 2}], [{:a, 1}, 2], [{"a", 1}], [nil: 1], [{Foo, 1}], [+: 1, a?: 2], [A: 1]])
    only_inspect("inspect_charlists", ['abc', 'a\'b\n', [?a | Enum.to_list(1..3)], [97, 98, 233]],
      ~S([~c"abc", ~c"a'b\n", [97, 1, 2, 3], [97, 98, 233]]))
    only_inspect("inspect_tuples", [{}, {1}, {:error, :timeout}, {:error, {:badrpc, {:EXIT, "x"}}}, {[]}])
    only_inspect("inspect_maps", [%{}, %{a: 1}, %{"a" => 1}, %{1 => 2}, %{:"a b" => 1}, %{Foo => 1}, %{{1, 2} => []}, %{[a: 1] => %{b: []}}])
    only_inspect("inspect_structs", [%MyApp.One{name: "x"}, 1..3, 1..10//2, ~D[2024-01-02], ~T[03:04:05.006], ~N[2024-01-02 03:04:05], ~U[2024-01-02 03:04:05.1Z],
      MapSet.new([1, :a]), MapSet.new(), %ArgumentError{message: "x"}, %RuntimeError{}])
    only_inspect("inspect_numbers", [0, -1, 1.0, 1.0e-7, 123456789012345678901234567890, -0.0, 1.0e23])
    only_inspect("inspect_bits", [<<5::3>>, <<1, 2, 3::7>>])
    only_inspect("inspect_fun", [&Enum.map/2, &:lists.map/2, &:"a b"."c d"/0])
  end
end

Cases.run()
