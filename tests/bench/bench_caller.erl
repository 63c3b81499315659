%% Calls of a function that returns a count by rpc, as other nodes make them: of the gateway, PhoenixGenApi.ConfigDb.count/0, from
%% as many processes as asked for, as fast as they are answered or so many calls a second in all.
%%
%% Arguments behind -extra: LABEL NODE OS_PID CALLERS RATE SECONDS MODULE; RATE 0 is as fast as it goes, OS_PID is that of the node.
%% Prints one line of JSON, at RATE 0 with that process's CPU time per call, as the kernel counts it; a wrong answer ends it
%% with exit code 1.
-module(bench_caller).
-export([main/0]).

main() ->
    [Label, Name, Pid, Callers, Rate, Seconds, Module] = init:get_plain_arguments(),
    Node = list_to_atom(Name),
    Callee = {Node, list_to_atom(Module)},
    pong = net_adm:ping(Node),
    N = list_to_integer(Callers),
    Counters = counters:new(1, [write_concurrency]),
    Pause = case list_to_integer(Rate) of 0 -> 0; R -> N * 1000000 / R end,
    [spawn_link(fun() -> caller(Callee, Counters, Pause, now_us() + rand:uniform() * Pause) end) || _ <- lists:seq(1, N)],
    timer:sleep(500),
    {Calls, Took, Cpu} = window(Counters, Pid, list_to_integer(Seconds)),
    io:format("{\"label\":\"~s\",\"callers\":~b,\"calls\":~b,\"per_second\":~b~s}~n",
              [Label, N, Calls, round(Calls / Took * 1.0e6), cost(Pause, Cpu / max(Calls, 1))]),
    halt(0).

%% Calls at a rate run beside other load, whose share of the gateway's time nobody can tell.
cost(0, Us) -> io_lib:format(",\"gateway_us_per_call\":~.2f", [Us]);
cost(_, _) -> "".

window(Counters, Pid, Seconds) ->
    {Calls, At, Cpu} = {counters:get(Counters, 1), now_us(), cpu_us(Pid)},
    timer:sleep(Seconds * 1000),
    {counters:get(Counters, 1) - Calls, now_us() - At, cpu_us(Pid) - Cpu}.

caller({Node, Module} = Callee, Counters, Pause, Due) ->
    case trunc((Due - now_us()) / 1000) of
        Wait when Wait > 0 -> timer:sleep(Wait);
        _ -> ok
    end,
    case rpc:call(Node, Module, count, []) of
        Count when is_integer(Count), Count > 0 -> ok;
        Wrong ->
            io:format(standard_error, "wrong answer: ~p~n", [Wrong]),
            halt(1)
    end,
    counters:add(Counters, 1, 1),
    caller(Callee, Counters, Pause, Due + Pause).

now_us() -> erlang:monotonic_time(microsecond).

%% Of all threads: the first number of each schedstat is nanoseconds on a processor.
cpu_us(Pid) ->
    Threads = filelib:wildcard("/proc/" ++ Pid ++ "/task/*/schedstat"),
    lists:sum([ran_us(File) || File <- Threads]).

ran_us(File) ->
    {ok, Text} = file:read_file(File),
    [Ns | _] = string:lexemes(Text, " \n"),
    binary_to_integer(Ns) div 1000.
