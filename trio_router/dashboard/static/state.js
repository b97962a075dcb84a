// What the router has told us: each worker's live requests, slots of the past and providers.

export const STAGES = [
  "queued", "connecting", "waiting first event", "streaming", "waiting for client", "draining",
];
export const SLOT = 5000; // ms
export const SLOTS = 180;
const RATIO = 1.15; // of two neighbouring buckets of times to the first event
const ENDED = 200;
const RATE_OVER = 5; // messages

export class State {
  constructor() {
    this.reset();
  }

  reset() {
    this.workers = new Map();
    this.ended = [];
    this.count = 1;
    this.version = "";
    this.ahead = 0; // ms that this browser's clock is ahead of the router's
  }

  get now() {
    return Date.now() - this.ahead;
  }

  apply(message) {
    if ("away" in message) {
      this.workers.delete(message.away);
      return;
    }
    this.count = message.workers;
    this.version = message.version;
    this.ahead = Date.now() - message.now;
    const worker = this.#worker(message.worker);
    worker.total = message.total;
    worker.isDraining = message.draining;
    worker.providers = message.providers;
    worker.refused = message.refused ?? null; // [when, complaint, ...] of the last reload
    for (const [number, lag, series] of message.slots) worker.slots.set(number, { lag, series });
    for (const number of worker.slots.keys()) {
      if (number <= this.now / SLOT - SLOTS - 1) worker.slots.delete(number);
    }
    for (const number of message.gone) worker.rows.delete(number);
    for (const fields of message.begun) this.#begin(worker, message.worker, fields);
    for (const fields of message.changed) change(worker.rows.get(fields[0]), fields);
    for (const row of worker.rows.values()) measure(row, message.now);
    if (message.ended.length) {
      for (const request of message.ended) request.worker = message.worker;
      this.ended = [...message.ended, ...this.ended].sort((a, b) => b.at - a.at || b.number - a.number).slice(0, ENDED);
    }
  }

  rows() {
    return [...this.workers.values()].flatMap((worker) => [...worker.rows.values()]);
  }

  // The last configuration that was refused, if no later one was taken.
  refused() {
    const told = [...this.workers.values()].map((worker) => worker.refused).filter(Boolean);
    return told.sort((a, b) => b[0] - a[0])[0] ?? null;
  }

  // By name: [open upstreams, states, the last error].
  providers() {
    const all = new Map();
    for (const worker of this.workers.values()) {
      for (const [name, open, states, error] of worker.providers) {
        const known = all.get(name) ?? { name, open: 0, states: [], error: null };
        known.open += open;
        known.states.push(...states);
        if (error && (!known.error || error[0] > known.error[0])) known.error = error;
        all.set(name, known);
      }
    }
    return [...all.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  #worker(number) {
    if (!this.workers.has(number)) {
      this.workers.set(number, { rows: new Map(), slots: new Map(), providers: [], total: 0, isDraining: false });
    }
    return this.workers.get(number);
  }

  #begin(worker, workerNumber, [number, id, key, provider, model, started, isStream]) {
    const row = worker.rows.get(number) ?? {
      worker: workerNumber, number, chunks: 0, stage: 0, read: -1, waiting: 0, seen: [], rate: 0,
    };
    Object.assign(row, { id, key: key ?? "", provider, model, started, isStream });
    row.target = provider ? `${provider}/${model}` : "";
    worker.rows.set(number, row);
  }
}

function change(row, [, stage, chunks, read, waiting]) {
  if (row) Object.assign(row, { stage, chunks, read, waiting });
}

function measure(row, now) {
  row.seen.push([now, row.chunks]);
  if (row.seen.length > RATE_OVER + 1) row.seen.shift();
  const [at, chunks] = row.seen[0];
  row.rate = now > at ? ((row.chunks - chunks) * 1000) / (now - at) : 0;
}

export function ageOf(row, now) {
  return Math.max(0, now - row.started);
}

// ms since the last read; before the first, since the beginning.
export function silenceOf(row, now) {
  return row.read < 0 ? ageOf(row, now) : Math.max(0, now - row.started - row.read);
}

const TOTALS = ["open", "waiting", "ended", "failed", "chunks", "tokens", "tries", "prompt", "cached"];

// The figures of some series added up.
export class Sum {
  constructor() {
    this.open = this.waiting = this.ended = this.failed = this.chunks = this.tokens = this.tries = this.prompt = this.cached = 0;
    this.errors = {};
    this.first = new Map();
  }

  add([, , open, waiting, ended, failed, chunks, tokens, tries, errors, first, prompt, cached]) {
    this.open += open;
    this.waiting += waiting;
    this.ended += ended;
    this.failed += failed;
    this.chunks += chunks;
    this.tokens += tokens;
    this.tries += tries;
    this.prompt += prompt;
    this.cached += cached;
    for (const kind in errors) this.errors[kind] = (this.errors[kind] ?? 0) + errors[kind];
    for (let i = 0; i < first.length; i += 2) {
      this.first.set(first[i], (this.first.get(first[i]) ?? 0) + first[i + 1]);
    }
  }

  merge(other) {
    for (const name of TOTALS) this[name] += other[name];
    for (const kind in other.errors) this.errors[kind] = (this.errors[kind] ?? 0) + other.errors[kind];
    for (const [place, amount] of other.first) this.first.set(place, (this.first.get(place) ?? 0) + amount);
  }

  // ms that `part` of the first events came within; NaN without any.
  percentile(part) {
    let total = 0;
    for (const amount of this.first.values()) total += amount;
    if (!total) return NaN;
    let left = part * total;
    for (const place of [...this.first.keys()].sort((a, b) => a - b)) {
      left -= this.first.get(place);
      if (left <= 0) return RATIO ** (place - 0.5);
    }
    return NaN;
  }
}

// The past in SLOTS slots, the last the one that runs: `total`, and `groups` by what `groupOf` says.
export function past(state, groupOf) {
  const last = Math.floor(state.now / SLOT);
  const slots = Array.from({ length: SLOTS }, () => null);
  for (const worker of state.workers.values()) {
    for (const [number, { lag, series }] of worker.slots) {
      const place = SLOTS - 1 - (last - number);
      if (place < 0 || place >= SLOTS) continue;
      const slot = (slots[place] ??= { lag: 0, total: new Sum(), groups: new Map() });
      slot.lag = Math.max(slot.lag, lag);
      for (const figures of series) {
        const group = groupOf(figures[0], figures[1]);
        if (group === null) continue;
        slot.total.add(figures);
        if (!slot.groups.has(group)) slot.groups.set(group, new Sum());
        slot.groups.get(group).add(figures);
      }
    }
  }
  return { slots, span: Math.max(500, state.now - last * SLOT) };
}

// The sum over the last `seconds`, whole slots and the one that runs; and how long that is, in ms.
export function recent({ slots, span }, seconds) {
  const back = Math.ceil((seconds * 1000) / SLOT);
  const sum = new Sum();
  let lag = 0;
  for (const slot of slots.slice(-back - 1)) {
    if (!slot) continue;
    lag = Math.max(lag, slot.lag);
    sum.merge(slot.total);
  }
  return { sum, lag, ms: back * SLOT + span };
}
