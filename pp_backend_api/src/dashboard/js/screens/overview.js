// How PP is doing: what needs attention in words, the counters, throughput and latency, and the newest works.

import { html } from "../../vendor/preact-htm.js";
import { RARELY, useLive, usePath } from "../live.js";
import { Chart, KindLink, Mark, Table, Tile, Title, count, milliseconds, partsOf, rate, seconds, seriesColor, works } from "../parts.js";
import { gauges } from "../metrics.js";
import { address } from "../route.js";
import { WorkTable } from "./works.js";

/** Works that are due for longer than this are worth a sentence. */
const LATE_SECONDS = 30;
/** Sentences of one sort that are shown before they are joined. */
const FEW = 4;

/** Sums of all origins by status. */
export function byStatus(stats) {
  const sum = {};
  for (const origin of Object.values(stats?.works ?? {})) {
    for (const [status, number] of Object.entries(origin)) sum[status] = (sum[status] ?? 0) + number;
  }
  return sum;
}

function aboutKinds(kinds, oldest) {
  const waiting = (kind) => kind.works.pending + kind.works.running > 0;
  const link = (kind) => html`<${KindLink} name=${kind.name} />`;
  const about = [];
  for (const kind of kinds) {
    if (kind.fault) about.push(["bad", html`${link(kind)}: ${kind.fault}`]);
    else if (!kind.is_declared && waiting(kind)) about.push(["bad", html`Nobody has declared ${link(kind)}, for which ${works(kind.works.pending)} wait.`]);
    else if (kind.policy.paused && waiting(kind)) about.push(["wait", html`${link(kind)} is paused, and ${works(kind.works.pending)} wait.`]);
    else if (!kind.has_worker && kind.works.pending > 0) about.push(["bad", html`No worker is there for ${link(kind)}, and ${works(kind.works.pending)} wait.`]);
    else if (oldest[kind.name] > LATE_SECONDS) about.push(["wait", html`The oldest due work of ${link(kind)} waits for ${seconds(oldest[kind.name])}.`]);
  }
  const rest = about.length - FEW;
  if (rest <= 1) return about;
  return [...about.slice(0, FEW), ["wait", html`<a href="#/kinds">${count(rest)} more kinds need attention.</a>`]];
}

function aboutLetters(groups) {
  const letters = groups.reduce((sum, group) => sum + group.letters, 0);
  if (letters === 0) return [];
  const { kind, error } = groups[0];
  const most = groups.length === 1 ? "all" : "most";
  return [["bad", html`<a href="#/deadletters">${count(letters)} dead ${letters === 1 ? "letter" : "letters"}</a>${letters > 1 && html`, ${most} of them of <${KindLink} name=${kind} />`}: “${error.length > 80 ? `${error.slice(0, 80)}…` : error}”`]];
}

function aboutParts(health) {
  const unwell = (partsOf(health) ?? []).filter((part) => part.state !== "up");
  return unwell.map((part) => [part.essential ? "bad" : "wait", html`The part <a href="#/system">${part.name}</a> is ${part.state}${part.reason ? `: ${part.reason}` : "."}`]);
}

const aboutBudgets = (budgets) =>
  budgets.map(({ words, share }) => ["wait", html`Of ${words}, <a href="#/system">${Math.round(share * 100)} %</a> are in use.`]);

function Attention({ kinds, groups, health, oldest, budgets }) {
  if (!kinds || !groups) return null;
  const about = [...aboutParts(health), ...aboutBudgets(budgets), ...aboutKinds(kinds, oldest), ...aboutLetters(groups)];
  return html`<section aria-labelledby="attention">
    <h2 id="attention">Needs attention</h2>
    <ul class="attention">
      ${about.length === 0 && html`<li><${Mark} as="good">All is well</${Mark}> Every kind with works has a worker, and there are no dead letters.</li>`}
      ${about.map(([as, words]) => html`<li><${Mark} as=${as}>${as === "bad" ? "Problem" : "Note"}</${Mark}><span>${words}</span></li>`)}
    </ul>
  </section>`;
}

function Charts({ seconds: done }) {
  if (!done) return html`<div class="charts"><div class="chart"></div><div class="chart"></div></div>`;
  const empty = { kind: null, per_second: done.p50_ms.map(() => 0) };
  // By name, so that a kind keeps its colour while others overtake it.
  const byName = (one, other) => (one.kind === null) - (other.kind === null) || one.kind?.localeCompare(other.kind) || 0;
  const kinds = done.done.length ? [...done.done].sort(byName) : [{ ...empty, none: true }];
  const lines = kinds.map(({ kind, per_second, none }, place) => ({
    name: none ? "no works" : (kind ?? "other kinds"),
    color: seriesColor(kind === null ? null : place),
    values: per_second,
  }));
  const total = kinds.reduce((sum, kind) => sum + kind.per_second.reduce((a, b) => a + b, 0), 0);
  const known = done.p99_ms.filter((ms) => ms !== null);
  const latency = [
    { name: "p50", color: "--series-0", values: done.p50_ms },
    { name: "p99", color: "--series-1", values: done.p99_ms },
  ];
  return html`<div class="charts">
    <${Chart} title="Works done per second, last two minutes" from=${done.from} lines=${lines} stacked unit=${count} summary=${`${works(total)} done`} />
    <${Chart} title="From due to done, last two minutes" from=${done.from} lines=${latency} unit=${milliseconds}
      summary=${known.length ? `at most ${milliseconds(Math.max(...known))}` : "no works"} />
  </div>`;
}

function Busy({ kinds, oldest }) {
  const busy = kinds.filter((kind) => Object.values(kind.works).some((number) => number > 0));
  const unfinished = ({ works: { pending, running } }) => pending + running;
  const shown = busy.sort((one, other) => unfinished(other) - unfinished(one) || other.works.failed - one.works.failed).slice(0, 10);
  return html`<section aria-labelledby="by-kind">
    <h2 id="by-kind">By kind <a href="#/kinds">all ${count(kinds.length)}</a></h2>
    <${Table} label="Works by kind" rows=${shown} of=${(kind) => kind.name} empty="There are no works yet. Create one on the page of its kind." columns=${kindColumns(oldest)} />
  </section>`;
}

/** The columns that tables of kinds have in common. */
export function kindColumns(oldest) {
  const number = (status, wide) => ({
    name: status,
    number: true,
    wide,
    of: (kind) => kind.works[status] === 0 ? "0" : html`<a href=${address("works", { kind: kind.name, status })}>${count(kind.works[status])}</a>`,
  });
  return [
    { name: "kind", long: true, of: (kind) => html`<${KindLink} name=${kind.name} />` },
    number("pending"),
    number("running", true),
    number("done", true),
    number("failed"),
    { name: "oldest due", number: true, wide: true, of: (kind) => (oldest[kind.name] >= 1 ? seconds(oldest[kind.name]) : "–") },
    { name: "worker", of: (kind) => html`<${KindState} kind=${kind} />` },
  ];
}

export function KindState({ kind }) {
  if (kind.fault) return html`<${Mark} as="bad">faulty<//>`;
  if (!kind.is_declared) return html`<${Mark} as="bad">undeclared<//>`;
  if (kind.policy.paused) return html`<${Mark} as="wait">paused<//>`;
  return kind.has_worker ? html`<${Mark} as="good">there<//>` : html`<${Mark} as=${kind.works.pending > 0 ? "bad" : "faint"}>none<//>`;
}

/** What the process measures. */
export function useGauges() {
  const { data } = usePath("metrics", { read: gauges, pause: RARELY });
  return data ?? { oldestDue: {}, budgets: [] };
}

export function Overview() {
  const { stats } = useLive();
  const kinds = usePath("kind");
  const groups = usePath("deadletter/group?limit=1000", { pause: RARELY });
  const health = usePath("health/ready");
  const done = usePath("stats/seconds");
  const { oldestDue: oldest, budgets } = useGauges();
  const sum = byStatus(stats);
  return html`
    <${Title}>Overview<//>
    <${Attention} kinds=${kinds.data} groups=${groups.data} health=${health} oldest=${oldest} budgets=${budgets} />
    <div class="tiles">
      <${Tile} name="Done per second" value=${rate(stats?.works_per_second.over_60s)} note="in the last minute" href=${address("works", { status: "done" })} />
      <${Tile} name="Backlog" value=${count(stats?.backlog)} note="due or running now" href=${address("works", { status: "pending" })} />
      <${Tile} name="Scheduled" value=${count(stats?.scheduled)} note="wait for their time" href=${address("works", { status: "pending" })} />
      <${Tile} name="Failed" value=${count(sum.failed)} note="given up" as=${sum.failed > 0 ? "bad" : undefined} href=${address("works", { status: "failed" })} />
      <${Tile} name="p50" value=${milliseconds(stats?.latency_ms.p50)} note="from due to done" href="#/kinds" />
      <${Tile} name="p99" value=${milliseconds(stats?.latency_ms.p99)} note="from due to done" href="#/kinds" />
    </div>
    <${Charts} seconds=${done.data} />
    ${kinds.data && html`<${Busy} kinds=${kinds.data} oldest=${oldest} />`}
    <section aria-labelledby="newest">
      <h2 id="newest">Newest works <a href="#/works">all</a></h2>
      <${WorkTable} works=${stats?.newest ?? []} empty="There are no works yet." />
    </section>`;
}
