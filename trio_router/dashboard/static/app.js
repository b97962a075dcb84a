// The page: takes the router's events, and shows the latest at each frame.

import { Cards } from "./cards.js";
import { clock, count, el, lasted, say } from "./format.js";
import { LiveTable } from "./live.js";
import { Ended, Providers } from "./panels.js";
import { redrawAll } from "./plot.js";
import { ageOf, silenceOf, STAGES, State } from "./state.js";

const id = (name) => document.getElementById(name);
const RETRY = 1000; // ms
const SILENT = 6000; // ms without a message, after which the connection counts as lost

const state = new State();
const cards = new Cards(id("cards"), id("legend"), () => soon());
const live = new LiveTable({
  scroll: id("live-scroll"), table: id("live-table"), head: id("live-head"), body: id("live-body"),
  empty: id("live-empty"), filter: id("live-filter"), stages: id("stages"), counter: id("live-count"),
}, openDetails);
const providers = new Providers(id("providers"));
const ended = new Ended({
  body: id("ended-body"), table: id("ended-table"), empty: id("ended-empty"),
  filter: id("ended-filter"), faults: id("ended-faults"), counter: id("ended-count"),
});

// -- showing

let isDue = false;

function soon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    render();
  });
}

function render() {
  const rows = state.rows().filter((row) => cards.picked === null || (row.provider && cards.shows(row.provider, row.model)));
  cards.render(state, rows);
  live.render(state, rows);
  providers.render(state);
  ended.render(state, (provider, model) => cards.shows(provider, model));
  renderDetails();
  renderRefused();
  say(id("version"), state.version);
  say(id("workers"), state.count > 1 ? `${state.workers.size} of ${state.count} workers` : "");
}

function renderRefused() {
  const told = state.refused();
  id("refused").hidden = told === null;
  if (told === null) return;
  const [at, ...complaints] = told;
  say(id("refused"), `The configuration of ${clock(at)} was refused, the one before stays in force: ${complaints.join("; ")}`);
}

function byModel(isByModel) {
  cards.byModel(isByModel);
  id("by-model").setAttribute("aria-pressed", String(isByModel));
  id("by-provider").setAttribute("aria-pressed", String(!isByModel));
  soon();
}

id("by-provider").addEventListener("click", () => byModel(false));
id("by-model").addEventListener("click", () => byModel(true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { cards.drawn = null; soon(); redrawAll(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName) && !id("details").open) {
    event.preventDefault();
    id("live-filter").focus();
  }
});

// -- the connection

let source = null;
let heardAt = 0;

function status(name, text) {
  id("status").dataset.state = name;
  say(id("status"), text);
  document.body.classList.toggle("stale", name !== "live" && name !== "draining");
}

function connect() {
  source = new EventSource("/dashboard/events");
  heardAt = Date.now();
  let isNew = true;
  source.onmessage = (event) => {
    heardAt = Date.now();
    if (isNew) state.reset();
    isNew = false;
    state.apply(JSON.parse(event.data));
    const isDraining = [...state.workers.values()].some((worker) => worker.isDraining);
    if (isDraining) status("draining", "shutting down");
    else status("live", "live");
    soon();
  };
  source.onerror = lost;
}

async function lost() {
  source.close();
  status("lost", "connection lost, reconnecting");
  setTimeout(async () => {
    try {
      // A session that has ended needs the form, not another try.
      const page = await fetch("/dashboard", { cache: "no-store" });
      if (page.ok && !(await page.text()).includes('id="live"')) return location.reload();
    } catch {
      return lost();
    }
    connect();
  }, RETRY);
}

setInterval(() => {
  if (source.readyState === EventSource.OPEN && Date.now() - heardAt > SILENT) lost();
}, 1000);

// -- one request, and its end

let opened = null;
let opener = null;
let stopping = false;

function openDetails(row, from) {
  opened = row;
  opener = from;
  stopping = false;
  say(id("details-say"), "");
  renderDetails();
  id("details").showModal();
  id(from.classList.contains("stop") ? "details-stop" : "details-close").focus();
}

function renderDetails() {
  if (!opened) return;
  const isLive = state.workers.get(opened.worker)?.rows.get(opened.number) === opened;
  const facts = [
    ["Id", opened.id], ["Model", opened.target || "–"], ["Key", opened.key || "–"],
    ["Stage", isLive ? STAGES[opened.stage] : "ended"],
    ...(isLive ? [["Age", lasted(ageOf(opened, state.now))], ["Silent for", lasted(silenceOf(opened, state.now))]] : []),
    ["Chunks", count(opened.chunks)],
    ...(state.count > 1 ? [["Worker", String(opened.worker + 1)]] : []),
  ];
  const list = id("details-list");
  const drawn = JSON.stringify(facts);
  if (list.dataset.drawn !== drawn) {
    list.dataset.drawn = drawn;
    list.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }
  id("details-stop").disabled = !isLive || stopping;
}

id("details-stop").addEventListener("click", async () => {
  const { worker, number, id: request_id } = opened;
  stopping = true;
  renderDetails();
  say(id("details-say"), "Stopping…");
  try {
    const answer = await fetch("/dashboard/stop", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ worker, number, request_id }),
    });
    if (answer.ok) return id("details").close();
    say(id("details-say"), (await answer.json()).error.message);
  } catch {
    say(id("details-say"), "The router could not be reached.");
  }
  stopping = false;
  renderDetails();
});

id("details").addEventListener("close", () => {
  opened = null;
  (opener?.isConnected && !opener.closest("[hidden]") ? opener : id("live-scroll")).focus({ preventScroll: true });
});

connect();
