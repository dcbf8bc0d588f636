// The life of a work: its events, with those of each attempt told as one.

import { html } from "../vendor/preact-htm.js";
import { When, beginning, milliseconds, seconds } from "./parts.js";

const ALONE = {
  "work/created": ["", "Created"],
  "work/updated": ["wait", "Given other arguments"],
  "work/cancelled": ["", "Cancelled"],
  "work/redriven": ["wait", "Started over"],
};

/** Steps with the attempts joined: a start, its progress and its end. */
export function stepsOf(events) {
  const steps = [];
  let attempt = null;
  for (const { id, variable, value, created_on: on } of events) {
    if (variable === "work/created" || variable === "work/updated" || variable === "work/redriven") attempt = 0;
    if (variable === "compute/start") {
      attempt = (attempt ?? 0) + 1;
      steps.push({ id, on, attempt, as: "busy", name: `Attempt ${attempt}`, open: true });
      continue;
    }
    const last = steps.at(-1);
    const open = last?.open ? last : null;
    if (variable === "compute/progress") {
      const [percent, ...note] = value.split(" ");
      if (open) Object.assign(open, { progress: Number(percent), note: note.join(" ") });
    } else if (variable === "compute/stop") {
      if (open) open.stopped = on;
    } else if (variable === "compute/result") {
      const step = open ?? { id, on, name: "Done", as: "good" };
      Object.assign(step, { as: "good", ended: on, end: "done", text: value, open: false });
      if (!open) steps.push(step);
    } else if (variable === "compute/error" || variable === "compute/snoozed") {
      const end = variable === "compute/error" ? { as: "bad", end: "failed" } : { as: "wait", end: "put off" };
      const step = open ?? { id, on, name: "Attempt" };
      Object.assign(step, end, { ended: on, text: value, open: false });
      if (!open) steps.push(step);
    } else {
      if (open) open.open = false;
      const [as, name] = ALONE[variable] ?? ["", variable];
      steps.push({ id, on, as, name, text: variable === "work/created" || variable === "work/updated" ? value : "" });
    }
  }
  return steps;
}

const length = ({ on, ended }) => (ended === on ? "under a second" : ended > on ? seconds(ended - on) : milliseconds(0));

export function Timeline({ events }) {
  return html`<ol class="timeline">${stepsOf(events).map((step) => html`<li key=${step.id} data-as=${step.as}>
    <p><span><strong>${step.name}</strong>${step.end && ` ${step.end} after ${length(step)}`}${step.open && " is running"}</span><small><${When} at=${step.on} /></small></p>
    ${step.progress !== undefined && html`<p><small>${step.progress} %${step.note && `: ${step.note}`}</small></p>`}
    ${step.text && html`<code>${beginning(step.text, 300)}</code>`}
  </li>`)}</ol>`;
}
