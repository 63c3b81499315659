// TLS for clients: who gets in and how, phoenix.js and Chromium over it, renewing certificates while clients work, and what
// strangers try on such a port. One gateway with a plain port, one with TLS, and one that asks for client certificates.
"use strict";
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const https = require("node:https");
const net = require("node:net");
const path = require("node:path");
const tls = require("node:tls");
const { after, before, describe, it } = require("node:test");
const { WebSocket } = require("ws");
const { Run, config, eventually, freePort, httpGet, patience, sleep, within } = require("./harness");
const { Certs } = require("./certs");
const { Conn, frame } = require("./client");
const { settled, spySocket } = require("./phoenix_client");

let run, gateway, port, mutualPort, certs, ca, live, renewed, client;

before(async () => {
  run = await Run.start();
  certs = new Certs(run);
  ca = certs.authority();
  live = certs.leaf("live", ca);
  renewed = certs.leaf("renewed", ca, { days: 60 });
  client = certs.leaf("client", ca, { names: "DNS:client.test" });
  await run.beam("svc");
  [port, mutualPort] = [await freePort(), await freePort()];
  const pair = `tls_certificate: ${live.crt}, tls_key: ${live.key}`;
  const listeners = `listeners:
  - {port: ${port}, ${pair}}
  - {port: ${mutualPort}, ${pair}, tls_client_ca: ${ca.crt}, tls_min_version: "1.3"}
`;
  const idle = `  - {path: /short, timeout_ms: 1000, channels: [{topic: "api:*"}]}\n\nservices:`;
  const text = config().replace("listen:\n  address: 127.0.0.1\n", `listen:\n  handshake_timeout_ms: ${patience(1500)}\n`);
  gateway = await run.gateway(text.replace("\nservices:", idle) + listeners);
});
after(() => run?.stop());

let users = 0; // each connection is another user's: there is a bound for one's
const wss = (query = `user_id=u${++users}&vsn=2.0.0`, socket = "socket") => `wss://localhost:${port}/${socket}/websocket?${query}`;

async function open(url = wss(), options = {}) {
  const ws = new WebSocket(url, { ca: ca.pem, perMessageDeflate: false, ...options });
  const conn = new Conn(ws);
  await within(patience(5000), new Promise((resolve, reject) => ws.once("open", resolve).once("error", reject)), "wss");
  return conn;
}

function get(pathname, options = {}) {
  const promise = new Promise((resolve, reject) => {
    const request = https.get({ host: "localhost", port, path: pathname, ca: ca.pem, agent: false, ...options }, (res) => {
      const chunks = [];
      res.on("data", (c) => chunks.push(c));
      res.on("end", () => resolve({ status: res.statusCode, body: Buffer.concat(chunks).toString() }));
    });
    request.on("error", reject);
  });
  return within(patience(5000), promise, pathname);
}

// What openssl s_client says; input is typed into it.
async function sClient(args, { to = port, input = "", wait = 300 } = {}) {
  const child = spawn("openssl", ["s_client", "-connect", `127.0.0.1:${to}`, "-CAfile", ca.crt, ...args]);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (d) => (text += d));
  child.stdin.on("error", () => {});
  const ended = new Promise((resolve) => child.once("close", resolve));
  for (const part of [].concat(input)) {
    await sleep(patience(wait));
    child.stdin.write(part);
  }
  await sleep(patience(input.length ? wait : 0));
  child.stdin.end();
  await within(patience(8000), ended, "end of s_client").catch(() => child.kill("SIGKILL"));
  return text;
}

describe("what is spoken on a TLS port", () => {
  it("TLS 1.3 and 1.2, with a certificate that the CA vouches for", async () => {
    for (const version of ["1_2", "1_3"]) {
      const text = await sClient([`-tls${version}`]);
      assert.match(text, new RegExp(`New, TLSv${version.replace("_", ".")}, Cipher is \\S+GCM`));
      assert.match(text, /Verify return code: 0 \(ok\)/);
    }
  });

  for (const [what, ...args] of [
    ["TLS 1.1", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    ["TLS 1.2 with CBC", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"],
    ["TLS 1.2 without forward secrecy", "-tls1_2", "-cipher", "AES128-GCM-SHA256"],
    ["TLS 1.2 without authentication", "-tls1_2", "-cipher", "ADH-AES128-SHA:@SECLEVEL=0"],
    ["HTTP/2 only", "-alpn", "h2"],
  ])
    it(`not ${what}`, async () => assert.match(await sClient(args), /Cipher is \(NONE\)/));

  it("HTTP/1.1, chosen over HTTP/2", async () => {
    assert.match(await sClient(["-alpn", "h2,http/1.1"]), /ALPN protocol: http\/1\.1/);
    assert.match(await sClient(["-alpn", "http/1.1"]), /ALPN protocol: http\/1\.1/);
  });

  it("no HTTP/2 after ALPN either, nor h2c", async () => {
    const preface = await sClient(["-quiet"], { input: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" });
    assert.match(preface, /400 Bad Request/);
    const h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    assert.match(await sClient(["-quiet"], { input: h2c }), /HTTP\/1\.1 200 OK/);
  });

  it("no renegotiation", async () => {
    const text = await sClient(["-tls1_2"], { input: ["R\n", "R\n"], wait: 200 });
    assert.match(text, /RENEGOTIATING/);
    assert.match(text, /no renegotiation/);
  });

  it("resuming by ticket", async () => {
    const file = path.join(run.dir, "session.pem");
    for (const version of ["-tls1_2", "-tls1_3"]) {
      await sClient([version, "-sess_out", file], { input: "GET /health HTTP/1.1\r\nHost: a\r\n\r\n" });
      assert.match(await sClient([version, "-sess_in", file]), /^Reused, /m);
    }
  });

  it("the probes and the console page", async () => {
    assert.deepEqual(await get("/health"), { status: 200, body: '{"status":"ok"}' });
    assert.equal((await get("/ready")).status, 200);
    assert.match((await get("/")).body, /<html/i);
  });

  it("only with a client certificate where one is asked for", async () => {
    const options = { to: mutualPort, input: "GET /health HTTP/1.1\r\nHost: a\r\n\r\n" };
    assert.doesNotMatch(await sClient([], options), /"status":"ok"/);
    assert.match(await sClient(["-cert", client.crt, "-key", client.key], options), /"status":"ok"/);
    const stranger = certs.leaf("stranger", certs.authority("other"));
    assert.doesNotMatch(await sClient(["-cert", stranger.crt, "-key", stranger.key], options), /"status":"ok"/);
    assert.match(await sClient(["-tls1_2"], { to: mutualPort }), /Cipher is \(NONE\)/);
  });
});

describe("clients over TLS", () => {
  it("phoenix.js joins, calls and leaves", async () => {
    class Secure extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols, { ca: ca.pem });
      }
    }
    const { socket } = spySocket({ url: `wss://localhost:${port}/socket` }, { transport: Secure, params: { user_id: "u1" } });
    const channel = socket.channel("api:lobby", {});
    const events = [];
    channel.on("api", (payload) => events.push(payload));
    assert.deepEqual(await settled(channel.join()), ["ok", {}]);
    const request = { service: "user_service", request_type: "add", request_id: "r1", args: { a: 19, b: 23 } };
    assert.equal((await settled(channel.push("api", request)))[0], "ok");
    assert.equal(events[0].result, 42);
    assert.equal((await settled(channel.leave()))[0], "ok");
    await new Promise((resolve) => socket.disconnect(resolve));
  });

  it("messages of every size come whole, both ways", async () => {
    const conn = await (await open()).join();
    for (const size of [0, 1, 125, 126, 16383, 16384, 16385, 65535, 65536, 900000]) {
      conn.send([null, `${size}`, "phoenix", "heartbeat", { x: "y".repeat(size) }]);
      assert.equal((await conn.recvJson())[1], `${size}`);
    }
    for (const size of [1, 2000, 2999]) {
      const msg = "z".repeat(size);
      assert.deepEqual((await conn.call("echo", { msg })).push.result, (await plainEcho(msg)).push.result);
    }
    assert.equal((await conn.close()).code, 1000);
  });

  async function plainEcho(msg) {
    const conn = await (await Conn.open(gateway)).join();
    const answer = await conn.call("echo", { msg });
    await conn.close();
    return answer;
  }

  it("many at once", async () => {
    const conns = await Promise.all(Array.from({ length: 100 }, () => open()));
    await Promise.all(conns.map((c) => c.join()));
    const calls = conns.map((c, i) => c.call("add", { a: i, b: 1 }).then((r) => assert.equal(r.push.result, i + 1)));
    await Promise.all(calls);
    await Promise.all(conns.map((c) => c.close()));
    await eventually(async () => (await gateway.state()).get("connections") === 0, "all gone");
  });

  it("one that only pings is not idle; one that says nothing is", async () => {
    const pinging = await open(wss("vsn=2.0.0", "short"));
    const silent = await open(wss("vsn=2.0.0", "short"));
    const timer = setInterval(() => pinging.ws.ping(), 200);
    assert.equal((await within(patience(8000), silent.closed, "end of the silent one")).code, 1002);
    await sleep(patience(1500));
    clearInterval(timer);
    assert.equal(pinging.ws.readyState, WebSocket.OPEN);
    await pinging.close();
  });

  it("one that ends without a word frees everything", async () => {
    const conns = await Promise.all(Array.from({ length: 20 }, () => open()));
    conns.forEach((c) => c.ws._socket.destroy());
    await eventually(async () => (await gateway.state()).get("connections") === 0, "all gone");
  });

  it("frames that break the protocol are answered as without TLS", async () => {
    const conn = await open();
    conn.ws._socket.write(frame({ op: 3 }));
    assert.equal((await conn.closed).code, 1002);
  });
});

describe("renewing certificates", () => {
  const shown = () =>
    within(
      patience(5000),
      new Promise((resolve, reject) => {
        const socket = tls.connect({ host: "localhost", port, ca: ca.pem, servername: "localhost" }, () => {
          resolve(socket.getPeerCertificate().subject.CN);
          socket.destroy();
        });
        socket.on("error", reject);
      }),
      "certificate",
    );

  async function reload(pattern) {
    const from = gateway.lines.length;
    gateway.process.kill("SIGHUP");
    return gateway.waitLine(pattern, 10000, from);
  }

  it("nobody is dropped, new connections get the new one, under load", async () => {
    const conns = await Promise.all(Array.from({ length: 10 }, () => open()));
    await Promise.all(conns.map((c) => c.join()));
    let stop = false;
    let calls = 0;
    const load = conns.map(async (c) => {
      while (!stop) {
        await c.call("add", { a: 1, b: 2 });
        calls++;
      }
    });
    const churn = (async () => {
      while (!stop) assert.equal((await get("/health")).status, 200);
    })();
    assert.equal(await shown(), "live");
    const days = await gateway.metric("tls_certificate_days");
    fs.copyFileSync(renewed.crt, live.crt);
    fs.copyFileSync(renewed.key, live.key);
    await reload(/configuration reloaded/);
    assert.equal(await shown(), "renewed");
    const before = calls;
    await eventually(() => calls > before + 20, "calls go on");
    stop = true;
    await Promise.all([...load, churn]);
    assert.ok((await gateway.metric("tls_certificate_days")) > days + 20);
    await Promise.all(conns.map((c) => c.close()));
  });

  it("a pair that does not fit changes nothing and is told", async () => {
    fs.copyFileSync(client.key, live.key);
    assert.match(await reload(/configuration not reloaded|key .*live\.key/), /key values mismatch/);
    assert.equal(await shown(), "renewed");
    fs.copyFileSync(renewed.key, live.key);
    await reload(/configuration reloaded/);
    assert.equal(await shown(), "renewed");
  });

  it("one that ends soon is told", async () => {
    const soon = certs.leaf("soon", ca, { days: 3 });
    fs.copyFileSync(soon.crt, live.crt);
    fs.copyFileSync(soon.key, live.key);
    assert.match(await reload(/certificate expires soon/), /days=[23] /);
    assert.ok([2, 3].includes(await gateway.metric("tls_certificate_days")));
    fs.copyFileSync(renewed.crt, live.crt);
    fs.copyFileSync(renewed.key, live.key);
    await reload(/configuration reloaded/);
  });
});

describe("strangers on a TLS port", () => {
  const dial = (bytes, to = port) =>
    new Promise((resolve) => {
      const chunks = [];
      const socket = net.connect(to, "127.0.0.1", () => bytes && socket.write(bytes));
      socket.on("data", (d) => chunks.push(d));
      socket.on("error", () => {});
      socket.on("close", () => resolve(Buffer.concat(chunks)));
    });

  // A real ClientHello, to be cut.
  async function clientHello() {
    const server = net.createServer();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const got = new Promise((resolve) => server.once("connection", (s) => s.once("data", (d) => resolve(d) || s.destroy())));
    tls.connect({ host: "127.0.0.1", port: server.address().port }).on("error", () => {});
    const hello = await got;
    server.close();
    return hello;
  }

  it("plain HTTP is refused at once, with a reason in the log", async () => {
    const from = gateway.lines.length;
    const refused = await gateway.metric("tls_refused_total");
    const answer = await within(patience(1000), dial("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "refusal");
    assert.equal(answer.includes("HTTP"), false);
    await gateway.waitLine(/TLS handshake failed.*http request/, 5000, from);
    assert.equal(await gateway.metric("tls_refused_total"), refused + 1);
  });

  it("TLS on the plain port is answered with 400", async () => {
    assert.match((await dial(await clientHello(), gateway.port)).toString(), /400 Bad Request/);
  });

  it("handshakes that are cut or garbage leave nothing behind", async () => {
    const hello = await clientHello();
    for (const cut of [1, 5, 6, 50, hello.length - 1]) {
      const socket = net.connect(port, "127.0.0.1", () => socket.end(hello.subarray(0, cut)));
      await new Promise((resolve) => socket.on("close", resolve).on("error", () => {}).resume());
    }
    for (let i = 0; i < 50; i++) {
      const bad = Buffer.from(hello);
      bad[(i * 37) % bad.length] ^= 0xff;
      await dial(Buffer.concat([bad, Buffer.alloc(3000, i)]));
    }
    await eventually(async () => (await gateway.state()).get("connections") === 0, "all gone");
  });

  it("slow handshakes are dropped at the deadline, and others are served meanwhile", async () => {
    const hello = await clientHello();
    const slow = Array.from({ length: 30 }, (_, i) => {
      const socket = net.connect(port, "127.0.0.1");
      socket.on("error", () => {});
      let at = 0;
      const timer = setInterval(() => at < hello.length - 1 && socket.write(hello.subarray(at, ++at)), 50 + i);
      return new Promise((resolve) => socket.on("close", () => resolve(clearInterval(timer))));
    });
    const conn = await (await open()).join();
    assert.equal((await conn.call("add", { a: 1, b: 1 })).push.result, 2);
    await within(patience(6000), Promise.all(slow), "the slow ones dropped");
    await conn.close();
  });

  it("a handshake and then silence is dropped at the same deadline", async () => {
    const socket = tls.connect({ host: "localhost", port, ca: ca.pem });
    socket.on("error", () => {}).resume();
    await within(patience(6000), new Promise((resolve) => socket.on("close", resolve)), "drop");
  });

  it("a client that does not read costs bounded memory, and others are not held up", async () => {
    const greedy = await (await open()).join();
    greedy.ws._socket.pause();
    const rss = gateway.rss();
    const payload = { service: "user_service", request_type: "list_users", args: {} };
    for (let i = 0; i < 20000; i++) greedy.send(["1", `${i}`, "api:lobby", "api", { ...payload, request_id: `g${i}` }]);
    const conn = await (await open()).join();
    for (let i = 0; i < 20; i++) assert.equal((await conn.call("add", { a: i, b: 1 })).push.result, i + 1);
    assert.ok(gateway.rss() < rss + 60000, `${gateway.rss()} kB`);
    greedy.ws._socket.resume();
    greedy.terminate();
    await conn.close();
    await eventually(async () => (await gateway.state()).get("connections") === 0, "all gone", 20000);
  });
});

describe("clients over TLS for which much waits", () => {
  let own, ownPort;
  before(async () => {
    ownPort = await freePort();
    const more = `listeners: [{port: ${ownPort}, tls_certificate: ${live.crt}, tls_key: ${live.key}}]
limits: {max_unread_ms: ${patience(1500)}, max_buffered_bytes: 64000000, messages_per_s: 100000, bytes_per_s: 100000000}
requests: {max_in_flight_per_socket: 100000, max_in_flight_per_user: 100000, max_in_flight_per_channel: 100000}
`;
    own = await run.gateway(config() + more, { name: "waits" });
  });

  // Asks for many lists of users, 20 MB in all, on a socket that is read from only by read().
  async function asking() {
    const socket = tls.connect({ host: "localhost", port: ownPort, ca: ca.pem });
    await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
    socket.on("error", () => {});
    const headers = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n";
    const where = `/socket/websocket?user_id=w${++users}&vsn=2.0.0`;
    socket.write(`GET ${where} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${headers}\r\n`);
    await within(patience(5000), new Promise((resolve) => socket.once("readable", resolve)), "upgrade");
    const send = (message) => socket.write(frame({ payload: JSON.stringify(message) }));
    send(["1", "1", "api:lobby", "phx_join", {}]);
    for (let i = 0; i < 6000; i++) {
      const payload = { service: "user_service", request_type: "list_users", request_id: `q${i}`, args: {} };
      send(["1", `${i}`, "api:lobby", "api", payload]);
    }
    return socket;
  }

  it("who takes nothing is closed in time, who is only slow is not", async () => {
    const [still, slow] = [await asking(), await asking()];
    let ended = false;
    slow.on("close", () => (ended = true));
    const timer = setInterval(() => {
      for (let i = 0; i < 8; i++) slow.read(16384) ?? slow.read();
    }, 100);
    const closed = () => own.metric("client_slow_closed_total");
    await eventually(async () => (await closed()) === 1, "the one that takes nothing is closed");
    await sleep(patience(4000)); // more than twice its time
    clearInterval(timer);
    assert.equal(await closed(), 1);
    assert.equal(ended, false);
    still.destroy();
    slow.destroy();
  });
});

describe("Chromium", () => {
  it("loads the console over https and joins over wss", async () => {
    const { chromium } = require("playwright-core");
    const context = await chromium.launchPersistentContext(path.join(run.dir, "chromium"), {
      executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
      args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
      ignoreHTTPSErrors: true,
      timeout: patience(60000),
    });
    try {
      context.setDefaultTimeout(patience(15000));
      const page = await context.newPage();
      const sockets = [];
      page.on("websocket", (ws) => sockets.push(ws.url()));
      assert.equal((await page.goto(`https://localhost:${port}/`)).status(), 200);
      await page.getByTestId("topic").fill("api:lobby");
      await page.getByTestId("join").click();
      await eventually(async () => /joined/i.test(await page.getByTestId("status").innerText()), "joined");
      assert.match(sockets[0], new RegExp(`^wss://localhost:${port}/socket/websocket`));
    } finally {
      await context.close();
    }
  });
});

describe("draining", () => {
  it("tells TLS clients to come back, and ends", async () => {
    const conns = await Promise.all(Array.from({ length: 10 }, () => open()));
    const plain = await httpGet(gateway.port, "/health");
    assert.equal(plain.status, 200);
    const ends = conns.map((c) => c.closed);
    await gateway.stop();
    for (const end of await Promise.all(ends)) assert.equal(end.code, 1012);
  });
});
