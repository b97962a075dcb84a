// Asking the router for what administrators may ask, with the page's cookie.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The JSON of a good answer; an Error otherwise, with the router's own words.
export async function asked(method, path, body) {
  const more = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(`/dashboard/admin/${path}`, { method, cache: "no-store", ...more });
  } catch {
    throw new Error("The router could not be reached.");
  }
  const told = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, told?.error?.message ?? `The router answered with ${answer.status}.`);
  return told;
}

export function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
