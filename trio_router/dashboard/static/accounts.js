// Keys and teams with their ceilings as bars; a key is made, rotated and revoked here.

import { asked, query } from "./asking.js";
import { ceilings } from "./bars.js";
import { count, el, moment, say } from "./format.js";
import { NewKey, sure, tell } from "./making.js";

const PAGE = 100;
const id = (name) => document.getElementById(name);

export class Accounts {
  // `refresh` asks for everything again.
  constructor(refresh) {
    this.refresh = refresh;
    this.shown = PAGE;
    this.keys = [];
    this.drawn = { keys: "", teams: "" };
    this.maker = new NewKey(refresh);
    id("keys-filter").addEventListener("input", () => this.#drawKeys());
    id("keys-new").addEventListener("click", () => this.maker.open(this.teams));
    id("keys-more").addEventListener("click", () => {
      this.shown = Math.min(1000, this.shown + PAGE);
      refresh();
    });
    this.teams = [];
  }

  async load() {
    const [keys, teams] = await Promise.all([
      asked("GET", `keys${query({ limit: this.shown, ceilings: true })}`),
      asked("GET", "teams?limit=1000&ceilings=true"),
    ]);
    id("keys-more").hidden = keys.next === null || this.shown >= 1000;
    this.more = keys.next !== null;
    this.keys = keys.data;
    this.teams = teams.data;
    this.#drawKeys();
    this.#drawTeams();
  }

  #drawKeys() {
    const words = id("keys-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.keys.filter((key) => {
      const text = `${key.id} ${key.name} ${key.team ?? ""} ${key.state} ${key.tags.join(" ")}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const all = `${count(this.keys.length)}${this.more ? "+" : ""}`;
    say(id("keys-count"), shown.length === this.keys.length ? all : `${count(shown.length)} of ${all}`);
    id("keys-table").hidden = !shown.length;
    id("keys-empty").hidden = shown.length > 0;
    say(id("keys-empty"), this.keys.length ? "No key matches." : "There is no key yet.");
    const drawn = JSON.stringify(shown);
    if (drawn === this.drawn.keys) return; // what has the focus keeps it
    this.drawn.keys = drawn;
    id("keys-body").replaceChildren(...shown.map((key) => this.#key(key)));
  }

  #key(key) {
    const acts = key.read_only || key.state !== "active" ? [] : [
      el("button", { "aria-label": `Rotate ${key.id}`, onclick: () => this.#rotate(key) }, "Rotate"),
      el("button", { class: "revoke", "aria-label": `Revoke ${key.id}`, onclick: () => this.#revoke(key) }, "Revoke"),
    ];
    const state = key.read_only && key.state === "active" ? "of the file" : key.state;
    return el("tr", { "data-key": key.id },
      el("td", { class: "who" }, el("b", {}, key.name || key.id), el("span", {}, key.name && key.name !== key.id ? key.id : "")),
      el("td", { class: "wide" }, key.team ?? "–"),
      el("td", {}, el("span", { class: "state-of", "data-state": key.state, title: key.read_only ? "It stands in the configuration's file and cannot be changed here" : null }, state)),
      el("td", {}, ...ceilings(key)),
      el("td", { class: "wide" }, key.expires_at === null ? "never" : moment(key.expires_at)),
      el("td", { class: "acts" }, ...acts));
  }

  #drawTeams() {
    say(id("teams-count"), count(this.teams.length));
    const drawn = JSON.stringify(this.teams);
    if (drawn === this.drawn.teams) return;
    this.drawn.teams = drawn;
    const cards = this.teams.map((team) => el("article", { class: "provider" },
      el("h3", {}, team.name || team.id, el("small", {}, team.read_only ? "of the file" : team.name && team.name !== team.id ? team.id : "")),
      ...ceilings(team)));
    id("teams").replaceChildren(...(cards.length ? cards : [el("p", { class: "empty" }, "There is no team.")]));
  }

  #revoke(key) {
    sure(`Revoke ${key.name || key.id}?`, "Whoever uses this key is refused, everywhere within 2 s. It cannot be undone.", "Revoke the key", async () => {
      await asked("POST", `keys/${encodeURIComponent(key.id)}/revoke`);
      this.refresh();
    });
  }

  #rotate(key) {
    sure(`Rotate ${key.name || key.id}?`, "A new key takes this one's place. The old one is valid for one more hour.", "Rotate the key", async () => {
      tell((await asked("POST", `keys/${encodeURIComponent(key.id)}/rotate`, { overlap: 3600 })).key);
      this.refresh();
    });
  }
}
