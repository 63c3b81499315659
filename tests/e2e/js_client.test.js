// The official client, npm `phoenix`, against the gateway: the session of the recordings (section 0), call by call, and
// what a client sees of a gateway that restarts.
"use strict";
const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const { Run, config, eventually, patience, within } = require("./harness");
const { compareFrames } = require("./client");
const { settled, spySocket } = require("./phoenix_client");
const { expand, load } = require("./transcripts");

let run, gateway;

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  gateway = await run.gateway(config());
});
after(() => run?.stop());

const recorded = load("js_client");
// One group per frame the client sent, with the frames it was answered by.
const groups = [];
for (const f of recorded.frames) {
  if (f.send) groups.push({ send: JSON.parse(expand(f.send)), answers: [] });
  else groups.at(-1).answers.push(expand(f.recv));
}

// The recorded frame with this session's join_ref and ref in place of the recorded ones.
function withRefs(frame, joinRef, ref) {
  const q = (r) => (r === null ? "null" : JSON.stringify(r));
  return frame.replace(/^\[("\d+"|null),("\d+"|null),/, (_, j, r) => `[${j === "null" ? "null" : q(joinRef)},${r === "null" ? "null" : q(ref)},`);
}

describe(recorded.section, () => {
  let socket, frames, channel;
  const events = [];
  before(() => {
    ({ socket, frames } = spySocket(gateway));
    channel = socket.channel("api:lobby", {});
    channel.on("api", (payload) => events.push(payload));
  });
  after(() => socket.disconnect());

  const lastSent = () => JSON.parse(frames.sent.at(-1));

  async function compareAnswers(group, ref) {
    for (const want of group.answers) {
      const got = await frames.received.take(8000, want.slice(0, 200));
      const own = want.includes('"phx_close"') ? channel.joinRef() : ref;
      compareFrames(got, withRefs(want, channel.joinRef(), own), group.send[3]);
    }
  }

  for (const group of groups) {
    const [, , topic, event, payload] = group.send;
    if (topic === "phoenix") continue;
    if (event === "phx_join") {
      it("joins", async () => {
        assert.deepEqual(await settled(channel.join()), ["ok", {}]);
        await compareAnswers(group, channel.joinRef());
      });
    } else if (event === "phx_leave") {
      it("leaves", async () => {
        assert.equal((await settled(channel.leave()))[0], "ok");
        await frames.received.take(5000, "reply to leave");
        assert.equal(channel.state, "closed");
      });
    } else {
      const seen = recorded.events.filter((e) => e[0] === payload.request_type);
      const nth = groups.filter((g) => g.send[4].request_type === payload.request_type).indexOf(group);
      it(`${payload.request_type} ${JSON.stringify(payload.args)}`, async () => {
        events.length = frames.received.items.length = 0;
        const outcome = await within(patience(10000), settled(channel.push("api", payload)), "the reply");
        const ref = lastSent()[1];
        assert.deepEqual(lastSent(), [channel.joinRef(), ref, topic, event, payload]);
        await compareAnswers(group, ref);
        const [, how, response] = seen[nth * 2];
        assert.deepEqual(outcome, [how.split(" ")[1], response]);
        assert.equal(events.length, seen[nth * 2 + 1][2], "events delivered to channel.on");
      });
    }
  }

  it("closes with 1000 and stays closed (P-091)", async () => {
    await new Promise((resolve) => socket.disconnect(resolve));
    await eventually(() => frames.closes.length === 1, "close");
    assert.deepEqual(frames.closes, [1000]);
  });
});

describe("what phoenix.js does over time", () => {
  it("answers the heartbeat of the client (P-040, P-042)", async () => {
    const { socket, frames } = spySocket(gateway);
    await eventually(() => socket.isConnected(), "connected");
    const rtt = await within(patience(5000), new Promise((resolve) => socket.ping(resolve)), "ping");
    assert.ok(rtt >= 0);
    const reply = JSON.parse(await frames.received.take());
    assert.deepEqual(reply.slice(2), ["phoenix", "phx_reply", { status: "ok", response: {} }]);
    socket.disconnect();
  });

  it("rejoins by itself after its channel crashed (C-96, P-094)", async () => {
    const { socket } = spySocket(gateway);
    const channel = socket.channel("api:lobby", {});
    const errors = [];
    channel.onError((reason) => errors.push(reason));
    assert.equal((await settled(channel.join()))[0], "ok");
    channel.push("an event that no channel has", {}, 100);
    await eventually(() => errors.length === 1, "the channel's error");
    assert.deepEqual(errors, [{ reason: "channel_crash" }]);
    await eventually(() => channel.state === "joined", "joined again");
    socket.disconnect();
  });

  it("sends a push made before the join was answered after it (C-100)", async () => {
    const { socket, frames } = spySocket(gateway);
    const channel = socket.channel("api:early", {});
    channel.join();
    const payload = { service: "user_service", request_type: "echo", request_id: "early", args: { msg: "x" } };
    assert.deepEqual(await settled(channel.push("api", payload)), ["ok", "echo"]);
    assert.deepEqual(frames.sent.map((f) => JSON.parse(f)[3]), ["phx_join", "api"]);
    socket.disconnect();
  });

  it("two channels of one topic: the older is left, the newer works (P-098, C-40)", async () => {
    const { socket } = spySocket(gateway);
    const older = socket.channel("api:lobby", {});
    assert.equal((await settled(older.join()))[0], "ok");
    const newer = socket.channel("api:lobby", {});
    assert.equal((await settled(newer.join()))[0], "ok");
    await eventually(() => older.state === "closed", "the older is closed");
    const payload = { service: "user_service", request_type: "echo", request_id: "newer", args: { msg: "x" } };
    assert.deepEqual(await settled(newer.push("api", payload)), ["ok", "echo"]);
    socket.disconnect();
  });

  it("reconnects and rejoins when the gateway is restarted (P-074 want, P-091, P-092)", async () => {
    const second = await run.gateway(config(), { name: "second" });
    const { socket, frames } = spySocket(second);
    const channel = socket.channel("api:lobby", {});
    assert.equal((await settled(channel.join()))[0], "ok");
    await second.stop();
    await eventually(() => frames.closes.length > 0, "closed");
    assert.equal(frames.closes[0], 1012);
    assert.equal(channel.state, "errored");
    await run.gateway(config().replace("@PORT@", String(second.port)), { name: "second", wait: false });
    await eventually(() => channel.state === "joined", "joined again", 20000);
    const outcome = await eventually(async () => {
      const payload = { service: "user_service", request_type: "echo", request_id: "again", args: { msg: "x" } };
      return (await settled(channel.push("api", payload)))[0] === "ok";
    }, "a call after the restart");
    assert.ok(outcome);
    socket.disconnect();
  });
});
