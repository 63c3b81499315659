// `make demo`: epmd when none runs, the demo service node, the gateway with rel/beamgate.yml, and a handful of calls with
// phoenix.js, each printed with its result. Then it stays up and says what to try next, until Ctrl-C; with ONCE=1 it ends,
// with a non-zero code if any answer was wrong.
"use strict";
const assert = require("node:assert/strict");
const { spawn, spawnSync } = require("node:child_process");
const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const { Socket } = require("phoenix");
const { WebSocket } = require("ws");
const { BINARY, BeamNode, Child, ROOT, eventually, httpGet, within } = require("./harness");

const DIR = path.join(ROOT, "build", "demo");
const COOKIE_FILE = path.join(DIR, ".erlang.cookie");
const PHOENIX_JS = path.join(ROOT, "node_modules/phoenix/priv/static/phoenix.min.js");
const ONCE = process.env.ONCE === "1";
const children = [];
const say = (text) => console.log(text);

// A random cookie, made at the first run and kept in build/.
function cookie() {
  fs.mkdirSync(DIR, { recursive: true });
  if (!fs.existsSync(COOKIE_FILE)) fs.writeFileSync(COOKIE_FILE, crypto.randomBytes(24).toString("hex"), { mode: 0o400 });
  return COOKIE_FILE;
}

const env = { ...process.env, HOME: DIR };

async function startEpmd() {
  const runs = () => spawnSync("epmd", ["-names"], { env, stdio: "ignore" }).status === 0;
  if (runs()) return say("epmd        runs already");
  const epmd = spawn("epmd", ["-address", "127.0.0.1"], { env, stdio: "ignore", detached: true });
  children.push({ name: "epmd", kill: () => epmd.kill("SIGTERM") });
  await eventually(runs, "epmd answers");
  say("epmd        started on the loopback address");
}

function start(child) {
  children.push(child);
  return child;
}

async function startService() {
  const args = ["--name", "demo_service@127.0.0.1", "-pa", path.join(ROOT, "build/erl"), "--erl", "-start_epmd false"];
  const service = start(new BeamNode("demo_service", "elixir", [...args, "-e", "DemoService.main()"], { env, cwd: DIR, detached: true }));
  say(`service     ${await service.waitLine(/offers \d+ functions/, 30000)}`);
}

// rel/beamgate.yml as it stands, but the page gets the phoenix.js of npm in place of the small client that is built in.
function configFile() {
  const text = fs.readFileSync(path.join(ROOT, "rel", "beamgate.yml"), "utf8");
  const file = path.join(DIR, "beamgate.yml");
  fs.writeFileSync(file, text.replace(/^ {2}# phoenix_js:.*$/m, `  phoenix_js: "${PHOENIX_JS}"`));
  const port = /^listen:\n(?: .*\n|\n)*? {2}port: (\d+)/m.exec(text);
  return { file, port: port ? Number(port[1]) : 4000 };
}

async function startGateway() {
  const { file, port } = configFile();
  const gateway = start(new Child("beamgate", BINARY, ["--cookie-file", cookie(), file], { env, cwd: ROOT, detached: true }));
  gateway.exited.then(() => stop(gateway.stopping ? 0 : 1));
  const ready = async () => {
    if (gateway.exit) throw new Error("the gateway ended");
    return (await httpGet(port, "/ready")).status === 200;
  };
  await eventually(ready, "the gateway is ready", 20000).catch((e) => {
    throw new Error(`${e.message}\n${gateway.log()}`);
  });
  say(`gateway     beamgate@127.0.0.1 with rel/beamgate.yml on http://127.0.0.1:${port}/\n`);
  return port;
}

// [request_type, args, what the Response's result or error must be, null for no Response at all]
const user = (id, more) => ({ id, name: `User Number ${id}`, email: `user${id}@example.com`, ...more });
const CALLS = [
  ["echo", { msg: "hello, beamgate" }, { result: "hello, beamgate" }],
  ["add", { a: 19, b: 23 }, { result: 42 }],
  ["get_user", { user_id: "7" }, { result: user("7", { v: 2 }) }],
  ["get_user", { user_id: "nobody" }, { error: "Internal Server Error" }],
  ["whoami", {}, { result: { user_id: "demo_user" }, some: true }],
  ["echo_async", { msg: "later" }, { result: "later", async: true }],
  ["notify", { msg: "fire and forget" }, null],
  ["echo", {}, { error: "Request processing failed", reply: 'missing or nil argument "msg" in "echo"' }],
  ["no_such_function", {}, { error: "unsupported function: no_such_function version latest" }],
];

function connect(port) {
  const socket = new Socket(`ws://127.0.0.1:${port}/socket`, { transport: WebSocket, params: { user_id: "demo_user" } });
  socket.connect();
  return socket;
}

const settled = (push) =>
  new Promise((resolve) => {
    for (const how of ["ok", "error", "timeout"]) push.receive(how, (response) => resolve({ how, response }));
  });

function checkResponse(got, want) {
  if (want.error) return assert.equal(got.error, want.error);
  assert.equal(got.success, true);
  const result = want.some ? Object.fromEntries(Object.keys(want.result).map((k) => [k, got.result[k]])) : got.result;
  assert.deepEqual(result, want.result);
}

// One call; prints what went and what came.
async function call(channel, responses, [request_type, args, want], id) {
  const request = { service: "demo", request_type, request_id: id, args };
  say(`-> ${JSON.stringify(request)}`);
  const reply = await within(10000, settled(channel.push("phoenix_gen_api", request)), `reply to ${request_type}`);
  const last = () => responses.filter((r) => r.request_id === id).at(-1);
  if (want?.async) await eventually(() => last() && !last().async, "the asynchronous result");
  for (const r of responses.filter((r) => r.request_id === id)) say(`<- ${JSON.stringify(r)}`);
  if (want?.reply || want === null) say(`<- reply ${reply.how}: ${reply.response}`);
  if (want === null) return assert.equal(last(), undefined, "none has no Response");
  if (want.reply) assert.deepEqual(reply, { how: "error", response: want.reply });
  checkResponse(last(), want);
}

async function makeCalls(port) {
  const socket = connect(port);
  const channel = socket.channel("api:demo", {});
  const responses = [];
  channel.on("phoenix_gen_api", (r) => responses.push(r));
  const join = await within(10000, settled(channel.join()), "join of api:demo");
  assert.equal(join.how, "ok", JSON.stringify(join));
  say("joined api:demo on /socket with phoenix.js as demo_user\n");
  let wrong = 0;
  for (const [i, wanted] of CALLS.entries()) {
    await call(channel, responses, wanted, `demo-${i + 1}`).catch((e) => {
      wrong++;
      say(`   WRONG: ${e.message.split("\n")[0]}`);
    });
  }
  socket.disconnect();
  say(`\n${CALLS.length - wrong} of ${CALLS.length} answers were right`);
  return wrong;
}

function whatNext(port) {
  say(`
What to try next:
  open    http://127.0.0.1:${port}/                 a page to join, choose a function and see the frames
  socket  ws://127.0.0.1:${port}/socket/websocket   topic api:demo, event phoenix_gen_api
  paste   into node, in this folder:

  const { Socket } = require("phoenix"); const s = new Socket("ws://127.0.0.1:${port}/socket", { transport: require("ws").WebSocket, params: { user_id: "me" } }); s.connect(); const c = s.channel("api:demo"); c.on("phoenix_gen_api", console.log); c.join().receive("ok", () => c.push("phoenix_gen_api", { service: "demo", request_type: "get_user", request_id: "1", args: { user_id: "7" } }));

The functions are in erl_src/demo_service.ex. Ctrl-C ends everything.`);
}

let stopping = false;
async function stop(code) {
  if (stopping) return;
  stopping = true;
  for (const child of children.reverse()) {
    child.stopping = true;
    if (child instanceof Child) await child.kill("SIGTERM", 8000).catch(() => child.kill("SIGKILL"));
    else child.kill();
  }
  process.exit(code);
}

async function main() {
  cookie();
  await startEpmd();
  await startService();
  const port = await startGateway();
  const wrong = await makeCalls(port);
  if (ONCE) return stop(wrong ? 1 : 0);
  whatNext(port);
}

// Whatever way this ends, nothing that it started stays behind.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => stop(0));
process.stdout.on("error", () => stop(1));
process.on("exit", () => {
  for (const child of children) {
    if (!(child instanceof Child)) child.kill();
    else if (!child.exit) child.process.kill("SIGKILL");
  }
});
main().catch((e) => {
  console.error(`demo: ${e.message}`);
  stop(1);
});
