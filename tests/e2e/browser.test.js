// The page at / in headless Chromium: a person joins a topic, chooses a function the gateway knows, fills in its arguments
// and sees the frames; phoenix.js runs in the browser.
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { chromium } = require("playwright-core");
const { Run, config, eventually, patience } = require("./harness");

const FLAGS = (
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
  "--disable-component-update --disable-sync"
).split(" ");

let run, gateway, context, page;
const errors = [];

before(async () => {
  run = await Run.start();
  await run.beam("svc");
  gateway = await run.gateway(config());
  context = await chromium.launchPersistentContext(path.join(run.dir, "chromium"), {
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: FLAGS,
    timeout: patience(60000),
  });
  context.setDefaultTimeout(patience(15000));
  page = await context.newPage();
  page.on("console", (m) => m.type() === "error" && errors.push(m.text()));
  page.on("pageerror", (e) => errors.push(e.message));
});
after(async () => {
  await context?.close();
  await run?.stop();
});

const at = (id) => page.getByTestId(id);
const framesText = () => at("frames").innerText();

describe("the console page", () => {
  it("loads with phoenix.js from the gateway and no errors", async () => {
    const response = await page.goto(`http://127.0.0.1:${gateway.port}/`);
    assert.equal(response.status(), 200);
    assert.match(response.headers()["content-type"], /text\/html/);
    assert.equal(await page.evaluate(() => typeof window.Phoenix.Socket), "function");
  });

  it("joins a topic", async () => {
    await at("topic").fill("api:lobby");
    await at("join").click();
    await eventually(async () => /joined/i.test(await at("status").innerText()), "joined");
    assert.match(await framesText(), /phx_join/);
  });

  it("offers the functions that the gateway knows, with a field for each argument", async () => {
    const options = await at("function").locator("option").allInnerTexts();
    for (const name of ["echo", "add", "list_users"]) assert.ok(options.some((o) => o.includes(name)), `${name} in ${options}`);
    await choose("add");
    assert.equal(await at("arg-a").count(), 1);
    assert.equal(await at("arg-b").count(), 1);
  });

  it("sends a request and shows its frames, result and reply", async () => {
    await at("arg-a").fill("19");
    await at("arg-b").fill("23");
    await at("send").click();
    await eventually(async () => /42/.test(await framesText()), "the result");
    assert.match(await framesText(), /phx_reply/);
  });

  it("shows what a person typed as text, not as markup", async () => {
    await choose("echo");
    await at("arg-msg").fill('<img src=x onerror="window.pwned=1">');
    await at("send").click();
    await eventually(async () => (await framesText()).includes("onerror"), "the echo");
    assert.equal(await page.evaluate(() => window.pwned), undefined);
  });

  it("shows an error answer", async () => {
    await choose("fail_error");
    await at("send").click();
    await eventually(async () => /Internal Server Error/.test(await framesText()), "the error");
  });

  it("had no error on its console", () => {
    assert.deepEqual(errors, []);
  });
});

// Chooses the first option whose text holds the name as a whole word.
async function choose(name) {
  const value = await at("function").evaluate((select, wanted) => {
    const word = new RegExp(`(^|[^\\w])${wanted}([^\\w]|$)`);
    return [...select.options].find((o) => word.test(o.text))?.value;
  }, name);
  assert.ok(value !== undefined, `${name} is offered`);
  await at("function").selectOption(value);
}
