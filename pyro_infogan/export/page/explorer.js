"use strict";

/**
 * @typedef {{label: string, values: number[]}} Option
 * @typedef {{kind: string, label: string, at: number[], options: Option[], among: number[],
 *   power: number, low: number, high: number, step: number, inside: number[], factor: number,
 *   unit: string}} Control
 * @typedef {{name: string, whole: boolean, shape: number[], start: number[],
 *   controls: Control[]}} Code
 * @typedef {{image: number[], noise: number, codes: Code[]}} About
 */

/** Columns and rows of a grid. */
const MOST = 20;

/** @type {Map<string, string>} Bytes that scripts brought, packed. */
const parcels = new Map();

/** Called by the scripts that bring bytes. @param {string} name @param {string} content */
function packed(name, content) {
  parcels.set(name, content);
}

/** @param {string} name @returns {Promise<Uint8Array>} */
async function unpacked(name) {
  const text = atob(parcels.get(name) ?? "");
  parcels.delete(name);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} id @returns {any} */
const part = (id) => document.getElementById(id);

/** An element with properties and children. */
function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** The generator as a function: codes and noise of n images in, their pixels out. */
class Generator {
  /** @param {About} about */
  constructor(about) {
    this.about = about;
    this.session = null;
  }

  async load() {
    const module = new Blob([await unpacked("ort-wasm-simd-threaded.mjs")], {
      type: "text/javascript",
    });
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(module) };
    ort.env.wasm.wasmBinary = (await unpacked("ort-wasm-simd-threaded.wasm")).buffer;
    const graph = await unpacked("generator");
    this.session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  }

  /**
   * @param {Float32Array} noise n rows
   * @param {Map<string, number[]>} codes n rows each
   * @param {number} n
   * @returns {Promise<Float32Array>} n images, channel by channel
   */
  async images(noise, codes, n) {
    const feeds = { noise: new ort.Tensor("float32", noise, [n, this.about.noise]) };
    for (const code of this.about.codes) {
      const values = codes.get(code.name) ?? [];
      const shape = [n, ...code.shape];
      feeds[code.name] = code.whole
        ? new ort.Tensor("int64", BigInt64Array.from(values, (value) => BigInt(value)), shape)
        : new ort.Tensor("float32", Float32Array.from(values), shape);
    }
    const { images } = await this.session.run(feeds);
    return images.data;
  }
}

/** What the hand has chosen: a value of every code, noise, and what the grid's axes stand for. */
class Choice {
  /** @param {About} about */
  constructor(about) {
    this.about = about;
    /** @type {Map<string, number[]>} */
    this.codes = new Map();
    this.across = this.down = null;
    this.columns = this.rows = 4;
    this.reset();
    this.draw();
  }

  reset() {
    for (const code of this.about.codes) this.codes.set(code.name, [...code.start]);
  }

  /** New noise for as many images as a grid can have. */
  draw() {
    const width = this.about.noise;
    this.noise = Array.from({ length: MOST * MOST }, () =>
      Float32Array.from({ length: width }, () => 2 * Math.random() - 1),
    );
  }

  /** Noise and codes of each cell, row by row. */
  cells() {
    const n = this.rows * this.columns;
    const noise = new Float32Array(n * this.about.noise);
    /** @type {Map<string, number[]>} */
    const codes = new Map(this.about.codes.map((code) => [code.name, []]));
    for (let cell = 0; cell < n; cell++) {
      const row = Math.floor(cell / this.columns);
      const column = cell % this.columns;
      // An axis that sweeps a code keeps the noise.
      const drawn = (this.down ? 0 : row) * (this.across ? 1 : this.columns)
        + (this.across ? 0 : column);
      noise.set(this.noise[drawn], cell * this.about.noise);
      const values = new Map([...this.codes].map(([name, held]) => [name, [...held]]));
      if (this.down) swept(values, this.down, row, this.rows);
      if (this.across) swept(values, this.across, column, this.columns);
      for (const [name, held] of values) codes.get(name)?.push(...held);
    }
    return { n, noise, codes };
  }
}

/**
 * Set what a control sets to the step of a sweep.
 * @param {Map<string, number[]>} codes
 * @param {{code: Code, control: Control}} axis
 */
function swept(codes, { code, control }, step, steps) {
  const values = codes.get(code.name) ?? [];
  if (control.options) {
    set(values, control, control.options[step % control.options.length].values);
  } else {
    set(values, control, [value(control, step, steps) * control.factor]);
  }
}

/** The number shown at a step of a sweep. @param {Control} control */
function value(control, step, steps) {
  const share = steps > 1 ? step / (steps - 1) : 0.5;
  const found = control.low + share * (control.high - control.low);
  return control.step === 1 && !control.unit ? Math.round(found) : found;
}

/** @param {number[]} held @param {Control} control @param {number[]} values */
function set(held, control, values) {
  control.at.forEach((place, index) => { held[place] = values[index]; });
  if (control.kind !== "linked") return;
  // The others make room, in the proportions that they have.
  const others = control.among.filter((place) => place !== control.at[0]);
  const root = 1 / control.power;
  const size = others.reduce((sum, place) => sum + Math.abs(held[place]) ** control.power, 0) ** root;
  const left = Math.max(0, 1 - Math.abs(values[0]) ** control.power) ** root;
  for (const place of others) {
    held[place] = size > 0 ? (held[place] * left) / size : left * others.length ** -root;
  }
}

/** The page: controls, and a picture that follows them. */
class Explorer {
  /** @param {About} about */
  constructor(about) {
    this.about = about;
    this.generator = new Generator(about);
    this.choice = new Choice(about);
    this.pixels = new Float32Array();
    /** @type {(() => void)[]} Have each control show what is chosen. */
    this.shown = [];
    this.waiting = false;
    /** @type {Promise<void> | null} Until the picture is that of the latest choice. */
    this.settled = null;
  }

  async start() {
    await this.generator.load();
    this.build();
    part("controls").hidden = false;
    await this.render();
  }

  // Controls

  build() {
    for (const code of this.about.codes) {
      const title = code.controls.length > 1 ? `${code.name} (${code.controls.length})` : code.name;
      const box = made("fieldset", {}, made("legend", { textContent: title }));
      for (const control of code.controls) {
        const build = control.options ? this.options : this.slider;
        box.append(build.call(this, code, control));
      }
      part("codes").append(box);
    }
    part("noise").onclick = () => { this.choice.draw(); this.render(); };
    part("reset").onclick = () => { this.choice.reset(); this.show(); this.render(); };
    this.axis("across", "columns");
    this.axis("down", "rows");
    this.show();
  }

  show() {
    for (const shown of this.shown) shown();
  }

  /** @param {Code} code @param {Control} control @param {number[]} values */
  move(code, control, values) {
    set(this.choice.codes.get(code.name) ?? [], control, values);
    this.show();
    this.render();
  }

  /** The chosen option's place. @param {Code} code @param {Control} control */
  chosen(code, control) {
    const held = this.choice.codes.get(code.name) ?? [];
    return control.options.findIndex((option) =>
      option.values.every((value, index) => value === held[control.at[index]]),
    );
  }

  /** Buttons of categories, a switch, or a list where they are many. */
  options(code, control) {
    const pick = (index) => this.move(code, control, control.options[index].values);
    if (control.kind === "switch") {
      const box = made("input", { type: "checkbox", onchange: () => pick(box.checked ? 1 : 0) });
      this.shown.push(() => { box.checked = this.chosen(code, control) === 1; });
      return made("label", { className: "switch" }, box, control.label);
    }
    if (control.options.length > 30) {
      const list = made("select", { ariaLabel: control.label });
      list.append(...control.options.map(({ label }) => made("option", { textContent: label })));
      list.onchange = () => pick(list.selectedIndex);
      this.shown.push(() => { list.selectedIndex = this.chosen(code, control); });
      return made("label", {}, `${control.label} `, list);
    }
    const buttons = control.options.map((option, index) => {
      const button = made("input", {
        type: "radio",
        name: control.label,
        value: option.label,
        ariaLabel: `${control.label} ${option.label}`,
        onchange: () => pick(index),
      });
      this.shown.push(() => { button.checked = this.chosen(code, control) === index; });
      return made("label", {}, button, made("span", { textContent: option.label }));
    });
    return made("div", { className: "options", role: "radiogroup", ariaLabel: control.label },
      ...buttons);
  }

  slider(code, control) {
    const { low, high, step, inside, unit } = control;
    const output = made("output");
    const input = made("input", { type: "range", min: low, max: high, step,
      ariaLabel: control.label });
    input.oninput = () => this.move(code, control, [Number(input.value) * control.factor]);
    this.shown.push(() => {
      const held = this.choice.codes.get(code.name) ?? [];
      const number = held[control.at[0]] / control.factor;
      input.value = String(number);
      output.textContent = said(number, unit);
    });
    const band = made("div", { className: "band" }, made("i"));
    const share = (end) => `${(100 * end) / (high - low)}%`;
    band.style.setProperty("--from", share(inside[0] - low));
    band.style.setProperty("--to", share(high - inside[1]));
    // The legend names the only number of a code.
    const label = made("span", { textContent: code.controls.length > 1 ? control.label : "" });
    return made("div", { className: "number" }, label, input, output, band);
  }

  /** What columns or rows stand for, and how many there are. */
  axis(axis, count) {
    const sweeps = this.about.codes.flatMap((code) =>
      code.controls.map((control) => ({ code, control })),
    );
    const list = part(axis);
    list.append(made("option", { textContent: "noise" }));
    list.append(...sweeps.map(({ control }) => made("option", { textContent: control.label })));
    const number = Object.assign(part(count), { min: 1, max: MOST, value: this.choice[count] });
    number.onchange = () => {
      this.choice[count] = Math.min(Math.max(Math.round(Number(number.value)) || 1, 1), MOST);
      number.value = String(this.choice[count]);
      this.render();
    };
    list.onchange = () => {
      this.choice[axis] = sweeps[list.selectedIndex - 1] ?? null;
      const options = this.choice[axis]?.control.options;
      // As many cells as there are categories.
      if (options) number.value = String(options.length);
      number.onchange();
    };
  }

  // Pictures

  /** Draw what is chosen; of all that is asked for meanwhile, the latest. */
  render() {
    this.waiting = true;
    this.settled ??= this.drawn().catch(failed).finally(() => { this.settled = null; });
    return this.settled;
  }

  async drawn() {
    while (this.waiting) {
      this.waiting = false;
      await this.draw();
    }
  }

  async draw() {
    const began = performance.now();
    const { n, noise, codes } = this.choice.cells();
    this.pixels = await this.generator.images(noise, codes, n);
    this.paint(this.choice.columns, Math.round(n / this.choice.columns));
    const took = Math.max(1, Math.round(performance.now() - began));
    part("status").textContent = `${n} ${n === 1 ? "image" : "images"} in ${took} ms`;
    part("caption").textContent = this.caption();
    // The browser draws, and hears the hand, between one picture and the next.
    await new Promise((resolve) => setTimeout(resolve));
  }

  /** One channel is shown grey, three in colour; of any other number the first. */
  paint(columns, rows) {
    const [channels, height, width] = this.about.image;
    const canvas = part("picture");
    canvas.width = columns * (width + 1) - 1;
    canvas.height = rows * (height + 1) - 1;
    const pen = canvas.getContext("2d");
    const cell = pen.createImageData(width, height);
    const plane = height * width;
    const colours = channels === 3 ? [0, 1, 2] : [0, 0, 0];
    for (let index = 0; index < rows * columns; index++) {
      const start = index * channels * plane;
      for (let place = 0; place < plane; place++) {
        for (let colour = 0; colour < 3; colour++) {
          const level = this.pixels[start + colours[colour] * plane + place];
          cell.data[4 * place + colour] = Math.round(255 * level);
        }
        cell.data[4 * place + 3] = 255;
      }
      const row = Math.floor(index / columns);
      pen.putImageData(cell, (index % columns) * (width + 1), row * (height + 1));
    }
    this.fit(canvas);
  }

  /** As large as there is room for, and no larger than a picture can bear. */
  fit(canvas) {
    const room = Math.min(part("picture").parentElement.clientWidth, 0.82 * window.innerHeight
      * (canvas.width / canvas.height));
    canvas.style.width = `${Math.min(room, 8 * canvas.width)}px`;
  }

  caption() {
    const told = (axis, steps, way) => {
      if (!axis || steps < 2) return "";
      const { control } = axis;
      if (control.options) {
        const names = control.options.slice(0, steps).map((option) => option.label);
        return `${control.label}: ${names.join(", ")}, ${way}. `;
      }
      const ends = [0, steps - 1].map((step) => said(value(control, step, steps), control.unit));
      return `${control.label}: ${ends[0]} to ${ends[1]}, ${way}. `;
    };
    const { across, down, columns, rows } = this.choice;
    const swept = told(across, columns, "left to right") + told(down, rows, "top to bottom");
    return swept || "Each image has a noise of its own, and the same codes.";
  }
}

/** @param {number} number @param {string} unit */
function said(number, unit) {
  const text = unit ? number.toFixed(0) : String(Number(number.toPrecision(3)));
  return `${text.replace("-", "−")}${unit}`;
}

/** @param {any} error */
function failed(error) {
  part("status").textContent = `The generator does not run in this browser: ${error}`;
  part("status").className = "failed";
}

document.addEventListener("DOMContentLoaded", () => {
  const explorer = new Explorer(JSON.parse(part("about").textContent));
  // For scripts of your own: explorer.choice, explorer.render(), explorer.pixels.
  window.explorer = explorer;
  window.addEventListener("resize", () => explorer.fit(part("picture")));
  explorer.start().catch(failed);
});
