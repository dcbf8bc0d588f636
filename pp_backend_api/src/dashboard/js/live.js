// The one stream of the page, /stats/stream, and what follows from it: the counters, and a beat on which screens read
// what they show again. It is closed while the page is hidden. Every sample is complete, so none can be missed.

import { useEffect, useState } from "../vendor/preact-htm.js";
import { needSignIn, parse, text } from "./api.js";

/** Longest silence of a stream that is alive; the API sends a heartbeat every 15 s. */
const SILENCE_MS = 40_000;
/** Screens also read what no counter tells of, such as settings, progress and health. */
const BEAT_MS = 2_000;
/** Shortest time between two reads of the same thing: usually, and where a read costs more. */
const PAUSE_MS = 1_000;
export const RARELY = 5_000;
/** Shortest and longest wait before the stream is opened again. */
const RETRY_MS = [500, 5_000];

const listeners = new Set();
let known = { state: "connecting", stats: null };
let stream = null;

function tell(news) {
  known = { ...known, ...news };
  listeners.forEach((heard) => heard(known));
}

const beats = new Set();
const beat = () => beats.forEach((heard) => heard());

/** The events of a stream's text, as they become complete. */
async function* events(body, silence) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await Promise.race([reader.read(), silence()]);
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    yield frames;
  }
}

function silent(controller) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    return new Promise((_, reject) => {
      timer = setTimeout(() => {
        controller.abort();
        reject(new Error("silent"));
      }, SILENCE_MS);
    });
  };
}

const dataOf = (frame) =>
  frame
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");

/** Follows the stream until it is cut; true if a key is needed. */
async function follow(controller) {
  const answer = await fetch("stats/stream", { headers: { accept: "text/event-stream" }, signal: controller.signal });
  if (answer.status === 401 || answer.status === 403) {
    needSignIn();
    return true;
  }
  if (!answer.ok) return false;
  tell({ state: "live" });
  beat();
  for await (const frames of events(answer.body, silent(controller))) {
    const data = frames.map(dataOf).filter(Boolean).pop();
    if (data) {
      tell({ stats: parse(data) });
      beat();
    }
  }
  return false;
}

async function keepFollowing(controller) {
  let wait = RETRY_MS[0];
  while (!controller.signal.aborted) {
    const own = new AbortController();
    const stop = () => own.abort();
    controller.signal.addEventListener("abort", stop);
    const signedOut = await follow(own).catch(() => false);
    controller.signal.removeEventListener("abort", stop);
    if (controller.signal.aborted) return;
    if (signedOut) return tell({ state: "signed out" });
    wait = known.state === "live" ? RETRY_MS[0] : Math.min(wait * 2, RETRY_MS[1]);
    tell({ state: "cut" });
    await new Promise((resume) => setTimeout(resume, wait));
  }
}

/** Opens the stream, unless it is open. */
export function open() {
  if (stream || document.hidden) return;
  stream = new AbortController();
  tell({ state: known.state === "paused" || known.state === "signed out" ? "connecting" : known.state });
  keepFollowing(stream);
}

/** Closes the stream, and says why. */
export function close(state) {
  stream?.abort();
  stream = null;
  tell({ state });
}

document.addEventListener("visibilitychange", () => (document.hidden ? close("paused") : open()));
setInterval(() => known.state === "live" && beat(), BEAT_MS);

/** The state of the stream and the newest counters. */
export function useLive() {
  const [now, set] = useState(known);
  useEffect(() => {
    listeners.add(set);
    set(known);
    return () => listeners.delete(set);
  }, []);
  return now;
}

/** Reads a path again and again, and passes on what has changed. */
function followPath(path, { read, pause }, show) {
  let [reading, again, ended, last, timer] = [false, false, false, null, null];
  const load = async () => {
    if (reading || timer) return void (again = true);
    reading = true;
    again = false;
    try {
      const found = await text(path);
      if (!ended && found !== last) show({ data: read(found), error: null, path });
      last = found;
    } catch (error) {
      last = null;
      if (!ended) show({ error, path });
    }
    reading = false;
    timer = setTimeout(() => {
      timer = null;
      if (again && !ended) load();
    }, pause);
  };
  beats.add(load);
  load();
  return {
    reload: () => {
      clearTimeout(timer);
      timer = null;
      load();
    },
    stop: () => {
      ended = true;
      clearTimeout(timer);
      beats.delete(load);
    },
  };
}

/**
 * What is at a path, read again when something changes: `{ data, error, reload }`. Nothing is read without a path. What
 * was read before stays while it cannot be read.
 */
export function usePath(path, { read = parse, pause = PAUSE_MS } = {}) {
  const [found, set] = useState({ path: null });
  const [reload, setReload] = useState(() => () => {});
  useEffect(() => {
    if (!path) return undefined;
    const following = followPath(path, { read, pause }, (news) =>
      set((old) => ({ data: old.path === path ? old.data : undefined, ...news })),
    );
    setReload(() => following.reload);
    return following.stop;
  }, [path]);
  const current = found.path === path ? found : {};
  return { data: current.data, error: current.error ?? null, reload };
}
