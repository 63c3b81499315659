// Attacks on the client port, each with its stated bound on the gateway's memory and CPU, and with a witness who goes on
// being served. docs/threat-model.md names these tests beside what is promised.
"use strict";
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, patience, sleep, within } = require("./harness");
const { Conn, RawConn, frame } = require("./client");
const { Stranger, address, exchange, withstand } = require("./attack");

let run, gateway;

const LIMITS = `limits:
  max_connections: 2500
  max_connections_per_address: 60
  connects_per_s_per_address: 100
  messages_per_s: 300
  flood_ms: 1000
  joins_per_s: 50
  max_buffered_bytes: 1048576
`;
const attacked = () =>
  config().replace("  port: @PORT@\n", "  port: @PORT@\n  handshake_timeout_ms: 1500\n  max_pending: 1200\n") + LIMITS;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  gateway = await run.gateway(attacked());
});
after(() => run?.stop());

const nobodyLeft = () => eventually(async () => (await gateway.metric("client_connected")) === 0, "all are gone");
const upgrade = (lines = "", path = "/socket/websocket?vsn=2.0.0", version = "1.1") =>
  `GET ${path} HTTP/${version}\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${lines}\r\n`;

describe("before the WebSocket", () => {
  it("slow handshakes end at their deadline and cost at most 8 KB each", async () => {
    const many = 500;
    await withstand(gateway, { rssMb: 4, cpuMs: 1500 }, async () => {
      const was = await gateway.metric("limit_handshake_total");
      const dropped = await gateway.metric("limit_pending_total");
      const strangers = Array.from({ length: many }, (_, i) => new Stranger(gateway, address(i % 20)));
      await Promise.all(strangers.map((s) => s.connected));
      const drip = setInterval(() => strangers.forEach((s, i) => i % 2 && s.send("G")), 200);
      await within(patience(8000), Promise.all(strangers.map((s) => s.closed)), "all dropped").finally(() => clearInterval(drip));
      const ended = (await gateway.metric("limit_handshake_total")) - was + (await gateway.metric("limit_pending_total")) - dropped;
      assert.ok(ended >= many / 2, `${ended} were dropped for being slow; the other half said what is not HTTP`);
    });
  });

  it("who has not asked for long makes room for who asks at once", async () => {
    const squatters = Array.from({ length: 1300 }, (_, i) => new Stranger(gateway, address(i % 30)));
    await Promise.all(squatters.map((s) => s.connected));
    for (let i = 0; i < 20; i++) assert.equal((await gateway.get("/health")).status, 200);
    for (const s of squatters) s.end();
    await Promise.all(squatters.map((s) => s.closed));
  });

  const bombs = {
    "a header of 64 KB": [`GET /health HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(65536)}\r\n\r\n`, 431],
    "a header without end": [`GET /health HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(30000)}`, 431],
    "a thousand headers": [`GET /health HTTP/1.1\r\nHost: x\r\n${"A: b\r\n".repeat(1000)}\r\n`, 431],
    "a path of 64 KB": [`GET /${"a".repeat(65536)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
    "a zero byte in a header": ["GET /health HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400],
    "a folded header": ["GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400],
    "two Host headers": ["GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400],
    "no Host header": ["GET /health HTTP/1.1\r\n\r\n", 400],
    "an absolute address of another host": ["GET http://evil/socket/websocket HTTP/1.1\r\nHost: x\r\n\r\n", 400],
    "a space before the colon": ["GET /health HTTP/1.1\r\nHost : x\r\n\r\n", 400],
    "line ends without CR": ["GET /health HTTP/1.1\nHost: x\n\n", 400],
    "a method of 10 KB": [`${"G".repeat(10240)} / HTTP/1.1\r\nHost: x\r\n\r\n`, 400],
    "HTTP/2.0 in words": ["GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 400],
    "two keys": [upgrade("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), 400],
    "a path that climbs": ["GET /socket/../health HTTP/1.1\r\nHost: x\r\n\r\n", 404],
    "a path that climbs in code": ["GET /socket/%2e%2e/health HTTP/1.1\r\nHost: x\r\n\r\n", 404],
  };
  for (const [name, [request, status]] of Object.entries(bombs)) {
    it(`header bomb: ${name}: ${status}`, async () => {
      const text = await exchange(gateway, request);
      assert.match(text, new RegExp(`^HTTP/1\\.[01] ${status} `), text.slice(0, 200));
    });
  }

  it("header bombs by the hundred cost no memory that stays", async () => {
    await withstand(gateway, { rssMb: 8, cpuMs: 1500 }, async () => {
      const big = `GET /health HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(65536)}\r\n\r\n`;
      for (let i = 0; i < 10; i++) {
        const strangers = Array.from({ length: 30 }, (_, k) => new Stranger(gateway, address(30 * i + k)).send(big));
        await within(patience(8000), Promise.all(strangers.map((s) => s.closed)), "all refused");
      }
    });
  });

  const smuggled = {
    "h2c by upgrade": "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "h2c on the socket's path": upgrade("").replace("Upgrade: websocket", "Upgrade: h2c"),
    "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    CONNECT: "CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n",
    "CONNECT on the socket's path": "CONNECT /socket/websocket HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown protocol": upgrade("").replace("Upgrade: websocket", "Upgrade: raw"),
    "a POST that upgrades": upgrade("").replace("GET", "POST"),
    "a body before a second request": "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /socket/websocket HTTP/1.1\r\n\r\n",
    "two lengths": "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
    "chunks and a length": "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 that upgrades": upgrade("", undefined, "1.0"),
    "TLS on a port without": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\0".repeat(100) + "\r\n\r\n",
  };
  for (const [name, request] of Object.entries(smuggled)) {
    it(`smuggled upgrade: ${name}: no 101, one answer at most, and closed`, async () => {
      const text = await exchange(gateway, request);
      assert.doesNotMatch(text, /HTTP\/[\d.]+ 101/);
      assert.ok([...text.matchAll(/HTTP\/1\.\d \d{3} /g)].length <= 1, text.slice(0, 300));
    });
  }

  const origins = [
    "null", "file://", "http://evil.example", "http://evil-127.0.0.1", "http://127.0.0.1.evil.example", "http://evil.example#127.0.0.1",
    "http://127.0.0.1@evil.example", "http://evil.example/127.0.0.1", "http://user@127.0.0.1", "http://127.0.0.1\\@evil.example",
    "javascript://127.0.0.1", "http://127.0.0.1, http://evil.example", "", "127.0.0.1", "http://[::1]", "http://127.1",
  ];
  it("cross-site WebSocket hijacking: no page of another host gets a socket", async () => {
    const allowed = [];
    for (const origin of origins) {
      const text = await exchange(gateway, upgrade(`Origin: ${origin}\r\n`), 3000).catch((e) => `open: ${e.message}`);
      if (!/^HTTP\/1\.1 403 /.test(text)) allowed.push([origin, text.slice(0, 60)]);
    }
    // The scheme does not count where the host is the request's (P-009): what speaks another scheme is no web page.
    assert.deepEqual(allowed.filter(([o]) => o !== "javascript://127.0.0.1"), []);
    const conn = await Conn.open(gateway, undefined, { headers: { Origin: "http://127.0.0.1" } });
    await conn.close();
  });

  it("one address cannot take all connections, and the others come in", async () => {
    const greedy = Array.from({ length: 100 }, () => new Stranger(gateway, "127.0.9.9").send(upgrade()));
    await eventually(() => greedy.every((s) => /HTTP\/1\.1 (101|429) /.test(s.text)), "each has an answer");
    assert.equal(greedy.filter((s) => / 101 /.test(s.text)).length, 60);
    const conn = await (await Conn.open(gateway)).join();
    assert.ok((await conn.call("echo", { msg: "x" })).push.success);
    await conn.close();
    greedy.forEach((s) => s.end());
    await nobodyLeft();
  });

  it("an address of one's own choosing, in X-Forwarded-For or a PROXY header, evades no limit", async () => {
    const line = (i) => `X-Forwarded-For: 10.1.2.${i}\r\nX-Real-IP: 10.1.2.${i}\r\nForwarded: for=10.1.2.${i}\r\n`;
    const liars = Array.from({ length: 100 }, (_, i) => new Stranger(gateway, "127.0.9.8").send(upgrade(line(i))));
    await eventually(() => liars.every((s) => /HTTP\/1\.1 (101|429) /.test(s.text)), "each has an answer");
    assert.equal(liars.filter((s) => / 101 /.test(s.text)).length, 60);
    liars.forEach((s) => s.end());
    await nobodyLeft();
    const v2 = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x0a\x01\x02\x04\x30\x39\x01\xbb";
    for (const header of ["PROXY TCP4 10.1.2.3 10.1.2.4 12345 443\r\n", v2]) {
      const answer = await exchange(gateway, Buffer.from(header + upgrade(), "latin1"));
      assert.match(answer, /^HTTP\/1\.0 400 /);
    }
  });

  it("a reconnect storm of 1,000 is let in or told to wait, and is gone when it goes", async () => {
    await withstand(gateway, { rssMb: 12, cpuMs: 3000 }, async () => {
      const storm = Array.from({ length: 1000 }, (_, i) => new Stranger(gateway, address(i % 10)).send(upgrade()));
      const end = Date.now() + patience(10000);
      while (storm.some((s) => !s.text && !s.socket.destroyed) && Date.now() < end) await sleep(20);
      const told = (status) => storm.filter((s) => s.text.includes(` ${status} `)).length;
      assert.equal(told(101), 600, "60 of each address");
      assert.ok(told(101) + told(429) >= 900, `${told(101)} + ${told(429)}; some see a reset before the answer`);
      storm.forEach((s) => s.end());
      await eventually(async () => (await gateway.metric("client_connected")) <= 1, "gone again");
    });
  });

  it("the log is not written by strangers: lines, colours and quotes of theirs are escaped", async () => {
    const from = gateway.lines.length;
    await exchange(gateway, upgrade("Origin: http://evil\x1b[31m\x07 level=error msg=\"owned\"\r\n"));
    await exchange(gateway, upgrade("", "/socket/websocket?vsn=2.0.0&user_id=a%0Alevel%3Derror%1B[31m&token=%22%0A"), 500).catch(() => {});
    const conn = await Conn.open(gateway);
    conn.send(["1", "1", "x\nlevel=error\u001b[31m", "phx_join", {}]);
    conn.send('{"bad\u001b[31m\nlevel=error');
    await within(patience(5000), conn.closed, "closed");
    const lines = gateway.lines.slice(from);
    for (const line of lines) {
      assert.match(line, /^\d{4}-\d\d-\d\dT[\d:.]+Z level=\w+ part=/);
      assert.doesNotMatch(line, /[\x00-\x08\x0a-\x1f\x7f]/);
      assert.doesNotMatch(line, /^\S+ level=error/);
    }
  });
});

// What one hostile socket gets for its frames: the close code, or whatever ends it.
async function hostile(bytes, ms = 5000) {
  const raw = await RawConn.open(gateway);
  for (const b of bytes) raw.socket.write(b);
  for (;;) {
    const got = await raw.recv(ms, "the end of a hostile socket");
    if (got.kind === "close" || got.kind === "tcp closed") {
      raw.destroy();
      return got.code ?? got.kind;
    }
  }
}

const text = (payload) => frame({ payload });
const lengthOf = (hex) => Buffer.concat([Buffer.from([0x81, 0xff]), Buffer.from(hex, "hex"), Buffer.alloc(20, 1)]);

describe("frames", () => {
  const frames = {
    "a length of 2^63": [[lengthOf("8000000000000000")], [1002, 1009, "tcp closed"]],
    "a length of 2^63 - 1": [[lengthOf("7fffffffffffffff")], [1009, 1002, "tcp closed"]],
    "4 GB announced": [[lengthOf("0000000100000000")], [1009]],
    "an unmasked frame": [[frame({ payload: "[]", masked: false })], [1002]],
    "a reserved bit": [[frame({ rsv: 4, payload: "[]" })], [1002]],
    "a deflated frame that was not agreed": [[frame({ rsv: 4, payload: Buffer.alloc(1000, 0xff) })], [1002]],
    "opcode 3": [[frame({ op: 3, payload: "[]" })], [1002]],
    "opcode 11": [[frame({ op: 11, payload: "" })], [1002]],
    "a fragmented ping": [[frame({ op: 9, fin: 0, payload: "x" })], [1002]],
    "a ping of 126 bytes": [[frame({ op: 9, payload: "x".repeat(126) })], [1002]],
    "a stray continuation": [[frame({ op: 0, payload: "x" })], [1002]],
    "text inside a fragmented text": [[frame({ fin: 0, payload: "[" }), text("[]")], [1002]],
    "endless empty continuations": [[frame({ fin: 0, payload: "[" }), ...Array(5000).fill(frame({ op: 0, fin: 0, payload: "" }))], [1008]],
    "close code 999": [[frame({ op: 8, payload: Buffer.from([3, 231]) })], [1002]],
    "close code 1005": [[frame({ op: 8, payload: Buffer.from([3, 237]) })], [1002]],
    "close code 5000": [[frame({ op: 8, payload: Buffer.from([19, 136]) })], [1002]],
    "a close of one byte": [[frame({ op: 8, payload: Buffer.from([3]) })], [1002]],
    "text that is not UTF-8": [[text(Buffer.from([0x5b, 0xff, 0xfe, 0x5d]))], [1007]],
  };
  for (const [name, [bytes, codes]] of Object.entries(frames)) {
    it(`hostile frame: ${name}: ${codes[0]}`, async () => assert.ok(codes.includes(await hostile(bytes)), name));
  }

  it("200 hostile sockets at a time leave neither memory nor connections", async () => {
    const all = Object.values(frames).map(([bytes]) => Buffer.concat(bytes));
    await withstand(gateway, { rssMb: 12, cpuMs: 2500 }, async () => {
      const strangers = Array.from({ length: 200 }, (_, i) => new Stranger(gateway, address(i)).send(upgrade()).send(all[i % all.length]));
      await within(patience(8000), Promise.all(strangers.map((s) => s.closed)), "all closed");
      await eventually(async () => (await gateway.metric("client_connected")) <= 1, "gone");
    });
    assert.equal(await gateway.metric("client_buffered_bytes"), 0);
  });

  it("messages that are announced and never finished hold what was sent, no more", async () => {
    await withstand(gateway, { rssMb: 16, cpuMs: 1500 }, async () => {
      const strangers = Array.from({ length: 100 }, (_, i) => new Stranger(gateway, address(i)).send(upgrade()).send(frame({ payload: "x".repeat(100), size: 9000000 })));
      await eventually(() => strangers.every((s) => s.text.includes("101")), "all open");
      await sleep(300);
      strangers.forEach((s) => s.end());
      await eventually(async () => (await gateway.metric("client_connected")) <= 1, "gone");
    });
    assert.equal(await gateway.metric("client_buffered_bytes"), 0);
  });

  it("a flood of pings or of one-byte frames is answered with less than it sends", async () => {
    await withstand(gateway, { rssMb: 8, cpuMs: 4000 }, async () => {
      const flood = Buffer.concat(Array(20000).fill(frame({ op: 9, payload: "x".repeat(20) })));
      const pinger = new Stranger(gateway, address(1)).send(upgrade());
      await eventually(() => pinger.text.includes("101"), "open");
      pinger.send(flood);
      await sleep(500);
      assert.ok(pinger.bytes <= flood.length, `${pinger.bytes} bytes for ${flood.length}`);
      pinger.end();
      assert.equal(await hostile([Buffer.concat(Array(2000).fill(text("x")))]), 1011);
    });
  });
});

describe("JSON", () => {
  const nested = (n, open, close) => `["1","1","api:lobby","api",${open.repeat(n)}${close.repeat(n)}]`;
  const bombs = {
    "100,000 lists inside one another": nested(100000, "[", "]"),
    "100,000 objects inside one another": nested(100000, '{"a":', "").replace(/]$/, `1${"}".repeat(100000)}]`),
    "lists that never end": "[".repeat(1000000),
    "200,000 keys": `["1","1","api:lobby","api",{${Array.from({ length: 200000 }, (_, i) => `"k${i}":1`).join()}}]`,
    "9 MB of blanks": `${" ".repeat(9000000)}x`,
    "a frame that is an object": '{"a":1}',
    "a zero byte": '["1","1","a\0b","phx_join",{}]',
    "a lone surrogate in half": '["1","1","\\ud800","phx_join",{}',
    "a number that is none": '["1","1","api:lobby","api",{"a":1e}]',
  };
  for (const [name, message] of Object.entries(bombs)) {
    it(`JSON bomb: ${name}: 1011`, async () => assert.equal(await hostile([text(message)], 15000), 1011));
  }

  it("JSON bombs one after another cost little CPU and no memory that stays", async () => {
    await withstand(gateway, { rssMb: 48, cpuMs: 3000 }, async () => {
      for (const message of Object.values(bombs)) assert.equal(await hostile([text(message)], 15000), 1011);
    });
  });

  it("well-formed oddities are answered, and reach the cluster as data", async () => {
    const conn = await (await Conn.open(gateway)).join();
    for (const msg of ["\\ud83d", "\u0000", "é".repeat(1000)]) assert.equal((await conn.call("echo", { msg })).push.success, true);
    await conn.close();
    for (const raw of ["1e999", "-1e-999", "1".repeat(400), "[1,[2,[3]]]", '{"a":1,"a":2}', '"\\ud800"', "-0", "1E+2"]) {
      const odd = await (await Conn.open(gateway)).join();
      odd.send(`["1","odd","api:lobby","api",{"service":"user_service","request_type":"echo","request_id":"odd","args":{"msg":${raw}}}]`);
      const got = await odd.recv();
      // What Elixir's JSON decoder would not take closes the socket (P-070); everything else has its answer.
      if (!got.startsWith("(WS close code=1011")) assert.equal(typeof JSON.parse(got)[4].success, "boolean", raw);
      odd.terminate();
    }
  });
});

describe("the channel protocol", () => {
  it("a client that floods is held back, and closed with 1008 when it goes on", async () => {
    await withstand(gateway, { rssMb: 8, cpuMs: 2500 }, async () => {
      const conn = await Conn.open(gateway);
      const beat = JSON.stringify([null, "f", "phoenix", "heartbeat", {}]);
      const stop = setInterval(() => {
        for (let i = 0; i < 200 && conn.ws.bufferedAmount < 1e6; i++) conn.send(beat);
      }, 20);
      const { code } = await within(patience(15000), conn.closed, "closed").finally(() => clearInterval(stop));
      assert.equal(code, 1008);
      // Two seconds' worth at once, then the rate, until flood_ms is over: not what was sent.
      assert.ok(conn.inbox.items.length <= 3 * 600, `${conn.inbox.items.length} were answered`);
    });
    assert.ok((await gateway.metric("limit_flood_total")) >= 1);
  });

  it("a join flood is refused beyond the rate and the number of topics", async () => {
    await nobodyLeft();
    const conn = await Conn.open(gateway);
    for (let i = 0; i < 400; i++) conn.send([String(i), String(i), `api:${i}`, "phx_join", {}]);
    const replies = [];
    for (let i = 0; i < 400; i++) replies.push((await conn.recvJson())[4]);
    const joined = replies.filter((r) => r.status === "ok").length;
    assert.ok(joined <= 100, `${joined} joined`);
    const reasons = new Set(replies.filter((r) => r.status === "error").map((r) => r.response.reason));
    assert.ok([...reasons].every((r) => r === "too many joins" || r === "too many channels joined"), [...reasons].join());
    assert.ok((await gateway.metric("channel_joined")) <= 100);
    await conn.close();
    await eventually(async () => (await gateway.metric("channel_joined")) === 0, "all left");
  });

  it("leaves of what was never joined, duplicate join_refs and events before the join change nothing", async () => {
    await nobodyLeft();
    const conn = await Conn.open(gateway);
    for (let i = 0; i < 50; i++) {
      conn.send(["1", "1", `api:${i}`, "phx_leave", {}]);
      assert.equal((await conn.recvJson())[4].status, "ok");
      conn.send(["1", "1", `api:${i}`, "api", {}]);
      assert.equal((await conn.recvJson())[4].response.reason, "unmatched topic");
    }
    for (let i = 0; i < 20; i++) {
      conn.send(["7", "7", "api:same", "phx_join", {}]);
      assert.equal((await conn.recvJson())[4].status, "ok");
      if (i) assert.equal((await conn.recvJson())[3], "phx_close");
    }
    assert.equal(await gateway.metric("channel_joined"), 1);
    await conn.close();
  });

  it("protocol events of the server's side, sent by a client, end its channel and no other", async () => {
    const conn = await (await Conn.open(gateway)).join();
    const other = await (await Conn.open(gateway)).join();
    for (const event of ["phx_reply", "phx_close", "phx_error", "phx_drain", "disconnect"]) {
      conn.send(["1", "2", "api:lobby", event, {}]);
      assert.equal((await conn.recvJson())[3], "phx_error", event);
      await conn.join();
    }
    assert.equal((await other.call("echo", { msg: "x" })).push.success, true);
    assert.deepEqual(await other.fence(), []);
    await conn.close();
    await other.close();
  });

  it("a topic or ref of a megabyte is refused and not kept", async () => {
    await withstand(gateway, { rssMb: 24, cpuMs: 1500 }, async () => {
      const conn = await Conn.open(gateway);
      for (let i = 0; i < 10; i++) {
        conn.send(["1", "1", `api:${"x".repeat(1e6)}`, "phx_join", {}]);
        assert.match((await conn.recv()).slice(-100), /topic too long/);
      }
      await conn.close();
    });
  });

  it("a user id in the payload is not believed", async () => {
    const conn = await (await Conn.open(gateway, "user_id=mallory&vsn=2.0.0")).join();
    const { push } = await conn.call("whoami", {}, { user_id: "alice", roles: ["admin"], user_roles: ["admin"] });
    assert.doesNotMatch(JSON.stringify(push), /alice|admin/);
    await conn.close();
  });
});

describe("requests", () => {
  it("a slow consumer is closed with 1008, and holds no more than its bound", async () => {
    await withstand(gateway, { rssMb: 24, cpuMs: 3000 }, async () => {
      const conn = await (await Conn.open(gateway)).join();
      conn.ws.pause();
      for (let i = 0; i < 200; i++) {
        const payload = { service: "user_service", request_type: "big", request_id: `b${i}`, args: { n: 100000 } };
        conn.send(["1", String(i), "api:lobby", "api", payload]);
      }
      const was = await gateway.metric("client_slow_closed_total");
      await eventually(async () => (await gateway.metric("client_slow_closed_total")) > was || was > 0, "closed");
      await eventually(async () => (await gateway.metric("client_connected")) <= 1, "gone", 15000);
      conn.terminate();
    });
  });

  it("a client that asks for a thousand slow things and leaves is forgotten with them", async () => {
    await withstand(gateway, { rssMb: 16, cpuMs: 2500 }, async () => {
      const conns = [];
      for (let k = 0; k < 4; k++) {
        const conn = await (await Conn.open(gateway)).join();
        for (let i = 0; i < 250; i++) {
          const payload = { service: "user_service", request_type: "slow_long", request_id: `s${i}`, args: { ms: 3000 } };
          conn.send(["1", String(i), "api:lobby", "api", payload]);
        }
        conns.push(conn);
      }
      await eventually(async () => (await gateway.metric("requests_in_flight")) > 500, "in flight");
      conns.forEach((c) => c.terminate());
      await eventually(async () => (await gateway.metric("requests_in_flight")) <= 1, "forgotten");
    });
  });
});

describe("what strangers can see", () => {
  it("health and readiness tell nothing about the inside, and no other route exists", async () => {
    assert.equal((await gateway.get("/health")).body.length < 100, true);
    assert.doesNotMatch((await gateway.get("/ready")).body, /cookie|secret|127\.0\.0\.1/);
    const quiet = await run.gateway(attacked().replace(/console:\n( .*\n)+/, ""), { name: "quiet" });
    for (const path of ["/", "/console", "/metrics", "/admin", "/debug", "/.env", "/socket/longpoll", "/api/functions", "/phoenix.js"])
      assert.equal((await quiet.get(path)).status, 404, path);
    await quiet.stop();
  });

  it("no secret is in the log, in the state or in the arguments", async () => {
    await gateway.state();
    assert.ok(!gateway.lines.some((l) => l.includes(run.cookie)));
    const args = require("node:fs").readFileSync(`/proc/${gateway.process.pid}/cmdline`, "utf8");
    assert.ok(!args.includes(run.cookie));
  });
});
