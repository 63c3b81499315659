// Behind proxies: who the client is by the PROXY protocol and by X-Forwarded-For, who is not believed, and that limits, logs
// and rate limits go by the client's own address. The tests play the proxy, at 127.0.0.1; 127.0.0.9 is a stranger.
"use strict";
const assert = require("node:assert/strict");
const net = require("node:net");
const tls = require("node:tls");
const { after, before, describe, it } = require("node:test");
const { WebSocket } = require("ws");
const { Run, config, eventually, freePort, httpGet, patience, sleep, within } = require("./harness");
const { Certs } = require("./certs");
const { Conn } = require("./client");

let run, gateway, proxyPort, proxyTlsPort, ca;

before(async () => {
  run = await Run.start();
  const certs = new Certs(run);
  ca = certs.authority();
  const pair = certs.leaf("gw", ca);
  await run.beam("svc");
  [proxyPort, proxyTlsPort] = [await freePort(), await freePort()];
  const listen = `listen:\n  trusted_proxies: [127.0.0.1, 10.0.0.0/8]\n  handshake_timeout_ms: ${patience(1500)}\n`;
  const more = `listeners:
  - {port: ${proxyPort}, proxy_protocol: true}
  - {port: ${proxyTlsPort}, proxy_protocol: true, tls_certificate: ${pair.crt}, tls_key: ${pair.key}}
limits:
  max_connections_per_address: 3
rate_limiter:
  global_limits: [{key: ip_address, max_requests: 2, window_ms: 600000}]
`;
  const conn = `  - {path: /conn, user_id_param: user_id, check_origin: conn, channels: [{topic: "api:*"}]}\n\nservices:`;
  const text = config().replace("listen:\n  address: 127.0.0.1\n", listen).replace("level: info", "level: debug");
  gateway = await run.gateway(text.replace("\nservices:", conn) + more);
});
after(() => run?.stop());

const v1 = (client) => `PROXY TCP4 ${client} 127.0.0.1 56324 443\r\n`;

function v2(client, { command = 1, tlv = Buffer.alloc(0) } = {}) {
  const addresses = Buffer.from([...client.split("."), ..."127.0.0.1".split(".")].map(Number));
  const body = Buffer.concat([addresses, Buffer.from([220, 4, 1, 187]), tlv]);
  const head = Buffer.from([0x20 | command, 0x11, body.length >> 8, body.length & 255]);
  return Buffer.concat([Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1"), head, body]);
}

// A connection that begins with these bytes, all at once or byte by byte.
async function forwarded(header, { port = proxyPort, slowly = false, from = "127.0.0.1" } = {}) {
  const socket = net.connect({ port, host: "127.0.0.1", localAddress: from });
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
  const bytes = Buffer.from(header);
  if (!slowly) socket.write(bytes);
  else
    for (const byte of bytes) {
      socket.write(Buffer.from([byte]));
      await sleep(1);
    }
  return socket;
}

// What is answered to a request on the socket; empty when it is closed instead.
function answer(socket, request = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n") {
  const chunks = [];
  const promise = new Promise((resolve) => {
    socket.on("data", (d) => chunks.push(d));
    socket.on("close", () => resolve(Buffer.concat(chunks).toString()));
    if (request) socket.write(request);
  });
  return within(patience(5000), promise, "answer");
}

let users = 0;
async function socketThrough(header, options) {
  const socket = await forwarded(header, options);
  const ws = new WebSocket(`ws://localhost/socket/websocket?user_id=p${++users}&vsn=2.0.0`, {
    createConnection: () => socket,
    perMessageDeflate: false,
  });
  const conn = new Conn(ws);
  await within(patience(5000), new Promise((resolve, reject) => ws.once("open", resolve).once("error", reject)), "upgrade");
  return conn.join();
}

const seenAs = (client, from) => gateway.waitLine(new RegExp(`client connected.*peer=${client.replaceAll(".", "\\.")} `), 5000, from);
const limited = /Rate limit exceeded/;

describe("the PROXY protocol", () => {
  it("names the client, in both versions, however the header is cut", async () => {
    for (const [i, header] of [v1("203.0.113.1"), v2("203.0.113.2")].entries())
      for (const slowly of [false, true]) {
        const from = gateway.lines.length;
        const conn = await socketThrough(header, { slowly });
        await seenAs(`203.0.113.${i + 1}`, from);
        await conn.close();
      }
  });

  it("comes before TLS", async () => {
    const from = gateway.lines.length;
    const raw = await forwarded(v1("203.0.113.3"), { port: proxyTlsPort });
    const secure = tls.connect({ socket: raw, ca: ca.pem, servername: "localhost" });
    assert.match(await answer(secure), /200 OK/);
    await gateway.waitLine(/TLS handshake done.*peer=203\.0\.113\.3 /, 5000, from);
  });

  it("counts rate limits and connections by the client", async () => {
    const [one, two] = [await socketThrough(v1("203.0.113.10")), await socketThrough(v2("203.0.113.11"))];
    for (const conn of [one, two]) for (let i = 0; i < 2; i++) assert.equal((await conn.call("echo", { msg: "x" })).push.success, true);
    assert.match((await one.call("echo", { msg: "x" })).push.error, limited);
    const more = [await socketThrough(v1("203.0.113.10")), await socketThrough(v1("203.0.113.10"))];
    assert.match(await answer(await forwarded(v1("203.0.113.10"))), /429 Too Many Requests/);
    assert.match(await answer(await forwarded(v1("203.0.113.12"))), /200 OK/);
    await Promise.all([one, two, ...more].map((c) => c.close()));
  });

  it("lets the proxy speak for itself", async () => {
    assert.match(await answer(await forwarded("PROXY UNKNOWN\r\n")), /200 OK/);
    assert.match(await answer(await forwarded(v2("203.0.113.1", { command: 0 }))), /200 OK/);
  });

  it("is not believed from strangers, who are closed and counted", async () => {
    const refused = await gateway.metric("proxy_refused_total");
    const from = gateway.lines.length;
    assert.equal(await answer(await forwarded(v1("203.0.113.1"), { from: "127.0.0.9" })), "");
    await gateway.waitLine(/proxy refused.*peer=127\.0\.0\.9 .*not a trusted proxy/, 5000, from);
    assert.equal(await gateway.metric("proxy_refused_total"), refused + 1);
  });

  it("is not understood on a port that is not for it", async () => {
    assert.match(await answer(await forwarded(v1("203.0.113.1"), { port: gateway.port })), /400 Bad Request/);
  });

  it("must be there, right, and in time", async () => {
    const refused = await gateway.metric("proxy_refused_total");
    const bad = ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 1.2.3.4\r\n", `PROXY ${"x".repeat(200)}`, v2("1.2.3.4", { command: 5 })];
    bad.push(v2("1.2.3.4", { tlv: Buffer.alloc(5000, 1) }), v2("1.2.3.4", { tlv: Buffer.from([1, 0, 9]) }));
    for (const header of bad) assert.equal(await answer(await forwarded(header), ""), "");
    const slow = [await forwarded(""), await forwarded("PROXY TCP4 1.2"), await forwarded(v2("1.2.3.4").subarray(0, 20))];
    assert.deepEqual(await Promise.all(slow.map((socket) => answer(socket, ""))), ["", "", ""]);
    assert.equal(await gateway.metric("proxy_refused_total"), refused + bad.length + slow.length);
    await eventually(async () => (await gateway.state()).get("connections") === 0, "all gone");
  });
});

describe("X-Forwarded-For", () => {
  const through = (forwardedFor, { from = "127.0.0.1", path = "/socket/websocket", headers = {} } = {}) =>
    Conn.open(gateway, `user_id=x${++users}&vsn=2.0.0`, { path, localAddress: from, headers: { "x-forwarded-for": forwardedFor, ...headers } });

  it("names the client: the rightmost that is no proxy", async () => {
    for (const list of ["203.0.113.20", "198.51.100.1, 203.0.113.20", "198.51.100.1, 203.0.113.20, 10.1.2.3"]) {
      const from = gateway.lines.length;
      const conn = await through(list);
      await seenAs("203.0.113.20", from);
      await conn.close();
    }
  });

  it("is not believed from strangers", async () => {
    const from = gateway.lines.length;
    const conn = await through("203.0.113.21", { from: "127.0.0.9" });
    await seenAs("127.0.0.9", from);
    await conn.close();
  });

  it("counts rate limits and connections by the client, not by the proxy", async () => {
    const conns = await Promise.all(Array.from({ length: 3 }, () => through("203.0.113.30")));
    await conns[0].join();
    for (let i = 0; i < 2; i++) assert.equal((await conns[0].call("echo", { msg: "x" })).push.success, true);
    assert.match((await conns[0].call("echo", { msg: "x" })).push.error, limited);
    await assert.rejects(through("203.0.113.30"), { status: 429 });
    const others = await Promise.all(Array.from({ length: 6 }, (_, i) => through(`203.0.113.${40 + i}`)));
    const answered = await httpGet(gateway.port, "/health", { headers: { "x-forwarded-for": "203.0.113.30" } });
    assert.equal(answered.status, 429);
    await Promise.all([...conns, ...others].map((c) => c.close()));
    assert.equal((await (await through("203.0.113.30")).close()).code, 1000);
  });

  it("goes with X-Forwarded-Proto, by which the origin of a page is compared", async () => {
    const secure = { origin: "https://gw.test", host: "gw.test" };
    const open = (proto, more) => through("203.0.113.50", { path: "/conn/websocket", headers: { ...secure, ...proto }, ...more });
    await (await open({ "x-forwarded-proto": "https" })).close();
    await assert.rejects(open({ "x-forwarded-proto": "http" }), { status: 403 });
    await assert.rejects(open({}), { status: 403 });
    await assert.rejects(open({ "x-forwarded-proto": "https" }, { from: "127.0.0.9" }), { status: 403 });
  });
});
