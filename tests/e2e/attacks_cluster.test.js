// Attacks from the side of the cluster, and what running out of file descriptors does: the node's port, peers that have
// the cookie and mean ill, results that are bombs, an epmd that lies. Bounds as in attacks.test.js.
"use strict";
const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const zlib = require("node:zlib");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, patience, sleep, within } = require("./harness");
const { Conn } = require("./client");
const { Stranger, address, cpu, withstand } = require("./attack");
const { DistPeer, regSend } = require("./dist_peer");

let run, gateway, svc, port;

before(async () => {
  run = await Run.start();
  svc = await run.beam("svc");
  const text = config().replace("  reconnect_min_ms", "  max_pending: 64\n  handshake_timeout_s: 2\n  max_packet_bytes: 8388608\n  reconnect_min_ms");
  gateway = await run.gateway(text);
  port = Number(/node_port=(\d+)/.exec(gateway.lines.find((l) => l.includes('msg="started"')))[1]);
});
after(() => run?.stop());

const works = async () => {
  const conn = await (await Conn.open(gateway)).join();
  const { push } = await conn.call("echo", { msg: "x" });
  await conn.close();
  return push.success;
};

describe("the node's port", () => {
  it("600 who say nothing are 64 at most, for two seconds at most, and real nodes come in between", async () => {
    await withstand(gateway, { rssMb: 4, cpuMs: 1500 }, async (attempt) => {
      const peers = Array.from({ length: 600 }, (_, i) => new DistPeer(port, "127.0.0.1", address(i)));
      await Promise.all(peers.map((p) => p.connected));
      await eventually(() => peers.filter((p) => !p.isClosed).length <= 64, "64 left");
      const late = await run.beam(`late${attempt}`);
      assert.equal(await late.run(":net_adm.ping(:'beamgate@127.0.0.1')"), ":pong");
      await late.kill();
      await within(patience(6000), Promise.all(peers.map((p) => p.closed)), "the rest");
    });
  });

  it("what is no handshake is closed before it is read", async () => {
    await withstand(gateway, { rssMb: 4, cpuMs: 1000 }, async () => {
      for (const bytes of [Buffer.alloc(1e6, 0xff), Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.from([0, 0, 0, 0]), Buffer.alloc(70000, 1)]) {
        const peer = new DistPeer(port);
        await peer.connected;
        peer.socket.write(bytes);
        await within(patience(3000), peer.closed, "closed");
      }
    });
  });

  it("300 wrong cookies are 300 refusals, and no node of the cluster is disturbed", async () => {
    const links = await gateway.metric("links_up");
    const refused = await gateway.metric("link_handshakes_refused_total");
    await withstand(gateway, { rssMb: 4, cpuMs: 1500 }, async () => {
      for (let i = 0; i < 300; i += 20) {
        const peers = Array.from({ length: 20 }, () => new DistPeer(port));
        const in_ = await Promise.all(peers.map((p, k) => p.handshake(k % 2 ? "svc@127.0.0.1" : `evil${k}@127.0.0.1`, `guess${i}`)));
        assert.ok(in_.every((ok) => ok === false));
        peers.forEach((p) => p.end());
      }
    });
    assert.equal(await gateway.metric("links_up"), links);
    assert.ok((await gateway.metric("link_handshakes_refused_total")) - refused >= 150, "those under the name of svc are told to go");
    assert.ok(await works());
  });

  it("the cookie opens the door, and only the cookie", async () => {
    const peer = new DistPeer(port);
    assert.equal(await peer.handshake("right@127.0.0.1", run.cookie), true);
    peer.end();
    const wrong = new DistPeer(port);
    assert.equal(await wrong.handshake("wrong@127.0.0.1", `${run.cookie}x`), false);
    wrong.end();
  });
});

const NODE = "evil@127.0.0.1";
const u32 = (n) => Buffer.from([(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]);
const nestedList = (depth) => Buffer.concat([...Array(depth).fill(Buffer.from([108, 0, 0, 0, 1])), Buffer.from([106]), Buffer.alloc(depth, 106)]);
const nestedTuple = (depth) => Buffer.concat([Buffer.concat(Array(depth).fill(Buffer.from([104, 1]))), Buffer.from([106])]);

describe("a peer with the cookie that means ill", () => {
  const bombs = {
    "lists 500,000 deep": nestedList(500000),
    "tuples 500,000 deep": nestedTuple(500000),
    "a binary that claims 2 GB": Buffer.concat([Buffer.from([109]), u32(0x7fffffff), Buffer.alloc(100)]),
    "a tuple that claims four billion members": Buffer.concat([Buffer.from([105]), u32(0xffffffff), Buffer.from([106])]),
    "a map that claims four billion pairs": Buffer.concat([Buffer.from([116]), u32(0xffffffff), Buffer.from([106])]),
    "a list that claims four billion items": Buffer.concat([Buffer.from([108]), u32(0xffffffff), Buffer.from([106])]),
    "a big integer of 4 GB": Buffer.concat([Buffer.from([111]), u32(0xffffffff), Buffer.from([0, 1])]),
    "64 MB of zeros, compressed": Buffer.concat([Buffer.from([80]), u32(64 << 20), zlib.deflateSync(Buffer.alloc(64 << 20))]),
    "an atom longer than any": Buffer.concat([Buffer.from([118, 0xff, 0xff]), Buffer.alloc(65535, 0x61)]),
    "a reference of 65,535 words": Buffer.concat([Buffer.from([90, 0xff, 0xff]), Buffer.alloc(50)]),
    "a function without an end": Buffer.concat([Buffer.from([112]), u32(0xfffffff0), Buffer.alloc(50)]),
    "nothing": Buffer.alloc(0),
  };
  for (const [name, term] of Object.entries(bombs)) {
    it(`term bomb: ${name}: costs no memory, and nobody else his link`, async () => {
      const links = await gateway.metric("links_up");
      await withstand(gateway, { rssMb: 24, cpuMs: 1000 }, async () => {
        const peer = new DistPeer(port);
        assert.ok(await peer.handshake(NODE, run.cookie));
        for (const to of ["rex", "net_kernel", "nobody"]) if (!peer.isClosed) peer.send(regSend(NODE, to, term));
        await Promise.race([peer.closed, sleep(300)]);
        peer.end();
      });
      await eventually(async () => (await gateway.metric("links_up")) === links, "the others are up");
    });
  }

  it("packets that lie about their length, and control messages that are none, end that link only", async () => {
    const links = await gateway.metric("links_up");
    const bodies = [
      Buffer.from([112]), Buffer.from([112, 131]), Buffer.from([112, 131, 104, 0]), Buffer.from([112, 131, 104, 1, 97, 255]), Buffer.from([68, 255, 255]),
      Buffer.concat([Buffer.from([112, 131, 104, 100]), Buffer.alloc(400, 106)]), Buffer.from([131, 106]),
    ];
    await withstand(gateway, { rssMb: 8, cpuMs: 1000 }, async () => {
      for (const body of bodies) {
        const peer = new DistPeer(port);
        assert.ok(await peer.handshake(NODE, run.cookie));
        peer.send(body);
        await Promise.race([peer.closed, sleep(100)]);
        peer.end();
      }
      const long = new DistPeer(port);
      assert.ok(await long.handshake(NODE, run.cookie));
      long.socket.write(Buffer.concat([u32(0x7fffffff), Buffer.alloc(1000)]));
      await within(patience(3000), long.closed, "a packet over max_packet_bytes");
    });
    await eventually(async () => (await gateway.metric("links_up")) === links, "the others are up");
  });
});

describe("a service that means ill", () => {
  const results = {
    deep: "Enum.reduce(1..200_000, [], fn _, a -> [a] end)",
    wide: "List.duplicate(0, 1_000_000)",
    huge: 'String.duplicate("x", 6_000_000)',
    beyond: 'String.duplicate("x", 12_000_000)',
    improper: "[1 | 2]",
    fun: "fn -> 1 end",
    integer: "Integer.pow(7, 200_000)",
    keys: "Map.new(1..200_000, &{&1, &1})",
    pids: "{self(), make_ref()}",
  };

  before(async () => {
    const defs = Object.entries(results).map(([name, code]) => `def ${name}, do: {:ok, ${code}}`);
    await svc.run(`defmodule Bomb do\n${defs.join("\n")}\nend`);
    const funs = Object.keys(results).map((n) => `TestService.Supporter.fun("bomb_${n}", :plain, [], mfa: {Bomb, :${n}, []})`);
    await svc.run(`TestService.Supporter.extra([${funs}]); TestService.Supporter.set_version("bombs")`);
    const known = async () => {
      const conn = await (await Conn.open(gateway)).join();
      const { push } = await conn.call("bomb_pids");
      await conn.close();
      return !/unsupported/.test(push.error || "");
    };
    await eventually(known, "the functions are known");
  });

  for (const name of Object.keys(results)) {
    it(`result bomb: ${name}: the client has one answer, the gateway its memory back`, async () => {
      await withstand(gateway, { rssMb: 96, cpuMs: 2500 }, async () => {
        const conn = await (await Conn.open(gateway)).join();
        try {
          const { push } = await conn.call(`bomb_${name}`, {}, {}, 15000);
          assert.equal(typeof push.success, "boolean");
        } catch (e) {
          // 12 MB are more than a packet may have: the link goes, and comes back.
          if (name !== "beyond") throw e;
        }
        await conn.close();
        await eventually(works, "calls work");
      }).catch((e) => {
        if (name !== "beyond") throw e; // the witness was on that link as well
      });
      await eventually(works, "calls work again");
    });
  }
});

describe("an epmd that lies", () => {
  // A liar on the run's epmd port; connections are counted.
  async function liar(answer) {
    const sockets = new Set();
    let asked = 0;
    const server = net.createServer((s) => {
      asked++;
      sockets.add(s);
      s.on("error", () => {});
      s.on("close", () => sockets.delete(s));
      s.on("data", () => answer(s));
    });
    await new Promise((resolve, reject) => server.once("error", reject).listen(run.epmdPort, "127.0.0.1", resolve));
    const stop = () => new Promise((resolve) => (sockets.forEach((s) => s.destroy()), server.close(resolve)));
    return { asked: () => asked, stop };
  }

  const portReply = (n) => Buffer.concat([Buffer.from([119, 0, n >> 8, n & 255, 77, 0, 0, 6, 0, 5, 0, 3]), Buffer.from("svc"), Buffer.from([0, 0])]);
  const lies = {
    noise: (s) => s.write(Buffer.alloc(5000, 0xaa)),
    "an endless answer": (s) => s.write(Buffer.concat([portReply(1).subarray(0, 12), Buffer.alloc(100000, 0x61)])),
    "the port of the clients": (s) => s.end(portReply(gateway.port)),
    "port 0": (s) => s.end(portReply(0)),
    silence: () => {},
    "an end at once": (s) => s.destroy(),
  };

  it("costs it no more than its redials, and the truth is believed again", async () => {
    await run.epmd.kill();
    await svc.kill();
    await eventually(async () => (await gateway.metric("links_up")) === 0, "the link is down");
    for (const [name, answer] of Object.entries(lies)) {
      const l = await liar(answer);
      const [used, rss] = [cpu(gateway.process.pid), gateway.rss()];
      await eventually(() => l.asked() >= 2, `${name}: asked`, 8000);
      await sleep(300);
      assert.ok(cpu(gateway.process.pid) - used <= patience(500), `${name}: ${cpu(gateway.process.pid) - used} ms of CPU`);
      assert.ok(gateway.rss() - rss <= 4096, name);
      assert.equal((await gateway.get("/health")).status, 200, name);
      await l.stop();
    }
    await run.startEpmd();
    svc = await run.beam("svc");
    await eventually(works, "calls work again", 20000);
  });
});

describe("no file descriptor left", () => {
  const open = () => fs.readdirSync(`/proc/${gateway.process.pid}/fd`).length;
  const limit = (n) => execFileSync("prlimit", ["--pid", String(gateway.process.pid), `--nofile=${n}:`]);

  it("existing clients go on, new ones are turned away, nothing spins, lost nodes are tried again, and it recovers", async () => {
    const conn = await (await Conn.open(gateway)).join();
    const soft = /Max open files\s+(\d+)/.exec(fs.readFileSync(`/proc/${gateway.process.pid}/limits`, "utf8"))[1];
    limit(open() + 4);
    const strangers = Array.from({ length: 40 }, (_, i) => new Stranger(gateway, address(i)));
    await Promise.all(strangers.map((s) => s.connected));
    await sleep(300);
    const used = cpu(gateway.process.pid);
    for (let i = 0; i < 20; i++) assert.ok((await conn.call("echo", { msg: "x" })).push.success);
    await sleep(1000);
    assert.ok(cpu(gateway.process.pid) - used <= patience(300), `${cpu(gateway.process.pid) - used} ms of CPU in a second`);
    assert.ok(strangers.some((s) => / 503 /.test(s.text)), "the first in the queue are told");
    const peers = Array.from({ length: 10 }, () => new DistPeer(port));
    await sleep(200);
    peers.forEach((p) => p.end());
    await svc.kill();
    assert.equal((await conn.call("echo", { msg: "x" })).push.success, false);
    svc = await run.beam("svc");
    await sleep(1000);
    strangers.forEach((s) => s.end());
    limit(soft);
    await eventually(async () => (await conn.call("echo", { msg: "x" })).push.success, "the node is found again", 20000);
    await eventually(works, "new clients come in");
    await conn.close();
  });
});
