// API keys: who has one, and making and revoking them. They need the scope admin.

import { html, useState } from "../../vendor/preact-htm.js";
import { change } from "../api.js";
import { usePath } from "../live.js";
import { Confirm, Copy, Dialog, Loading, Mark, Note, Table, Title, When, count } from "../parts.js";

const SCOPES = ["read", "create", "work", "operate", "admin"];

function Make({ onClose, onMade }) {
  const act = async (form) => {
    const chosen = SCOPES.filter((scope) => form.get(scope));
    const scopes = [...chosen, ...form.get("more").split(/[\s,]+/).filter(Boolean)].join(",");
    const body = { name: form.get("name").trim(), scopes };
    if (form.get("works_per_day")) body.works_per_day = Number(form.get("works_per_day"));
    onMade(await change("POST", "key", body));
  };
  return html`<${Confirm} title="Make an API key" verb="Make the key" act=${act} onClose=${onClose}>
    <label>Name <input name="name" required maxlength="100" autocomplete="off" /></label>
    <fieldset><legend>Scopes</legend>${SCOPES.map((scope) => html`<label class="inline" key=${scope}><input type="checkbox" name=${scope} /> ${scope}</label>`)}</fieldset>
    <label>Scopes of single kinds (optional) <input name="more" placeholder="create:user.mail work:user.mail" autocomplete="off" /></label>
    <label>Works per day (optional) <input name="works_per_day" type="number" min="1" step="1" /></label>
  <//>`;
}

function Made({ made, onClose }) {
  return html`<${Dialog} title=${`The key ${made.name}`} onClose=${onClose}>
    <p>It is shown now and never again.</p>
    <pre tabindex="0" role="group" aria-label="API key">${made.key}</pre>
    <div class="actions end"><${Copy} text=${made.key}>Copy<//><button type="button" class="main" onClick=${onClose}>Close</button></div>
  <//>`;
}

export function Keys() {
  const keys = usePath("key");
  const [asked, ask] = useState(null);
  const close = () => {
    ask(null);
    keys.reload();
  };
  const columns = [
    { name: "key", number: true, of: (key) => key.id },
    { name: "name", of: (key) => key.name },
    { name: "scopes", long: true, of: (key) => html`<code>${Array.isArray(key.scopes) ? key.scopes.join(", ") : key.scopes}</code>` },
    { name: "works per day", number: true, wide: true, of: (key) => (key.works_per_day ? count(key.works_per_day) : "any") },
    { name: "made", number: true, wide: true, of: (key) => html`<${When} at=${key.created_on} />` },
    { name: "state", of: (key) => (key.revoked_on ? html`<${Mark} as="faint">revoked<//>` : html`<button type="button" class="danger" onClick=${() => ask({ revoke: key })}>Revoke…</button>`) },
  ];
  return html`
    <${Title} actions=${keys.data && html`<button type="button" class="main" onClick=${() => ask({ make: true })}>Make a key…</button>`}>Keys<//>
    ${keys.data?.length === 0 && html`<${Note}>Nobody needs a key yet: on a loopback address keys are asked for as soon as there is one. Make one with the scope admin first, and sign in with it.<//>`}
    ${keys.data ? keys.data.length > 0 && html`<${Table} label="API keys" rows=${keys.data} of=${(key) => key.id} columns=${columns} />` : html`<${Loading} of=${keys} />`}
    ${asked?.make && html`<${Make} onClose=${(isMade) => isMade || close()} onMade=${(made) => ask({ made })} />`}
    ${asked?.made && html`<${Made} made=${asked.made} onClose=${close} />`}
    ${asked?.revoke && html`<${Confirm} title=${`Revoke the key ${asked.revoke.name}?`} verb="Revoke" danger act=${() => change("DELETE", `key/${asked.revoke.id}`)} onClose=${close}><p>Whoever uses it is refused from now on.</p><//>`}`;
}
