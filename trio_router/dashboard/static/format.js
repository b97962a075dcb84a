// How values are written, and how elements are made.  No markup is ever parsed: text stays text.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// Writes only what has changed: the browser lays out nothing for the rest.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value >= 1e7) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e5) return `${(value / 1e3).toFixed(0)} k`;
  return whole.format(value);
}

export function rate(value) {
  if (Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  if (value < 10) return value.toFixed(1);
  return count(value);
}

export function share(value) {
  if (Number.isNaN(value)) return "–";
  if (value > 0 && value < 0.1) return `${(value * 100).toFixed(1)} %`;
  return `${(value * 100).toFixed(0)} %`;
}

// A duration of `ms` milliseconds.
export function lasted(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms) || ms < 0) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  if (ms < 10000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
  return `${Math.floor(seconds / 3600)}:${String(Math.floor(seconds / 60) % 60).padStart(2, "0")} h`;
}

export function bytes(value) {
  if (value < 1000) return `${whole.format(value)} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e4 ? 1 : 0)} kB`;
  return `${(value / 1e6).toFixed(1)} MB`;
}

export function clock(epoch) {
  return new Date(epoch).toLocaleTimeString([], { hour12: false });
}

export function target(provider, model) {
  return provider ? `${provider}/${model}` : "–";
}

// US dollars: to the cent; below ten cents as exactly as is worth reading.
export function dollars(amount) {
  if (amount === null || amount === undefined || Number.isNaN(amount)) return "–";
  if (amount >= 1000) return `$${whole.format(amount)}`;
  if (amount === 0 || amount >= 0.1) return `$${amount.toFixed(2)}`;
  return amount < 0.000001 ? "< $0.000001" : `$${Number(amount.toPrecision(2)).toFixed(6).replace(/0+$/, "")}`;
}

// A day and a time of Unix seconds; the year only where it is another one.
export function moment(seconds) {
  if (!seconds) return "–";
  const at = new Date(seconds * 1000);
  const year = at.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return at.toLocaleString([], { year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });
}
