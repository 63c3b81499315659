// Who may come in and who may join, end to end: tokens made by Erlang's own crypto and by OpenSSL, connect and join
// functions on a real node, sockets closed by broadcast, and no atom made by any stranger.
"use strict";
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, sleep } = require("./harness");
const { Conn } = require("./client");

const SECRET = "0123456789abcdef".repeat(4);
const KEY = "k".repeat(32);
let run, svc, pages, gateway, jwks;

const CHANNELS = `
    channels:
      - {topic: "api:*", event: api}
      - {topic: "user:{user_id}", event: api}
      - {topic: staff, event: api, roles: [admin]}
      - {topic: "room:*", event: api, join_module: AuthService, join_function: join, join_nodes: ["svc@127.0.0.1"], join_timeout_ms: 1000}
`;
// Six sockets beside the usual one, each with its way to tell who a client is.
const sockets = (jwksFile) => `sockets:
  - path: /tokens
    id: "users_socket:{user_id}"
    auth:
      - {type: phoenix_token, secret: "${SECRET}", salt: user socket, user_id_path: id, roles_path: roles, device_id_path: device}
      - {type: phoenix_encrypted, secret: "${SECRET}", salt: user socket, user_id_path: id, roles_path: roles}
      - {type: jwt, jwks_file: "${jwksFile}", issuer: me, roles_path: roles}${CHANNELS}
  - path: /remote
    id: "users_socket:{user_id}"
    auth: [{type: remote, module: AuthService, function: connect, nodes: ["svc@127.0.0.1"], timeout_ms: 1000}]${CHANNELS}
  - path: /open
    auth: [{type: none}]${CHANNELS}
${["/pages", "/pages/kept"].map((p) => `  - path: ${p}
    auth: [{type: remote, param: token, module: AuthService, function: connect, nodes: ["svc@127.0.0.1"]}, {type: none}]
    check_origin: remote
    origin_module: AuthService
    origin_function: origin_allowed?
    origin_args: [":shop", 7]
    origin_nodes: ["pages@127.0.0.1"]
    origin_timeout_ms: 500
    origin_cache_ms: ${p === "/pages" ? 0 : 60000}${CHANNELS}`).join("")}`;

const b64 = (v) => Buffer.from(v).toString("base64url");
function jwt(claims, header = {}, key = KEY) {
  const text = `${b64(JSON.stringify({ alg: "HS256", kid: "a", ...header }))}.${b64(JSON.stringify(claims))}`;
  return `${text}.${crypto.createHmac("sha256", key).update(text).digest("base64url")}`;
}
const soon = () => Math.floor(Date.now() / 1000) + 60;
const keySet = (kid, key) => JSON.stringify({ keys: [{ kty: "oct", alg: "HS256", kid, k: b64(key) }] });

// Plug.Crypto.sign/4 and encrypt/4 (2.0) in Erlang's words.
const sign = (data) => svc.run(`
  key = :crypto.pbkdf2_hmac(:sha256, "${SECRET}", "user socket", 1000, 32)
  enc = &Base.url_encode64(&1, padding: false)
  text = enc.("HS256") <> "." <> enc.(:erlang.term_to_binary({${data}, System.os_time(:millisecond), 86400}))
  text <> "." <> enc.(:crypto.mac(:hmac, :sha256, key, text))`).then(JSON.parse);
const encrypt = (data) => svc.run(`
  key = :crypto.pbkdf2_hmac(:sha256, "${SECRET}", "user socket", 1000, 32)
  enc = &Base.url_encode64(&1, padding: false)
  {cek, iv, wiv} = {:crypto.strong_rand_bytes(16), :crypto.strong_rand_bytes(12), :crypto.strong_rand_bytes(12)}
  plain = :erlang.term_to_binary({${data}, System.os_time(:millisecond), 86400})
  {sealed, tag} = :crypto.crypto_one_time_aead(:aes_128_gcm, cek, iv, plain, "A128GCM", true)
  {wrapped, wtag} = :crypto.crypto_one_time_aead(:aes_256_gcm, key, wiv, cek, "", true)
  Enum.map_join(["A128GCM", wrapped <> wtag <> wiv, iv, sealed, tag], ".", enc)`).then(JSON.parse);

const open = (where, query, options = {}) =>
  Conn.open(gateway, `vsn=2.0.0${query}`, { path: `/${where}/websocket`, ...options });
const withToken = (token) => open("tokens", `&token=${token}`);
const refused = (promise, status = 403) =>
  assert.rejects(promise, (e) => assert.equal(e.status, status, e.message) ?? true);
const whoami = async (conn) => (await conn.call("whoami", {}, { device_id: "mine" })).push.result;
const reply = async (conn, topic, payload = {}, ref = "9") => {
  conn.send([ref, ref, topic, "phx_join", payload]);
  const frame = await conn.recvJson();
  assert.deepEqual(frame.slice(0, 4), [ref, ref, topic, "phx_reply"]);
  return frame[4];
};

before(async () => {
  run = await Run.start();
  jwks = path.join(run.dir, "jwks.json");
  fs.writeFileSync(jwks, keySet("a", KEY));
  [svc, pages] = await Promise.all([run.beam("svc"), run.beam("pages")]);
  assert.equal(await svc.run("AuthService.start_pubsub()"), ":ok");
  const text = config().replace(/^sockets:\n(?: .*\n|\n)*/m, `${sockets(jwks)}\n`);
  gateway = await run.gateway(`${text}\npubsub: {names: [MyApp.PubSub], pool_size: 2}\n`);
});
after(() => run?.stop());

describe("a token tells who a client is", () => {
  it("Phoenix.Token: user, roles and device reach the function, whatever the request says", async () => {
    const conn = await (await withToken(await sign('%{id: 7, roles: [:admin, "x"], device: "tv"}'))).join();
    const info = await whoami(conn);
    assert.equal(info.user_id, "7");
    assert.equal(info.device_id, "tv");
    assert.deepEqual(info.user_roles ?? ["admin", "x"], ["admin", "x"]);
    assert.equal((await conn.call("perm_role", { msg: "m" })).push.success, true);
    assert.deepEqual(await reply(conn, "staff"), { status: "ok", response: {} });
    await conn.close();
  });

  it("roles that the token does not name are not there, whatever the request says", async () => {
    const conn = await (await withToken(await sign('%{id: "u", roles: ["x"]}'))).join();
    const { push } = await conn.call("perm_role", { msg: "m" }, { user_roles: ["admin"] });
    assert.equal(push.success, false);
    assert.deepEqual(await reply(conn, "staff"), { status: "error", response: { reason: "unauthorized" } });
    await conn.close();
  });

  it("an encrypted Phoenix.Token", async () => {
    const conn = await (await withToken(await encrypt('%{id: "e", roles: ["admin"]}'))).join();
    assert.equal((await whoami(conn)).user_id, "e");
    await conn.close();
  });

  it("a JWT, in the parameter, in Authorization, in the subprotocol", async () => {
    const token = jwt({ iss: "me", sub: "j", exp: soon() });
    const ways = [
      () => withToken(token),
      () => open("tokens", "", { headers: { Authorization: `Bearer ${token}` } }),
      () => open("tokens", "", { protocols: ["phoenix", `base64url.bearer.phx.${Buffer.from(token).toString("base64").replace(/=+$/, "")}`] }),
    ];
    for (const way of ways) {
      const conn = await (await way()).join();
      assert.equal((await whoami(conn)).user_id, "j");
      await conn.close();
    }
  });

  it("anything else is refused with 403, and the log says why", async () => {
    const bad = [
      ["", "no token"],
      [`&token=${jwt({ iss: "me", sub: "j", exp: 1 })}`, "expired"],
      [`&token=${jwt({ iss: "you", sub: "j", exp: soon() })}`, "issued by somebody else"],
      [`&token=${jwt({ iss: "me", sub: "j", exp: soon() }, {}, "x".repeat(32))}`, "bad signature"],
      [`&token=${jwt({ iss: "me", sub: "j", exp: soon() }, { kid: "b" })}`, "no key fits"],
      [`&token=${b64('{"alg":"none"}')}.${b64('{"sub":"j","iss":"me"}')}.`, "no key fits"],
      [`&token=${await sign("%{name: 1}")}`, "token names no user"],
      ["&token=nonsense", "malformed"],
    ];
    const from = gateway.lines.length;
    for (const [query] of bad) await refused(open("tokens", query));
    // Such lines are limited: five in ten seconds.
    for (const [, why] of bad.slice(0, 5))
      await gateway.waitLine(new RegExp(`authentication failed.*reason="${why}`), 5000, from);
    assert.ok((await gateway.metric("client_auth_refused_total")) >= bad.length);
  });

  it("keys are read again when their file changes, and a wrong file changes nothing", async () => {
    const other = "o".repeat(32);
    const put = (text) => {
      fs.writeFileSync(`${jwks}.next`, text);
      fs.renameSync(`${jwks}.next`, jwks);
    };
    const now = jwt({ iss: "me", sub: "j", exp: soon() });
    const later = jwt({ iss: "me", sub: "j", exp: soon() }, { kid: "b" }, other);
    put("{");
    let from = gateway.lines.length;
    gateway.process.kill("SIGHUP");
    await gateway.waitLine(/JWT keys could not be read again/, 8000, from);
    await (await withToken(now)).close();
    put(keySet("b", other));
    from = gateway.lines.length;
    await gateway.waitLine(/JWT keys read again/, 10000, from); // by itself
    await refused(withToken(now));
    await (await withToken(later)).close();
  });
});

describe("a connect function of a service", () => {
  it("lets in with its assigns, and sees what Phoenix shows", async () => {
    const conn = await (await open("remote", "&token=user:9&a[b][]=c", { headers: { "X-Thing": "1" } })).join();
    const info = await whoami(conn);
    assert.deepEqual([info.user_id, info.device_id], ["9", "d-9"]);
    const seen = await svc.run("AuthService.last()");
    assert.match(seen, /peer_data: %\{address: \{127, 0, 0, 1\}/);
    assert.match(seen, /\{"x-thing", "1"\}/);
    assert.match(seen, /uri: %URI\{/);
    await conn.close();
    await refused(open("remote", "&a[b][]=c&x[y]=z"));
    assert.match(await svc.run("AuthService.last()"), /"a" => %\{"b" => \["c"\]\}.*"x" => %\{"y" => "z"\}/);
  });

  it("refuses, raises, hangs or says something odd: 403", async () => {
    for (const token of ["expired", "raise", "odd", "hang", "nobody"]) await refused(open("remote", `&token=${token}`));
  });

  it("that is slow holds nobody else up", async () => {
    let done = false;
    const slow = open("remote", "&token=slow").then((c) => ((done = true), c));
    const conn = await (await open("open", "")).join("api:x");
    await conn.fence();
    assert.equal(done, false);
    await conn.close();
    await (await slow).close();
  });

  it("makes no atoms of what strangers send", async () => {
    const atoms = async () => Number(await svc.run(":erlang.system_info(:atom_count)"));
    const odd = async (i) => {
      const x = crypto.randomBytes(6).toString("hex");
      const headers = { [`x-${x}`]: x, "user-agent": x };
      await refused(open("remote", `&token=${x}&${x}=1&a[${x}]=2&c[][${x}]=3`, { headers }));
      const conn = await open("remote", `&token=user:${x}`, { headers });
      await reply(conn, `room:${x}`, { [x]: { [x]: x }, as: x }, String(i));
      await conn.close();
    };
    for (let i = 0; i < 20; i++) await odd(i); // what the node itself makes of doing so
    const before = await atoms();
    for (let i = 0; i < 100; i++) await odd(i);
    assert.ok((await atoms()) - before <= 2, "the node's atoms have grown");
  });
});

describe("an Origin function of a service (P-009)", () => {
  const page = (origin, query = "", where = "pages") => open(where, query, { headers: { Origin: origin } });
  const asked = async (host) => Number(await pages.run(`AuthService.asked("${host}")`));
  const allowed = async (...args) => (await (await page(...args)).join("api:x")).close();

  before(() => gateway.waitLine(/link up.*pages@/));
  it("lets in the pages that it allows, and sees their Origin as Elixir parses it", async () => {
    for (const origin of ["https://shop.example", "HTTP://other.example:8080", "capacitor://shop.example"]) {
      await allowed(origin);
      assert.equal(await pages.run(`AuthService.last() == URI.parse("${origin}")`), "true", origin);
    }
  });

  it("refuses with 403 what it does not allow, when it raises, hangs, or returns no boolean; the log says which", async () => {
    const why = { "evil.example": "says no", "raise.example": "raised or exited", "hang.example": "did not answer in time",
                  "odd.example": "returned neither true nor false" };
    const before = await gateway.metric("client_origin_refused_total");
    for (const [host, text] of Object.entries(why)) {
      const from = gateway.lines.length;
      await refused(page(`https://${host}`));
      await gateway.waitLine(new RegExp(`Origin is not allowed.*${host}.*reason="the function ${text}"`), 5000, from);
    }
    assert.equal((await gateway.metric("client_origin_refused_total")) - before, 4);
    assert.ok((await gateway.metric("origin_failures_total")) >= 2);
  });

  it("is asked before the user is looked at, and by a request without an Origin not at all", async () => {
    const calls = await gateway.metric("connect_calls_total");
    await refused(page("https://evil.example", "&token=user:1"));
    assert.equal(await gateway.metric("connect_calls_total"), calls);
    await allowed("https://shop.example", "&token=user:1");
    assert.equal(await gateway.metric("connect_calls_total"), calls + 1);
    const about = await gateway.metric("origin_calls_total");
    await (await open("pages", "")).close();
    for (const bad of ["null", "https://shop.example/path", "https://u@shop.example", "shop.example"]) await refused(page(bad));
    assert.equal(await gateway.metric("origin_calls_total"), about);
  });

  it("is asked about the same Origin each time, or remembered when that is configured; a no never is", async () => {
    const before = await asked("shop.example");
    for (let i = 0; i < 2; i++) await allowed("https://shop.example");
    assert.equal(await asked("shop.example"), before + 2);
    for (let i = 0; i < 3; i++) await allowed("https://shop.example", "", "pages/kept");
    assert.equal(await asked("shop.example"), before + 3);
    for (let i = 0; i < 2; i++) await refused(page("https://never.example", "", "pages/kept"));
    assert.equal(await asked("never.example"), 2);
  });

  it("that hangs for three hundred pages holds nobody else up, and they are all refused", async () => {
    const about = await gateway.metric("origin_calls_total");
    const hanging = Array.from({ length: 300 }, () => refused(page("https://hang.example")));
    const conn = await (await open("open", "")).join("api:x");
    await eventually(async () => (await gateway.metric("origin_calls_total")) === about + 300, "all are asked about");
    await conn.fence();
    await allowed("https://shop.example");
    await Promise.all(hanging);
    await eventually(async () => (await gateway.metric("client_connected")) === 1, "nobody is left but one");
    await conn.close();
  });

  it("refuses when its node goes while it is asked, and when it is gone; what it allowed stays allowed", async () => {
    const waiting = refused(page("https://hang.example"));
    await eventually(async () => (await gateway.metric("origin_calls_total")) > 0 && (await asked("hang.example")) >= 2, "asked");
    const down = await gateway.metric("calls_nodedown_total");
    await pages.kill();
    await waiting;
    assert.equal(await gateway.metric("calls_nodedown_total"), down + 1, "the question has ended with the node");
    await refused(page("https://shop.example"));
    await allowed("https://shop.example", "", "pages/kept");
    await refused(page("https://other.example", "", "pages/kept"));
    await (await open("pages", "")).close();
  });
});

describe("a join", () => {
  it("to another user's topic is unauthorized", async () => {
    const conn = await open("remote", "&token=user:9");
    assert.deepEqual(await reply(conn, "user:9"), { status: "ok", response: {} });
    assert.deepEqual(await reply(conn, "user:99"), { status: "error", response: { reason: "unauthorized" } });
    await conn.close();
  });

  it("is decided by a join function, with reply, reason and assigns", async () => {
    const conn = await open("remote", "&token=user:9");
    assert.deepEqual(await reply(conn, "room:shirt"), { status: "ok", response: { shirt: "blue" } });
    assert.deepEqual(await reply(conn, "room:open"), { status: "ok", response: {} });
    assert.deepEqual(await reply(conn, "room:else"), { status: "error", response: { reason: "not here" } });
    assert.deepEqual(await reply(conn, "room:raise"), { status: "error", response: { reason: "join crashed" } });
    assert.deepEqual(await reply(conn, "room:x", { as: "other" }), { status: "ok", response: { was: "9" } });
    conn.send(["9", "10", "room:x", "api", { service: "user_service", request_type: "whoami", request_id: "r", args: {} }]);
    assert.equal((await conn.recvJson())[4].result.user_id, "other", "on this channel only");
    await conn.recvJson();
    await conn.close();
  });

  it("that waits holds its topic's messages, and nothing else", async () => {
    const conn = await open("remote", "&token=user:9");
    conn.send(["1", "1", "room:slow", "phx_join", {}]);
    conn.send(["1", "2", "room:slow", "phx_leave", {}]);
    assert.deepEqual(await conn.fence(), []);
    const frames = [await conn.recvJson(), await conn.recvJson(), await conn.recvJson()];
    assert.deepEqual(frames.map((f) => [f[1], f[3]]), [["1", "phx_reply"], ["2", "phx_reply"], ["1", "phx_close"]]);
    await conn.close();
  });
});

describe("disconnect (P-010)", () => {
  const GROUP = "MyApp.PubSub.Adapter";
  const joined = (group) => eventually(async () => (await svc.run(`AuthService.members(${group})`)).includes("beamgate"), `in ${group}`);

  it("by a broadcast of PubSub, on any shard", async () => {
    for (const group of [GROUP, `${GROUP}_2`]) {
      await joined(group);
      const [one, two, other] = await Promise.all([open("remote", "&token=user:5"), open("remote", "&token=user:5"), open("remote", "&token=user:55")]);
      await svc.run(`AuthService.broadcast(${group}, "users_socket:5", "something else")`);
      await svc.run(`AuthService.broadcast(${group}, "users_socket:5", "disconnect")`);
      assert.equal((await one.closed).code, 1001);
      assert.equal((await two.closed).code, 1001);
      assert.deepEqual(await other.fence(), []);
      await other.close();
    }
  });

  it("also after the node's pg has been started anew", async () => {
    await svc.run("AuthService.stop_pubsub()");
    await sleep(100);
    await svc.run("AuthService.start_pubsub()").catch(() => {});
    await joined(GROUP);
    const conn = await open("remote", "&token=user:5");
    await svc.run(`AuthService.broadcast(${GROUP}, "users_socket:5", "disconnect")`);
    assert.equal((await conn.closed).code, 1001);
  });

  it("by rpc, which says how many", async () => {
    const conn = await open("remote", "&token=user:5");
    const call = (id) => svc.run(`:rpc.call(:'beamgate@127.0.0.1', Beamgate, :disconnect, ["${id}"])`);
    assert.equal(await call("users_socket:nobody"), "0");
    assert.equal(await call("users_socket:5"), "1");
    assert.equal((await conn.closed).code, 1001);
  });
});

it("an open socket is told at start", () => {
  assert.ok(gateway.lines.some((l) => l.includes("lets everybody in") && l.includes("/open")));
});
