// Why a work is not running, in a sentence.

import { html } from "../vendor/preact-htm.js";
import { When, absolute, count, seconds, works } from "./parts.js";

const UNITS = { ms: 0.001, s: 1, m: 60, min: 60, h: 3600, d: 86_400 };

/** The seconds of a duration as a policy has it, such as `1m 30s`. */
export function secondsOf(duration) {
  const parts = [...String(duration).matchAll(/([\d.]+)\s*([a-z]+)/g)];
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit] ?? 0), 0);
}

/** The longest wait after so many failed attempts. */
function longestWait({ backoff: { base, factor, cap } }, failed) {
  return Math.min(secondsOf(base) * factor ** Math.max(failed - 1, 0), secondsOf(cap));
}

function afterFailure(work, kind, events) {
  const last = events?.filter((event) => ["compute/error", "compute/snoozed", "work/redriven", "work/updated"].includes(event.variable)).pop();
  if (last?.variable === "compute/snoozed") return html`The worker put it off <${When} at=${last.created_on} />${last.value ? ` (${last.value})` : ""}. It runs again when that time is over.`;
  if (last?.variable !== "compute/error" || !(work.attempt > 1)) return null;
  const wait = kind ? longestWait(kind.policy, work.attempt - 1) : 0;
  const until = last.created_on + wait;
  if (Date.now() / 1000 > until + 1) return null;
  return html`Attempt ${work.attempt - 1} failed <${When} at=${last.created_on} />. The next one begins after a wait of at most ${seconds(wait)}.`;
}

/** The sentence for an unfinished work, or nothing for others. */
export function whyNot({ work, kind, events, parts, worker }) {
  if (work.status === "running") {
    if (!worker) return html`It is running.`;
    return html`It is running at <strong>${worker.name}</strong>: attempt ${worker.run.attempt}, begun <${When} at=${worker.run.since} />.`;
  }
  if (work.status !== "pending") return null;
  if (work.run_at > Date.now() / 1000) return html`It is scheduled: it runs <${When} at=${work.run_at} />, on ${absolute(work.run_at)}.`;
  if (!kind || !kind.is_declared) return html`Nobody has declared its kind. It waits until a program with a handler for it starts, or somebody declares it.`;
  if (kind.policy.paused) return html`Its kind is paused. It runs after the kind is resumed.`;
  const failed = afterFailure(work, kind, events);
  if (failed) return failed;
  if (!kind.has_worker) {
    const seen = kind.worker_seen_on ? html`The last one was heard of <${When} at=${kind.worker_seen_on} />.` : "None was ever there.";
    return html`No worker is there for its kind. ${seen}`;
  }
  const broker = parts?.find((part) => part.name === "broker");
  if (kind.delivery === "queue" && broker && broker.state !== "up") return html`The broker is ${broker.state}: it is sent when the broker is back.`;
  const before = kind.works.pending - 1;
  if (before > 0) return html`It waits for its turn: ${works(before)} of its kind ${before === 1 ? "waits" : "wait"} too, and ${count(kind.works.running)} ${kind.works.running === 1 ? "is" : "are"} running.`;
  return html`It is about to run.`;
}
