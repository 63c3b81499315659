// Hostile clients by seed: connections from many addresses that send request heads and frames which are right, nearly right
// or noise. A seed always makes the same bytes, so that what it finds can be had again: make fuzz-e2e SEED=n.
"use strict";
const { frame } = require("./client");
const { Stranger, address, random } = require("./attack");
const { sleep } = require("./harness");

const TOPICS = ["api:lobby", "api:a", "phoenix", "x", "", "api:", "room:é", "a".repeat(2000), "api:\\u0000"];
const EVENTS = ["phx_join", "phx_leave", "heartbeat", "api", "api", "api", "api:stop", "phx_reply", "phx_close", "phx_error", "nothing", ""];
const TYPES = ["echo", "get_user", "add", "slow", "big", "whoami", "mapargs", "stream", "notify", "fail_raise", "values", "list_users"];

// A name that no program has used before: what must never become an atom.
const fresh = (r) => `never_${r.below(2 ** 30).toString(36)}_${r.below(2 ** 30).toString(36)}`;

function text(r) {
  return r.pick([
    () => fresh(r),
    () => r.pick(TYPES),
    () => "x".repeat(r.below(300)),
    () => String.fromCharCode(...Array.from({ length: r.below(20) }, () => r.below(0x3000))),
    () => "\\u" + r.below(65536).toString(16).padStart(4, "0"),
    () => "'; drop table users; --",
    () => "Elixir.System",
  ])();
}

function value(r, depth = 0) {
  const leaf = [
    () => JSON.stringify(text(r)),
    () => String(r.below(1e9) - 5e8),
    () => r.pick(["0", "-0", "1e308", "1e-400", "123456789012345678901234567890", "1.5", "-1E+2", "true", "false", "null"]),
    () => r.pick(["nul", "01", "+1", ".5", "1.", "'a'", '"\\x"', '"', "NaN", "Infinity", "\u0000"]),
  ];
  const node = [
    () => `[${Array.from({ length: r.below(5) }, () => value(r, depth + 1)).join()}]`,
    () => `{${Array.from({ length: r.below(5) }, () => `${JSON.stringify(text(r))}:${value(r, depth + 1)}`).join()}}`,
    () => ((n) => "[".repeat(n) + "]".repeat(n))(r.below(40)),
  ];
  // What is no JSON at all comes seldom enough that most messages get further than the scanner.
  const kinds = depth > 3 ? leaf.slice(0, 3) : [...leaf.slice(0, 3), ...node];
  return r.chance(0.002) ? leaf[3]() : r.pick(kinds)();
}

function payload(r) {
  if (r.chance(0.2)) return value(r);
  const field = (name, usual) => (r.chance(0.9) ? `"${name}":${r.chance(0.85) ? usual : value(r)}` : `"${fresh(r)}":${value(r)}`);
  const args = r.chance(0.5) ? `{"msg":${value(r)}}` : `{"id":"u1","a":1,"b":2,"n":${r.below(50)},"ms":${r.below(20)},"${fresh(r)}":${value(r)}}`;
  return `{${[
    field("service", r.chance(0.9) ? '"user_service"' : `"${fresh(r)}"`),
    field("request_type", JSON.stringify(r.chance(0.8) ? r.pick(TYPES) : fresh(r))),
    field("request_id", `"r${r.below(100)}"`),
    field("args", args),
    field("version", r.pick(['"0.0.1"', "null", `"${fresh(r)}"`])),
    field("user_id", JSON.stringify(text(r))),
  ].join()}}`;
}

function message(r) {
  const ref = () => (r.chance(0.8) ? '"1"' : r.pick(["null", `"${r.below(10)}"`, "7", value(r, 3)]));
  const topic = () => (r.chance(0.8) ? '"api:lobby"' : JSON.stringify(r.pick(TOPICS)));
  if (r.chance(0.15)) return '["1","1","api:lobby","phx_join",{}]';
  if (r.chance(0.5)) return `["1",${ref()},"api:lobby","api",${payload(r)}]`;
  return `[${ref()},${ref()},${topic()},${JSON.stringify(r.pick(EVENTS))},${payload(r)}]`;
}

// Some bytes changed, left out, put in or doubled.
function mutate(r, bytes) {
  let b = Buffer.from(bytes);
  for (let n = r.below(4); n >= 0 && b.length; n--) {
    const at = r.below(b.length);
    const len = r.below(16);
    b = r.pick([
      () => (b.writeUInt8(r.below(256), at), b),
      () => Buffer.concat([b.subarray(0, at), b.subarray(at + len)]),
      () => Buffer.concat([b.subarray(0, at), Buffer.from(Array.from({ length: len }, () => r.below(256))), b.subarray(at)]),
      () => Buffer.concat([b.subarray(0, at), b.subarray(Math.max(0, at - len))]),
      () => b.subarray(0, at),
    ])();
  }
  return b;
}

const noise = (r, n) => Buffer.from(Array.from({ length: r.below(n) }, () => r.below(256)));

// One or more frames that carry the bytes, cut anywhere.
function frames(r, bytes) {
  if (r.chance(0.8)) return [frame({ op: r.chance(0.95) ? 1 : 2, payload: bytes })];
  const at = r.below(bytes.length + 1);
  const parts = [frame({ op: 1, fin: 0, payload: bytes.subarray(0, at) })];
  if (r.chance(0.5)) parts.push(frame({ op: 9, payload: noise(r, 126) }));
  if (r.chance(0.9)) parts.push(frame({ op: 0, fin: 1, payload: bytes.subarray(at) }));
  return parts;
}

// rude: how likely it is against the protocol, which ends the connection; the rest is well-formed and means ill.
function packet(r, rude) {
  if (!r.chance(rude)) return frames(r, Buffer.from(message(r)));
  return r.pick([
    () => frames(r, mutate(r, message(r))),
    () => [frame({ op: 2, payload: mutate(r, Buffer.from("\0\x01\x02\x09\x031" + "12api:lobbyapi{}", "latin1")) })],
    () => [frame({ op: r.below(16), fin: r.below(2), rsv: r.chance(0.1) ? r.below(8) : 0, payload: noise(r, 140) })],
    () => [mutate(r, frame({ payload: message(r) }))],
  ])();
}

function head(r) {
  const usual = "/socket/websocket?vsn=2.0.0&user_id=u1";
  const path = r.chance(0.85) ? usual : r.pick(["/socket/websocket", "/socket/websocket?vsn=1.0.0", "/health", "/"]);
  const lines = [
    `GET ${path} HTTP/1.1`, "Host: 127.0.0.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  ];
  if (r.chance(0.2)) lines.push(`${fresh(r)}: ${text(r).replace(/[^ -~]/g, "")}`);
  const whole = Buffer.from(lines.join("\r\n") + "\r\n\r\n");
  return r.chance(0.1) ? mutate(r, whole) : whole;
}

const JOIN = frame({ payload: '["1","1","api:lobby","phx_join",{}]' });

// Runs `clients` hostile clients of this seed, a few at a time, each for a bounded while. Resolves with the number of
// packets sent once all have closed.
async function attackBySeed(gateway, seed, clients = 50, atOnce = 10) {
  let sent = 0;
  const one = async (i) => {
    const own = random(seed * 100003 + i);
    const s = new Stranger(gateway, address(own.below(2000)));
    if (!(await s.connected)) return;
    s.send(head(own));
    if (own.chance(0.9)) s.send(JOIN);
    const rude = own.pick([0, 0, 0.02, 0.1, 0.5]);
    for (let n = 5 + own.below(60); n > 0 && !s.socket.destroyed; n--) {
      for (const p of packet(own, rude)) {
        s.send(own.chance(rude / 5) ? p.subarray(0, own.below(p.length)) : p);
        sent++;
      }
      if (own.chance(0.1)) await sleep(own.below(5));
    }
    if (own.chance(0.5)) s.socket.end();
    await Promise.race([s.closed, sleep(100)]);
    s.end();
    await s.closed;
  };
  for (let i = 0; i < clients; i += atOnce) await Promise.all(Array.from({ length: Math.min(atOnce, clients - i) }, (_, k) => one(i + k)));
  return sent;
}

module.exports = { attackBySeed };
