# The structs that a PhoenixGenApi service node and a gateway exchange, with the names, keys and defaults of
# library version 2.22 (F-001..F-018, F-080, F-090, F-100, F-110, F-130), and the helper that streams chunks. A real
# service node has them from the library; the nodes of the demo and the tests have them from here, so that
# the terms on the wire are the same without fetching a package.
#
# Does not hold the library's validation, its gateway or its clients.

defmodule PhoenixGenApi.Structs.FunConfig do
  @moduledoc false
  defstruct request_type: nil,
            service: nil,
            nodes: nil,
            choose_node_mode: nil,
            timeout: nil,
            mfa: nil,
            arg_types: nil,
            arg_orders: nil,
            response_type: nil,
            request_info: false,
            check_permission: false,
            permission_callback: nil,
            version: nil,
            disabled: false,
            retry: nil,
            before_execute: nil,
            after_execute: nil,
            hook_timeout: 5000
end

defmodule PhoenixGenApi.Structs.ServiceConfig do
  @moduledoc false
  defstruct service: nil,
            nodes: nil,
            module: nil,
            function: nil,
            args: nil,
            version_module: nil,
            version_function: nil,
            version_args: nil
end

defmodule PhoenixGenApi.Structs.PushConfig do
  @moduledoc false
  defstruct service: nil,
            nodes: nil,
            config_version: nil,
            fun_configs: nil,
            module: nil,
            function: nil,
            args: [],
            version_module: nil,
            version_function: nil,
            version_args: [],
            push_token: nil
end

defmodule PhoenixGenApi.Structs.Request do
  @moduledoc false
  defstruct user_id: nil,
            device_id: nil,
            request_type: nil,
            request_id: nil,
            service: nil,
            args: %{},
            user_roles: nil,
            version: nil
end

defmodule PhoenixGenApi.Structs.Response do
  @moduledoc false
  defstruct request_id: nil,
            result: nil,
            success: false,
            error: nil,
            async: false,
            has_more: false,
            can_retry: false
end

defmodule PhoenixGenApi.Structs.StreamHelper do
  @moduledoc false
  # The gateway's stream process understands these four messages (F-130, E-148).
  defstruct stream_pid: nil, request_id: nil

  def new(%{stream_pid: pid, request_id: id}), do: %__MODULE__{stream_pid: pid, request_id: id}

  def send_result(%__MODULE__{stream_pid: pid}, result), do: send(pid, {:result, result})
  def send_last_result(%__MODULE__{stream_pid: pid}, result), do: send(pid, {:last_result, result})
  def send_complete(%__MODULE__{stream_pid: pid}), do: send(pid, :complete)
  def send_error(%__MODULE__{stream_pid: pid}, reason), do: send(pid, {:error, reason})
end
