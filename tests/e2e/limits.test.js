// Limits as an operator meets them: the configuration, the answers, the counters, the log, and SIGHUP.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const { after, before, it } = require("node:test");
const { Run, config, eventually, httpGet } = require("./harness");
const { Conn } = require("./client");

let run, gateway;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  gateway = await run.gateway(`${config()}
limits:
  max_connections_per_user: 2
requests:
  max_in_flight_per_channel: 10
  max_in_flight_per_socket: 12
  max_in_flight_per_user: 15
`);
});
after(() => run?.stop());

const opened = (user) => Conn.open(gateway, `user_id=${user}&vsn=2.0.0`);
const refused = (user) => assert.rejects(opened(user), { status: 429 });

// Rewrites the configuration and waits until it is in force.
async function reload(from, to) {
  const lines = gateway.lines.length;
  const text = fs.readFileSync(gateway.file, "utf8");
  assert.ok(text.includes(from));
  fs.writeFileSync(gateway.file, text.replace(from, to));
  gateway.process.kill("SIGHUP");
  return gateway.waitLine(/configuration reloaded/, 10000, lines);
}

it("a user has so many sockets; SIGHUP gives him more, and a dry run as many as he likes", async () => {
  const conns = [await opened("ann"), await opened("ann")];
  await refused("ann");
  assert.equal(await gateway.metric("limit_user_connections_total"), 1);
  assert.match(await reload("max_connections_per_user: 2", "max_connections_per_user: 3"), /changed=1 needs_restart=0/);
  conns.push(await opened("ann"));
  await refused("ann");
  const lines = gateway.lines.length;
  await reload("max_connections_per_user: 3", "max_connections_per_user: 3\n  dry_run: [max_connections_per_user]");
  conns.push(await opened("ann"), await opened("ann"));
  await gateway.waitLine(/msg="limit reached" limit="limits.max_connections_per_user" dry_run=true .*peer="127.0.0.1"/, 5000, lines);
  assert.equal(await gateway.metric("limit_user_connections_total"), 4);
  for (const c of conns) await c.close();
  await eventually(async () => (await gateway.metric("client_connected")) === 0, "gone");
});

// Sends n slow requests on each channel; gives how many are in flight once all others have been refused.
async function inFlight(conn, topics, n) {
  const was = (await gateway.metric("requests_in_flight")) || 0;
  for (const t of topics)
    for (let i = 0; i < n; i++) {
      const payload = { service: "user_service", request_type: "slow_long", request_id: `${t}${i}`, args: { ms: 2000 } };
      conn.send(["1", `${t}${i}`, t, "api", payload]);
    }
  await conn.fence();
  return (await gateway.metric("requests_in_flight")) - was;
}

it("requests in flight are bounded by channel, socket and user, each with its counter (E-138)", async () => {
  const one = await (await opened("bob")).join("api:a");
  await one.join("api:b");
  assert.equal(await inFlight(one, ["api:a", "api:b"], 20), 12);
  assert.equal(await gateway.metric("limit_channel_in_flight_total"), 10);
  assert.equal(await gateway.metric("limit_socket_in_flight_total"), 18);
  const two = await (await opened("bob")).join("api:a");
  assert.equal(await inFlight(two, ["api:a"], 5), 3);
  assert.equal(await gateway.metric("limit_user_in_flight_total"), 2);
  const other = await (await opened("eve")).join("api:a");
  assert.equal(await inFlight(other, ["api:a"], 5), 5);
  for (const c of [one, two, other]) c.terminate();
  await eventually(async () => (await gateway.metric("requests_in_flight")) === 0, "forgotten");
  const again = await (await opened("bob")).join("api:a");
  assert.equal(await inFlight(again, ["api:a"], 10), 10);
  again.terminate();
});

it("who is in stays when a limit is lowered, and rates change for those who are here", async () => {
  const conn = await (await opened("dan")).join();
  await reload("limits:\n", "limits:\n  messages_per_s: 5\n  connects_per_s_per_address: 1\n");
  assert.equal((await conn.call("echo", { msg: "x" })).push.success, true);
  for (let i = 0; i < 30; i++) conn.send([null, `h${i}`, "phoenix", "heartbeat", {}]);
  await eventually(async () => (await gateway.metric("limit_messages_total")) >= 1, "held back");
  await eventually(async () => (await httpGet(gateway.port, "/health").catch(() => ({}))).status === 429, "refused", 5000);
  await reload("  messages_per_s: 5\n  connects_per_s_per_address: 1\n", "");
  await eventually(async () => conn.inbox.items.length >= 30, "all are answered");
  await conn.close();
});

it("a limit that does not exist is told by name", async () => {
  const lines = gateway.lines.length;
  const text = fs.readFileSync(gateway.file, "utf8");
  fs.writeFileSync(gateway.file, text.replace(/dry_run: .*/, "dry_run: [max_conections]"));
  gateway.process.kill("SIGHUP");
  await gateway.waitLine(/max_conections.*is not a limit/, 10000, lines);
});
