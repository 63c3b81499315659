#!/usr/bin/env escript
%% Writes phoenix.txt: tokens made as Plug.Crypto.sign/4 makes them, with Erlang's own crypto and term_to_binary.
%% Run in this directory: escript gen_phoenix.escript. Columns: expected verdict, user or -, path or -, max_age_s, token.
-define(SECRET, <<"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef">>).
-define(SALT, <<"user socket">>).
-define(AT, 1700000000000). % the tests verify at this plus 60 s

b64(Bin) ->
    << <<(case C of $+ -> $-; $/ -> $_; _ -> C end)>> || <<C>> <= base64:encode(Bin), C =/= $= >>.

sign_bytes(Bytes) -> sign_bytes(Bytes, ?SECRET, ?SALT).
sign_bytes(Bytes, Secret, Salt) ->
    Key = crypto:pbkdf2_hmac(sha256, Secret, Salt, 1000, 32),
    Text = <<(b64(<<"HS256">>))/binary, ".", (b64(Bytes))/binary>>,
    <<Text/binary, ".", (b64(crypto:mac(hmac, sha256, Key, Text)))/binary>>.

sign(Data) -> sign_bytes(term_to_binary({Data, ?AT, 86400})).
with_age(Data, Age) -> sign_bytes(term_to_binary({Data, ?AT, Age})).

main(_) ->
    Good = sign(<<"u1">>),
    Rows = [
        {ok, "u1", "-", 0, Good},
        {ok, "u1", "-", 60, Good},
        {expired, "-", "-", 59, Good},
        {ok, "42", "-", 0, sign(42)},
        {ok, "-7", "-", 0, sign(-7)},
        {ok, "u2", "user_id", 0, sign(#{user_id => <<"u2">>})},
        {ok, "u3", "user.id", 0, sign(#{<<"user">> => #{id => <<"u3">>, x => [1, 2.5, self_made]}})},
        {ok, "-", "user.name", 0, sign(#{<<"user">> => #{id => <<"u3">>}})},
        {ok, "-", "-", 0, sign(an_atom)},
        {ok, "-", "-", 0, sign(<<>>)},
        {ok, "-", "-", 0, sign(<<"a", 0, "b">>)},
        {ok, "-", "-", 0, sign(<<255>>)},
        {ok, "-", "-", 0, sign(1 bsl 80)},
        {ok, "u1", "-", 0, with_age(<<"u1">>, infinity)},
        {ok, "u1", "-", 0, with_age(<<"u1">>, 60)},
        {ok, "u1", "-", 0, sign_bytes(term_to_binary({<<"u1">>, ?AT}))},
        {expired, "-", "-", 0, with_age(<<"u1">>, 59)},
        {expired, "-", "-", 0, with_age(<<"u1">>, 0)},
        {expired, "-", "-", 0, with_age(<<"u1">>, -1)},
        {ok, "u1", "-", 61, with_age(<<"u1">>, 1)},
        {content, "-", "-", 0, with_age(<<"u1">>, forever)},
        {content, "-", "-", 0, sign_bytes(term_to_binary(<<"u1">>))},
        {content, "-", "-", 0, sign_bytes(term_to_binary({<<"u1">>, soon, 1}))},
        {content, "-", "-", 0, sign_bytes(<<(term_to_binary({<<"u1">>, ?AT, 1}))/binary, 0>>)},
        {content, "-", "-", 0, sign_bytes(term_to_binary({binary:copy(<<"u">>, 500), ?AT, 1}, [compressed]))},
        {content, "-", "-", 0, sign_bytes(<<131>>)},
        {content, "-", "-", 0, sign_bytes(<<>>)},
        {content, "-", "-", 0, sign(lists:foldl(fun(_, A) -> [A] end, [], lists:seq(1, 40)))},
        {signature, "-", "-", 0, sign_bytes(term_to_binary({<<"u1">>, ?AT, 86400}), <<"another">>, ?SALT)},
        {signature, "-", "-", 0, sign_bytes(term_to_binary({<<"u1">>, ?AT, 86400}), ?SECRET, <<"another">>)},
        {signature, "-", "-", 0, <<(binary:part(Good, 0, 12))/binary, "A", (binary:part(Good, 13, byte_size(Good) - 13))/binary>>},
        {signature, "-", "-", 0, <<(hd(binary:split(Good, <<".">>, [{scope, {9, byte_size(Good) - 9}}])))/binary, ".">>},
        {ok, "u9", "user_id", 0, sign(#{user_id => <<"u9">>, roles => [<<"admin">>, editor, 3]})},
        {ok, "u9", "user_id", 0, sign(#{user_id => <<"u9">>, roles => lists:seq(300, 333)})},
        {malformed, "-", "-", 0, hd(binary:split(Good, <<".">>, [{scope, {9, byte_size(Good) - 9}}]))},
        {malformed, "-", "-", 0, <<Good/binary, "*">>},
        {malformed, "-", "-", 0, <<Good/binary, ".x">>},
        {malformed, "-", "-", 0, <<"SFMyNTY.">>},
        {malformed, "-", "-", 0, <<"eyJhbGciOiJub25lIn0.e30.">>}
    ],
    ok = file:write_file("phoenix.txt",
        [io_lib:format("~s ~s ~s ~b ~s~n", [V, U, P, A, T]) || {V, U, P, A, T} <- Rows]).
