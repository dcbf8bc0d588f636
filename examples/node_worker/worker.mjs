#!/usr/bin/env node
/* A worker: claims works of one kind over HTTP, calls handle() for each and reports how it ended.

Put your code into handle() and run `node worker.mjs`. Or leave this file as it is, import { work } from it in a file of
your own and call work(yourFunction) there. It needs Node.js 18 or newer and nothing else.

Variables: PP_API_URL, the address of the API; PP_API_KEY, its key; PP_WORKER_PLACES, the works at once, 1 by default;
PP_WORKER_NAME, the worker's name among others, by default made of host and process. */
import { realpathSync } from "node:fs";
import net from "node:net";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

// ---- your code: begin ----
/* Does one work and returns its result. An exception is a failure, and the work is tried again.

   run.progress(40, "half way")           shows how far it is
   run.signal                             an AbortSignal: aborted once nobody waits for the result any more
   run.attempt, run.idempotencyKey        1, 2, …; the same text for all attempts
   throw new Permanent("no such user")    fails for good
   throw new RetryLater("busy", 30)       is tried again after 30 seconds
   throw new Snooze(300)                  is put off by 300 seconds, which is no failure

   Code that computes for seconds without an await stops the heartbeats: give it a worker thread or a process. */
async function handle(args, run) {
  return args;
}
// ---- your code: end ----

const KIND = "text.word_count";
const API_URL = process.env.PP_API_URL || "http://127.0.0.1:3000";
const LEASE = 30; // seconds of silence after which another worker gets the work; heartbeats come three times as often
const WAIT = 20; // seconds for which the API holds a claim until there is a work
const GRACE = 20; // seconds that running works get to end after SIGTERM or SIGINT

const HEADERS = { "content-type": "application/json" };
if (process.env.PP_API_KEY) HEADERS.authorization = `Bearer ${process.env.PP_API_KEY}`;
const CHOSEN = process.env.PP_WORKER_NAME || `${hostname()}-${process.pid}`;
const NAME = CHOSEN.replace(/[^A-Za-z0-9._@-]/g, "-").slice(-100);
net.setDefaultAutoSelectFamily?.(true); // of `localhost`, the address that answers

const running = new Set(); // the runs under way
const claims = new Set(); // what ends the claims that wait
const stopping = new AbortController();
let news = () => {}; // wakes the heart, because a run has progress to tell

/** The work fails for good. */
export class Permanent extends Error {}

/** The attempt failed; the next one begins after so many seconds. */
export class RetryLater extends Error {
  constructor(reason, seconds) {
    super(reason);
    this.wait = duration(seconds);
  }
}

/** The work is put off by so many seconds. */
export class Snooze extends Error {
  constructor(seconds) {
    super("snoozed");
    this.wait = duration(seconds);
  }
}

function duration(seconds) {
  if (!(seconds >= 0)) throw new TypeError("seconds must be a number from 0 on");
  return `${Math.trunc(seconds * 1000)}ms`;
}

/** The API did not do what it was asked. `problem` says why; there is none if the same may succeed later. */
class Refused extends Error {
  constructor(reason, problem, seconds = 0) {
    super(reason);
    Object.assign(this, { problem, seconds });
  }

  /** Milliseconds to wait after so many failures: as asked for, and longer each time, by chance. */
  pause(failures) {
    return 1000 * (this.seconds + (0.5 + Math.random() / 2) * Math.min(30, 0.5 * 2 ** failures));
  }
}

/** One attempt at a work. Its token proves to the API that no newer attempt has begun. */
class Run {
  #cancelling = new AbortController();
  signal = this.#cancelling.signal;
  untold = {};

  constructor({ run, args, work_code, attempt, idempotency_key }) {
    Object.assign(this, { token: run, args, code: work_code, attempt, idempotencyKey: idempotency_key });
  }

  /** Shows how far the work is: 0 to 100, and a note of up to 200 bytes. */
  progress(percent, note = "") {
    this.untold = { progress: Math.max(0, Math.min(100, Math.trunc(percent))), note: String(note) };
    news();
  }

  cancel() {
    this.#cancelling.abort();
  }
}

function log(...words) {
  console.error(new Date().toISOString(), ...words);
}

/** Sends JSON to the API and returns the JSON of its answer. */
async function post(path, body, patience = 15) {
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), 1000 * patience);
  if (path === "/run/claim") claims.add(ending);
  const how = { method: "POST", headers: HEADERS, redirect: "error", signal: ending.signal };
  let answer, said;
  try {
    answer = await fetch(API_URL.replace(/\/+$/, "") + path, { ...how, body: JSON.stringify(body) });
    const later = answer.status === 408 || answer.status === 429 || answer.status >= 500;
    said = later ? await answer.text() : await answer.json();
    if (later) throw new Error(`it says ${answer.status}`);
  } catch (error) {
    const seconds = Number(answer?.headers.get("retry-after")) || 0;
    throw new Refused(`${API_URL} gives no answer: ${error.cause ?? error}`, undefined, seconds);
  } finally {
    clearTimeout(timer);
    claims.delete(ending);
  }
  if (answer.status !== 200) throw new Refused(said?.detail ?? answer.status, said ?? {});
  return said;
}

/** Does one work after the other until the worker stops. */
async function place(handle) {
  const wanted = { kinds: [KIND], worker: NAME, max: 1, wait: `${WAIT}s`, lease: `${LEASE}s` };
  let failures = 0;
  while (!stopping.signal.aborted) {
    let runs = [];
    try {
      runs = (await post("/run/claim", wanted, WAIT + 15)).runs.map((claimed) => new Run(claimed));
      failures = 0;
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      if (!stopping.signal.aborted) log(`no work is claimed: ${refused.message}`);
      await sleep(refused.pause(++failures), undefined, { signal: stopping.signal }).catch(() => {});
    }
    for (const run of runs) {
      running.add(run);
      const [end, what] = stopping.signal.aborted ? ["snooze", { for: "0s" }] : await outcome(handle, run);
      await report(run, end, what);
      running.delete(run);
    }
  }
}

/** Calls the handler. Returns how its run ends, and what is reported of that. */
async function outcome(handle, run) {
  log(`${run.code} begins, attempt ${run.attempt}`);
  try {
    const result = (await handle(run.args, run)) ?? null;
    JSON.stringify(result); // a result that is no JSON is a failure like any other
    return ["complete", { result }];
  } catch (error) {
    if (error instanceof Snooze) return ["snooze", { for: error.wait }];
    const reason = error instanceof Permanent || error instanceof RetryLater ? error.message : String(error);
    log(`${run.code} failed: ${error?.stack ?? error}`);
    const more = error instanceof Permanent ? { permanent: true } : { retry_after: error?.wait };
    return ["fail", { error: reason.slice(0, 500), ...more }];
  }
}

/** Reports an end until there is an answer. That is safe: the same end again has the same answer. */
async function report(run, end, what) {
  for (let failures = 1; ; failures++) {
    try {
      const { status } = await post(`/run/${end}`, { run: run.token, ...what });
      return log(`${run.code}: ${end}, the work is ${status}`);
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      log(`${run.code}: ${end} ${refused.problem ? "has no effect" : "is repeated"}: ${refused.message}`);
      if (!refused.problem) await sleep(refused.pause(failures));
      else if (end !== "complete" || refused.problem.code === "lease-lost") return;
      else [end, what] = ["fail", { error: `its result is refused: ${refused.message}`, permanent: true }];
    }
  }
}

/** Says of all running works that they are at work: three times in a lease, and soon after progress. */
async function heart() {
  for (;;) {
    const told = [...running].map((run) => [run, run.untold]);
    const codes = told.map(([run]) => run.code).join(", ");
    let answers = [];
    try {
      const beats = told.map(([{ token }, untold]) => ({ run: token, ...untold }));
      if (beats.length > 0) answers = await post("/run/heartbeat", beats);
    } catch (refused) {
      log(`heartbeat of ${codes}: ${refused.message}`);
    }
    const failed = answers.length < told.length;
    answers.forEach((answer, at) => {
      const [run, untold] = told[at];
      if (run.untold === untold) run.untold = {};
      const isOver = answer.cancel_requested || answer.code === "lease-lost";
      if (!isOver || !running.has(run) || run.signal.aborted) return;
      log(`${run.code} is to stop: ${answer.why ?? "cancelled, or out of time"}`);
      run.cancel();
    });
    await sleep(1000);
    const hasNews = failed || [...running].some((run) => Object.keys(run.untold).length > 0);
    if (!hasNews) await new Promise((wake) => setTimeout((news = wake), (1000 * LEASE) / 3));
  }
}

/** Lets running works end within the grace, and hands back those that do not, so that others begin at once. */
async function stop() {
  if (stopping.signal.aborted) return;
  stopping.abort();
  for (const claim of claims) claim.abort(); // one that still waits would get what is handed back
  log(`${NAME} stops`);
  const deadline = Date.now() + 1000 * GRACE;
  while (running.size > 0 && Date.now() < deadline) await sleep(50);
  const left = [...running];
  for (const run of left) {
    log(`${run.code} did not end in time and is handed back`);
    run.cancel();
  }
  const ends = left.map(({ token }) => ({ run: token, for: "0s" }));
  if (left.length > 0) await post("/run/snooze", ends).catch((refused) => log(refused.message));
  process.exit(0);
}

/** Does works until SIGTERM or SIGINT. */
export async function work(handle) {
  const places = Number(process.env.PP_WORKER_PLACES || 1);
  if (!(Number.isInteger(places) && places >= 1 && places <= 1000)) {
    console.error("PP_WORKER_PLACES must be a number from 1 to 1000");
    process.exit(1);
  }
  log(`${NAME} does works of ${KIND} from ${API_URL}, ${places} at once`);
  for (const name of ["SIGTERM", "SIGINT"]) process.on(name, stop);
  await Promise.all([heart(), ...Array.from({ length: places }, () => place(handle))]);
}

if (process.argv[1] && pathToFileURL(realpathSync(process.argv[1])).href === import.meta.url) await work(handle);
