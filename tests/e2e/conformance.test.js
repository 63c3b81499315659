// The conformance table: tests/conformance/cases.json, one row per case, with the numbers of docs/protocol.md. A row is an
// upgrade, a plain HTTP request, or a session of steps on a bare socket: send (a message), frame (a raw frame), recv,
// pong, close, nothing (no frame comes before the answer to a heartbeat).
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { ROOT, Run, config, eventually } = require("./harness");
const { RawConn, compareFrames } = require("./client");
const rows = require(path.join(ROOT, "tests/conformance/cases.json"));

let run;
const gateways = {};

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  gateways.usual = await run.gateway(config());
  const small = config().replace("user_id_param: user_id", "user_id_param: user_id\n    max_channels: 2\n    timeout_ms: 1000");
  const origins = lines => config().replace("user_id_param: user_id", `user_id_param: user_id\n    ${lines}`);
  gateways.open = await run.gateway(origins("check_origin: false"), { name: "open" });
  gateways.listed = await run.gateway(origins('origins: ["//*.ex.com"]'), { name: "listed" });
  gateways.conn = await run.gateway(origins("check_origin: conn"), { name: "conn" });
  // The secret of tests/data/tokens; its tokens are from 2023.
  const token = 'auth: [{type: phoenix_token, secret: "' + "0123456789abcdef".repeat(4) + '", salt: user socket, max_age_s: 1000000000}]';
  gateways.token = await run.gateway(config().replace("user_id_param: user_id", token), { name: "token" });
  const asked = config()
    .replace("user_id_param: user_id", `auth: [{type: remote, module: AuthService, function: connect, nodes: ["svc@127.0.0.1"]}]
    refusals: [{reason: rate_limit, status: 429, body: Too many requests}]`)
    .replace("channels:", `channels:
      - {topic: "room:*", event: api, join_module: AuthService, join_function: join, join_nodes: ["svc@127.0.0.1"]}`);
  gateways.asked = await run.gateway(asked, { name: "asked" });
  gateways.small = await run.gateway(small, { name: "small" });
});
after(() => run?.stop());

const UPGRADE = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
};

async function checkUpgrade(gateway, row) {
  const { query } = row.upgrade;
  const headers = { ...row.upgrade.headers };
  if (headers.Origin) headers.Origin = headers.Origin.replace("@PORT@", gateway.port);
  const answer = await gateway.get(`/socket/websocket?${query}`, { headers: { ...UPGRADE, ...headers } });
  assert.equal(answer.status, row.status);
  if (row.body !== undefined) assert.equal(answer.body, row.body);
  for (const [name, value] of Object.entries(row.answers || {})) assert.equal(answer.headers[name] ?? null, value);
  if (row.status === 403) assert.equal(answer.body, "", "P-007: a refusal has no body");
}

async function checkRequest(gateway, row) {
  const answer = await gateway.get(row.request.path, { method: row.request.method });
  assert.equal(answer.status, row.status);
  assert.equal(answer.body, row.body);
}

function payload(f) {
  if (f.hex !== undefined) return Buffer.from(f.hex, "hex");
  return f.fill ? f.fill.repeat(f.count) : f.payload;
}

async function nothing(raw) {
  raw.send({ payload: '[null,"fence","phoenix","heartbeat",{}]' });
  const got = await raw.recv(5000, "the heartbeat's answer");
  assert.equal(got.text, '[null,"fence","phoenix","phx_reply",{"status":"ok","response":{}}]');
}

const STEPS = {
  send: (raw, message) => raw.send({ payload: JSON.stringify(message) }),
  frame: (raw, f) => raw.send({ ...f, payload: payload(f) }),
  nothing,
  async recv(raw, want, step) {
    const got = await raw.recv(5000, JSON.stringify(want));
    assert.equal(got.kind, "text", JSON.stringify(got));
    if (step.loose_join_ref) assert.ok([want[0], null].includes(JSON.parse(got.text)[0]));
    const text = step.loose_join_ref ? JSON.stringify([want[0], ...JSON.parse(got.text).slice(1)]) : got.text;
    compareFrames(text, JSON.stringify(want), "recv");
  },
  async pong(raw, want) {
    const got = await raw.recv(5000, "pong");
    assert.deepEqual([got.kind, got.text], ["pong", want]);
  },
  async close(raw, code) {
    const got = await raw.recv(5000, `close ${code}`);
    assert.deepEqual([got.kind, got.code], ["close", code]);
    assert.equal((await raw.recv(5000, "end of the connection")).kind, "tcp closed");
  },
};

async function checkSession(gateway, row) {
  const raw = await RawConn.open(gateway, row.query || "user_id=u1&vsn=2.0.0");
  try {
    for (let i = 1; i <= (row.repeat_joins || 0); i++) {
      raw.send({ payload: JSON.stringify([`${i}`, `${i}`, `api:${i}`, "phx_join", {}]) });
      assert.equal(JSON.parse((await raw.recv()).text)[4].status, "ok");
    }
    for (const step of row.steps) {
      const [name] = Object.keys(step);
      await STEPS[name](raw, step[name], step);
    }
  } finally {
    raw.destroy();
  }
  for (const [name, value] of Object.entries(row.then_metric || {})) {
    await eventually(async () => (await gateway.metric(name)) === value, `${name} becomes ${value}`);
  }
}

describe("conformance", () => {
  for (const row of rows) {
    it(`${row.id} ${row.title}`, { skip: row.skip }, async () => {
      const gateway = gateways[row.gateway || "usual"];
      if (row.upgrade) await checkUpgrade(gateway, row);
      else if (row.request) await checkRequest(gateway, row);
      else await checkSession(gateway, row);
    });
  }
});
