// Clients of the gateway for the tests: Conn on the `ws` package for whole messages, RawConn on a bare TCP socket
// for frames that no library would send, and compareFrames(), which knows what of a frame must be equal.
"use strict";
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const net = require("node:net");
const { WebSocket } = require("ws");
const { patience, within } = require("./harness");

// A queue of what arrives, with bounded waiting.
class Inbox {
  constructor() {
    this.items = [];
    this.takers = [];
  }

  put(item) {
    const taker = this.takers.shift();
    if (taker) taker(item);
    else this.items.push(item);
  }

  take(ms = 5000, what = "a frame") {
    if (this.items.length) return Promise.resolve(this.items.shift());
    let taker;
    const promise = new Promise((resolve) => this.takers.push((taker = resolve)));
    return within(patience(ms), promise, what).catch((e) => {
      this.takers = this.takers.filter((t) => t !== taker);
      throw e;
    });
  }
}

class Conn {
  // Resolves with an open connection; rejects with .status when the upgrade is refused.
  static open(gateway, query = "user_id=u1&vsn=2.0.0", { path = "/socket/websocket", ...options } = {}) {
    const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}?${query}`, options.protocols, {
      perMessageDeflate: false,
      ...options,
    });
    const conn = new Conn(ws);
    conn.v1 = !/vsn=2/.test(query);
    const opened = new Promise((resolve, reject) => {
      ws.once("open", () => resolve(conn));
      ws.once("unexpected-response", (_, response) => {
        reject(Object.assign(new Error(`upgrade refused: ${response.statusCode}`), { status: response.statusCode }));
        ws.terminate();
      });
      ws.once("error", reject);
    });
    return within(patience(5000), opened, "upgrade");
  }

  constructor(ws) {
    this.ws = ws;
    this.inbox = new Inbox();
    ws.on("message", (data, isBinary) => this.inbox.put(isBinary ? data : data.toString()));
    ws.on("error", () => {});
    this.closed = new Promise((resolve) =>
      ws.once("close", (code, reason) => {
        resolve({ code, reason: reason.toString() });
        this.inbox.put(`(WS close code=${code} reason="${reason}")`);
      }),
    );
  }

  send(message) {
    this.ws.send(typeof message === "string" || Buffer.isBuffer(message) ? message : JSON.stringify(message));
  }

  recv(ms, what) {
    return this.inbox.take(ms, what);
  }

  async recvJson(ms, what) {
    const text = await this.recv(ms, what);
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(`not JSON: ${text}`);
    }
  }

  // Everything that arrives before the answer to a heartbeat sent now.
  async fence() {
    const ref = `fence${crypto.randomInt(1e9)}`;
    const v1 = { topic: "phoenix", event: "heartbeat", payload: {}, ref };
    this.send(this.v1 ? v1 : [null, ref, "phoenix", "heartbeat", {}]);
    const before = [];
    for (;;) {
      const frame = await this.recv(5000, "the heartbeat's answer");
      if (typeof frame === "string" && frame.includes(`"${ref}"`)) return before;
      before.push(frame);
    }
  }

  async join(topic = "api:lobby", ref = "1", payload = {}) {
    this.send([ref, ref, topic, "phx_join", payload]);
    const reply = await this.recvJson(5000, `join of ${topic}`);
    assert.deepEqual(reply, [ref, ref, topic, "phx_reply", { status: "ok", response: {} }]);
    return this;
  }

  // Sends one request and gives {push, reply} of a sync function; other frames in between are an error.
  async call(type, args = {}, more = {}, ms = 10000) {
    const id = more.request_id || `r${crypto.randomInt(1e9)}`;
    const ref = `ref_${id}`;
    const payload = { service: "user_service", request_type: type, request_id: id, args, ...more };
    this.send(["1", ref, "api:lobby", "api", payload]);
    const push = await this.recvJson(ms, `answer of ${type}`);
    const reply = await this.recvJson(ms, `reply of ${type}`);
    assert.equal(push[3], "api", JSON.stringify(push));
    assert.equal(push[4].request_id, id, JSON.stringify(push));
    assert.equal(reply[1], ref, JSON.stringify(reply));
    return { push: push[4], reply: reply[4] };
  }

  async close(code = 1000) {
    this.ws.close(code);
    return within(patience(5000), this.closed, "close");
  }

  terminate() {
    this.ws.terminate();
  }
}

const mask = (payload, key) => Buffer.from(payload.map((b, i) => b ^ key[i % 4]));

// One WebSocket frame, right or wrong as told.
function frame({ op = 1, fin = 1, rsv = 0, payload = "", masked = true, size }) {
  const body = Buffer.isBuffer(payload) ? payload : Buffer.from(payload);
  const length = size ?? body.length;
  const head = [(fin << 7) | (rsv << 4) | op];
  const bit = masked ? 0x80 : 0;
  if (length < 126) head.push(bit | length);
  else if (length < 65536) head.push(bit | 126, length >> 8, length & 255);
  else head.push(bit | 127, 0, 0, 0, 0, (length >>> 24) & 255, (length >>> 16) & 255, (length >>> 8) & 255, length & 255);
  const key = Buffer.from([1, 2, 3, 4]);
  return masked ? Buffer.concat([Buffer.from(head), key, mask(body, key)]) : Buffer.concat([Buffer.from(head), body]);
}

const OPCODES = { 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" };

class RawConn {
  static async open(gateway, query = "user_id=u1&vsn=2.0.0") {
    const socket = net.connect(gateway.port, "127.0.0.1");
    const raw = new RawConn(socket);
    const key = crypto.randomBytes(16).toString("base64");
    socket.write(
      `GET /socket/websocket?${query} HTTP/1.1\r\nHost: 127.0.0.1:${gateway.port}\r\nConnection: Upgrade\r\n` +
        `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
    );
    await raw.recv(5000, "101");
    return raw;
  }

  constructor(socket) {
    this.socket = socket;
    this.inbox = new Inbox();
    this.data = Buffer.alloc(0);
    this.upgraded = false;
    socket.on("data", (chunk) => {
      this.data = Buffer.concat([this.data, chunk]);
      while (this.parse());
    });
    socket.on("error", () => {});
    socket.on("close", () => this.inbox.put({ kind: "tcp closed" }));
  }

  parse() {
    if (!this.upgraded) {
      const end = this.data.indexOf("\r\n\r\n");
      if (end < 0) return false;
      this.inbox.put({ kind: "head", text: this.data.subarray(0, end).toString() });
      this.data = this.data.subarray(end + 4);
      this.upgraded = true;
      return true;
    }
    const d = this.data;
    if (d.length < 2) return false;
    let length = d[1] & 127;
    let at = 2;
    if (length === 126) [length, at] = d.length < 4 ? [Infinity, 4] : [d.readUInt16BE(2), 4];
    else if (length === 127) [length, at] = d.length < 10 ? [Infinity, 10] : [Number(d.readBigUInt64BE(2)), 10];
    if (d.length < at + length) return false;
    const payload = d.subarray(at, at + length);
    const kind = OPCODES[d[0] & 15] || `op ${d[0] & 15}`;
    const code = kind === "close" && payload.length >= 2 ? payload.readUInt16BE(0) : undefined;
    this.inbox.put({ kind, payload: Buffer.from(payload), code, text: payload.toString() });
    this.data = d.subarray(at + length);
    return true;
  }

  send(options) {
    this.socket.write(frame(options));
  }

  recv(ms, what) {
    return this.inbox.take(ms, what);
  }

  destroy() {
    this.socket.destroy();
  }
}

// Numbers keep their written form ("1.0e3", 30 digits), which JSON.parse would lose.
const exactNumbers = (text) =>
  text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g, (t) => (t[0] === '"' ? t : `"#${t}"`));

const payloadOf = (frame) => (Array.isArray(frame) ? frame[4] : frame.payload);

// A wanted error that ends in "…" says how it begins.
function cutError(got, want) {
  const wanted = payloadOf(want)?.error;
  if (typeof wanted !== "string" || !wanted.endsWith("…")) return;
  if (payloadOf(got)?.error?.startsWith(wanted.slice(0, -1))) payloadOf(got).error = wanted;
}

// A frame must say what the recorded one says: the same JSON values, numbers digit by digit, objects
// in any key order but Response, whose seven keys keep the recorded order (F-111).
function compareFrames(got, want, what) {
  if (want.startsWith("(") || got.startsWith("(")) return assert.equal(got, want, what);
  const [actual, wanted] = [JSON.parse(exactNumbers(got)), JSON.parse(exactNumbers(want))];
  cutError(actual, wanted);
  assert.deepEqual(actual, wanted, `${what}\n got: ${got}\nwant: ${want}`);
  const response = payloadOf(JSON.parse(got));
  if (response && typeof response === "object" && "can_retry" in response) {
    const order = Object.keys(payloadOf(JSON.parse(want)));
    assert.deepEqual(Object.keys(response), order, `${what}: key order`);
  }
}

module.exports = { Conn, Inbox, RawConn, compareFrames, frame };
