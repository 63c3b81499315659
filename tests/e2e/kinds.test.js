// One function of every kind that a FunConfig can describe (erl_src/kinds_service.ex), called with phoenix.js. The table is
// tests/conformance/kinds.json: `cites` are numbers of docs/protocol.md, `want` there says that the library does otherwise. A row
// says what comes back for `call` with `args`: ok (a result; ok_like: a pattern, ok_raw: JSON text), error (the text
// of an error Response), bad (the text about an argument), or all frames; `noted` and `ran` what the function itself saw.
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { ROOT, Run, config, eventually, patience, within } = require("./harness");
const { compareFrames } = require("./client");
const { settled, spySocket } = require("./phoenix_client");
const rows = require(path.join(ROOT, "tests/conformance/kinds.json"));

const SECRET = "kinds".repeat(16);
const NODES = ["k1", "k2", "k3"];
const GW = `:"beamgate@127.0.0.1"`;
const PEOPLE = { u1: `%{user: "u1", roles: ["user"]}`, admin: `%{user: "admin", roles: ["admin"]}` };

// The gateways that rows name: the usual one, and with an option each.
const OPTIONS = {
  usual: "",
  detail: "requests: {detail_error: true}",
  reason: "requests: {pass_error_reason: true}",
  library: "requests: {retry_on_error: true, fallback_on_exit: true}",
  unverified: "",
};

function configOf(name) {
  const auth = `auth: [{type: phoenix_token, secret: ${SECRET}, salt: kinds, user_id_path: user, roles_path: roles}, {type: none}]`;
  const text = config()
    .replace("user_id_param: user_id", auth)
    .replaceAll("user_service", "kinds")
    .replaceAll("TestService", "KindsService")
    .replace(/\n *version_\w+: .*/g, "")
    .replace('["svc@127.0.0.1"]', '["k1@127.0.0.1", "k2@127.0.0.1", "k3@127.0.0.1"]');
  return name === "unverified" ? text.replace("event: api", "event: api\n        require_verified_user_id: false") : text;
}

let run;
const nodes = {};
const gateways = {};
const tokens = {};
const clients = new Map();
let count = 0;

before(async () => {
  run = await Run.start();
  await Promise.all(NODES.map(async (name) => (nodes[name] = await run.beam(name))));
  for (const [who, data] of Object.entries(PEOPLE)) {
    tokens[who] = JSON.parse(await nodes.k1.run(`KindsService.token(${data}, ${JSON.stringify(SECRET)}, "kinds")`));
  }
  for (const [name, lines] of Object.entries(OPTIONS)) {
    gateways[name] = await run.gateway(`${configOf(name)}\n${lines}\n`, { name: name === "usual" ? "beamgate" : name });
  }
});
after(async () => {
  for (const { socket } of clients.values()) socket.disconnect();
  await run?.stop();
});

// A joined client of its kind, made once.
async function clientOf(who = "u1", gateway = "usual") {
  const key = `${who} ${gateway}`;
  if (!clients.has(key)) {
    const client = spySocket(gateways[gateway], who === "stranger" ? {} : { params: { token: tokens[who] } });
    client.channel = client.socket.channel("api:kinds", {});
    clients.set(key, client);
    assert.equal((await within(patience(5000), settled(client.channel.join()), "join"))[0], "ok");
    await client.frames.received.take(5000, "join's reply");
  }
  return clients.get(key);
}

function forget(who = "u1", gateway = "usual") {
  clients.get(`${who} ${gateway}`)?.socket.disconnect();
  clients.delete(`${who} ${gateway}`);
}

const RESPONSE = { error: null, async: false, success: true, result: null, request_id: "", can_retry: false, has_more: false };

// The frames that a row wants: parts of a Response, "reply", or {reply_error: text}.
function wanted(row) {
  if (row.frames) return row.frames;
  if ("bad" in row) return [{ success: false, error: "Request processing failed" }, { reply_error: row.bad }];
  if ("error" in row) return [{ success: false, error: row.error }, "reply"];
  if ("ok_raw" in row) return [{ result: "@RAW@" }, "reply"];
  return [{ result: row.ok }, "reply"];
}

function frameOf(part, row, id, joinRef, ref) {
  const reply = (status, response) => JSON.stringify([joinRef, ref, "api:kinds", "phx_reply", { status, response }]);
  if (part === "reply") return reply("ok", row.call);
  if (part.reply_error) return reply("error", part.reply_error);
  const text = JSON.stringify([joinRef, null, "api:kinds", "api", { ...RESPONSE, request_id: id, ...part }]);
  return text.replaceAll("@ID@", id).replace('"@RAW@"', row.ok_raw);
}

// What only has to fit a pattern becomes what the row says; the pattern is checked here.
function checkPattern(row, text) {
  const frame = JSON.parse(text);
  for (const [pattern, key] of [[row.ok_like, "result"], [row.error_like, "error"]]) {
    if (!pattern || frame[3] !== "api") continue;
    assert.match(frame[4][key], new RegExp(pattern));
    if (key === "result") row.ok = frame[4].result;
    else row.error = frame[4].error;
  }
}

const fence = (client) => within(patience(5000), new Promise((resolve) => client.socket.ping(resolve)), "heartbeat");

async function call(row) {
  const client = await clientOf(row.as, row.gateway);
  const { channel, frames } = client;
  const id = row.id || row.args?.id || `q${++count}`;
  const payload = { service: "kinds", request_type: row.call, request_id: id, args: row.args, ...row.more };
  const push = channel.push("api", payload);
  const ref = push.ref;
  for (let i = 0; i < wanted(row).length; i++) {
    const got = await frames.received.take(8000, `${row.call}, frame ${i + 1}: ${JSON.stringify(wanted(row)[i])}`);
    if (i === 0) checkPattern(row, got);
    compareFrames(got, frameOf(wanted(row)[i], row, id, channel.joinRef(), ref), row.call);
  }
  if (row.stop) await stopStream(client, id);
  await fence(client);
  await frames.received.take(5000, "heartbeat's reply");
  assert.deepEqual(frames.received.items.splice(0), [], "frames that nobody wanted");
  return id;
}

async function stopStream({ channel, frames }, id) {
  assert.equal((await settled(channel.push("api:stop", { request_id: id })))[0], "ok");
  assert.equal(JSON.parse(await frames.received.take(5000, "last frame"))[4].has_more, false);
  await frames.received.take(5000, "reply");
}

// What the function, or its hook, noted about the request.
async function checkNotes([of, id, want]) {
  const noted = async () => {
    const row = { call: "notes", args: { of, id } };
    const client = await clientOf();
    client.channel.push("api", { service: "kinds", request_type: row.call, request_id: `n${++count}`, args: row.args });
    const got = JSON.parse(await client.frames.received.take(5000, "notes"))[4].result;
    await client.frames.received.take(5000, "reply");
    return got;
  };
  const got = await eventually(async () => ((await noted()).length >= want.length ? noted() : null), `${of} ${id} is noted`);
  assert.deepEqual(got, want);
}

// How often the function ran, and on how many nodes.
async function checkRuns(row, id) {
  const ran = async () => {
    const lists = await Promise.all(NODES.map((n) => nodes[n].run(`length(KindsService.notes({:ran, "${id}"}))`)));
    return lists.map(Number);
  };
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  const counts = await ran();
  assert.equal(sum(counts), row.ran, `runs on ${NODES}: ${counts}`);
  if (row.on_nodes) assert.equal(counts.filter(Boolean).length, row.on_nodes, `runs on ${NODES}: ${counts}`);
}

const short = (value) => (JSON.stringify(value) ?? "").slice(0, 60);

describe("one function of every kind", () => {
  for (const row of rows) {
    const how = [row.as && `as ${row.as}`, row.gateway && `gateway ${row.gateway}`].filter(Boolean).join(", ");
    it(`${row.call} ${short(row.args)}${row.more ? short(row.more) : ""} ${how} (${row.cites})`, async () => {
      const id = await call({ ...row }).catch((e) => {
        forget(row.as, row.gateway); // what is left over must not trouble the next row
        throw e;
      });
      if (row.noted) await checkNotes(row.noted);
      if (row.ran) await checkRuns(row, id);
    });
  }

  it("every function that the service offers has a row", async () => {
    const names = "Enum.map_join(elem(KindsService.Supporter.get_config(nil), 1), \" \", & &1.request_type)";
    const offered = JSON.parse(await nodes.k1.run(names)).split(" ").filter((name) => !name.startsWith("mode_"));
    const called = new Set([...rows.map((r) => r.call), "notes"]);
    assert.deepEqual(offered.filter((name) => !called.has(name)), []);
  });
});

// Calls once and gives the index of the node that answered.
async function nodeOf(name, v, id = `m${++count}`, who = "u1") {
  const { channel, frames } = await clientOf(who);
  channel.push("api", { service: "kinds", request_type: `mode_${name}`, request_id: id, args: { v } });
  const push = JSON.parse(await frames.received.take(5000, name))[4];
  await frames.received.take(5000, "reply");
  assert.equal(push.error, null);
  return NODES.indexOf(push.result.split("@")[0]);
}

async function many(count, fn) {
  const got = [];
  for (let i = 0; i < count; i++) got.push(await fn(i));
  return got;
}

const phash2 = async (terms) => JSON.parse(await nodes.k1.run(`Enum.map([${terms.join(", ")}], &:erlang.phash2(&1, 3))`));

describe("which node answers", () => {
  const values = ["a", "user_1", "é", "", 5, -1, 1234567890123, 1.5, true, ["a", 1], { k: "v" }];
  const terms = ['"a"', '"user_1"', '"é"', '""', "5", "-1", "1234567890123", "1.5", "true", '["a", 1]', '%{"k" => "v"}'];

  it("random: every one, sooner or later (E-163)", async () => {
    assert.equal(new Set(await many(60, () => nodeOf("random", "x"))).size, 3);
  });

  it("hash: as the BEAM hashes the request id (E-164, E-168, E-169)", async () => {
    const ids = await many(12, (i) => `hash-${i * 7}`);
    assert.deepEqual(await many(12, (i) => nodeOf("hash", "x", ids[i])), await phash2(ids.map((id) => `"${id}"`)));
  });

  it("{hash, K}: as the BEAM hashes the argument, whatever it is (E-165, E-169)", async () => {
    assert.deepEqual(await many(values.length, (i) => nodeOf("hash_key", values[i])), await phash2(terms));
  });

  it("round_robin: one after the other (E-166)", async () => {
    const got = await many(7, () => nodeOf("round_robin", "x"));
    assert.deepEqual(got, got.map((_, i) => (got[0] + i) % 3));
  });

  it("{sticky, K}: the same for the same value; of many values, every one (E-167)", async () => {
    const first = await many(30, (i) => nodeOf("sticky", `v${i}`));
    assert.deepEqual(await many(30, (i) => nodeOf("sticky", `v${i}`)), first);
    assert.equal(new Set(first).size, 3);
  });

  it("{sticky, K}: K may be a field of the request (E-167)", async () => {
    const got = await many(8, (i) => nodeOf("sticky_field", `v${i}`));
    assert.equal(new Set(got).size, 1);
  });
});

// What is wrong, by the name behind wrong_: the reasons, complete and in order.
const REASONS = {
  mode: ["choose_node_mode must be :random, :hash, {:hash, key}, :round_robin, or {:sticky, key}"],
  nodes: ["nodes must be a valid list, MFA tuple, or :local"],
  nodes_number: ["nodes must be a valid list, MFA tuple, or :local"],
  timeout_short: ["timeout must be a positive integer between 100 and 300000, or :infinity"],
  timeout_long: ["timeout must be a positive integer between 100 and 300000, or :infinity"],
  response_type: ["response_type must be :sync, :async, :stream, or :none"],
  permission: ["check_permission must be false, :any_authenticated, {:arg, arg_name}, or {:role, roles}"],
  callback: ["permission_callback must be nil or a valid {module, function, args} tuple"],
  request_info: ["request_info must be a boolean"],
  version: ["version must be a valid version string (e.g., '1.0.0')"],
  retry: ["retry must be nil, a positive number, {:same_node, number}, or {:all_nodes, number}"],
  before: ["before_execute must be nil or a valid {module, function} or {module, function, args} tuple"],
  after: ["after_execute must be nil or a valid {module, function} or {module, function, args} tuple"],
  hook_timeout: ["hook_timeout must be a positive integer"],
  mfa: ["mfa must be a valid {module, function, args} tuple"],
  two: [
    "timeout must be a positive integer between 100 and 300000, or :infinity",
    "retry must be nil, a positive number, {:same_node, number}, or {:all_nodes, number}",
  ],
};

describe("FunConfigs that are wrong in a field", () => {
  let refused;
  before(async () => {
    await nodes.k1.run("KindsService.Supporter.offer_wrong()");
    const list = `:rpc.call(${GW}, PhoenixGenApi.ConfigFailed, :list, [[]])`;
    const script = `Enum.map_join(${list}, "\\n", &Enum.join([&1.request_type | &1.reason], "|"))`;
    const told = await eventually(async () => {
      const text = await nodes.k1.run(script);
      return text.includes("wrong_two") ? JSON.parse(text) : null;
    }, "the wrong ones are refused");
    refused = new Map(told.split("\n").map((line) => [line.split("|")[0].replace("wrong_", ""), line.split("|").slice(1)]));
  });

  for (const [name, reasons] of Object.entries(REASONS)) {
    it(`${name}: every reason is told`, () => assert.deepEqual(refused.get(name), reasons));
  }

  it("all of them are refused and told, and no other", async () => {
    const wrong = JSON.parse(await nodes.k1.run(`Enum.map_join(KindsService.Supporter.wrong(), " ", & &1.request_type)`));
    const names = wrong.split(" ").map((n) => n.replace("wrong_", ""));
    assert.deepEqual([...refused.keys()].sort(), names.sort());
  });

  it("the others work on", () => call({ call: "type_num", args: { v: 7 }, ok: "7" }));
});
