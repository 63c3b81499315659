// The exchanges recorded from the library, replayed frame by frame (sections 1 to 10 of the recordings). What
// may differ, and what may not, is in compareFrames() of client.js.
"use strict";
const assert = require("node:assert/strict");
const net = require("node:net");
const { after, before, describe, it } = require("node:test");
const { Run, config, patience, sleep, within } = require("./harness");
const { Conn, RawConn, compareFrames } = require("./client");
const { expand, expected, load, reasons, unescapeBinary } = require("./transcripts");

// As when section 7 was recorded.
const rateLimits = `
rate_limiter:
  global_limits: [{key: user_id, max_requests: 200, window_ms: 60000}]
  api_limits: [{service: user_service, request_type: limited, key: user_id, max_requests: 3, window_ms: 60000}]
`;

let run, gateway, detail, limited;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  gateway = await run.gateway(config());
  detail = await run.gateway(`${config()}\nrequests:\n  detail_error: true\n`, { name: "detail" });
  limited = await run.gateway(`${config()}\n${rateLimits}`, { name: "limited" });
});
after(() => run?.stop());

const caseName = (c) => `${c.id} ${c.title}${reasons(c).length ? ` [${[...new Set(reasons(c))].join("; ")}]` : ""}`;

// Sends what the client sent and compares what comes back, step by step; then makes sure that nothing more comes.
async function replay(conn, c) {
  const recv = (frame) => conn.recv(8000, `${c.id}: ${frame.slice(0, 200)}`);
  if (c.steps.some((s) => s.any_order)) return replayAnyOrder(conn, c, recv);
  let last = "";
  if (c.before) await callBefore(conn, c.before, recv);
  for (const step of c.steps) {
    if ("send" in step) sendRecorded(conn, expand(step.send));
    for (last of expected(step)) compareFrames(await recv(last), last, c.id);
  }
  if (last.startsWith("(WS close")) return;
  await sleep(c.quiet_ms || 0);
  assert.deepEqual(await conn.fence(), [], `${c.id}: frames that the recording does not have`);
}

// Calls that the recording left out: each must succeed.
async function callBefore(conn, { send, count }, recv) {
  for (let i = 0; i < count; i++) conn.send(send.replaceAll("#", String(i)));
  for (let i = 0; i < count; i++) {
    assert.equal(JSON.parse(await recv(send))[4].success, true, `call ${i} before`);
    assert.equal(JSON.parse(await recv(send))[4].status, "ok");
  }
}

async function replayAnyOrder(conn, c, recv) {
  for (const step of c.steps) if ("send" in step) sendRecorded(conn, expand(step.send));
  const wanted = c.steps.flatMap(expected);
  const got = [];
  for (const frame of wanted) got.push(await recv(frame));
  matchAnyOrder(got, wanted, c.id);
  assert.deepEqual(await conn.fence(), [], `${c.id}: frames that the recording does not have`);
}

function sendRecorded(conn, frame) {
  if (frame.startsWith("(binary) ")) return conn.send(unescapeBinary(frame.slice(9)));
  const close = /^\(WS close (\d+)\)$/.exec(frame);
  return close ? conn.ws.close(Number(close[1])) : conn.send(frame);
}

// Every wanted frame once; and of one request the push before the reply (E-012 want).
function matchAnyOrder(got, wanted, id) {
  const left = got.map((frame, at) => ({ frame, at }));
  const places = wanted.map((frame) => {
    const i = left.findIndex((g) => {
      try {
        compareFrames(g.frame, frame, id);
        return true;
      } catch {
        return false;
      }
    });
    assert.notEqual(i, -1, `${id}: missing ${frame}\namong ${left.map((g) => g.frame).join("\n")}`);
    return { frame, at: left.splice(i, 1)[0].at };
  });
  places.forEach((p, i) => {
    if (p.frame.includes('"request_id"')) assert.equal(places[i + 1].at, p.at + 1, `${id}: the reply follows its push`);
  });
}

function replayFile(name, target) {
  const file = load(name);
  describe(file.section, () => {
    let conn;
    after(() => conn?.terminate());
    for (const c of file.cases) {
      const skip = c.skip || file.skip;
      it(caseName(c), { skip }, async () => {
        const own = c.query && c.query !== file.query;
        if (conn && conn.ws.readyState !== 1) conn = undefined;
        if (!own) conn ??= await open(target(), file.query, file.join);
        const used = own ? await open(target(), c.query, file.join) : conn;
        await replay(used, c);
        if (own) used.terminate();
      });
    }
  });
}

async function open(gw, query, join) {
  const conn = await Conn.open(gw, query);
  return join ? conn.join() : conn;
}

replayFile("channel", () => gateway);
replayFile("functions", () => gateway);
replayFile("relay", () => gateway);
replayFile("arguments", () => gateway);
replayFile("rate_limiter", () => limited);
replayFile("detail_error", () => detail);
replayFile("serializer_v1", () => gateway);

function rawPayload(f) {
  if (f.hex !== undefined) return Buffer.from(f.hex, "hex");
  if (f.fill && !f.payload) return f.fill.repeat(f.count);
  return f.fill ? expand({ ...f, template: f.payload }) : f.payload;
}

function compareRaw(got, want, what) {
  if (want.kind === "text") {
    assert.equal(got.kind, "text", `${what}: ${JSON.stringify(got)}`);
    return compareFrames(got.text, want.text, what);
  }
  assert.equal(got.kind, want.kind, `${what}: ${JSON.stringify(got)}`);
  if (want.code) assert.equal(got.code, want.code, what);
  if (want.text !== undefined) assert.equal(got.text, want.text, what);
}

async function replayRaw(raw, c) {
  for (const step of c.steps) {
    if (step.fin) raw.socket.end();
    else if (step.frame) raw.send({ ...step.frame, payload: rawPayload(step.frame) });
    else for (const want of step.want || [step.recv]) compareRaw(await raw.recv(8000, `${c.id}: ${JSON.stringify(want)}`), want, c.id);
  }
}

const malformed = load("malformed");
describe(malformed.section, () => {
  for (const c of malformed.cases) {
    it(caseName(c), { skip: c.skip }, async () => {
      const raw = await RawConn.open(gateway);
      try {
        await replayRaw(raw, c);
      } finally {
        raw.destroy();
      }
    });
  }
});

// One request as recorded, on a socket of its own; reads until the answer is whole or the server closes.
function exchange(lines) {
  const socket = net.connect(gateway.port, "127.0.0.1");
  let text = "";
  const done = new Promise((resolve) => {
    const whole = () => {
      const end = text.indexOf("\r\n\r\n");
      const length = /content-length: *(\d+)/i.exec(text.slice(0, Math.max(end, 0)));
      return end >= 0 && (/^HTTP\/1\.. 101/.test(text) || (length && text.length >= end + 4 + Number(length[1])));
    };
    socket.on("data", (d) => {
      text += d;
      if (whole()) resolve({ text, closed: false });
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve({ text, closed: true }));
  });
  socket.write(lines.map((l) => `${l}\r\n`).join("") + "\r\n");
  return within(patience(8000), done, () => `answer to ${lines[0]}; so far ${JSON.stringify(text)}`).finally(() => socket.destroy());
}

function parseHead(text) {
  const [head, ...rest] = text.split("\r\n\r\n");
  const [status, ...lines] = head.split("\r\n");
  const headers = Object.fromEntries(lines.map((l) => [l.split(":")[0].toLowerCase(), l.slice(l.indexOf(":") + 1).trim()]));
  return { status: Number(/^HTTP\/1\.\d (\d{3})/.exec(status)?.[1]), headers, body: rest.join("\r\n\r\n") };
}

const upgrade = load("upgrade");
describe(upgrade.section, () => {
  for (const c of upgrade.cases) {
    it(`${c.id} ${c.title}${c.why ? ` [${c.why}]` : ""}`, { skip: c.skip }, async () => {
      const { text, closed } = await exchange(c.request);
      const answer = parseHead(text);
      assert.equal(answer.status, c.status, text);
      if (c.body !== undefined) assert.equal(answer.body, c.body);
      for (const [name, value] of Object.entries(c.headers || {})) assert.equal(answer.headers[name], value, name);
      for (const name of c.absent || []) assert.equal(answer.headers[name], undefined, name);
      if (c.tcp_closed) assert.ok(closed, "the server closes");
    });
  }
});
