// Who changed what, newest first. It needs the scope admin.

import { html } from "../../vendor/preact-htm.js";
import { query } from "../api.js";
import { usePath } from "../live.js";
import { KindLink, Loading, Table, Title, Typed, When, beginning, brief } from "../parts.js";
import { address, go } from "../route.js";

const PAGE = 50;
const ACTIONS = ["work.update", "work.cancel", "work.retry", "work.delete", "kind.declare", "kind.set", "deadletter.redrive", "deadletter.drop", "key.create", "key.revoke"];

function Subject({ subject }) {
  const [what, ...rest] = subject.split("/");
  const which = rest.join("/");
  if (what === "kind") return html`kind <${KindLink} name=${which} />`;
  if (what === "work") return html`work <a href="#/works/${which}">${which}</a>`;
  return `${what} ${which}`;
}

const COLUMNS = [
  { name: "when", of: (row) => html`<${When} at=${row.created_on} />` },
  { name: "who", of: (row) => row.principal },
  { name: "what", of: (row) => html`<code>${row.action}</code>` },
  { name: "subject", of: (row) => html`<${Subject} subject=${row.subject} />` },
  { name: "details", wide: true, most: true, of: (row) => html`<code class="cut">${beginning(brief(row.details ?? {}), 300)}</code>` },
];

export function Audit({ route: { params } }) {
  const found = usePath(query("audit", { principal: params.principal, action: params.action, before: params.before, limit: PAGE + 1 }));
  const shown = found.data?.slice(0, PAGE);
  const set = (name) => (event) => go("audit", { ...params, before: "", [name]: event.target.value.trim() });
  return html`
    <${Title}>Audit<//>
    <form class="filters" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
      <label>Who <${Typed} value=${params.principal ?? ""} placeholder="key:3 deploy" maxlength="300" onChange=${set("principal")} autocomplete="off" /></label>
      <label>What <select value=${params.action ?? ""} onChange=${set("action")}><option value="">anything</option>${ACTIONS.map((action) => html`<option key=${action} value=${action}>${action}</option>`)}</select></label>
    </form>
    ${shown ? html`<${Table} label="Audit" rows=${shown} of=${(row) => row.id} columns=${COLUMNS} empty="Nothing was changed." />` : html`<${Loading} of=${found} />`}
    <nav class="pages" aria-label="Pages">
      ${params.before && html`<a class="button" href=${address("audit", { ...params, before: "" })}>Newest</a>`}
      ${found.data?.length > PAGE && html`<a class="button" href=${address("audit", { ...params, before: shown.at(-1).id })}>Older</a>`}
    </nav>`;
}
