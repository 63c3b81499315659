# A BEAM node that a test drives through its standard input and output: each line "ID BASE64" is a piece of Elixir,
# run in a process of its own, answered by a line "=> ID ok|error BASE64" with the inspected value. Whatever else the
# node prints stays as it is. The node ends when its input closes, so that none outlives its test.

defmodule TestNode do
  @moduledoc false

  def main do
    IO.puts("=> ready #{node()} OTP #{System.otp_release()}")
    loop()
  end

  defp loop do
    case IO.read(:stdio, :line) do
      line when is_binary(line) ->
        [id, code] = String.split(line)
        spawn(fn -> answer(id, Base.decode64!(code)) end)
        loop()

      _ ->
        System.halt(0)
    end
  end

  defp answer(id, code) do
    {how, value} = run(code)
    IO.puts("=> #{id} #{how} #{Base.encode64(inspect(value, limit: :infinity, printable_limit: :infinity))}")
  end

  defp run(code) do
    {value, _} = Code.eval_string(code)
    {"ok", value}
  catch
    kind, reason -> {"error", {kind, reason}}
  end
end
