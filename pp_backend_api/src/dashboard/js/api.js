// Calls the public API, relative to the page. Whatever happens here, curl can do too.

/** An answer that is an error, as the API's problem details say it. */
export class Problem extends Error {
  constructor(status, body, after) {
    super(body.detail || body.title || `the answer is ${status}`);
    this.status = status;
    this.code = body.code;
    this.faults = body.errors ?? [];
    this.parts = body.parts;
    this.retryAfter = after;
  }
}

const listeners = new Set();

/** Calls `heard` whenever an answer says that a key is needed. */
export function onSignInNeeded(heard) {
  listeners.add(heard);
  return () => listeners.delete(heard);
}

export function needSignIn() {
  listeners.forEach((heard) => heard());
}

// Integers that a number cannot hold stay exact where the browser tells their text.
function exact(key, value, context) {
  const inexact = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return inexact && context?.source ? BigInt(context.source) : value;
}

export const parse = (text) => JSON.parse(text, exact);

async function problem(answer) {
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) needSignIn();
  return new Problem(answer.status, body, Number(answer.headers.get("retry-after")) || null);
}

/** Sends a request and returns the answer; throws a `Problem` for an error. */
export async function send(method, path, body, headers = {}) {
  const how = { method, headers: { ...headers } };
  if (body !== undefined) {
    how.headers["content-type"] = "application/json";
    how.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  const answer = await fetch(path, how).catch(() => {
    throw new Problem(0, { detail: "PP does not answer" });
  });
  if (!answer.ok) throw await problem(answer);
  return answer;
}

export async function text(path) {
  return (await send("GET", path)).text();
}

export async function get(path) {
  return parse(await text(path));
}

/** Sends a change and returns the parsed answer, or null if it has no body. */
export async function change(method, path, body, headers) {
  const answer = await (await send(method, path, body, headers)).text();
  return answer ? parse(answer) : null;
}

/** A path with the parameters that have a value. */
export function query(path, params) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

export const kindPath = (name, rest = "") => `kind/${encodeURIComponent(name)}${rest}`;

/** A command for a shell that sends the same request. */
export function asCurl(method, path, body) {
  const url = new URL(path, document.baseURI).href;
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = ["curl", method === "GET" ? "" : `-X ${method}`, quoted(url)];
  if (body !== undefined) parts.push("-H 'content-type: application/json'", `-d ${quoted(body)}`);
  return parts.filter(Boolean).join(" ");
}
