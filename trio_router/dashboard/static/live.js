// The table of live requests: only the rows in sight are in the document, however many there are.

import { count, el, lasted, rate, say } from "./format.js";
import { ageOf, silenceOf, STAGES } from "./state.js";

const ROW = 34; // px, as in the style
const BEYOND = 6; // rows above and below what is in sight

const COLUMNS = [
  { id: "stage", title: "Stage", of: (row) => row.stage },
  { id: "target", title: "Model", of: (row) => row.target },
  { id: "key", title: "Key", of: (row) => row.key, class: "wide" },
  { id: "id", title: "Request", of: (row) => row.id, class: "wider" },
  { id: "age", title: "Age", of: (row, now) => ageOf(row, now), class: "number" },
  { id: "chunks", title: "Chunks", of: (row) => row.chunks, class: "number" },
  { id: "rate", title: "Rate", hint: "Chunks a second, over the last five", of: (row) => row.rate, class: "number wide" },
  { id: "silence", title: "Silent", hint: "Since the last read from the upstream", of: (row, now) => silenceOf(row, now), class: "number" },
];

export class LiveTable {
  constructor({ scroll, table, head, body, empty, filter, stages, counter }, onOpen) {
    Object.assign(this, { scroll, table, body, empty, stages, counter, onOpen });
    this.rows = [];
    this.shown = [];
    this.lines = []; // table rows, used again and again
    this.sort = { id: "age", down: true };
    this.words = [];
    this.stage = null;
    this.chosen = null; // of the keyboard
    this.state = null;
    this.above = el("tr", { "aria-hidden": "true" }, el("td"));
    this.below = this.above.cloneNode(true);
    body.append(this.above, this.below);
    head.append(...COLUMNS.map((column) => this.#heading(column)), el("th", { scope: "col" }, el("span", { class: "unseen" }, "Stop")));
    stages.append(...STAGES.map((name, place) => this.#stageButton(name, place)));
    filter.addEventListener("input", () => {
      this.words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.refresh();
    });
    scroll.addEventListener("scroll", () => this.#draw(), { passive: true });
    scroll.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(() => this.#draw()).observe(scroll);
    this.#markSort();
  }

  render(state, rows) {
    this.state = state;
    this.rows = rows;
    const totals = STAGES.map(() => 0);
    for (const row of rows) totals[row.stage] += 1;
    [...this.stages.children].forEach((button, place) => {
      say(button.lastChild, count(totals[place]));
      button.classList.toggle("none", !totals[place]);
      button.setAttribute("aria-pressed", String(this.stage === place));
    });
    this.refresh();
  }

  refresh() {
    if (!this.state) return;
    const now = this.state.now;
    const column = COLUMNS.find(({ id }) => id === this.sort.id);
    const way = this.sort.down ? -1 : 1;
    this.shown = this.rows.filter((row) => this.#matches(row));
    const keys = new Map(this.shown.map((row) => [row, column.of(row, now)]));
    this.shown.sort((a, b) => {
      const [first, second] = [keys.get(a), keys.get(b)];
      const order = typeof first === "string" ? first.localeCompare(second) : first - second;
      return order ? way * order : a.worker - b.worker || a.number - b.number;
    });
    const told = this.state.workers.size ? [...this.state.workers.values()].reduce((sum, { total }) => sum + total, 0) : 0;
    say(this.counter, this.shown.length === told ? count(told) : `${count(this.shown.length)} of ${count(told)}`);
    this.table.setAttribute("aria-rowcount", String(this.shown.length + 1));
    this.empty.hidden = this.shown.length > 0;
    this.empty.textContent = told ? "No request matches." : "No request is under way.";
    this.table.hidden = !this.shown.length;
    this.#draw();
  }

  #matches(row) {
    if (this.stage !== null && row.stage !== this.stage) return false;
    if (!this.words.length) return true;
    const text = `${row.id} ${row.key} ${row.target} ${STAGES[row.stage]}`.toLowerCase();
    return this.words.every((word) => text.includes(word));
  }

  #draw() {
    const height = this.scroll.clientHeight;
    const from = Math.max(0, Math.min(this.shown.length, Math.floor(this.scroll.scrollTop / ROW)) - BEYOND);
    const to = Math.min(this.shown.length, from + Math.ceil(height / ROW) + 2 * BEYOND);
    this.above.firstChild.style.height = `${from * ROW}px`;
    this.below.firstChild.style.height = `${(this.shown.length - to) * ROW}px`;
    while (this.lines.length < to - from) this.#addLine();
    const now = this.state ? this.state.now : 0;
    this.lines.forEach((line, place) => {
      const row = from + place < to ? this.shown[from + place] : null;
      line.node.hidden = row === null;
      if (row !== null) this.#fill(line, row, from + place, now);
    });
  }

  #addLine() {
    const line = { row: null, cells: {} };
    const cells = COLUMNS.map((column) => {
      const cell = el("td", { class: column.class });
      line.cells[column.id] = cell;
      return cell;
    });
    line.stage = el("span", { class: "stage" });
    line.cells.stage.append(line.stage);
    const stop = el("button", { class: "stop", onclick: (event) => { event.stopPropagation(); this.onOpen(line.row, stop); } }, "Stop");
    line.stop = stop;
    line.node = el("tr", { onclick: () => this.onOpen(line.row, this.scroll) }, ...cells, el("td", { class: "act" }, stop));
    this.lines.push(line);
    this.below.before(line.node);
  }

  #fill(line, row, place, now) {
    line.row = row;
    const { cells } = line;
    say(line.stage, STAGES[row.stage]);
    if (line.stage.dataset.stage !== String(row.stage)) line.stage.dataset.stage = row.stage;
    say(cells.target, row.target || "–");
    say(cells.key, row.key || "–");
    say(cells.id, row.id);
    say(cells.age, lasted(ageOf(row, now)));
    say(cells.chunks, count(row.chunks));
    say(cells.rate, row.isStream ? rate(row.rate) : "–");
    say(cells.silence, lasted(silenceOf(row, now)));
    const name = `Stop ${row.id}`;
    if (line.stop.getAttribute("aria-label") !== name) line.stop.setAttribute("aria-label", name);
    line.node.setAttribute("aria-rowindex", String(place + 2));
    line.node.classList.toggle("odd", place % 2 === 1);
    line.node.classList.toggle("chosen", row === this.chosen);
  }

  #onKey(event) {
    if (event.target !== this.scroll) return;
    const at = this.shown.indexOf(this.chosen);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -this.shown.length, End: this.shown.length };
    if (event.key in steps && this.shown.length) {
      event.preventDefault();
      const next = Math.min(this.shown.length - 1, Math.max(0, at + steps[event.key]));
      this.chosen = this.shown[next];
      const top = next * ROW;
      const head = this.table.tHead.offsetHeight;
      if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
      else if (top + ROW + head > this.scroll.scrollTop + this.scroll.clientHeight) this.scroll.scrollTop = top + ROW + head - this.scroll.clientHeight;
      this.#draw();
    } else if ((event.key === "Enter" || event.key === "Delete") && at >= 0) {
      event.preventDefault();
      this.onOpen(this.chosen, this.scroll);
    }
  }

  #heading(column) {
    const sort = () => {
      this.sort = { id: column.id, down: this.sort.id === column.id ? !this.sort.down : (column.class ?? "").includes("number") };
      this.#markSort();
      this.refresh();
    };
    column.head = el("th", { scope: "col", class: column.class, title: column.hint }, el("button", { onclick: sort }, column.title));
    return column.head;
  }

  #markSort() {
    for (const { id, head } of COLUMNS) {
      if (id === this.sort.id) head.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  #stageButton(name, place) {
    const pick = () => {
      this.stage = this.stage === place ? null : place;
      this.render(this.state, this.rows);
    };
    return el("button", { "aria-pressed": "false", onclick: pick, disabled: false }, el("span", { class: "dot", "data-stage": place }), name, " ", el("b", {}, "0"));
  }
}
