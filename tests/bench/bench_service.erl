%% The service node of the benchmarks: echo and list_users as the demo service offers them, and as many further
%% functions as the gateway's configuration asks for, to see whether their number costs anything per request.
%%
%% The gateway pulls configs/1; its argument is how many functions to return in all. list_users answers 50 maps, built
%% once, because it is the gateway that is measured. Runs until it is killed; prints "ready" when it can be called.
-module(bench_service).
-export([main/0, configs/1, echo/1, checked/5, list_users/0, count/0]).

main() ->
    persistent_term:put(?MODULE, [user(N) || N <- lists:seq(1, 50)]),
    {module, _} = 'Elixir.Code':ensure_loaded(?MODULE),
    io:format("ready~n"),
    receive stop -> ok end.

echo(Msg) -> {ok, Msg}.

checked(Msg, _N, _Tags, _At, _Id) -> {ok, Msg}.

list_users() -> {ok, persistent_term:get(?MODULE)}.

%% What bench_caller asks the gateway, asked of a BEAM.
count() -> 3.

configs(Count) ->
    Echo = fun_config(<<"echo">>, echo, #{<<"msg">> => string}, [<<"msg">>]),
    List = fun_config(<<"list_users">>, list_users, nil, nil),
    More = [fun_config(name(N), echo, #{<<"msg">> => string}, [<<"msg">>]) || N <- lists:seq(4, Count)],
    {ok, [Echo, List, checked_config() | More]}.

%% Five arguments of as many types, and a permission.
checked_config() ->
    Types = #{<<"msg">> => {string, 100}, <<"n">> => num, <<"tags">> => {list_string, 10}, <<"at">> => datetime, <<"id">> => uuid},
    Order = [<<"msg">>, <<"n">>, <<"tags">>, <<"at">>, <<"id">>],
    (fun_config(<<"checked">>, checked, Types, Order))#{check_permission => any_authenticated}.

name(N) -> list_to_binary(io_lib:format("function_~5..0b", [N])).

user(N) ->
    I = integer_to_binary(N),
    #{id => I, name => <<"User Number ", I/binary>>, email => <<"user", I/binary, "@example.com">>}.

fun_config(RequestType, Function, ArgTypes, ArgOrders) ->
    #{'__struct__' => 'Elixir.PhoenixGenApi.Structs.FunConfig',
      request_type => RequestType,
      service => <<"bench_service">>,
      nodes => [node()],
      choose_node_mode => random,
      timeout => 5000,
      mfa => {?MODULE, Function, []},
      arg_types => ArgTypes,
      arg_orders => ArgOrders,
      response_type => sync,
      request_info => false,
      check_permission => false,
      permission_callback => nil,
      version => nil,
      disabled => false,
      retry => nil,
      before_execute => nil,
      after_execute => nil,
      hook_timeout => 5000}.
