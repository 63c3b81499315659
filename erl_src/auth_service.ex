# What a service has of UserSocket.connect/3, of a channel's join/3 and of check_origin: {M, F, A}, for the tests of who may
# come in; and the sending half of Phoenix.PubSub's PG2 adapter, on OTP's own pg.

defmodule AuthService do
  @moduledoc false

  def connect(%{"token" => "user:" <> id}, info) do
    seen(info)
    {:ok, %{user_id: id, roles: ["member"], device_id: "d-" <> id, shirt: :blue}}
  end

  def connect(%{"token" => "slow"}, _info) do
    Process.sleep(400)
    {:ok, %{user_id: "slow"}}
  end

  def connect(%{"token" => "hang"}, _info), do: Process.sleep(60_000)
  def connect(%{"token" => "raise"}, _info), do: raise("no")
  def connect(%{"token" => "odd"}, _info), do: :perhaps
  def connect(%{"token" => "expired"}, _info), do: {:error, :expired}
  def connect(%{"token" => "busy"}, _info), do: {:error, :rate_limit}

  def connect(params, info) do
    seen({params, info})
    :error
  end

  def join("room:" <> _, %{"as" => user}, socket), do: {:ok, %{was: socket.user_id}, %{user_id: user}}

  def join("room:slow", _payload, _socket) do
    Process.sleep(300)
    {:ok, %{}}
  end

  def join("room:shirt", _payload, socket), do: {:ok, %{shirt: socket.assigns.shirt}, %{}}
  def join("room:raise", _payload, _socket), do: raise("no")
  def join("room:open", _payload, _socket), do: {:ok, %{}}
  def join(_topic, _payload, _socket), do: {:error, %{reason: "not here"}}

  # The extra arguments are those of the configuration. How often each host was asked about is in asked/1.
  def origin_allowed?(%URI{} = uri, :shop, 7) do
    seen(uri)
    count = :persistent_term.get({:auth_service_asked, uri.host}, 0)
    :persistent_term.put({:auth_service_asked, uri.host}, count + 1)
    judge(uri.host)
  end

  def asked(host), do: :persistent_term.get({:auth_service_asked, host}, 0)

  defp judge("raise.example"), do: raise("no")
  defp judge("hang.example"), do: Process.sleep(60_000)
  defp judge("odd.example"), do: {:error, :not_a_boolean}
  defp judge(host), do: host in ["shop.example", "other.example"]

  # What the last client looked like.
  def last, do: :persistent_term.get(:auth_service_seen, nil)
  defp seen(what), do: :persistent_term.put(:auth_service_seen, what)

  # Phoenix.PubSub.PG2 on this node: its pg scope, and a broadcast to the other nodes' members of one shard.
  def start_pubsub, do: with({:ok, _} <- :pg.start(Phoenix.PubSub), do: :ok)
  def stop_pubsub, do: Process.exit(Process.whereis(Phoenix.PubSub), :kill)
  def members(group), do: :pg.get_members(Phoenix.PubSub, group) |> Enum.map(&node/1)

  def broadcast(group, topic, event) do
    message = %{__struct__: Phoenix.Socket.Broadcast, topic: topic, event: event, payload: %{}}

    for pid <- :pg.get_members(Phoenix.PubSub, group), node(pid) != node() do
      send(pid, {:forward_to_local, topic, message, Phoenix.Channel.Server})
    end

    :ok
  end
end
