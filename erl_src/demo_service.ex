# The service node that `make demo` starts: a handful of functions that people recognise, offered to the gateway the way
# a PhoenixGenApi service does it: Supporter.get_config/1 returns the FunConfigs, Supporter.get_config_version/0 a
# version by which the gateway knows whether to fetch them again. Everything a service must bring is in this file.

defmodule DemoService.Users do
  @moduledoc false
  @count 50

  def get_user(id), do: user(id)
  def get_user_v2(id), do: with({:ok, user} <- user(id), do: {:ok, Map.put(user, :v, 2)})
  def list_users, do: {:ok, Enum.map(1..@count, &build/1)}

  defp user(id) do
    case Integer.parse(id) do
      {n, ""} when n in 1..@count -> {:ok, build(n)}
      _ -> {:error, :not_found}
    end
  end

  defp build(n), do: %{id: "#{n}", name: "User Number #{n}", email: "user#{n}@example.com"}
end

defmodule DemoService.Api do
  @moduledoc false
  alias PhoenixGenApi.Structs.StreamHelper

  def echo(msg), do: {:ok, msg}
  def add(a, b), do: {:ok, a + b}

  def slow(ms) do
    Process.sleep(min(ms, 10_000))
    {:ok, %{slept: ms}}
  end

  # For response_type none: nobody waits for the answer, so it shows on the service node's own console.
  def notify(msg), do: IO.puts("demo_service: notified: #{inspect(msg)}")

  def whoami(request_info), do: {:ok, Map.take(request_info, [:user_id, :device_id, :request_id])}
  def fail(reason), do: {:error, reason}

  # Sends n numbers to whoever asked, four a second, from a process of its own.
  def countdown(n, request_info) do
    stream = StreamHelper.new(request_info)
    spawn(fn -> count_down(stream, min(n, 100)) end)
    {:ok, %{from: n}}
  end

  defp count_down(stream, n) when n <= 0, do: StreamHelper.send_last_result(stream, %{left: 0})

  defp count_down(stream, n) do
    StreamHelper.send_result(stream, %{left: n})
    Process.sleep(250)
    count_down(stream, n - 1)
  end
end

defmodule DemoService.Supporter do
  @moduledoc false
  alias PhoenixGenApi.Structs.FunConfig
  alias DemoService.{Api, Users}

  @version "1.0.0"

  def get_config_version, do: @version

  def get_config(_args) do
    {:ok,
     [
       fun("echo", {Api, :echo, []}, %{"msg" => :string}, ["msg"]),
       fun("get_user", {Users, :get_user, []}, %{"user_id" => :string}, ["user_id"], version: "1.0.0"),
       fun("get_user", {Users, :get_user_v2, []}, %{"user_id" => :string}, ["user_id"], version: "2.0.0"),
       fun("list_users", {Users, :list_users, []}, nil, nil),
       fun("add", {Api, :add, []}, %{"a" => :num, "b" => :num}, ["a", "b"]),
       fun("slow", {Api, :slow, []}, %{"ms" => :num}, ["ms"], timeout: 15_000),
       fun("echo_async", {Api, :echo, []}, %{"msg" => :string}, ["msg"], response_type: :async),
       fun("notify", {Api, :notify, []}, %{"msg" => :string}, ["msg"], response_type: :none),
       fun("whoami", {Api, :whoami, []}, nil, nil, request_info: true),
       fun("fail", {Api, :fail, []}, %{"reason" => :string}, ["reason"]),
       fun("countdown", {Api, :countdown, []}, %{"n" => :num}, ["n"],
         response_type: :stream,
         request_info: true,
         timeout: 60_000
       )
     ]}
  end

  defp fun(request_type, mfa, arg_types, arg_orders, more \\ []) do
    struct!(
      %FunConfig{
        request_type: request_type,
        service: "demo",
        nodes: [node()],
        choose_node_mode: :random,
        timeout: 5_000,
        mfa: mfa,
        arg_types: arg_types,
        arg_orders: arg_orders,
        response_type: :sync
      },
      more
    )
  end
end

defmodule DemoService do
  @moduledoc false

  # Runs until the standard input closes: the node ends with whoever started it.
  def main do
    {:ok, configs} = DemoService.Supporter.get_config(nil)
    IO.puts("demo_service: node #{node()} offers #{length(configs)} functions of service demo")
    wait_for_end()
    System.halt(0)
  end

  defp wait_for_end do
    case IO.read(:stdio, :line) do
      line when is_binary(line) -> wait_for_end()
      _ -> :ok
    end
  end
end
