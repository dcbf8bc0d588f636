// One work: why it is where it is, its arguments and result, its life, and what can be done with it.

import { html, useState } from "../../vendor/preact-htm.js";
import { asCurl, change, kindPath, parse, text } from "../api.js";
import { usePath } from "../live.js";
import { Confirm, Copy, Facts, Json, KindLink, Loading, Note, Status, Text, Title, When, absolute, partsOf, pretty } from "../parts.js";
import { address, go } from "../route.js";
import { Timeline } from "../timeline.js";
import { whyNot } from "../why.js";

const argsOf = (work) => (work.args === undefined ? { add_up_to: work.add_up_to } : work.args);

/** A body for PATCH with these arguments. */
const bodyOf = (work, args) => (work.args === undefined ? args : `{"args":${args}}`);

const creation = (work) => (work.args === undefined ? pretty(argsOf(work)) : `{"kind":${JSON.stringify(work.kind)},"args":${pretty(work.args)}}`);

function workerOf(workers, work) {
  for (const worker of workers ?? []) {
    const run = worker.works.find((run) => run.id === work.id);
    if (run) return { name: worker.name, run };
  }
  return null;
}

function Edit({ work, onClose }) {
  const act = async (form) => {
    const args = form.get("args");
    try {
      JSON.parse(args);
    } catch (error) {
      throw new Error(`The arguments are not JSON: ${error.message}`);
    }
    await change("PATCH", `work/${work.id}`, bodyOf(work, args), { "if-match": `"${work.version}"` });
  };
  return html`<${Confirm} title=${`Other arguments for work ${work.id}`} verb="Save and run" act=${act} onClose=${onClose}>
    <p>The work is done anew with these arguments, whatever its status is.</p>
    <label>Arguments, as JSON <textarea name="args" rows="10" required spellcheck="false">${pretty(argsOf(work))}</textarea></label>
  <//>`;
}

function Actions({ work, reload }) {
  const [asked, ask] = useState(null);
  const path = `work/${work.id}`;
  const unfinished = work.status === "pending" || work.status === "running";
  const close = (isDone) => {
    ask(null);
    if (isDone) reload();
  };
  const again = work.status === "done"
    ? () => change("PATCH", path, bodyOf(work, pretty(argsOf(work))))
    : () => change("POST", `${path}/retry`);
  const remove = async () => {
    await change("DELETE", path);
    go("works");
  };
  return html`
    ${!unfinished && html`<button type="button" class="main" onClick=${() => ask("again")}>Run again…</button>`}
    ${unfinished && html`<button type="button" onClick=${() => ask("cancel")}>Cancel…</button>`}
    <button type="button" onClick=${() => ask("edit")}>Edit…</button>
    <a class="button" href=${address(`kinds/${encodeURIComponent(work.kind)}`, { like: work.id })}>Copy as new</a>
    <${Copy} text=${asCurl("POST", "work", creation(work))}>Copy as curl<//>
    <button type="button" class="danger" onClick=${() => ask("delete")}>Delete…</button>
    ${asked === "edit" && html`<${Edit} work=${work} onClose=${close} />`}
    ${asked === "again" && html`<${Confirm} title=${`Run work ${work.id} again?`} verb="Run again" act=${again} onClose=${close}><p>It starts over with the arguments that it has.</p><//>`}
    ${asked === "cancel" && html`<${Confirm} title=${`Cancel work ${work.id}?`} verb="Cancel the work" danger act=${() => change("POST", `${path}/cancel`)} onClose=${close}>
      <p>${work.status === "running" ? "Its worker is told to stop. Whatever it still reports has no effect." : "It will not run."} It stays readable.</p><//>`}
    ${asked === "delete" && html`<${Confirm} title=${`Delete work ${work.id}?`} verb="Delete" danger act=${remove} onClose=${close}><p>It is cancelled, and disappears from every list.</p><//>`}`;
}

function Outcome({ work }) {
  if (work.error) return html`<section aria-labelledby="error"><h2 id="error">${work.status === "failed" ? "Error" : "Last error"}</h2><${Text} text=${work.error} label="Error" /></section>`;
  if (work.status !== "done") return null;
  return html`<section aria-labelledby="result"><h2 id="result">Result</h2><${Json} value=${work.result} label="Result" /></section>`;
}

export function Work({ route: { path } }) {
  const id = /^\d+$/.test(path[1]) ? path[1] : null;
  const found = usePath(id && `work/${id}`);
  const events = usePath(id && `work/${id}/events`);
  const work = found.data;
  const open = work?.status === "pending" || work?.status === "running";
  const kind = usePath(work && open && kindPath(work.kind));
  const health = usePath(open && "health/ready");
  const workers = usePath(work?.status === "running" && "worker?limit=1000");
  const crumb = html`<a href="#/works">Works</a>`;
  if (!id) return html`<${Title} crumb=${crumb}>No such work<//><${Note}>The id of a work is a number.<//>`;
  if (!work) return html`<${Title} crumb=${crumb}>Work ${id}<//><${Loading} of=${found} />`;
  const reload = () => {
    found.reload();
    events.reload();
  };
  const why = kind.data || !open || kind.error ? whyNot({ work, kind: kind.data, events: events.data, parts: partsOf(health), worker: workerOf(workers.data, work) }) : null;
  return html`
    <${Title} crumb=${crumb} actions=${html`<${Actions} work=${work} reload=${reload} />`}>Work ${work.id} <${Status} status=${work.status} /><//>
    ${found.error && html`<${Note} as="bad">${found.error.message}. What follows was true before.<//>`}
    ${why && html`<div class="answer" role="status" data-status=${work.status}>${why}${work.progress !== undefined && html`<progress max="100" value=${work.progress} aria-label="Progress"></progress><small>${work.progress} %${work.note && `: ${work.note}`}</small>`}</div>`}
    <${Facts} facts=${[
      ["Kind", html`<${KindLink} name=${work.kind} />`],
      ["Code", html`<code>${work.work_code}</code>`],
      ["Created", html`<span title=${absolute(work.created_on)}><${When} at=${work.created_on} /></span>`],
      ["Changed", html`<${When} at=${work.updated_on} />`],
      work.run_at !== undefined && ["Runs at", absolute(work.run_at)],
      work.attempt > 1 && ["Attempt", work.attempt],
      work.unique !== undefined && ["Unique", html`<code>${work.unique}</code>`],
      ["Version", work.version],
    ]} />
    <div class="columns">
      <div class="columns">
        <section aria-labelledby="args"><h2 id="args">Arguments</h2><${Json} value=${argsOf(work)} label="Arguments" /></section>
        <${Outcome} work=${work} />
      </div>
      <section aria-labelledby="life"><h2 id="life">Timeline</h2>${events.data ? html`<${Timeline} events=${events.data} />` : html`<${Loading} of=${events} />`}</section>
    </div>`;
}

/** The work with this id, as it is now. */
export const readWork = async (id) => parse(await text(`work/${id}`));
export { argsOf };
