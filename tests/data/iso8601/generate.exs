# What DateTime.from_iso8601/1 and NaiveDateTime.from_iso8601/1 say to texts that are right, wrong in one place, or wrong in
# two: TEXT, then for each the fields (in UTC), the reason, or "raises". Run by hand: elixir generate.exs writes elixir.txt.
ok = ["", "2020", "-", "02", "-", "29", "T", "23", ":", "59", ":", "59", ".123", "Z"]
alts = %{0 => ["-", "+", " "], 1 => ["0000","9999","1900","2000","2023","202","02020"], 2 => ["/", ""], 3 => ["01","12","13","00","2"], 5 => ["01","28","30","31","32","00","1"],
  6 => [" ", "t", "TT", ""], 7 => ["00","24","1"], 8 => [""], 9 => ["00","60"], 10 => [""], 11 => ["00","60","61"],
  12 => ["", ".1", ".123456", ".1234567", ",5", ".", ".000000000001"],
  13 => ["", "z","+00:00","-00:00","+01:00","-01:30","+0100","+01","-23:59","+24:00","+00:60","+1:00","Z ","+00:00:30","-00:01","+14:00","+"]}
put = fn parts, k, v -> List.replace_at(parts, k, v) end
one = for {k, vs} <- alts, v <- vs, do: put.(ok, k, v)
two = for {k1, v1} <- [{0,"-"},{0,"+"},{5,"30"},{7,"24"},{11,"60"},{1,"0000"}], {k2, v2} <- [{5,"00"},{7,"24"},{11,"61"},{13,"+14:00"},{13,"-14:00"},{13,""},{1,"1900"},{1,"0000"},{3,"12"}], k1 != k2, do: ok |> put.(k1, v1) |> put.(k2, v2)
edges = ["2023-12-31T23:30:00-01:00", "2024-01-01T00:30:00+01:00", "-0001-12-31T23:30:00-01:00", "0000-01-01T00:30:00+01:00", "-9999-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01", "2024-03-01T00:00:00+00:01", "2023-03-01T00:00:00+00:01", "", "x"]
cases = ([ok | one] ++ two |> Enum.map(&Enum.join/1)) ++ edges |> Enum.uniq()
line = fn r -> case r do
  {:ok, d} -> "#{d.year} #{d.month} #{d.day} #{d.hour} #{d.minute} #{d.second} #{elem(d.microsecond, 0)} #{elem(d.microsecond, 1)}"
  {:error, e} -> "#{e}" end end
out = for s <- cases do
  a = try do
    case DateTime.from_iso8601(s) do {:ok, d, _} -> {:ok, d}; e -> e end
  rescue FunctionClauseError -> {:error, "raises"} end
  "#{s}\t#{line.(a)}\t#{line.(NaiveDateTime.from_iso8601(s))}\n"
end
File.write!("elixir.txt", out)
