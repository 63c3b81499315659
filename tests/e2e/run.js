// Runs end-to-end test files one after another with node:test: `node run.js [--tap] [NAME...]`, NAME as in NAME.test.js,
// all without. (The flag that does this on the command line is newer than Debian 12's Node.)
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { run } = require("node:test");
const { spec, tap } = require("node:test/reporters");

const args = process.argv.slice(2);
const names = args.filter((a) => a !== "--tap");
const all = fs.readdirSync(__dirname).filter((f) => f.endsWith(".test.js")).sort();
const files = (names.length ? names.map((n) => `${n}.test.js`) : all).map((f) => path.join(__dirname, f));

const stream = run({ files, concurrency: 1 });
stream.on("test:fail", () => {
  process.exitCode = 1;
});
// The spec reporter is a class in older releases and an instance-maker in newer ones.
stream.compose(args.includes("--tap") ? tap : new spec()).pipe(process.stdout);
