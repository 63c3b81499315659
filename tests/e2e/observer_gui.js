// The real Observer, under Xvfb, looking at a gateway with clients: an X server, a node that shows the GUI, and the
// hands and eyes of a test: mouse clicks by xdotool, texts read from the widgets in the node itself
// (observer_driver.exs), pictures.
"use strict";
const { execFileSync, spawn, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { eventually, patience, sleep } = require("./harness");

const POPUP_FIRST = 17; // pixels below the click to the middle of the popup's first entry, then from entry to entry
const POPUP_STEP = 25;

// What the gateway has asked malloc for and not given back, in kB, as a node is told by it.
async function usedKb(node) {
  return Number(await node.run(`[{:malloc, [{:instance, 0, [{:mbcs, [{:blocks, [{:malloc, [{:size, used, _, _}]}]} | _]}]}]}] =
    :rpc.call(:"beamgate@127.0.0.1", :observer_backend, :sys_info, [])[:alloc_info]; div(used, 1024)`));
}

const missing = () => ["Xvfb", "xdotool"].filter((c) => spawnSync("sh", ["-c", `command -v ${c}`]).status !== 0);

class ObserverGui {
  // pictures: a folder, or nothing.
  static async start(run, { elixir = "elixir", name = "observer", pictures } = {}) {
    const gui = new ObserverGui();
    gui.x = spawn("Xvfb", ["-displayfd", "1", "-screen", "0", "1000x700x24", "-nolisten", "tcp"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const number = await new Promise((resolve) => gui.x.stdout.once("data", (d) => resolve(d.toString().trim())));
    gui.display = `:${number}`;
    gui.pictures = pictures;
    if (pictures) fs.mkdirSync(pictures, { recursive: true });
    run.env.DISPLAY = gui.display;
    try {
      gui.node = await run.beam(name, { elixir });
    } finally {
      delete run.env.DISPLAY;
    }
    await gui.node.run(fs.readFileSync(path.join(__dirname, "observer_driver.exs"), "utf8"), 20000);
    return gui;
  }

  // The value of an expression of ObserverDriver that is a list of texts, or one text.
  async read(code) {
    return JSON.parse(await this.json(code));
  }

  async json(code) {
    const list = `(fn v -> if is_list(v), do: Enum.map(v, &Base.encode64/1) |> Enum.join(" "), else: Base.encode64(v) end).(${code})`;
    const text = await this.node.run(list, 20000);
    const words = JSON.parse(text).split(" ").map((w) => Buffer.from(w, "base64").toString());
    return JSON.stringify(words);
  }

  texts() {
    return this.read("ObserverDriver.all_texts()");
  }

  // Polls until every pattern is in one of the texts; the texts.
  async shows(patterns, code = "ObserverDriver.all_texts()", ms = 15000) {
    let last = [];
    const found = async () => {
      last = await this.read(code);
      const lacking = patterns.filter((p) => !last.some((t) => p.test(t)));
      if (lacking.length) throw new Error(`${lacking} not in ${JSON.stringify(last.filter(Boolean))}`);
      return true;
    };
    await eventually(found, "Observer shows it", ms);
    return last;
  }

  async tab(name) {
    await this.node.run(`ObserverDriver.tab("${name}")`, 20000);
  }

  mouse(...args) {
    execFileSync("xdotool", args.map(String), { env: { ...process.env, DISPLAY: this.display }, timeout: 10000 });
  }

  // Clicks on the row of the list that matches, again and slower until done() holds: a busy machine draws late. double:
  // opens it; entry: of the menu that pops up at button 3.
  async click(pattern, { double = false, entry = null, window = "nil", done }) {
    for (let pause = 0.3; ; pause *= 2) {
      const [x, y] = await this.position(`ObserverDriver.row_position(${pattern}, ${window})`);
      this.mouse("mousemove", x, y, "click", 1, "sleep", pause); // also closes a menu that a click before has left open
      if (double) this.mouse("click", "--repeat", 2, "--delay", 60, 1);
      else
        this.mouse("click", 1, "sleep", pause, "click", 3, "sleep", 2 * pause, "mousemove_relative", 100,
          POPUP_FIRST + POPUP_STEP * entry, "sleep", pause, "click", 1);
      const end = Date.now() + patience(2000 + pause * 2000);
      while (Date.now() < end) if (await done()) return;
        else await sleep(100);
      if (pause > 2) throw new Error(`clicking on ${pattern} does nothing`);
    }
  }

  async position(code) {
    const at = await this.node.run(`(fn {x, y} -> {:at, x, y} end).(${code})`);
    return at.match(/-?\d+/g).map(Number);
  }

  // A click on the button with that text in whatever window has it.
  async press(text) {
    await eventually(() => this.node.run(`ObserverDriver.button_position("${text}")`), `a button ${text}`);
    const [x, y] = await this.position(`ObserverDriver.button_position("${text}")`);
    this.mouse("mousemove", x, y, "sleep", 0.2, "click", 1);
  }

  // What a list holds is painted a moment after its rows can be read.
  async picture(name) {
    if (!this.pictures) return;
    await this.node.run("ObserverDriver.paint()", 20000);
    const file = path.join(this.pictures, `${name}.png`);
    const args = ["-display", this.display, "-window", "root", "-crop", "850x600+0+0", "+dither", "-colors", "24", "+repage", `PNG8:${file}`];
    execFileSync("import", args, { timeout: 20000 });
  }

  end() {
    this.x.kill();
  }
}

module.exports = { ObserverGui, missing, usedKb };
