#!/usr/bin/env escript
%% -*- erlang -*-
%% Writes vectors for test_phash2: one "<phash2(T, 2^32)> <JSON>" a line, T being the term that Elixir reads from that JSON: what
%% {hash, K} and {sticky, K} meet in a client's arguments. Strings are written with and without escapes, numbers in several spellings.
%% Usage: escript generate_json.escript SEED COUNT > json.txt
main([Seed, Count]) ->
    ok = io:setopts([{encoding, unicode}]),
    rand:seed(exsss, list_to_integer(Seed)),
    [line(V) || V <- edges()],
    [line(value(rand:uniform(4) - 1)) || _ <- lists:seq(1, list_to_integer(Count))].

line({T, Json}) ->
    Line = [integer_to_list(erlang:phash2(T, 1 bsl 32)), $\s, Json, $\n],
    io:put_chars(unicode:characters_to_list(iolist_to_binary(Line))).

edges() ->
    [{true, "true"}, {false, "false"}, {nil, "null"}, {[], "[]"}, {#{}, "{}"}, {[[]], "[[]]"}, {<<>>, "\"\""}, {0, "-0"}, {-0.0, "-0.0"},
     {100.0, "1E2"}, {1.0e-7, "1e-7"}, {5.0e-324, "5e-324"}, {1.7976931348623157e308, "1.7976931348623157e308"}, {0.1, "1e-1"},
     {<<"é"/utf8>>, "\"\\u00e9\""}, {<<"😀"/utf8>>, "\"\\ud83d\\ude00\""}, {<<0>>, "\"\\u0000\""}, {<<"/">>, "\"\\/\""},
     {#{<<"a">> => 1}, "{\"a\":1,\"a\":2}"}, {#{<<"a">> => 1}, "{\"\\u0061\":1,\"a\":2}"}] ++
        [{I, integer_to_list(I)} || N <- [7, 8, 26, 27, 28, 31, 32, 53, 59, 63, 64, 100, 200], D <- [-1, 0, 1], S <- [1, -1],
                                    I <- [S * ((1 bsl N) + D)]] ++
        [{lists:duplicate(N, 7), ["[", lists:join(",", lists:duplicate(N, "7")), "]"]} || N <- [1, 3, 4, 5, 255, 256]].

value(0) ->
    case rand:uniform(8) of
        1 -> integer(rand:uniform(512) - 256);
        2 -> integer(rand:uniform(1 bsl 64) - (1 bsl 63));
        3 -> integer((rand:uniform(1 bsl 300) - (1 bsl 299)) bsr rand:uniform(290));
        4 -> float_of((rand:uniform() - 0.5) * math:pow(10, rand:uniform(60) - 30));
        5 -> lists:nth(rand:uniform(3), [{true, "true"}, {false, "false"}, {nil, "null"}]);
        _ -> string()
    end;
value(Depth) ->
    Sub = fun() -> value(rand:uniform(Depth) - 1) end,
    Items = [Sub() || _ <- lists:seq(1, rand:uniform(6) - 1)],
    case rand:uniform(2) of
        1 -> {[T || {T, _} <- Items], ["[", lists:join(",", [J || {_, J} <- Items]), "]"]};
        2 -> object([{string(), V} || V <- Items])
    end.

%% Of a key that comes twice the first counts.
object(Pairs) ->
    Map = lists:foldr(fun({{K, _}, {V, _}}, M) -> M#{K => V} end, #{}, Pairs),
    {Map, ["{", lists:join(",", [[KJ, ":", VJ] || {{_, KJ}, {_, VJ}} <- Pairs]), "}"]}.

integer(I) -> {I, integer_to_list(I)}.

float_of(F) ->
    {F, lists:nth(rand:uniform(2), [float_to_list(F, [short]), float_to_list(F, [{scientific, 20}])])}.

string() ->
    Chars = [char() || _ <- lists:seq(1, rand:uniform(20) - 1)],
    {unicode:characters_to_binary(Chars), ["\"", [spelled(C) || C <- Chars], "\""]}.

char() ->
    case rand:uniform(6) of
        1 -> lists:nth(rand:uniform(6), [$é, $日, 16#1F600, 16#2028, $ß, 16#10FFFF]);
        2 -> rand:uniform(128) - 1;
        _ -> $a + rand:uniform(26) - 1
    end.

spelled(C) when C < 32; C =:= $"; C =:= $\\ -> escaped(C);
spelled(C) -> case rand:uniform(5) of 1 -> escaped(C); _ -> unicode:characters_to_binary([C]) end.

escaped(C) when C > 16#FFFF ->
    X = C - 16#10000,
    [escaped(16#D800 + (X bsr 10)), escaped(16#DC00 + (X band 16#3FF))];
escaped(C) -> io_lib:format("\\u~4.16.0b", [C]).
