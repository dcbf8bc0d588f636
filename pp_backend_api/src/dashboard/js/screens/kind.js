// One kind: how it does, its policy, a form to create a work, and code for its workers.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { asCurl, change, kindPath, query } from "../api.js";
import { Fields, argsFrom, fieldsOf } from "../form.js";
import { RARELY, usePath } from "../live.js";
import { Confirm, Copy, Facts, Failure, Json, Loading, Mark, Note, Table, Text, Tile, Title, Typed, When, count, milliseconds, pretty, rate, seconds } from "../parts.js";
import { address } from "../route.js";
import { KindState, useGauges } from "./overview.js";
import { argsOf, readWork } from "./work.js";
import { WorkTable } from "./works.js";

const SETTINGS = ["max_attempts", "backoff.base", "backoff.factor", "backoff.cap", "backoff.jitter", "timeout", "lease", "places", "retention", "queue", "dead_letter_queue", "notify"];

const DELIVERIES = { queue: "queue: a handler in a consumer", pull: "pull: workers claim over HTTP", push: "push: a consumer calls a URL" };

const at = (policy, setting) => setting.split(".").reduce((value, name) => value?.[name], policy);

/** A merge patch that sets one setting. */
function patch(setting, value) {
  const [first, second] = setting.split(".");
  return { policy: { [first]: second ? { [second]: value } : value } };
}

const shown = (value) => (value === undefined || value === null ? "–" : String(value));

function SetSetting({ kind, setting, onClose }) {
  const own = at(kind.overrides, setting);
  const act = async (form) => {
    const typed = form.get("value").trim();
    const value = typed === "" ? null : /^-?[\d.]+$/.test(typed) ? Number(typed) : typed;
    await change("PATCH", kindPath(kind.name), patch(setting, value), { "if-match": `"${kind.version}"` });
  };
  return html`<${Confirm} title=${`Set ${setting}`} verb="Set" act=${act} onClose=${onClose}>
    <p>Over what the program declares, which is ${shown(at(kind.declared?.policy, setting))}. Empty takes the setting back.</p>
    <label>${setting} <${Typed} name="value" value=${own ?? ""} placeholder=${shown(at(kind.policy, setting))} autocomplete="off" maxlength="255" /></label>
  <//>`;
}

function Policy({ kind, reload }) {
  const [asked, ask] = useState(null);
  const columns = [
    { name: "setting", of: (setting) => html`<code>${setting}</code>` },
    { name: "declared", wide: true, of: (setting) => shown(at(kind.declared?.policy, setting)) },
    { name: "operator", of: (setting) => shown(at(kind.overrides, setting)) },
    { name: "in force", of: (setting) => html`<strong>${shown(at(kind.policy, setting))}</strong>` },
    { name: "change", number: true, of: (setting) => html`<button type="button" class="quiet" aria-label=${`Set ${setting}`} onClick=${() => ask(setting)}>Set…</button>` },
  ];
  const rows = SETTINGS.filter((setting) => [kind.declared?.policy, kind.overrides, kind.policy].some((policy) => at(policy, setting) !== undefined) || setting.includes("queue"));
  return html`<section aria-labelledby="policy"><h2 id="policy">Policy</h2>
    <${Table} label="Policy" rows=${rows} of=${(setting) => setting} columns=${columns} />
    ${asked && html`<${SetSetting} kind=${kind} setting=${asked} onClose=${(isSet) => { ask(null); if (isSet) reload(); }} />`}
  </section>`;
}

function Pause({ kind, reload }) {
  const [asked, ask] = useState(false);
  const paused = kind.policy.paused;
  const act = () => change("PATCH", kindPath(kind.name), { policy: { paused: paused ? (kind.declared?.policy.paused ? false : null) : true } });
  return html`<button type="button" class=${paused ? "main" : ""} onClick=${() => ask(true)}>${paused ? "Resume…" : "Pause…"}</button>
    ${asked && html`<${Confirm} title=${`${paused ? "Resume" : "Pause"} ${kind.name}?`} verb=${paused ? "Resume" : "Pause"} act=${act} onClose=${(isDone) => { ask(false); if (isDone) reload(); }}>
      <p>${paused ? "Its works are sent and taken again." : "Its works wait until it is resumed. Those that are running go on."}</p><//>`}`;
}

const timeOf = (text) => (text ? Math.floor(new Date(text).getTime() / 1000) : null);

function Create({ kind, like }) {
  const schema = kind.declared?.args_schema;
  const fields = fieldsOf(schema);
  const [raw, setRaw] = useState(!fields);
  const [from, setFrom] = useState(like ? null : { args: undefined });
  const [error, setError] = useState(null);
  const [created, setCreated] = useState(null);
  useEffect(() => {
    if (like) readWork(like).then((work) => setFrom({ args: argsOf(work) }), () => setFrom({ args: undefined }));
  }, [like]);
  if (!from) return null;
  const submit = async (event) => {
    event.preventDefault();
    setError(null);
    setCreated(null);
    try {
      const form = new FormData(event.target);
      const args = raw ? form.get("json") : argsFrom(fields, form);
      JSON.parse(args);
      const more = { run_at: timeOf(form.get("run_at")), unique: form.get("unique") || null };
      const given = Object.entries(more).filter(([, value]) => value !== null).map(([name, value]) => `,"${name}":${JSON.stringify(value)}`).join("");
      setCreated(await change("POST", "work", `{"kind":${JSON.stringify(kind.name)},"args":${args}${given}}`));
    } catch (failure) {
      setError(failure instanceof SyntaxError ? { message: `The arguments are not JSON: ${failure.message}` } : failure);
    }
  };
  const typed = from.args === undefined ? "{}" : pretty(from.args);
  return html`<section aria-labelledby="create"><h2 id="create">Create a work</h2>
    <form class="panel form" onSubmit=${submit}>
      ${fields && html`<div><button type="button" class="quiet" onClick=${() => setRaw(!raw)}>${raw ? "Fields of the schema" : "As JSON"}</button></div>`}
      ${raw ? html`<label>Arguments, as JSON <textarea name="json" rows="6" required spellcheck="false">${typed}</textarea></label>` : html`<${Fields} fields=${fields} value=${from.args} />`}
      <label>Not before (optional) <input type="datetime-local" name="run_at" step="1" /></label>
      <label>Unique (optional) <input name="unique" maxlength="200" autocomplete="off" /></label>
      <${Failure} error=${error} />
      <div class="actions"><button class="main">Create</button>
        <span role="status">${created && html`<a href="#/works/${created.id}">Work ${created.id}</a> ${created.duplicate ? "is the same and not finished" : "was created"}.`}</span></div>
    </form>
  </section>`;
}

function WorkerCode({ kind }) {
  const [language, choose] = useState("worker.py");
  const code = usePath(kindPath(kind.name, `/${language}`), { read: String, pause: RARELY });
  const run = { "worker.py": "python3 worker.py", "worker.mjs": "node worker.mjs" };
  return html`<section aria-labelledby="code"><h2 id="code">A worker for it</h2>
    <div class="panel">
      <p>Put your function in at “your code”, and run it with <code>${run[language]}</code>.</p>
      <div class="actions">
        <label class="inline">Language <select value=${language} onChange=${(event) => choose(event.target.value)}><option value="worker.py">Python</option><option value="worker.mjs">Node.js</option></select></label>
        <a class="button" href=${kindPath(kind.name, `/${language}`)} download=${language}>Download</a>
        ${code.data && html`<${Copy} text=${code.data}>Copy<//>`}
        <${Copy} text=${asCurl("GET", kindPath(kind.name, `/${language}`)) + ` -o ${language}`}>Copy as curl<//>
      </div>
      ${code.data ? html`<${Text} text=${code.data} label="Code of a worker" />` : html`<${Loading} of=${code} />`}
    </div>
  </section>`;
}

function Workers({ kind, workers }) {
  const own = (workers ?? []).filter((worker) => worker.is_there && (worker.kinds.includes(kind.name) || worker.works.some((work) => work.kind === kind.name)));
  const columns = [
    { name: "worker", of: (worker) => worker.name },
    { name: "running", number: true, of: (worker) => count(worker.works.filter((work) => work.kind === kind.name).length) },
    { name: "heard of", number: true, of: (worker) => html`<${When} at=${worker.seen_on} />` },
  ];
  return html`<section aria-labelledby="workers"><h2 id="workers">Workers</h2>
    <${Table} label="Workers of the kind" rows=${own} of=${(worker) => worker.name} columns=${columns} empty="No worker is there." /></section>`;
}

export function Kind({ route: { path, params } }) {
  const name = path[1];
  const found = usePath(kindPath(name));
  const stats = usePath(query("stats", { kind: name }));
  const workers = usePath("worker?limit=1000");
  const oldest = useGauges().oldestDue[name];
  const kind = found.data;
  const crumb = html`<a href="#/kinds">Kinds</a>`;
  if (!kind) return html`<${Title} crumb=${crumb}>${name}<//><${Loading} of=${found} />`;
  const { done, failed, pending, running } = kind.works ?? {};
  const link = (status) => address("works", { kind: name, status });
  const schema = kind.declared?.args_schema;
  return html`
    <${Title} crumb=${crumb} actions=${kind.is_declared && html`<${Pause} kind=${kind} reload=${found.reload} />`}>${name}<//>
    ${kind.fault && html`<div class="answer" role="alert">${kind.fault}</div>`}
    <div class="tiles">
      <${Tile} name="Pending" value=${count(pending)} note=${oldest >= 1 ? `oldest due ${seconds(oldest)}` : "none is late"} href=${link("pending")} />
      <${Tile} name="Running" value=${count(running)} note="now" href=${link("running")} />
      <${Tile} name="Done" value=${count(done)} note=${`${rate(stats.data?.works_per_second.over_60s)} per second`} href=${link("done")} />
      <${Tile} name="Failed" value=${count(failed)} note=${done + failed > 0 ? `${rate((100 * failed) / (done + failed))} % of all` : "given up"} as=${failed > 0 ? "bad" : undefined} href=${link("failed")} />
      <${Tile} name="p50" value=${milliseconds(stats.data?.latency_ms.p50)} note="last minute" href=${link("done")} />
      <${Tile} name="p99" value=${milliseconds(stats.data?.latency_ms.p99)} note="last minute" href=${link("done")} />
    </div>
    <${Facts} facts=${[
      ["Worker", html`<${KindState} kind=${kind} />`],
      ["Delivery", DELIVERIES[kind.delivery] ?? kind.delivery],
      kind.push_url && ["URL", html`<code>${kind.push_url}</code>`],
      kind.push_url && ["Signed", kind.has_secret ? "yes" : "no: it has no secret"],
      ["Worker heard of", html`<${When} at=${kind.worker_seen_on} />`],
      ["Declared", kind.declared_on ? html`<${When} at=${kind.declared_on} />` : html`<${Mark} as="bad">by nobody<//>`],
      kind.replaced_on && ["Another declaration until", html`<${When} at=${kind.replaced_on} />`],
      ["Version", kind.version],
    ]} />
    <div class="columns">
      ${name.startsWith("pp.") ? html`<${Note}>PP makes the works of this kind itself.<//>` : html`<${Create} kind=${kind} like=${params.like} key=${params.like} />`}
      <div class="columns">
        <${Policy} kind=${kind} reload=${found.reload} />
        <${Workers} kind=${kind} workers=${workers.data} />
      </div>
    </div>
    <section aria-labelledby="newest"><h2 id="newest">Newest works <a href=${address("works", { kind: name })}>all</a></h2>
      <${WorkTable} works=${stats.data?.newest ?? []} empty="There are no works of this kind." /></section>
    ${kind.delivery === "pull" && html`<${WorkerCode} kind=${kind} />`}
    <section aria-labelledby="schema"><h2 id="schema">Schema of the arguments</h2>
      ${schema ? html`<${Json} value=${schema} label="Schema" />` : html`<${Note}>The kind declares none: any JSON is taken.<//>`}</section>`;
}
