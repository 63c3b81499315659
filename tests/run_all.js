// `make test`: every check in turn, each with its log in build/test-logs, and at the end what was skipped and why, what
// failed, and one line "N passed, N failed, N skipped" that adds up the tests of all runners. A check that is no
// test runner (a build, the layers) counts as one test. Exits 1 when anything failed or nothing ran.
// ONLY="unit e2e" runs some of them; FUZZ_SECONDS is the time of each fuzzer.
"use strict";
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const ROOT = path.resolve(__dirname, "..");
const LOGS = path.join(ROOT, "build", "test-logs");
const J = `-j${Math.max(2, os.cpus().length)}`;
const SAN = "SANITIZE=address,undefined";
const E2E = "node tests/e2e/run.js --tap";

const one = (text, ok) => ({ passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: [], failures: [] });

// cmocka: "[  PASSED  ] 12 test(s)." per binary; a binary that crashed has no such line, and the step fails.
function cmocka(text, ok) {
  const count = (re) => [...text.matchAll(re)].reduce((sum, m) => sum + Number(m[1]), 0);
  const failures = [...text.matchAll(/^\[ {2}FAILED {2}\] (?!\d+ test)(\S+)$/gm)].map((m) => m[1]);
  const skipped = [...text.matchAll(/^\[ {2}SKIPPED \] (?!\d+ test)(\S+)$/gm)].map((m) => `${m[1]}: not possible under valgrind or a sanitizer, which have an allocator and descriptors of their own`);
  const failed = new Set(failures).size;
  return {
    passed: count(/^\[ {2}PASSED {2}\] (\d+) test/gm),
    failed: failed || (ok ? 0 : 1),
    skipped: [...new Set(skipped)],
    failures: [...new Set(failures)],
  };
}

// node:test in TAP: the totals count tests without suites; a suite that only holds a failed test is not listed.
function tap(text, ok) {
  const total = (what) => Number(new RegExp(`^# ${what} (\\d+)$`, "m").exec(text)?.[1] || 0);
  const results = [...text.matchAll(/^ *(not )?ok \d+ - (.*)\n(?=((?:.*\n){0,5}))/gm)];
  const skipped = results.filter((m) => / # SKIP/.test(m[2])).map((m) => m[2].replace(/ # SKIP ?/, ": "));
  const failures = results.filter((m) => m[1] && !/failureType: 'subtestsFailed'/.test(m[3])).map((m) => m[2]);
  const failed = Math.max(total("fail") + total("cancelled"), failures.length);
  return { passed: total("pass"), failed: failed || (ok ? 0 : 1), skipped, failures };
}

// Fuzzers: one test each; the Makefile prints "== fuzz_x".
function fuzzers(text, ok) {
  const names = [...text.matchAll(/^== (fuzz_\w+)/gm)].map((m) => m[1]);
  if (!names.length) return one(text, ok);
  return { passed: names.length - (ok ? 0 : 1), failed: ok ? 0 : 1, skipped: [], failures: ok ? [] : [names.at(-1)] };
}

// tests/cli.sh: "ok   NAME" or "FAIL NAME: why" a check.
function checks(text, ok) {
  const failures = [...text.matchAll(/^FAIL (.*)$/gm)].map((m) => m[1]);
  return { passed: [...text.matchAll(/^ok {3}/gm)].length, failed: failures.length || (ok ? 0 : 1), skipped: [], failures };
}

// The simulator: one test, whatever the number of seeds; it must have said how many it ran.
const simulator = (text, ok) => one(text, ok && /^sim: \d+ seeds, \d+ requests, 0 violations$/m.test(text));

const hasTarget = (name) => new RegExp(`^${name}:`, "m").test(fs.readFileSync(path.join(ROOT, "Makefile"), "utf8"));

const STEPS = [
  { name: "build-gcc", what: "build with gcc -Werror", run: `make ${J} CC=gcc WERROR=1`, read: one, vital: true },
  { name: "build-clang", what: "build with clang -Werror", run: `make ${J} CC=clang WERROR=1`, read: one },
  { name: "layers", what: "layers of the sources", run: "make layers", read: one },
  { name: "citations", what: "cited numbers and metrics are documented", run: "make citations", read: one },
  { name: "lint", what: "cppcheck and clang-tidy", run: "make lint", read: one },
  { name: "unit", what: "unit tests", run: `make ${J} unit`, read: cmocka },
  { name: "unit-san", what: "unit tests under ASan and UBSan", run: `make ${J} unit ${SAN}`, read: cmocka },
  {
    name: "unit-valgrind",
    what: "unit tests under valgrind",
    run: 'make unit TEST_WRAP="valgrind -q --error-exitcode=99 --leak-check=full"',
    env: { UNDER_VALGRIND: "1" },
    read: cmocka,
  },
  { name: "torture", what: "each allocation of the lower layers fails once", run: `make ${J} torture`, read: cmocka },
  { name: "sim", what: "simulator of the request pipeline", run: `make ${J} sim`, read: simulator },
  {
    name: "fuzz",
    what: "fuzzers, briefly",
    run: `make fuzz FUZZ_SECONDS=${process.env.FUZZ_SECONDS || 5}`,
    read: fuzzers,
    unless: () => !hasTarget("fuzz") && "no fuzz target in the Makefile",
  },
  { name: "cli", what: "command line, exit codes, start and stop", run: "make cli", read: checks },
  { name: "e2e", what: "end-to-end tests", run: E2E, read: tap, prepare: "make erl_src" },
  { name: "demo", what: "the demo, once", run: "make demo ONCE=1", read: one, env: { ERL_EPMD_PORT: "24369" } },
  {
    name: "e2e-san",
    what: "end-to-end tests of a build with ASan and UBSan",
    prepare: `make ${J} ${SAN}`,
    run: `${E2E} js_client transcripts conformance cluster faults`,
    env: { BEAMGATE: "build/gcc-san/beamgate", E2E_SLOW: "3" },
    read: tap,
  },
];

function shell(command, log, env) {
  return new Promise((resolve) => {
    const out = fs.openSync(log, "a");
    const child = spawn("sh", ["-c", command], { cwd: ROOT, env: { ...process.env, ...env }, stdio: ["ignore", out, out] });
    child.on("close", (code) => {
      fs.closeSync(out);
      resolve(code === 0);
    });
  });
}

// What a reader needs of the log of a step that failed: the failed tests of a TAP log, else its end.
function excerpt(text) {
  const blocks = [...text.matchAll(/^( *)not ok [^]*?\n\1 {2}\.\.\.$/gm)].map((m) => m[0]);
  const own = blocks.filter((b) => !/failureType: 'subtestsFailed'/.test(b)).map((b) => b.split("\n").slice(0, 40).join("\n"));
  return own.length ? own.slice(0, 10).join("\n") : text.split("\n").slice(-60).join("\n");
}

async function runStep(step) {
  const reason = step.unless?.();
  if (reason) return { passed: 0, failed: 0, skipped: [`${step.what}: ${reason}`], failures: [] };
  const log = path.join(LOGS, `${step.name}.log`);
  fs.writeFileSync(log, "");
  let ok = !step.prepare || (await shell(step.prepare, log, step.env));
  const prepared = ok;
  if (ok) ok = await shell(step.run, log, step.env);
  const text = fs.readFileSync(log, "utf8");
  if (!ok) console.log(excerpt(text));
  return prepared ? step.read(text, ok) : one(text, false);
}

function printSkipped(skipped) {
  if (!skipped.length) return;
  console.log("\nSkipped:");
  const byReason = new Map();
  for (const s of skipped) {
    const at = s.indexOf(": ", s.search(/: (not |no |OTP|skipped)/));
    const [name, reason] = at < 0 ? [s, ""] : [s.slice(0, at), s.slice(at + 2)];
    byReason.set(reason, [...(byReason.get(reason) || []), name]);
  }
  for (const [reason, names] of byReason) {
    console.log(`  ${reason || "no reason given"} (${names.length})`);
    for (const n of names) console.log(`      ${n}`);
  }
}

async function main() {
  fs.mkdirSync(LOGS, { recursive: true });
  const only = (process.env.ONLY || "").split(/\s+/).filter(Boolean);
  const steps = STEPS.filter((s) => !only.length || only.includes(s.name));
  const sum = { passed: 0, failed: 0, skipped: [], failures: [] };
  for (const step of steps) {
    const began = Date.now();
    const r = await runStep(step);
    const seconds = ((Date.now() - began) / 1000).toFixed(0);
    const counts = `${r.passed} passed, ${r.failed} failed, ${r.skipped.length} skipped`;
    console.log(`${r.failed ? "FAIL" : "ok  "} ${step.what}: ${counts} (${seconds} s)`);
    sum.passed += r.passed;
    sum.failed += r.failed;
    sum.skipped.push(...r.skipped.filter((s) => !sum.skipped.includes(s))); // a second build skips the same
    sum.failures.push(...(r.failed && !r.failures.length ? [""] : r.failures).map((f) => `${step.what}${f && ": "}${f}`));
    if (r.failed && step.vital) break; // nothing that follows could mean anything
  }
  printSkipped(sum.skipped);
  if (sum.failures.length) console.log(`\nFailed:\n${sum.failures.map((f) => `  ${f}`).join("\n")}`);
  console.log(`\nLogs: build/test-logs\n`);
  console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped.length} skipped`);
  process.exitCode = sum.failed || !sum.passed ? 1 : 0;
}

main();
