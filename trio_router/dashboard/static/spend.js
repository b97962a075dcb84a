// What was spent, by key, team, model or provider: a line each over the days, and the sums.

import { asked, query } from "./asking.js";
import { count, dollars, el, say } from "./format.js";
import { Plot } from "./plot.js";

const WAYS = ["key", "team", "model", "provider"];
const SPANS = [7, 30, 90];
const MOST_LINES = 5; // the rest is one line
const OTHERS = "others";
const id = (name) => document.getElementById(name);

export class Spend {
  constructor() {
    this.by = "key";
    this.span = 30;
    this.onChange = () => {};
    this.days = [];
    this.lines = [];
    this.plot = new Plot(id("spend-plot"), id("spend-note"), dollars, 0.01, {
      slots: this.span,
      marks: (width) => this.#marks(width),
      at: (slot) => this.days[slot] ?? "",
    });
    this.#switch("spend-by", WAYS, (way) => `by ${way}`, "by");
    this.#switch("spend-days", SPANS, (days) => `${days} days`, "span");
  }

  async load() {
    const { by, span } = this;
    const [days, sums] = await Promise.all([
      asked("GET", `spend/days${query({ by, days: span })}`),
      asked("GET", `spend${query({ by, since: Math.floor(Date.now() / 86400000 - span + 1) * 86400 })}`),
    ]);
    if (by !== this.by || span !== this.span) return; // something else was chosen meanwhile
    this.days = days.days;
    this.lines = gathered(days.data);
    this.draw();
    this.#table(sums);
  }

  draw() {
    const lines = this.lines.map(({ group, days }, place) => ({
      name: this.lines.length > 1 ? name(group) : "", color: colour(place), fill: this.lines.length === 1, values: days,
    }));
    const total = this.lines.reduce((sum, line) => sum + line.cost_usd, 0);
    say(id("spend-total").firstChild, dollars(total));
    say(id("spend-total").lastChild, `in ${this.span} days`);
    id("spend-plot").setAttribute("aria-label", `Spent in ${this.span} days: ${dollars(total)}`);
    this.plot.axis.slots = Math.max(2, this.days.length);
    this.plot.show(lines, 0);
    id("spend-legend").replaceChildren(...this.lines.map(({ group }, place) => {
      const dot = el("span", { class: "dot" });
      dot.style.background = colour(place);
      return el("span", { class: "more" }, dot, name(group));
    }));
  }

  #table({ data }) {
    say(id("spend-group"), this.by[0].toUpperCase() + this.by.slice(1));
    id("spend-table").hidden = !data.length;
    id("spend-empty").hidden = data.length > 0;
    id("spend-body").replaceChildren(...data.slice(0, 200).map((line) => el("tr", {},
      el("td", {}, name(line.group)),
      el("td", { class: "number" }, count(line.requests)),
      el("td", { class: "number wide" }, count(line.input_tokens)),
      el("td", { class: "number wide" }, count(line.output_tokens)),
      el("td", { class: "number", title: line.unpriced ? `${line.unpriced} attempts have no known price` : null }, `${dollars(line.cost_usd)}${line.unpriced ? " +" : ""}`))));
  }

  #marks(width) {
    const last = this.days.length - 1;
    if (last < 1) return [];
    const short = (slot) => this.days[slot]?.slice(5) ?? "";
    const places = width < 200 ? [0, last] : [0, Math.round(last / 3), Math.round((last * 2) / 3), last];
    return places.map((slot) => [slot, slot === last ? "today" : short(slot)]);
  }

  #switch(root, values, text, field) {
    const buttons = values.map((value) => el("button", { "aria-pressed": String(this[field] === value), onclick: () => {
      this[field] = value;
      buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(values[place] === value)));
      this.onChange();
    } }, text(value)));
    id(root).append(...buttons);
  }
}

function gathered(groups) {
  const shown = groups.slice(0, MOST_LINES);
  const rest = groups.slice(MOST_LINES);
  if (!rest.length) return shown;
  const days = rest[0].days.map((_, day) => rest.reduce((sum, group) => sum + group.days[day], 0));
  return [...shown, { group: OTHERS, days, cost_usd: rest.reduce((sum, group) => sum + group.cost_usd, 0) }];
}

function name(group) {
  return group || "(none)";
}

function colour(place) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--series-${Math.min(place, MOST_LINES)}`).trim();
}
