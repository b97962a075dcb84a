// How near the ceilings of a key or a team are, as bars.

import { count, dollars, el, moment } from "./format.js";

const NEAR = 0.8;
const NAMES = { requests_per_minute: "requests a minute", tokens_per_minute: "tokens a minute", parallel: "at once" };

export function ceilings(account) {
  const bars = (account.ceilings ?? []).map(bar);
  return bars.length ? bars : [el("span", { class: "ceiling" }, "no ceiling")];
}

function bar(ceiling) {
  const isMoney = ceiling.limit === "budget";
  const used = isMoney ? ceiling.spent_usd + ceiling.held_usd : ceiling.used;
  const most = isMoney ? ceiling.usd : ceiling.most;
  const part = most ? Math.min(1, used / most) : 1;
  const write = isMoney ? dollars : count;
  const name = isMoney ? `${ceiling.per === "total" ? "in total" : `a ${ceiling.per}`}, ${ceiling.mode}` : NAMES[ceiling.limit];
  const fill = el("span", { class: "fill", "data-near": part >= 1 ? "over" : part >= NEAR ? "near" : null });
  fill.style.width = `${(part * 100).toFixed(1)}%`;
  const resets = isMoney && ceiling.resets_at ? `; resets ${moment(ceiling.resets_at)}` : "";
  const held = isMoney && ceiling.held_usd ? `, ${dollars(ceiling.held_usd)} of it held by running requests` : "";
  return el("div", { class: "ceiling", title: `${write(used)} of ${write(most)}${held}${resets}` },
    el("span", {}, name), el("b", {}, `${write(used)} of ${write(most)}`),
    el("span", { class: "track", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": most, "aria-valuenow": used }, fill));
}
