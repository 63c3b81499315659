# What a PhoenixGenApi service node does to push its functions (S-010..S-015): the calls of the library's
# ConfigPusher, made the same way, with the token from the same place and the same clauses for the answers. An answer
# that the library does not know crashes here as it does there.

defmodule TestPusher do
  @moduledoc false
  alias PhoenixGenApi.Structs.PushConfig

  def push(gateway, %PushConfig{} = config, opts \\ []) do
    config = %{config | push_token: Application.get_env(:phoenix_gen_api, :push_token)}
    force = Keyword.get(opts, :force, false)
    timeout = Keyword.get(opts, :timeout, 5_000)

    case :rpc.call(gateway, PhoenixGenApi.ConfigReceiver, :push, [config, [force: force]], timeout) do
      {:ok, :accepted} -> {:ok, :accepted}
      {:ok, :skipped, reason} -> {:ok, :skipped, reason}
      {:error, reason} -> {:error, reason}
      {:badrpc, reason} -> {:error, {:badrpc, reason}}
    end
  end

  def verify(gateway, service, version, timeout \\ 5_000) do
    case :rpc.call(gateway, PhoenixGenApi.ConfigReceiver, :verify, [service, version], timeout) do
      {:ok, :matched} -> {:ok, :matched}
      {:ok, :mismatch, stored} -> {:ok, :mismatch, stored}
      {:error, reason} -> {:error, reason}
      {:badrpc, reason} -> {:error, {:badrpc, reason}}
    end
  end

  def config(service, version, fun_configs, more \\ []) do
    struct!(%PushConfig{service: service, nodes: [node()], config_version: version, fun_configs: fun_configs}, more)
  end

  # A function of TestService, offered by this node under any service.
  def fun(service, request_type, function, args \\ [], more \\ []) do
    %{TestService.Supporter.fun(request_type, function, args, more) | service: service}
  end
end
