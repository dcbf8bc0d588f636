// Who does works: what each worker works on, and when it was heard of last.

import { html } from "../../vendor/preact-htm.js";
import { usePath } from "../live.js";
import { KindLink, Loading, Mark, Note, Table, Title, When, count } from "../parts.js";

const MOST_KINDS = 5;

function KindsOf({ names }) {
  const shown = names.slice(0, MOST_KINDS).flatMap((name, place) => [place > 0 && ", ", html`<${KindLink} name=${name} />`]);
  return html`${shown}${names.length > MOST_KINDS && ` and ${count(names.length - MOST_KINDS)} more`}`;
}

function Running({ works }) {
  const columns = [
    { name: "work", of: (work) => html`<a href="#/works/${work.id}">${work.id}</a>` },
    { name: "kind", of: (work) => html`<${KindLink} name=${work.kind} />` },
    { name: "attempt", number: true, wide: true, of: (work) => work.attempt },
    { name: "since", number: true, of: (work) => html`<${When} at=${work.since} />` },
    { name: "lease ends", number: true, wide: true, of: (work) => html`<${When} at=${work.lease_until} />` },
    { name: "progress", of: (work) => (work.progress === undefined || work.progress === null ? "" : html`<progress max="100" value=${work.progress} aria-label=${`Progress of work ${work.id}`}></progress><small>${work.progress} %${work.note ? `: ${work.note}` : ""}</small>`) },
  ];
  return html`<section aria-labelledby="running"><h2 id="running">Running now</h2>
    <${Table} label="Running works" rows=${works} of=${(work) => work.id} columns=${columns} empty="No worker has a work that its row tells of." /></section>`;
}

export function Workers() {
  const workers = usePath("worker?limit=1000");
  const columns = [
    { name: "worker", of: (worker) => worker.name },
    { name: "state", of: (worker) => html`<${Mark} as=${worker.is_there ? "good" : "faint"}>${worker.is_there ? "there" : "gone"}<//>` },
    { name: "kinds", wide: true, long: true, of: (worker) => html`<${KindsOf} names=${worker.kinds} />` },
    { name: "running", number: true, of: (worker) => count(worker.works.length) },
    { name: "since", number: true, wide: true, of: (worker) => html`<${When} at=${worker.since} />` },
    { name: "heard of", number: true, of: (worker) => html`<${When} at=${worker.seen_on} />` },
  ];
  if (!workers.data) return html`<${Title}>Workers<//><${Loading} of=${workers} />`;
  return html`
    <${Title}>Workers<//>
    <${Note}>A worker is listed for a day after it was heard of last.<//>
    <${Table} label="Workers" rows=${workers.data} of=${(worker) => worker.name} columns=${columns} empty="No worker was heard of. The page of a pulled kind has code for one." />
    <${Running} works=${workers.data.flatMap((worker) => worker.works)} />`;
}
