// What every end-to-end test leans on: a private epmd, BEAM nodes that can be told what to run, the gateway
// itself, and bounded waits. Everything lives in one folder per run and ends by pid with the run; nothing that
// the run did not start is touched. A run fails when the gateway ends unexpectedly or a sanitizer reports.
"use strict";
const { spawn, execFileSync } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");

const ROOT = path.resolve(__dirname, "..", "..");
const BEAM_CODE = path.join(ROOT, "build", "erl");
const BINARY = path.resolve(ROOT, process.env.BEAMGATE || "build/gcc/beamgate");
// A sanitizer or valgrind build on a small machine needs more patience; every wait goes through patience().
const SLOW = Number(process.env.E2E_SLOW || 1);
const patience = (ms) => ms * SLOW;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Rejects with what (a text or a function that makes one) when the promise takes longer than ms.
function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    const text = () => `not within ${ms} ms: ${typeof what === "function" ? what() : what}`;
    timer = setTimeout(() => reject(new Error(text())), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Polls until fn() gives something true; the last error tells why it never did.
async function eventually(fn, what, ms = 10000) {
  const end = Date.now() + patience(ms);
  let last;
  for (;;) {
    try {
      const value = await fn();
      if (value) return value;
      last = undefined;
    } catch (e) {
      last = e;
    }
    if (Date.now() > end) throw new Error(`never happened: ${what}${last ? ` (${last.message})` : ""}`);
    await sleep(25);
  }
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// One child process with its output kept, line by line.
class Child {
  constructor(name, command, args, options) {
    this.name = name;
    this.lines = [];
    this.exit = null;
    this.waiting = new Set();
    this.process = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
    this.process.stdin.on("error", () => {});
    for (const stream of [this.process.stdout, this.process.stderr]) this.collect(stream);
    this.exited = new Promise((resolve) => {
      this.process.once("error", (e) => this.ended(resolve, { error: e }));
      this.process.once("close", (code, signal) => this.ended(resolve, { code, signal }));
    });
  }

  collect(stream) {
    let rest = "";
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop();
      for (const line of parts) this.line(line);
    });
    stream.on("end", () => rest && this.line(rest));
  }

  line(line) {
    this.lines.push(line);
    for (const check of [...this.waiting]) check();
  }

  ended(resolve, how) {
    this.exit ??= how;
    for (const check of [...this.waiting]) check();
    resolve(this.exit);
  }

  log(last = 60) {
    return this.lines.slice(-last).map((l) => `  ${this.name}| ${l}`).join("\n");
  }

  // The first line from index from on that matches.
  waitLine(pattern, ms = 15000, from = 0) {
    const found = () => this.lines.slice(from).find((l) => pattern.test(l));
    const promise = new Promise((resolve, reject) => {
      const check = () => {
        const line = found();
        if (line !== undefined) {
          this.waiting.delete(check);
          resolve(line);
        } else if (this.exit) {
          this.waiting.delete(check);
          reject(new Error(`${this.name} ended (${JSON.stringify(this.exit)}) before ${pattern}\n${this.log()}`));
        }
      };
      this.waiting.add(check);
      check();
    });
    return within(patience(ms), promise, () => `${pattern} in the output of ${this.name}\n${this.log()}`);
  }

  async kill(signal = "SIGKILL", ms = 15000) {
    if (!this.exit) this.process.kill(signal);
    return within(patience(ms), this.exited, () => `end of ${this.name} after ${signal}\n${this.log()}`);
  }
}

// A BEAM node running TestNode (or another main): run() evaluates Elixir there and gives what inspect() prints.
class BeamNode extends Child {
  constructor(name, command, args, options) {
    super(name, command, args, options);
    this.answers = new Map();
    this.count = 0;
  }

  line(line) {
    const m = /=> (\d+) (ok|error) (\S*)$/.exec(line);
    const answer = m && this.answers.get(m[1]);
    if (!answer) return super.line(line);
    this.answers.delete(m[1]);
    const value = Buffer.from(m[3], "base64").toString();
    if (m[2] === "ok") answer.resolve(value);
    else answer.reject(new Error(`${this.name}: ${value}`));
  }

  run(code, ms = 10000) {
    const id = String(++this.count);
    const promise = new Promise((resolve, reject) => this.answers.set(id, { resolve, reject }));
    this.process.stdin.write(`${id} ${Buffer.from(code).toString("base64")}\n`);
    return within(patience(ms), promise, () => `answer of ${this.name} to ${code}\n${this.log(10)}`);
  }
}

class Gateway extends Child {
  get url() {
    return `ws://127.0.0.1:${this.port}/socket`;
  }

  get(pathname, options = {}) {
    return httpGet(this.port, pathname, options);
  }

  // Resolves once /ready says 200.
  async ready(ms = 20000) {
    const check = async () => {
      if (this.exit) return true;
      return (await this.get("/ready")).status === 200;
    };
    await eventually(check, `${this.name} ready\n${this.log()}`, ms).catch((e) => {
      throw new Error(`${e.message}\n${this.log()}`);
    });
    if (this.exit) throw new Error(`${this.name} ended: ${JSON.stringify(this.exit)}\n${this.log()}`);
    return this;
  }

  // What the gateway logs about itself on SIGUSR1: {connections: 3, ..., requests_total: 17}; what is not there is 0.
  async state() {
    const from = this.lines.length;
    this.process.kill("SIGUSR1");
    await this.waitLine(/uptime_s=/, 5000, from);
    await sleep(patience(30)); // the metrics follow in the same burst
    const values = new Map();
    for (const line of this.lines.slice(from)) {
      const metric = /name=(\w+) value=(\d+)/.exec(line);
      if (metric) values.set(metric[1], Number(metric[2]));
      else if (line.includes("uptime_s=")) for (const m of line.matchAll(/(\w+)=(\d+)/g)) values.set(m[1], Number(m[2]));
    }
    return values;
  }

  async metric(name) {
    return (await this.state()).get(name) || 0;
  }

  rss() {
    const m = /VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${this.process.pid}/status`, "utf8"));
    return Number(m[1]);
  }

  // Ends it as an operator would and holds it to a clean end: exit code 0 and no sanitizer report.
  async stop(ms = 20000) {
    this.stopping = true;
    const exit = await this.kill("SIGTERM", ms);
    const report = this.sanitizerReport();
    if (report) throw new Error(`${this.name}: sanitizer report\n${report}`);
    if (exit.code !== 0) throw new Error(`${this.name} ended with ${JSON.stringify(exit)}\n${this.log()}`);
  }

  sanitizerReport() {
    const dir = path.dirname(this.sanitizerLog);
    const base = path.basename(this.sanitizerLog);
    const files = fs.readdirSync(dir).filter((f) => f.startsWith(base));
    const text = files.map((f) => fs.readFileSync(path.join(dir, f), "utf8")).join("\n");
    const runtime = this.lines.filter((l) => /runtime error:|ERROR: (Address|Leak)Sanitizer/.test(l)).join("\n");
    return (text + runtime).trim();
  }
}

function httpGet(port, pathname, { method = "GET", headers = {}, body, ms = 5000 } = {}) {
  const promise = new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path: pathname, method, headers, agent: false };
    const request = http.request(options, (response) => {
      const chunks = [];
      response.on("data", (c) => chunks.push(c));
      response.on("end", () =>
        resolve({
          status: response.statusCode,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    request.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode, headers: response.headers, body: "" });
    });
    request.on("error", reject);
    request.end(body);
  });
  return within(patience(ms), promise, `${method} ${pathname}`);
}

// The running parts of one test file.
class Run {
  constructor(dir) {
    this.dir = dir;
    this.children = [];
    this.cookie = `cookie${process.pid}${Math.floor(Math.random() * 1e9)}`;
  }

  static async start() {
    const run = new Run(fs.mkdtempSync(path.join(os.tmpdir(), "beamgate-e2e-")));
    run.epmdPort = await freePort();
    run.env = { ...process.env, ERL_EPMD_PORT: String(run.epmdPort), ERL_EPMD_ADDRESS: "", HOME: run.dir };
    delete run.env.ERL_EPMD_ADDRESS;
    for (const name of Object.keys(run.env)) if (/^(ERL_|ELIXIR_ERL_)(?!EPMD)/.test(name)) delete run.env[name];
    run.cookieFile = path.join(run.dir, ".erlang.cookie");
    fs.writeFileSync(run.cookieFile, run.cookie, { mode: 0o400 });
    await run.startEpmd();
    return run;
  }

  add(child) {
    this.children.push(child);
    return child;
  }

  async startEpmd() {
    this.epmd = this.add(new Child("epmd", "epmd", ["-port", String(this.epmdPort)], { env: this.env }));
    await eventually(() => this.epmdNames() !== null, "epmd answers");
    return this.epmd;
  }

  // The names that epmd knows, or null when it does not answer.
  epmdNames() {
    try {
      const options = { env: this.env, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: 5000 };
      return [...execFileSync("epmd", ["-names"], options).matchAll(/^name (\S+) at port (\d+)$/gm)].map((m) => m[1]);
    } catch {
      return null;
    }
  }

  // A node NAME@127.0.0.1. main: the Elixir expression it runs; flags: more emulator flags.
  async beam(name, { main = "TestNode.main()", flags = "", ready = /=> ready/, elixir = "elixir" } = {}) {
    const erl = `-start_epmd false ${flags}`;
    const args = ["--name", `${name}@127.0.0.1`, "-pa", BEAM_CODE, "--erl", erl, "-e", main];
    const node = this.add(new BeamNode(name, elixir, args, { env: this.env, cwd: this.dir }));
    node.node = `${name}@127.0.0.1`;
    await node.waitLine(ready, 30000);
    return node;
  }

  // Starts the gateway with the configuration text; @PORT@, @NAME@ and @COOKIE_FILE@ are filled in.
  async gateway(config, { name = "beamgate", wait = true, args = [], env = {} } = {}) {
    const port = await freePort();
    const file = path.join(this.dir, `${name}-${port}.yml`);
    const text = config
      .replaceAll("@PORT@", String(port))
      .replaceAll("@NAME@", `${name}@127.0.0.1`)
      .replaceAll("@COOKIE_FILE@", this.cookieFile)
      .replaceAll("@ROOT@", ROOT);
    fs.writeFileSync(file, text);
    const sanitizerLog = path.join(this.dir, `sanitizer-${name}-${port}`);
    const options = {
      env: {
        ...this.env,
        ASAN_OPTIONS: `log_path=${sanitizerLog}:detect_leaks=1:abort_on_error=0`,
        UBSAN_OPTIONS: `log_path=${sanitizerLog}:print_stacktrace=1`,
        ...env,
      },
      cwd: this.dir,
    };
    const gateway = this.add(new Gateway(name, BINARY, [...args, file], options));
    Object.assign(gateway, { port, file, node: `${name}@127.0.0.1`, sanitizerLog });
    if (wait) await gateway.ready();
    return gateway;
  }

  // Ends everything, gateways first and properly.
  async stop() {
    const errors = [];
    for (const child of this.children.filter((c) => c instanceof Gateway)) {
      const report = child.sanitizerReport();
      if (child.exit && !child.stopping) errors.push(`${child.name} ended by itself: ${JSON.stringify(child.exit)}\n${child.log()}`);
      if (child.exit && report) errors.push(`${child.name}: sanitizer report\n${report}`);
      if (!child.exit) await child.stop().catch((e) => errors.push(e.message));
    }
    for (const child of this.children) await child.kill("SIGKILL").catch((e) => errors.push(e.message));
    if (!process.env.E2E_KEEP) fs.rmSync(this.dir, { recursive: true, force: true });
    else console.error(`kept: ${this.dir}`);
    if (errors.length) throw new Error(errors.join("\n"));
  }
}

const config = (name = "beamgate-test.yml") => fs.readFileSync(path.join(__dirname, name), "utf8");

module.exports = { BINARY, BeamNode, Child, ROOT, Run, config, eventually, freePort, httpGet, patience, sleep, within };
