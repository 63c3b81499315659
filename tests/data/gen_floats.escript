#!/usr/bin/env escript
%% gen_floats.escript STEP RANDOM: bits (hex) and text of doubles as float_to_binary(F, [short]) writes them:
%%   escript tests/data/gen_floats.escript 16 500 > tests/data/floats.txt
%% Every STEPth power of two and of ten with its neighbours, the borders of Erlang's rules, and RANDOM doubles of each kind.
main([StepArg, RandomArg]) ->
    Step = list_to_integer(StepArg),
    N = list_to_integer(RandomArg),
    rand:seed(exsss, {1, 2, 3}),
    [neighbours(E bsl 52) || E <- lists:seq(0, 2046, Step)],
    [neighbours(1 bsl E) || E <- lists:seq(0, 51)],
    [neighbours(bits(math:pow(10, E))) || E <- lists:seq(-307, 308, Step)],
    [neighbours(bits(F)) || F <- [1.0, 100.0, 1.0e3, 1.0e4, 1.0e5, 0.1, 0.01, 0.001, 0.0001, 1.0e-5, 1.0e-6, 123456789.0, 1.0e15, 1.0e16,
                                  9007199254740992.0, 4503599627370496.0, 1.7976931348623157e308, 5.0e-324, 1.0e22, 1.0e23]],
    [line(rand:uniform(16#7ff0000000000000) - 1) || _ <- lists:seq(1, N)],
    [line(rand:uniform(1 bsl 52) - 1) || _ <- lists:seq(1, N)],
    [line(bits(float(rand:uniform(1 bsl rand:uniform(62))))) || _ <- lists:seq(1, N)],
    [line(bits(rand:uniform(1000000000) / math:pow(10, rand:uniform(12)))) || _ <- lists:seq(1, N)],
    [line(bits(rand:uniform() * math:pow(10, rand:uniform(24) - 9))) || _ <- lists:seq(1, N)],
    ok.

bits(F) ->
    <<B:64>> = <<F/float>>,
    B.

neighbours(B) ->
    [line(X) || X <- [B - 1, B, B + 1], X >= 0, X < 16#7ff0000000000000].

line(B) ->
    <<F/float>> = <<B:64>>,
    io:format("~16.16.0b ~s~n", [B, float_to_binary(F, [short])]).
