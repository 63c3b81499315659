#!/usr/bin/env escript
%% -*- erlang -*-
%% Writes vectors for test_phash2: one "<phash2(T, 2^32)> <hex of the external term without version byte>" a line.
%% Usage: escript generate.escript SEED COUNT > vectors.txt
main([Seed, Count]) ->
    rand:seed(exsss, list_to_integer(Seed)),
    [line(T) || T <- edges()],
    [line(term(rand:uniform(5) - 1)) || _ <- lists:seq(1, list_to_integer(Count))].

line(T) ->
    <<131, Bin/binary>> = term_to_binary(T, [{minor_version, 2}]),
    Hex = [io_lib:format("~2.16.0b", [B]) || <<B>> <= Bin],
    io:format("~b ~s~n", [erlang:phash2(T, 1 bsl 32), Hex]).

edges() ->
    Ints = [S * ((1 bsl N) + D) || N <- [0, 7, 8, 26, 27, 28, 31, 32, 58, 59, 60, 63, 64, 96, 127, 128, 192],
                                   D <- [-1, 0, 1], S <- [1, -1]],
    Bins = [binary:copy(<<"x">>, N) || N <- lists:seq(0, 26)],
    Lists = [lists:duplicate(N, 65) || N <- lists:seq(0, 9)],
    Ints ++ Bins ++ Lists ++ [lists:duplicate(3, I) || I <- Ints] ++
        [0.0, -0.0, 1.0, -1.5, 1.0e300, 5.0e-324, true, false, nil, 'é', 'ü x', 'Elixir.A', '', {}, {{}}, [[]], [[], []],
         [1, a, 2, 3], [1, 2, 3, a], [a, 1, 2, 3, 4, 5], [256, 1], [1, 256], [1 | a], [a | b], [1, 2 | 3], #{}, #{#{} => #{}},
         #{1 => 2, 2 => 1}, #{a => #{b => #{c => []}}}, [#{a => 1}, #{b => 2}], {a, #{a => 1}, [b]},
         maps:from_list([{integer_to_binary(I), I} || I <- lists:seq(1, 100)])].

term(0) ->
    case rand:uniform(9) of
        1 -> rand:uniform(512) - 256;
        2 -> rand:uniform(1 bsl 64) - (1 bsl 63);
        3 -> (rand:uniform(1 bsl 200) - (1 bsl 199)) bsr rand:uniform(190);
        4 -> (rand:uniform() - 0.5) * math:pow(10, rand:uniform(60) - 30);
        5 -> lists:nth(rand:uniform(4), [true, false, nil, ok]);
        6 -> list_to_binary([rand:uniform(256) - 1 || _ <- lists:seq(1, rand:uniform(40))]);
        7 -> [rand:uniform(256) - 1 || _ <- lists:seq(1, rand:uniform(12))];
        8 -> unicode:characters_to_binary([$é, $日, rand:uniform(127)]);
        9 -> []
    end;
term(Depth) ->
    Sub = fun() -> term(rand:uniform(Depth) - 1) end,
    N = rand:uniform(6) - 1,
    case rand:uniform(4) of
        1 -> [Sub() || _ <- lists:seq(1, N)];
        2 -> maps:from_list([{term(0), Sub()} || _ <- lists:seq(1, N)]);
        3 -> maps:from_list([{integer_to_binary(rand:uniform(1000)), Sub()} || _ <- lists:seq(1, N * N + 1)]);
        4 -> list_to_tuple([Sub() || _ <- lists:seq(1, N)])
    end.
