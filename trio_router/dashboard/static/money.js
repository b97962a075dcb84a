// The page of keys and spend: asks the router now and then while somebody looks at it.

import { Accounts } from "./accounts.js";
import { Refused } from "./asking.js";
import { say } from "./format.js";
import { redrawAll } from "./plot.js";
import { Acts, Requests } from "./rows.js";
import { Spend } from "./spend.js";

const EACH = 10000; // ms
const id = (name) => document.getElementById(name);

const spend = new Spend();
const accounts = new Accounts(refresh);
const requests = new Requests();
const acts = new Acts();
let timer = null;
let running = null;

// Everything is asked for again; a part that fails leaves the others as they are.
async function refresh() {
  clearTimeout(timer);
  running ??= load().finally(() => { running = null; });
  await running;
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, EACH);
}

async function load() {
  const parts = [spend, accounts, requests, acts].map((part) => part.load());
  const failed = (await Promise.allSettled(parts)).filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  if (failed.some((fault) => fault instanceof Refused && fault.status === 401)) return location.assign("/dashboard");
  id("status").dataset.state = failed.length ? "lost" : "live";
  say(id("status"), failed.length ? "not up to date" : "up to date");
  id("refused").hidden = !failed.length;
  if (failed.length) say(id("refused"), failed[0].message);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) refresh();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { spend.draw(); redrawAll(); });
spend.onChange = requests.onChange = refresh;
refresh();
