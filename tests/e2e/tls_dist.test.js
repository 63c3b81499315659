// A cluster over TLS: the gateway among BEAM nodes that run with -proto_dist inet_tls. It calls them, they call it, and its
// certificate is renewed while the links stay up.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually } = require("./harness");
const { Certs, distFlags } = require("./certs");
const { Conn } = require("./client");

let run, gateway, svc, certs, ca, ours;

const flags = (name, pair) => distFlags(run, name, pair, ca);

before(async () => {
  run = await Run.start();
  certs = new Certs(run);
  ca = certs.authority();
  ours = certs.leaf("gw", ca, { names: "DNS:127.0.0.1" });
  svc = await run.beam("svc", { flags: flags("svc", certs.leaf("svc", ca, { names: "DNS:127.0.0.1" })) });
  const files = `node:\n  tls_certificate: ${ours.crt}\n  tls_key: ${ours.key}\n  tls_ca: ${ca.crt}\n`;
  gateway = await run.gateway(config().replace("node:\n", files));
});
after(() => run?.stop());

describe("a cluster over TLS", () => {
  it("serves clients from its nodes", async () => {
    assert.ok(gateway.lines.some((l) => /link up.*node="svc@127.0.0.1".*tls=TLSv1\.[23]/.test(l)), gateway.log());
    const conn = await (await Conn.open(gateway)).join();
    assert.equal((await conn.call("add", { a: 19, b: 23 })).push.result, 42);
    assert.equal((await conn.call("list_users")).push.success, true);
    await conn.close();
  });

  it("answers its nodes", async () => {
    assert.equal(await svc.run(`:net_adm.ping(:"${gateway.node}")`), ":pong");
    assert.equal(await svc.run(`:rpc.call(:"${gateway.node}", :erlang, :node, [])`), `:"${gateway.node}"`);
    assert.match(await svc.run(`:erpc.call(:"${gateway.node}", PhoenixGenApi.ConfigDb, :get_all_services, [])`), /user_service/);
  });

  it("goes on after a link was cut, made by either side", async () => {
    await svc.run(`Node.disconnect(:"${gateway.node}")`);
    await eventually(async () => (await svc.run("Node.list(:hidden)")).includes(gateway.node), "the gateway is back");
    await svc.run(`Node.disconnect(:"${gateway.node}")`);
    assert.equal(await svc.run(`:net_adm.ping(:"${gateway.node}")`), ":pong");
    await gateway.ready();
  });

  it("renews its certificate for new links, and keeps those that are up", async () => {
    const renewed = certs.leaf("renewed", ca, { names: "DNS:127.0.0.1", days: 90 });
    fs.copyFileSync(renewed.crt, ours.crt);
    fs.copyFileSync(renewed.key, ours.key);
    const downs = await gateway.metric("link_downs_total");
    const from = gateway.lines.length;
    gateway.process.kill("SIGHUP");
    await gateway.waitLine(/configuration reloaded/, 10000, from);
    assert.equal(await gateway.metric("link_downs_total"), downs);
    const other = await run.beam("late", { flags: flags("late", certs.leaf("late", ca, { names: "DNS:127.0.0.1" })) });
    assert.equal(await other.run(`:net_adm.ping(:"${gateway.node}")`), ":pong");
  });

  it("refuses a node whose certificate another authority has signed, and says why", async () => {
    const stranger = certs.leaf("stranger", certs.authority("other"), { names: "DNS:127.0.0.1" });
    const from = gateway.lines.length;
    const node = await run.beam("stranger", { flags: flags("stranger", stranger) });
    assert.equal(await node.run(`:net_adm.ping(:"${gateway.node}")`), ":pang");
    await gateway.waitLine(/handshake failed.*certificate of the peer: /, 5000, from);
  });

  it("refuses a node without TLS", async () => {
    const from = gateway.lines.length;
    const node = await run.beam("plain");
    assert.equal(await node.run(`:net_adm.ping(:"${gateway.node}")`), ":pang");
    await gateway.waitLine(/handshake failed.*(wrong version number|TLS: )/, 10000, from);
  });
});
