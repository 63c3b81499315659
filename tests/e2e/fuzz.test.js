// Hostile clients by seed against the real gateway and a real node: nobody else notices, nothing is left, and no name of
// theirs becomes an atom of the cluster. SEED=n begins with another seed, ROUNDS=n runs more of them (make fuzz-e2e).
"use strict";
const assert = require("node:assert/strict");
const { after, before, it } = require("node:test");
const { Run, config, eventually, patience } = require("./harness");
const { Witness } = require("./attack");
const { attackBySeed } = require("./hostile");

const SEED = Number(process.env.SEED || 1);
const ROUNDS = Number(process.env.ROUNDS || 8);
const CLIENTS = 50;

let run, gateway, svc;

before(async () => {
  run = await Run.start();
  svc = await run.beam("svc");
  gateway = await run.gateway(config());
});
after(() => run?.stop());

const atoms = async () => Number(await svc.run(":erlang.system_info(:atom_count)"));
const GAUGES = ["client_connected", "client_buffered_bytes", "channel_joined", "requests_in_flight"];

async function round(seed) {
  try {
    const sent = await attackBySeed(gateway, seed, CLIENTS);
    assert.ok(!gateway.exit, "the gateway lives");
    return sent;
  } catch (e) {
    throw new Error(`seed ${seed} (make fuzz-e2e SEED=${seed} ROUNDS=1): ${e.message}\n${gateway.log(10)}`);
  }
}

it("hostile clients by seed: others are answered, nothing is left, and the cluster's atoms are not theirs", async () => {
  await round(SEED + 1000000); // loads what code there is to load on the node
  await atoms();
  const [count, rss] = [await atoms(), gateway.rss()];
  const witness = await Witness.start(gateway);
  let sent = 0;
  for (let i = 0; i < ROUNDS; i++) sent += await round(SEED + i);
  await witness.stop();
  for (const name of GAUGES) await eventually(async () => (await gateway.metric(name)) === 0, `${name} is 0`);
  assert.ok(sent > ROUNDS * CLIENTS * 5, `${sent} packets`);
  const more = (await atoms()) - count;
  assert.ok(more <= 50, `${more} new atoms for ${sent} packets full of new names`);
  const growth = gateway.rss() - rss;
  assert.ok(growth <= patience(24 * 1024), `memory grew by ${growth} kB`);
  if (!process.env.ROUNDS) return;
  const state = await gateway.state();
  const reached = ["channel_joins_total", "requests_total", "requests_ok_total", "requests_error_total", "client_bad_frames_total"];
  console.log(`seeds ${SEED}..${SEED + ROUNDS - 1}: ${sent} packets, ${more} atoms, ${growth} kB`, Object.fromEntries(reached.map((n) => [n, state.get(n) || 0])));
});
