// What the attack tests share: an attacker's sockets from many loopback addresses, a witness who keeps calling while the
// attack goes on, and a meter of what the gateway spends on it. Everything is bounded in number and time.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const net = require("node:net");
const { Conn } = require("./client");
const { eventually, patience, sleep, within } = require("./harness");

const TICK_MS = 10; // CLK_TCK is 100 on every Linux that this runs on

// Milliseconds of CPU that the process has used, user and system.
function cpu(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

// A raw connection from 127.0.X.Y that keeps what comes.
class Stranger {
  constructor(gateway, address = "127.0.0.1") {
    this.text = "";
    this.bytes = 0;
    this.socket = net.connect({ port: gateway.port, host: "127.0.0.1", localAddress: address });
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk) => {
      this.bytes += chunk.length;
      if (this.text.length < 65536) this.text += chunk.toString("latin1");
    });
    this.closed = new Promise((resolve) => this.socket.once("close", resolve));
    this.connected = new Promise((resolve) => {
      this.socket.once("connect", () => resolve(true));
      this.socket.once("close", () => resolve(false));
    });
  }

  send(data) {
    if (!this.socket.destroyed) this.socket.write(data);
    return this;
  }

  end() {
    this.socket.destroy();
  }
}

const address = (i) => `127.0.${1 + (i >> 7)}.${1 + (i & 127)}`;

// Sends text and gives all that comes until the gateway closes.
async function exchange(gateway, data, ms = 5000) {
  const s = new Stranger(gateway);
  await s.connected;
  s.send(data);
  await within(patience(ms), s.closed, () => `close after ${JSON.stringify(s.text.slice(0, 200))}`).finally(() => s.end());
  return s.text;
}

// A well-behaved client that calls all the time; every call must be answered well.
class Witness {
  static async start(gateway) {
    const w = new Witness();
    w.conn = await (await Conn.open(gateway, "user_id=witness&vsn=2.0.0")).join();
    w.times = [];
    w.done = w.loop();
    w.done.catch((e) => (w.failed = e)); // told by answered() and stop()
    return w;
  }

  async loop() {
    while (!this.stopping) {
      const began = process.hrtime.bigint();
      const { push } = await this.conn.call("echo", { msg: "still here" });
      assert.equal(push.success, true, JSON.stringify(push));
      this.times.push(Number(process.hrtime.bigint() - began) / 1e6);
      await sleep(10);
    }
  }

  // Until n more calls have been answered, so that a short attack has its witness too.
  async answered(n) {
    const want = this.times.length + n;
    await eventually(() => this.failed || this.times.length >= want, "the witness is answered");
    if (this.failed) throw this.failed;
  }

  // The slowest hundredth of the calls since the last time, in milliseconds.
  p99() {
    const sorted = this.times.splice(0).sort((a, b) => a - b);
    assert.ok(sorted.length > 0, "the witness was answered");
    return sorted[Math.floor((sorted.length - 1) * 0.99)];
  }

  async stop() {
    this.stopping = true;
    await this.done;
    await this.conn.close();
  }
}

// Runs the attack beside a witness and holds the gateway to the bounds: growth of its memory at the worst (MB), its CPU
// (ms; both more under a sanitizer), and what the witness notices: his slowest calls take at most FACTOR times what they took before, or FLOOR_MS where
// that is nothing. The latency has three tries, since the machine has other things to do as well; the rest has one.
async function withstand(gateway, { rssMb, cpuMs }, attack) {
  const FACTOR = 50;
  const FLOOR_MS = patience(500);
  for (let attempt = 1; ; attempt++) {
    const witness = await Witness.start(gateway);
    await sleep(300);
    const before = witness.p99();
    const rss = gateway.rss();
    const used = cpu(gateway.process.pid);
    let peak = rss;
    const sampler = setInterval(() => (peak = Math.max(peak, gateway.rss())), 20);
    const result = await attack(attempt).finally(() => clearInterval(sampler));
    await witness.answered(5);
    peak = Math.max(peak, gateway.rss());
    const spent = cpu(gateway.process.pid) - used;
    const during = witness.p99();
    await witness.stop();
    if (process.env.SHOW_ATTACKS) console.error({ before, during, rssMb: (peak - rss) / 1024, spent });
    assert.ok(peak - rss <= patience(rssMb) * 1024, `memory grew by ${peak - rss} kB, more than ${rssMb} MB`);
    assert.ok(spent <= patience(cpuMs), `the gateway used ${spent} ms of CPU, more than ${cpuMs}`);
    if (during <= Math.max(FACTOR * before, FLOOR_MS)) return result;
    assert.ok(attempt < 3, `the witness waited ${during} ms, before the attack ${before}`);
  }
}

// Numbers from a seed (mulberry32): an attack that finds something can be repeated.
function random(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (n) => Math.floor(next() * n);
  return { below, pick: (list) => list[below(list.length)], chance: (p) => next() < p };
}

module.exports = { Stranger, Witness, address, cpu, exchange, random, withstand };
