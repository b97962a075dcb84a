// The figures of now, each with its last 15 minutes, and what they are broken down by.

import { bytes, count, el, lasted, rate, say, share } from "./format.js";
import { Plot } from "./plot.js";
import { past, recent, SLOT, Sum } from "./state.js";

const MOST_GROUPS = 5;
const OTHERS = "others";

// title, what is said of it, the figure of now, a slot's value, how it is written, the least scale
const perSecond = (field) => (sum, ms) => (sum[field] * 1000) / ms;
const CARDS = [
  { id: "open", title: "Open requests", now: (p) => count(p.live), value: (sum) => sum.open, write: count, least: 4 },
  { id: "requests", title: "Requests ended", unit: "/s", now: (p) => rate(perSecond("ended")(p.short.sum, p.short.ms)), value: perSecond("ended"), write: rate, least: 1 },
  { id: "chunks", title: "Chunks", unit: "/s", now: (p) => rate(perSecond("chunks")(p.short.sum, p.short.ms)), value: perSecond("chunks"), write: rate, least: 10 },
  { id: "tokens", title: "Tokens", unit: "/s", hint: "As upstreams count them when an answer ends; over the last minute", now: (p) => rate(perSecond("tokens")(p.long.sum, p.long.ms)), value: perSecond("tokens"), write: rate, least: 10 },
  { id: "cached", title: "Read from caches", hint: "Of the input tokens of the last minute, those that upstreams say they read from their caches", now: (p) => share(p.long.sum.prompt ? p.long.sum.cached / p.long.sum.prompt : NaN), value: (sum) => (sum.prompt ? sum.cached / sum.prompt : NaN), write: share, least: 0.1 },
  { id: "first", title: "Time to first event", hint: "p50, p95 and p99 of the last minute", now: (p) => [0.5, 0.95, 0.99].map((part) => lasted(p.long.sum.percentile(part))), write: lasted, least: 10 },
  { id: "errors", title: "Errors", hint: "Requests that failed by a provider's or our fault, of all that ended in the last minute", now: (p) => share(p.long.sum.ended ? p.long.sum.failed / p.long.sum.ended : NaN), value: (sum) => (sum.ended ? sum.failed / sum.ended : NaN), write: share, least: 0.05 },
  { id: "waiting", title: "Waiting for clients", hint: "Bytes that upstreams have given and clients have not taken", now: (p) => bytes(p.waiting), value: (sum) => sum.waiting, write: bytes, least: 1000 },
  { id: "lag", title: "Event loop lag", hint: "The worst delay of the last minute, in any worker", now: (p) => lasted(p.long.lag), write: lasted, least: 5 },
];

export class Cards {
  constructor(root, legend, onPick) {
    this.legend = legend;
    this.onPick = onPick;
    this.isByModel = false;
    this.picked = null; // the only group that is shown
    this.names = []; // of the groups that have a colour
    this.cards = CARDS.map((card) => {
      const figure = el("output", { class: "figure" });
      const note = el("p", { class: "note" });
      const canvas = el("canvas", { role: "img" });
      const box = el("article", { class: "card", id: `card-${card.id}`, title: card.hint }, el("h3", {}, card.title), figure, note, canvas);
      root.append(box);
      return { ...card, figure, canvas, plot: new Plot(canvas, note, card.write, card.least) };
    });
  }

  group(provider, model) {
    if (!provider) return model === "other" ? OTHERS : null;
    return this.isByModel ? `${provider}/${model}` : provider;
  }

  shows(provider, model) {
    return this.picked === null || this.group(provider, model) === this.picked;
  }

  byModel(isByModel) {
    this.isByModel = isByModel;
    this.picked = null;
  }

  render(state, rows) {
    const all = past(state, (provider, model) => this.group(provider, model));
    this.#rank(all);
    const shown = this.picked === null ? all : past(state, (provider, model) => (this.shows(provider, model) ? this.group(provider, model) : null));
    const figures = {
      live: this.picked === null ? totalOf(state) : rows.length,
      waiting: rows.reduce((sum, row) => sum + row.waiting, 0),
      short: recent(shown, 10),
      long: recent(shown, 60),
    };
    for (const card of this.cards) this.#card(card, shown, figures, state.now);
    this.#legend();
  }

  #card(card, shown, figures, now) {
    const said = card.now(figures);
    if (Array.isArray(said)) {
      if (card.figure.childElementCount !== said.length) {
        card.figure.replaceChildren(...["p50", "p95", "p99"].map((name) => el("span", {}, el("b"), el("i", {}, name))));
      }
      said.forEach((text, i) => say(card.figure.children[i].firstChild, text));
    } else {
      if (!card.figure.childElementCount) card.figure.replaceChildren(el("b"), el("i", {}, card.unit ?? ""));
      say(card.figure.firstChild, said);
    }
    card.canvas.setAttribute("aria-label", `${card.title}: ${[said].flat().join(", ")}${card.unit ?? ""}`);
    card.plot.show(this.#lines(card, shown), now);
  }

  #lines(card, { slots, span }) {
    const ms = (slot) => (slot === slots.length - 1 ? Math.max(span, 1000) : SLOT);
    if (card.id === "lag") {
      return [{ color: colour(0), fill: true, values: slots.map((slot) => (slot ? slot.lag : NaN)) }];
    }
    if (card.id === "first") {
      return [[0.99, "p99", 1], [0.95, "p95", 3], [0.5, "p50", 0]].map(([part, name, place]) => ({
        name, color: colour(place), values: slots.map((slot) => (slot ? slot.total.percentile(part) : NaN)),
      }));
    }
    if (this.more > 0 && this.picked === null) slots.forEach((slot) => slot && this.#gather(slot));
    const all = this.more > 0 && this.picked === null ? [...this.names, OTHERS] : this.names;
    const names = all.filter((name) => slots.some((slot) => slot?.groups.has(name)));
    const lines = names.map((name) => ({
      name: names.length > 1 ? name : "",
      color: this.colourOf(name),
      fill: names.length === 1,
      values: slots.map((slot, place) => {
        const sum = slot?.groups.get(name);
        return sum ? card.value(sum, ms(place)) : slot && card.id !== "errors" ? 0 : NaN;
      }),
    }));
    return lines;
  }

  // Puts what has no line of its own together.
  #gather(slot) {
    const others = new Sum();
    for (const [name, sum] of slot.groups) {
      if (this.names.includes(name)) continue;
      others.merge(sum);
      slot.groups.delete(name);
    }
    slot.groups.set(OTHERS, others);
  }

  // The busiest groups get a line and a colour each, in an order that does not jump.
  #rank({ slots }) {
    const weights = new Map();
    for (const slot of slots) {
      for (const [name, sum] of slot?.groups ?? []) weights.set(name, (weights.get(name) ?? 0) + sum.chunks + sum.ended + sum.open);
    }
    const busiest = [...weights].sort((a, b) => b[1] - a[1]).slice(0, MOST_GROUPS).map(([name]) => name);
    this.more = weights.size - busiest.length;
    const kept = this.names.filter((name) => busiest.includes(name));
    this.names = [...kept, ...busiest.filter((name) => !kept.includes(name)).sort()];
  }

  colourOf(name) {
    const place = this.names.indexOf(name);
    return colour(place < 0 ? MOST_GROUPS : place);
  }

  #legend() {
    const key = JSON.stringify([this.names, this.picked, this.more]);
    if (key === this.drawn) return;
    this.drawn = key;
    const held = this.legend.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    this.legend.replaceChildren(
      ...this.names.map((name) => {
        const dot = el("span", { class: "dot" });
        dot.style.background = this.colourOf(name);
        return el("button", { "data-name": name, "aria-pressed": String(this.picked === name), onclick: () => this.#pick(name) }, dot, name);
      }),
      ...(this.more > 0 ? [this.#others()] : []),
    );
    if (held !== null) [...this.legend.children].find((node) => node.dataset.name === held)?.focus();
  }

  #others() {
    const dot = el("span", { class: "dot" });
    dot.style.background = this.colourOf(OTHERS);
    return el("span", { class: "more" }, dot, `${this.more} ${this.more === 1 ? "other" : "others"}`);
  }

  #pick(name) {
    this.picked = this.picked === name ? null : name;
    this.onPick();
  }
}

function totalOf(state) {
  return [...state.workers.values()].reduce((sum, worker) => sum + worker.total, 0);
}

function colour(place) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--series-${place}`).trim();
}
