// The works: filtered, newest first, in pages; and acts on all works that match.

import { html, useMemo, useState } from "../../vendor/preact-htm.js";
import { query } from "../api.js";
import { usePath } from "../live.js";
import { KindLink, Loading, Name, STATUSES, Status, Table, Title, Typed, When, beginning, brief } from "../parts.js";
import { address, go } from "../route.js";
import { Bulk, DEEDS } from "../bulk.js";

const PAGE = 50;
const SINCE = { "15m": ["last 15 minutes", 900], "1h": ["last hour", 3600], "1d": ["last day", 86_400], "7d": ["last 7 days", 604_800], "30d": ["last 30 days", 2_592_000] };

/** What a work is about: its arguments, and how it ended. */
const argsOf = (work) => brief(work.args === undefined ? { add_up_to: work.add_up_to } : work.args);

function outcomeOf(work) {
  if (work.error) return beginning(work.error, 120);
  if (work.status === "done") return beginning(brief(work.result), 120);
  if (work.progress !== undefined) return `${work.progress} %${work.note ? `, ${work.note}` : ""}`;
  if (work.status === "pending" && work.run_at > Date.now() / 1000) return html`runs <${When} at=${work.run_at} />`;
  return "";
}

const COLUMNS = [
  { name: "work", of: (work) => html`<a class="id" href="#/works/${work.id}">${work.id}</a>` },
  { name: "code", wide: true, of: (work) => html`<code>${work.work_code}</code>` },
  { name: "kind", of: (work) => html`<${KindLink} name=${work.kind} />` },
  { name: "status", of: (work) => html`<${Status} status=${work.status} />${work.attempt > 1 && html` <small>attempt ${work.attempt}</small>`}` },
  { name: "arguments", wide: true, long: true, of: (work) => html`<code class="cut">${beginning(argsOf(work), 120)}</code>` },
  { name: "outcome", wide: true, long: true, of: (work) => html`<span class="cut">${outcomeOf(work)}</span>` },
  { name: "changed", number: true, of: (work) => html`<${When} at=${work.updated_on} />` },
];

export const WorkTable = ({ works, empty }) =>
  html`<${Table} label="Works" rows=${works} of=${(work) => work.id} columns=${COLUMNS} empty=${empty} />`;

/** The filters of an address as parameters of the API. */
export function filterOf({ kind, status, work_code, since }) {
  const length = SINCE[since]?.[1];
  return { kind, status, work_code, since: length && Math.floor(Date.now() / 1000) - length };
}

function Filters({ params, kinds }) {
  const set = (name) => (event) => {
    const { before, ...rest } = params;
    go("works", { ...rest, [name]: event.target.value.trim() });
  };
  const any = Object.keys(params).length > 0;
  return html`<form class="filters" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
    <label>Kind <${Typed} list="kinds" value=${params.kind ?? ""} placeholder="any" onChange=${set("kind")} autocomplete="off" /></label>
    <datalist id="kinds">${kinds.map((kind) => html`<option key=${kind.name} value=${kind.name}></option>`)}</datalist>
    <label>Status <select value=${params.status ?? ""} onChange=${set("status")}>
      <option value="">any</option>
      ${STATUSES.map((status) => html`<option key=${status} value=${status}>${status}</option>`)}
    </select></label>
    <label>Code begins with <${Typed} value=${params.work_code ?? ""} placeholder="any" maxlength="100" onChange=${set("work_code")} autocomplete="off" /></label>
    <label>Created <select value=${params.since ?? ""} onChange=${set("since")}>
      <option value="">at any time</option>
      ${Object.entries(SINCE).map(([value, [name]]) => html`<option key=${value} value=${value}>${name}</option>`)}
    </select></label>
    ${any && html`<a class="button" href="#/works">Clear</a>`}
  </form>`;
}

export function Works({ route: { params } }) {
  const kinds = usePath("kind");
  const [deed, setDeed] = useState(null);
  const filter = useMemo(() => filterOf(params), [JSON.stringify(params)]);
  const found = usePath(query("work/search", { ...filter, limit: PAGE + 1, before: params.before }));
  const shown = found.data?.slice(0, PAGE);
  const more = found.data?.length > PAGE;
  const possible = Object.values(DEEDS).filter(({ statuses }) => !params.status || statuses.includes(params.status));
  return html`
    <${Title}>Works<//>
    <${Filters} params=${params} kinds=${kinds.data ?? []} />
    ${shown?.length > 0 && html`<div class="actions" role="group" aria-label="All works that match">
      <span class="note">All that match:</span>
      ${possible.map((deed) => html`<button type="button" key=${deed.name} class=${deed.danger ? "danger" : ""} onClick=${() => setDeed(deed)}>${deed.name} all…</button>`)}
    </div>`}
    ${found.error && html`<${Loading} of=${found} />`}
    ${shown ? html`<${WorkTable} works=${shown} empty="No work matches." />` : !found.error && html`<${Loading} of=${found} />`}
    <nav class="pages" aria-label="Pages">
      ${params.before && html`<a class="button" href=${address("works", { ...params, before: "" })}>Newest</a>`}
      ${more && html`<a class="button" href=${address("works", { ...params, before: shown.at(-1).id })}>Older</a>`}
    </nav>
    ${deed && html`<${Bulk} deed=${deed} filter=${filter} params=${params} onClose=${() => { setDeed(null); found.reload(); }} />`}`;
}
