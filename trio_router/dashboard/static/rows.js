// Requests with their tries and costs, and what administrators did.

import { asked, query } from "./asking.js";
import { count, dollars, el, lasted, moment } from "./format.js";

const PAGE = 50;
const WAIT = 300; // ms after the last key press
const id = (name) => document.getElementById(name);

export class Requests {
  constructor() {
    this.onChange = () => {};
    this.open = new Set(); // of the rows whose details are shown
    this.shown = PAGE;
    this.drawn = "";
    let typing = null;
    id("requests-key").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.onChange(), WAIT);
    });
    id("requests-more").addEventListener("click", () => {
      this.shown = Math.min(1000, this.shown + PAGE);
      this.onChange();
    });
  }

  async load() {
    const page = await asked("GET", `requests${query({ limit: this.shown, key: id("requests-key").value.trim() })}`);
    id("requests-more").hidden = page.next === null || this.shown >= 1000;
    id("requests-table").hidden = !page.data.length;
    id("requests-empty").hidden = page.data.length > 0;
    const drawn = JSON.stringify(page.data);
    if (drawn === this.drawn) return; // whoever reads or copies is not disturbed
    this.drawn = drawn;
    id("requests-body").replaceChildren(...page.data.flatMap((row) => this.#rows(row)));
  }

  #rows(row) {
    const details = el("tr", { class: "opened", hidden: !this.open.has(row.id) }, el("td", {}, ...told(row)));
    const toggle = () => {
      details.hidden = !details.hidden;
      if (details.hidden) this.open.delete(row.id);
      else this.open.add(row.id);
      details.firstChild.colSpan = [...id("requests-table").tHead.rows[0].cells].filter((cell) => cell.offsetParent).length;
      button.setAttribute("aria-expanded", String(!details.hidden));
    };
    const outcome = row.state === "reserved" ? "running" : row.outcome || row.state;
    const kind = outcome === "completed" ? "good" : row.status >= 500 ? "bad" : "other";
    const button = el("button", { class: "outcome", "data-kind": kind, "aria-expanded": String(!details.hidden), onclick: (event) => { event.stopPropagation(); toggle(); } }, outcome.replaceAll("_", " "));
    details.firstChild.colSpan = 6;
    const line = el("tr", { onclick: toggle },
      el("td", { class: "time" }, moment(row.began_at)),
      el("td", {}, button),
      el("td", {}, row.model || "–"),
      el("td", { class: "wide" }, row.key ?? "–"),
      el("td", { class: "number narrow" }, count(row.attempts.length)),
      el("td", { class: "number" }, cost(row)));
    return [line, details];
  }
}

function cost(row) {
  return `${row.estimated ? "≈ " : ""}${dollars(row.cost_usd)}${row.unpriced ? " +" : ""}`;
}

// All that the ledger knows of one request.
function told(row) {
  const facts = [
    ["row", row.id], ["request", row.request_id], ["team", row.team], ["operation", row.operation],
    ["status", row.status || null],
    ["length", row.ended_at === null ? null : lasted((row.ended_at - row.began_at) * 1000)],
    ["tags", row.tags.join(", ")],
    ["money", row.estimated ? "some of it is estimated" : null],
    ["price", row.unpriced ? "some of it is not known" : null],
    ...Object.entries(row.charges_usd).map(([counter, amount]) => [counter, dollars(amount)]),
  ];
  const list = el("dl", { class: "facts" }, ...facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
  const tries = row.attempts.map((attempt) => el("li", {},
    el("b", {}, attempt.target), ` ${attempt.outcome.replaceAll("_", " ")}: ${usage(attempt)}, `,
    el("b", {}, attempt.cost_usd === null ? "no known cost" : dollars(attempt.cost_usd)),
    ...(attempt.price ? [` by ${attempt.price}`] : [])));
  return [list, ...(tries.length ? [el("ol", { class: "tries" }, ...tries)] : [])];
}

function usage({ usage: used, estimated }) {
  const parts = Object.entries(used).map(([name, amount]) => `${count(amount)} ${name.replaceAll("_", " ")}`);
  return `${parts.join(", ") || "nothing told"}${estimated ? " (estimated)" : ""}`;
}

export class Acts {
  async load() {
    const { data } = await asked("GET", "audit?limit=50");
    id("audit-table").hidden = !data.length;
    id("audit-empty").hidden = data.length > 0;
    const drawn = String(data[0]?.number);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    id("audit-body").replaceChildren(...data.map((entry) => el("tr", {},
      el("td", { class: "time" }, moment(entry.at)),
      el("td", {}, entry.actor),
      el("td", {}, entry.act),
      el("td", {}, entry.subject),
      el("td", { class: "wide" }, Object.entries(entry.detail).filter(([, text]) => text).map(([name, text]) => `${name}: ${text}`).join("; ")))));
  }
}
