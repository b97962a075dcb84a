// Providers, and what has ended.

import { clock, count, el, lasted, say, share, target } from "./format.js";
import { past } from "./state.js";

const FAULTS = new Set(["upstream_error", "upstream_timeout", "truncated", "internal_error"]);

export class Providers {
  constructor(root) {
    this.root = root;
  }

  render(state) {
    const slots = past(state, (provider) => provider).slots;
    const cards = state.providers().map((provider) => {
      let tries = 0;
      const errors = {};
      for (const slot of slots) {
        const sum = slot?.groups.get(provider.name);
        if (!sum) continue;
        tries += sum.tries;
        for (const kind in sum.errors) errors[kind] = (errors[kind] ?? 0) + sum.errors[kind];
      }
      return this.#card(provider, tries, errors, state.now);
    });
    const drawn = cards.map((card) => card.textContent).join("|");
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.root.replaceChildren(...(cards.length ? cards : [el("p", { class: "empty" }, "No provider is configured.")]));
  }

  #card({ name, open, states, error }, tries, errors, now) {
    const kinds = Object.entries(errors).sort((a, b) => b[1] - a[1]);
    const failed = kinds.reduce((sum, [, amount]) => sum + amount, 0);
    const cooling = states.filter(([, , until]) => until !== null && until > now);
    const part = tries ? failed / tries : 0;
    const health = cooling.length ? "cooling" : part >= 0.5 ? "failing" : part >= 0.05 ? "errors" : "healthy";
    const word = { cooling: "cooling down", failing: "failing", errors: "some errors", healthy: "healthy" }[health];
    return el("article", { class: "provider" },
      el("h3", {}, name, el("span", { class: "health", "data-health": health }, word)),
      el("dl", {},
        el("div", {}, el("dt", {}, "open upstreams"), el("dd", {}, count(open))),
        el("div", {}, el("dt", {}, "tries"), el("dd", {}, count(tries))),
        el("div", {}, el("dt", {}, "failed"), el("dd", {}, tries ? share(failed / tries) : "–"))),
      ...states.map(([model, what, until, reason]) => el("p", { class: "state" },
        `${model}: ${what}${until ? ` until ${clock(until)} (${lasted(Math.max(0, until - now))})` : ""}${reason ? `: ${reason}` : ""}`)),
      ...(kinds.length ? [el("p", { class: "kinds" }, ...kinds.map(([kind, amount]) => el("span", {}, `${kind} `, el("b", {}, count(amount)))))] : []),
      ...(error ? [el("p", { class: "last" }, el("time", {}, clock(error[0])), ` ${error[1]}: ${error[3]}`)] : []));
  }
}

export class Ended {
  constructor({ body, table, empty, filter, faults, counter }) {
    Object.assign(this, { body, table, empty, filter, faults, counter });
    this.open = new Set(); // of requests whose details are shown
    this.nodes = new Map();
    filter.addEventListener("input", () => this.draw());
    faults.addEventListener("change", () => this.draw());
    this.requests = [];
  }

  render(state, shows) {
    this.requests = state.ended.filter((request) => !request.provider || shows(request.provider, request.model));
    this.draw();
  }

  draw() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.requests.filter((request) => {
      if (this.faults.checked && request.outcome === "completed") return false;
      const text = `${request.request_id} ${request.key ?? ""} ${target(request.provider, request.model)} ${request.outcome} ${request.error_code ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    say(this.counter, shown.length === this.requests.length ? count(shown.length) : `${count(shown.length)} of ${count(this.requests.length)}`);
    this.empty.hidden = shown.length > 0;
    say(this.empty, this.requests.length ? "No request matches." : "Nothing has ended yet.");
    this.table.hidden = !shown.length;
    const wanted = [];
    const kept = new Map();
    for (const request of shown) {
      const key = `${request.worker}-${request.number}`;
      const nodes = this.nodes.get(key) ?? this.#rows(request, key);
      kept.set(key, nodes);
      wanted.push(...nodes);
    }
    this.nodes = kept;
    wanted.forEach((node, place) => {
      const there = this.body.children[place];
      if (there !== node) this.body.insertBefore(node, there ?? null);
    });
    while (this.body.children.length > wanted.length) this.body.lastChild.remove();
  }

  #rows(request, key) {
    const details = el("tr", { class: "opened", hidden: !this.open.has(key) }, el("td"));
    const toggle = () => {
      const isOpen = details.hidden;
      if (isOpen) {
        this.open.add(key);
        if (!details.firstChild.childElementCount) details.firstChild.append(...told(request));
        // Cells beyond the columns in sight would take room from them.
        details.firstChild.colSpan = [...this.table.tHead.rows[0].cells].filter((cell) => cell.offsetParent).length;
      } else this.open.delete(key);
      details.hidden = !isOpen;
      button.setAttribute("aria-expanded", String(isOpen));
    };
    const button = el("button", { class: "outcome", "data-kind": kindOf(request), "aria-expanded": "false", onclick: (event) => { event.stopPropagation(); toggle(); } }, request.outcome.replaceAll("_", " "));
    const row = el("tr", { onclick: toggle },
      el("td", { class: "time" }, clock(request.at)),
      el("td", {}, button),
      el("td", {}, target(request.provider, request.model)),
      el("td", { class: "wide" }, request.key ?? "–"),
      el("td", { class: "number narrow" }, lasted(request.first_event_ms)),
      el("td", { class: "number" }, lasted(request.duration_ms)),
      el("td", { class: "number wide" }, count(request.chunks_processed)),
      el("td", { class: "number wide" }, count(request.completion_tokens)),
      el("td", { class: "number narrow" }, request.status ? String(request.status) : "–"));
    return [row, details];
  }
}

function kindOf({ outcome }) {
  if (outcome === "completed") return "good";
  return FAULTS.has(outcome) ? "bad" : "other";
}

// All that is known of an ended request, which is never what was said in it.
function told(request) {
  const facts = [
    ["request", request.request_id],
    ["error", request.error_code],
    ["answer", [request.stream ? "stream" : "whole", request.format].filter(Boolean).join(", ")],
    ["bytes received", count(request.bytes_received)],
    ["chunks", `${count(request.chunks_processed)}${request.chunks_failed ? `, ${count(request.chunks_failed)} failed` : ""}`],
    ["longest gap", lasted(request.max_gap_ms)],
    ["blocked on the client", lasted(request.backpressure_ms)],
    ["tokens", request.prompt_tokens === null && request.completion_tokens === null ? null : `${count(request.prompt_tokens)} in${request.cached_tokens ? ` (${count(request.cached_tokens)} cached)` : ""}, ${count(request.completion_tokens)} out`],
    ["broken characters", request.unicode_errors || null],
    ["broken JSON", request.json_errors || null],
  ];
  const list = el("dl", { class: "facts" }, ...facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
  const tries = request.tries.map((attempt) => el("li", { "data-kind": attempt.error ? "bad" : "good" },
    el("b", {}, attempt.target), ` at ${clock(attempt.at)}: sent after ${lasted(attempt.sent_ms)}, first event after ${lasted(attempt.first_event_ms)}, ended after ${lasted(attempt.duration_ms)}`,
    ...(attempt.error ? [el("p", {}, el("code", {}, attempt.error), ` ${attempt.error_text}`)] : [])));
  return [list, ...(tries.length ? [el("ol", { class: "tries" }, ...tries)] : [])];
}
