// Replays recorded exchanges from tests/data/transcripts. A frame in a file is the text itself, or a template whose
// "@@" stands for "count" times "fill" ("#" in it counts from "from"), joined by "join". A step is what the client
// sent or what the server sent; "want" takes the place of a recorded frame where the contract wants something
// else than the library does, and "why" cites the fact. A case or a file that cannot be replayed says why in "skip".
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { ROOT } = require("./harness");

const load = (name) => JSON.parse(fs.readFileSync(path.join(ROOT, "tests/data/transcripts", `${name}.json`), "utf8"));

function expand(frame) {
  if (frame === null || typeof frame === "string") return frame;
  const parts = Array.from({ length: frame.count }, (_, i) => frame.fill.replaceAll("#", String(i + (frame.from || 0))));
  return frame.template.replace("@@", () => parts.join(frame.join || ""));
}

// "(binary) \x00\x02..." as recorded → bytes.
function unescapeBinary(text) {
  const bytes = [];
  const re = /\\x([0-9a-f]{2})|([^])/g;
  for (const m of text.matchAll(re)) bytes.push(...(m[1] ? [parseInt(m[1], 16)] : Buffer.from(m[2])));
  return Buffer.from(bytes);
}

// The frames that a step expects, in order.
const expected = (step) => ("recv" in step ? (step.want || [step.recv]).map(expand) : []);
const reasons = (testCase) => testCase.steps.filter((s) => s.why).map((s) => s.why);

module.exports = { expand, expected, load, reasons, unescapeBinary };
