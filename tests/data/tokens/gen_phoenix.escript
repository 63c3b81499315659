#!/usr/bin/env escript
%% Writes phoenix.txt and encrypted.txt: tokens made as Plug.Crypto.sign/4 and encrypt/4 make them, with Erlang's own crypto
%% and term_to_binary.
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
        [io_lib:format("~s ~s ~s ~b ~s~n", [V, U, P, A, T]) || {V, U, P, A, T} <- Rows]),
    encrypted().

%% Plug.Crypto.MessageEncryptor. Columns of encrypted.txt: expected verdict, user or -, key length, iterations, digest, token.
key(Digest, Iterations, Length) -> crypto:pbkdf2_hmac(Digest, ?SECRET, ?SALT, Iterations, Length).

xcp(Key, Bytes) -> xcp(Key, Bytes, <<"A128GCM">>).
xcp(Key, Bytes, Aad) -> xcp(Key, Bytes, Aad, 0).
xcp(Key, Bytes, Aad, Cut) ->
    <<Nonce:16/binary, Rest:8/binary>> = Iv = crypto:strong_rand_bytes(24),
    {Sealed, Tag} = crypto:crypto_one_time_aead(chacha20_poly1305, hchacha20(Key, Nonce), <<0:32, Rest/binary>>, Bytes, Aad, true),
    <<"XCP.", (b64(cut(<<Iv/binary, Tag/binary, Sealed/binary>>, Cut)))/binary>>.

%% The first and last four words of the state before ChaCha20 adds what it began with: its key stream minus that.
hchacha20(Key, Nonce) ->
    Stream = crypto:crypto_one_time(chacha20, Key, Nonce, <<0:512>>, true),
    <<A:16/binary, _:32/binary, B:16/binary>> = Stream,
    <<(minus(A, <<"expand 32-byte k">>))/binary, (minus(B, Nonce))/binary>>.
minus(A, B) ->
    << <<(X - Y):32/little>> || {X, Y} <- lists:zip([V || <<V:32/little>> <= A], [V || <<V:32/little>> <= B]) >>.

gcm(Key, Bytes) -> gcm(Key, Bytes, 16).
gcm(Key, Bytes, CekLength) ->
    Cek = crypto:strong_rand_bytes(CekLength),
    Iv = crypto:strong_rand_bytes(12),
    WrapIv = crypto:strong_rand_bytes(12),
    {Sealed, Tag} = crypto:crypto_one_time_aead(aes(Cek), Cek, Iv, Bytes, <<"A128GCM">>, true),
    {Wrapped, WrapTag} = crypto:crypto_one_time_aead(aes(Key), Key, WrapIv, Cek, <<>>, true),
    Parts = [<<"A128GCM">>, <<Wrapped/binary, WrapTag/binary, WrapIv/binary>>, Iv, Sealed, Tag],
    iolist_to_binary(lists:join(".", [b64(P) || P <- Parts])).
aes(Key) -> maps:get(byte_size(Key), #{16 => aes_128_gcm, 24 => aes_192_gcm, 32 => aes_256_gcm}).

cut(Bin, N) -> binary:part(Bin, 0, byte_size(Bin) - N).
flip(Bin, At) ->
    <<A:At/binary, C, B/binary>> = Bin,
    <<A/binary, (case C of $A -> $B; _ -> $A end), B/binary>>.

encrypted() ->
    K = key(sha256, 1000, 32),
    Data = term_to_binary({<<"u1">>, ?AT, 86400}),
    X = xcp(K, Data),
    G = gcm(K, Data),
    D = {sha256, 1000, 32},
    Rows = [
        {ok, "u1", D, X},
        {ok, "u1", D, G},
        {ok, "42", D, xcp(K, term_to_binary({42, ?AT, 60}))},
        {expired, "-", D, xcp(K, term_to_binary({42, ?AT, 59}))},
        {expired, "-", D, gcm(K, term_to_binary({42, ?AT, 59}))},
        {content, "-", D, xcp(K, <<>>)},
        {content, "-", D, xcp(K, <<"no term">>)},
        {content, "-", D, gcm(K, <<>>)},
        {content, "-", D, gcm(K, term_to_binary(<<"u1">>))},
        {ok, "u1", {sha512, 1000, 32}, xcp(key(sha512, 1000, 32), Data)},
        {ok, "u1", {sha384, 7, 32}, xcp(key(sha384, 7, 32), Data)},
        {ok, "u1", {sha256, 1, 16}, gcm(key(sha256, 1, 16), Data)},
        {ok, "u1", {sha256, 1000, 24}, gcm(key(sha256, 1000, 24), Data, 32)},
        {signature, "-", {sha256, 1001, 32}, X},
        {signature, "-", {sha512, 1000, 32}, G},
        {malformed, "-", {sha256, 1000, 16}, X},
        {signature, "-", {sha256, 1000, 48}, G},
        {signature, "-", D, xcp(K, Data, <<>>)},
        {signature, "-", D, flip(X, 4)},
        {signature, "-", D, flip(X, 40)},
        {signature, "-", D, flip(X, 70)},
        {signature, "-", D, xcp(K, Data, <<"A128GCM">>, 1)},
        {malformed, "-", D, <<"XCP.">>},
        {malformed, "-", D, binary:part(X, 0, 56)},
        {malformed, "-", D, <<X/binary, "*">>},
        {signature, "-", D, flip(G, 12)},
        {signature, "-", D, flip(G, 74)},
        {malformed, "-", D, cut(G, 5)},
        {malformed, "-", D, <<G/binary, ".AA">>},
        {malformed, "-", D, <<"QTEyOEdDTQ....">>},
        {malformed, "-", D, <<"QTEyOEdDTQ.">>},
        {malformed, "-", D, <<"A256GCM.", X/binary>>},
        {malformed, "-", D, sign(<<"u1">>)}
    ],
    ok = file:write_file("encrypted.txt",
        [io_lib:format("~s ~s ~b ~b ~s ~s~n", [V, U, L, I, M, T]) || {V, U, {M, I, L}, T} <- Rows]).
