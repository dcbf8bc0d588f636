// Dead letters, by kind and error: run a group again, drop it, or look at its letters.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { change, query } from "../api.js";
import { usePath } from "../live.js";
import { Confirm, Copy, KindLink, Loading, Mark, Note, Table, Text, Title, When, beginning, count } from "../parts.js";
import { address } from "../route.js";

const PAGE = 50;
/** The bytes of a message that the API shows. */
const SHOWN_BYTES = 1024;

const DEEDS = {
  redrive: { title: "Run again", verb: "Run again", send: (params) => change("POST", query("deadletter/redrive", params)), done: "redriven", after: "Their works start over; messages are sent again." },
  drop: { title: "Drop", verb: "Drop", danger: true, send: (params) => change("DELETE", query("deadletter", params)), done: "dropped", after: "They cannot be run again then. Their works stay failed." },
};

const letters = (number) => `${count(number)} ${number === 1 ? "letter" : "letters"}`;

/** Asks with the number that the API counts. */
function Ask({ deed, group, onClose }) {
  const [counted, set] = useState(null);
  const params = { kind: group.kind, error: group.error };
  useEffect(() => {
    deed.send({ ...params, dry_run: "true" }).then((answer) => set({ number: answer[deed.done] }), (error) => set({ error }));
  }, []);
  const words = counted?.error ? counted.error.message : counted ? html`<strong>${letters(counted.number)}</strong> of kind ${group.kind}${group.error && html` with an error that begins with “${beginning(group.error, 200)}”`}.` : "Counting…";
  return html`<${Confirm} title=${`${deed.title} this group?`} verb=${counted?.number === undefined ? deed.verb : `${deed.verb} ${letters(counted.number)}`} danger=${deed.danger} act=${() => deed.send(params)} onClose=${onClose}>
    <p role="status">${words}</p><p>${deed.after}</p>
  <//>`;
}

function Groups({ groups, ask }) {
  const columns = [
    { name: "letters", number: true, of: (group) => html`<a href=${address("deadletters", { kind: group.kind, error: group.error })} aria-label=${`Show ${letters(group.letters)}`}>${count(group.letters)}</a>` },
    { name: "kind", wide: true, of: (group) => html`<${KindLink} name=${group.kind} />` },
    { name: "error", most: true, of: (group) => html`<span class="narrow"><${KindLink} name=${group.kind} /></span>${beginning(group.error, 160)} ${group.messages > 0 && html`<small>${count(group.messages)} of them messages that are no works</small>`}` },
    { name: "newest", number: true, wide: true, of: (group) => html`<${When} at=${group.newest_on} />` },
    { name: "group", of: (group) => html`<div class="actions"><button type="button" onClick=${() => ask({ deed: DEEDS.redrive, group })}>Run again…</button><button type="button" class="danger" onClick=${() => ask({ deed: DEEDS.drop, group })}>Drop…</button></div>` },
  ];
  return html`<${Table} label="Groups of dead letters" rows=${groups} of=${(group) => `${group.kind} ${group.error}`} columns=${columns} empty="There are no dead letters." />`;
}

function Letter({ letter }) {
  const notes = [`${count(letter.body_bytes)} bytes`, letter.body_bytes > SHOWN_BYTES && `the first ${count(SHOWN_BYTES)} are shown`, letter.body?.includes("\ufffd") && "bytes that are no UTF-8 are shown as \ufffd"];
  return html`<article class="panel">
    <p>${letter.work_id ? html`<a href="#/works/${letter.work_id}">Work ${letter.work_id}</a>` : html`<${Mark} as="wait">Message<//>`} <small>letter ${letter.id}, <${When} at=${letter.created_on} />, attempts: ${letter.attempts}${letter.redriven && ", being sent again"}</small></p>
    <p>${letter.reason}</p>
    ${letter.body !== null && html`<${Text} text=${letter.body || "(empty)"} label="Body of the message" />
      <div class="actions"><small>${notes.filter(Boolean).join("; ")}</small><${Copy} text=${letter.body}>Copy<//></div>`}
  </article>`;
}

function Group({ params, ask }) {
  const found = usePath(query("deadletter", { kind: params.kind, error: params.error, before: params.before, limit: PAGE + 1 }));
  const group = { kind: params.kind, error: params.error };
  const crumb = html`<a href="#/deadletters">Dead letters</a>`;
  const shown = found.data?.slice(0, PAGE);
  return html`
    <${Title} crumb=${crumb} actions=${html`<button type="button" class="main" onClick=${() => ask({ deed: DEEDS.redrive, group })}>Run again…</button><button type="button" class="danger" onClick=${() => ask({ deed: DEEDS.drop, group })}>Drop…</button>`}>Letters of ${params.kind}<//>
    ${params.error && html`<${Note}>With an error that begins with “${beginning(params.error, 200)}”<//>`}
    ${shown ? shown.map((letter) => html`<${Letter} key=${letter.id} letter=${letter} />`) : html`<${Loading} of=${found} />`}
    ${shown?.length === 0 && html`<${Note}>None is left.<//>`}
    <nav class="pages" aria-label="Pages">
      ${params.before && html`<a class="button" href=${address("deadletters", { ...params, before: "" })}>Newest</a>`}
      ${found.data?.length > PAGE && html`<a class="button" href=${address("deadletters", { ...params, before: shown.at(-1).id })}>Older</a>`}
    </nav>`;
}

export function Letters({ route: { params } }) {
  const [asked, ask] = useState(null);
  const groups = usePath(params.kind ? null : "deadletter/group");
  const total = groups.data?.reduce((sum, group) => sum + group.letters, 0);
  return html`
    ${params.kind ? html`<${Group} params=${params} ask=${ask} />` : html`
      <${Title}>Dead letters<//>
      <${Note}>Works that were given up, and messages that could not be read, by kind and by the beginning of their error.${total > 0 && ` ${letters(total)} in ${count(groups.data.length)} ${groups.data.length === 1 ? "group" : "groups"}.`}<//>
      ${groups.data ? html`<${Groups} groups=${groups.data} ask=${ask} />` : html`<${Loading} of=${groups} />`}`}
    ${asked && html`<${Ask} ...${asked} onClose=${() => { ask(null); groups.reload(); }} />`}`;
}
