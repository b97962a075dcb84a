// The dialogs: a new key, the key that is shown once, and whether somebody is sure.

import { asked } from "./asking.js";
import { el, say } from "./format.js";

const id = (name) => document.getElementById(name);
const DAY = 86400; // s

export class NewKey {
  constructor(refresh) {
    this.refresh = refresh;
    id("new-cancel").addEventListener("click", () => id("new").close());
    id("new-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#make();
    });
  }

  open(teams) {
    id("new-form").reset();
    say(id("new-say"), "");
    id("new-team").replaceChildren(el("option", { value: "" }, "none"), ...teams.map((team) => el("option", { value: team.id }, team.name || team.id)));
    id("new").showModal();
  }

  async #make() {
    const button = id("new-form").querySelector(".primary");
    button.disabled = true;
    say(id("new-say"), "");
    try {
      const made = await asked("POST", "keys", bodyOf(new FormData(id("new-form"))));
      id("new").close();
      tell(made.key);
      this.refresh();
    } catch (fault) {
      say(id("new-say"), fault.message);
    }
    button.disabled = false;
  }
}

// What the form says, as the router takes it; what is no number is sent as it is, for it to refuse.
function bodyOf(form) {
  const text = (name) => String(form.get(name) ?? "").trim();
  const number = (name) => (text(name) === "" ? undefined : Number.isFinite(Number(text(name))) ? Number(text(name)) : text(name));
  const limits = {};
  for (const name of ["requests_per_minute", "tokens_per_minute", "parallel"]) {
    if (text(name) !== "") limits[name] = number(name);
  }
  const days = number("days");
  return {
    name: text("name"),
    ...(text("team") ? { team: text("team") } : {}),
    models: text("models").split(/[\s,]+/).filter(Boolean),
    limits,
    budgets: text("usd") ? [{ usd: text("usd").replace(/^\$/, ""), per: text("per"), mode: text("mode") }] : [],
    ...(days === undefined ? {} : { expires_in: typeof days === "number" ? days * DAY : days }),
  };
}

// Shows a key, this once; nothing keeps it when the dialog has closed.
export function tell(key) {
  say(id("secret-key"), key);
  say(id("secret-copy"), "Copy");
  id("secret").showModal();
}

id("secret").addEventListener("close", () => say(id("secret-key"), ""));
id("secret-copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(id("secret-key").textContent);
    say(id("secret-copy"), "Copied");
  } catch { // without TLS, pages of other machines may not
    getSelection().selectAllChildren(id("secret-key"));
    say(id("secret-copy"), "Select and copy it");
  }
});

let act = null;

// Asks before it does what cannot be undone.
export function sure(title, what, word, doing) {
  say(id("sure-title"), title);
  say(id("sure-what"), what);
  say(id("sure-do"), word);
  say(id("sure-say"), "");
  id("sure-do").disabled = false;
  act = doing;
  id("sure").showModal();
}

id("sure-do").addEventListener("click", async () => {
  id("sure-do").disabled = true;
  try {
    await act();
    id("sure").close();
  } catch (fault) {
    say(id("sure-say"), fault.message);
    id("sure-do").disabled = false;
  }
});
