// Lines over time, on a canvas; one crosshair for all plots of a page.

import { clock } from "./format.js";
import { SLOT, SLOTS } from "./state.js";

const LEFT = 2, TOP = 6, BOTTOM = 15;
const plots = new Set();
let hovered = null; // slot under the pointer

// The last 15 minutes: how many slots, what stands below which, what a slot is called.
const MINUTES = {
  slots: SLOTS,
  marks: (width) => (width < 200 ? [15, 0] : [15, 10, 5, 0]).map((minutes) => [SLOTS - 1 - (minutes * 60000) / SLOT, minutes ? `−${minutes} min` : "now"]),
  at: (slot, now) => clock(now - (SLOTS - 1 - slot) * SLOT),
};

export class Plot {
  // `write` says a value; `least` is the least top of the scale; `axis` is what MINUTES is.
  constructor(canvas, note, write, least, axis = MINUTES) {
    Object.assign(this, { canvas, note, write, least, axis, lines: [], now: 0 });
    canvas.addEventListener("pointermove", (event) => hover(this.#slotAt(event)));
    canvas.addEventListener("pointerleave", () => hover(null));
    new ResizeObserver(() => this.draw()).observe(canvas);
    plots.add(this);
  }

  // `lines`: [{ name, color, values, fill }], a value a slot, NaN where there is none.
  show(lines, now) {
    this.lines = lines;
    this.now = now;
    this.draw();
  }

  #slotAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = Math.round(((event.clientX - box.left - LEFT) / (box.width - LEFT)) * (this.axis.slots - 1));
    return Math.min(this.axis.slots - 1, Math.max(0, place));
  }

  draw() {
    const { canvas } = this;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return;
    const dense = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(height * dense);
    }
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, width, height);
    let most = this.least;
    for (const { values } of this.lines) for (const value of values) if (value > most) most = value;
    most = nice(most);
    const x = (slot) => LEFT + (slot / (this.axis.slots - 1)) * (width - LEFT - 2);
    const y = (value) => TOP + (1 - value / most) * (height - TOP - BOTTOM);
    this.#axes(pen, style, width, height, most, x, y);
    for (const line of this.lines) this.#line(pen, line, x, y);
    if (hovered !== null) this.#crosshair(pen, style, height, x, y);
    this.#tell();
  }

  #axes(pen, style, width, height, most, x, y) {
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.fillStyle = style.getPropertyValue("--faint");
    pen.font = `10px ${style.fontFamily}`;
    pen.lineWidth = 1;
    for (const value of [0, most / 2, most]) {
      const at = Math.round(y(value)) + 0.5;
      pen.beginPath();
      pen.moveTo(0, at);
      pen.lineTo(width, at);
      pen.stroke();
    }
    pen.textAlign = "left";
    pen.fillText(this.write(most), 2, y(most) + 10);
    for (const [slot, text] of this.axis.marks(width)) {
      const align = slot <= 0 ? "left" : slot >= this.axis.slots - 1 ? "right" : "center";
      pen.textAlign = align;
      const place = align === "left" ? 2 : align === "right" ? width - 2 : x(slot);
      pen.fillText(text, place, height - 3);
    }
  }

  #line(pen, { color, values, fill }, x, y) {
    pen.strokeStyle = pen.fillStyle = color;
    pen.lineWidth = 1.5;
    pen.lineJoin = "round";
    let begun = -1;
    const path = new Path2D();
    const close = (end) => {
      if (begun < 0) return;
      if (begun === end) {
        pen.beginPath();
        pen.arc(x(end), y(values[end]), 1.5, 0, 7);
        pen.fill();
      } else if (fill) {
        const area = new Path2D();
        area.moveTo(x(begun), y(0));
        for (let i = begun; i <= end; i += 1) area.lineTo(x(i), y(values[i]));
        area.lineTo(x(end), y(0));
        pen.globalAlpha = 0.12;
        pen.fill(area);
        pen.globalAlpha = 1;
      }
      begun = -1;
    };
    values.forEach((value, slot) => {
      if (Number.isNaN(value)) return close(slot - 1);
      if (begun < 0) path.moveTo(x(slot), y(value));
      else path.lineTo(x(slot), y(value));
      if (begun < 0) begun = slot;
    });
    close(values.length - 1);
    pen.stroke(path);
  }

  #crosshair(pen, style, height, x, y) {
    const at = Math.round(x(hovered)) + 0.5;
    pen.strokeStyle = style.getPropertyValue("--faint");
    pen.beginPath();
    pen.moveTo(at, TOP);
    pen.lineTo(at, height - BOTTOM);
    pen.stroke();
    for (const { color, values } of this.lines) {
      if (Number.isNaN(values[hovered])) continue;
      pen.fillStyle = color;
      pen.beginPath();
      pen.arc(at, y(values[hovered]), 2.5, 0, 7);
      pen.fill();
    }
  }

  // What the lines say under the pointer, in words beside the figure.
  #tell() {
    if (hovered === null) {
      this.note.replaceChildren();
      return;
    }
    const parts = this.lines
      .filter(({ values }) => !Number.isNaN(values[hovered]))
      .map(({ name, values }) => (name ? `${name} ${this.write(values[hovered])}` : this.write(values[hovered])));
    this.note.replaceChildren(`${this.axis.at(hovered, this.now)}  ${parts.join(" · ") || "–"}`);
  }
}

function hover(slot) {
  if (slot === hovered) return;
  hovered = slot;
  for (const plot of plots) plot.draw();
}

export function redrawAll() {
  for (const plot of plots) plot.draw();
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 3, 5, 10]) if (value <= step * power * 1.0001) return step * power;
  return 10 * power;
}
