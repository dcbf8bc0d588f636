// The process and its parts: health, works by origin, and the metrics that matter.

import { html } from "../../vendor/preact-htm.js";
import { useLive, usePath } from "../live.js";
import { gauges } from "../metrics.js";
import { Facts, Loading, Mark, Note, STATUSES, Table, Title, count, partsOf, rate } from "../parts.js";

const bytes = (number) => (number < 1024 ? `${count(number)} bytes` : `${rate(number / (number < 2 ** 20 ? 1024 : 2 ** 20))} ${number < 2 ** 20 ? "KiB" : "MiB"}`);

/** Metrics of the process, summed over their labels. */
const MATTER = [
  ["pp_stream_clients", "Live streams", count],
  ["pp_database_connections_in_use", "Database connections in use", count],
  ["pp_broker_held_messages", "Messages held", count],
  ["pp_broker_held_bytes", "Bytes of messages held", bytes],
  ["pp_lost_leases_total", "Leases lost", count],
  ["pp_dead_letters_total", "Dead letters made", count],
  ["pp_serving_refused_total", "Requests refused: too many waited", count],
  ["pp_process_resident_memory_bytes", "Memory", bytes],
  ["pp_process_open_fds", "Open files", count],
];

const AS = { up: "good", degraded: "wait", down: "bad" };

function Requests({ all }) {
  const requests = all.filter((sample) => sample.name === "pp_http_requests_total");
  const sum = (wanted) => requests.filter(wanted).reduce((total, sample) => total + sample.value, 0);
  return [
    ["Requests answered", count(sum(() => true))],
    ["Answers with 4xx", count(sum((sample) => sample.labels.code.startsWith("4")))],
    ["Answers with 5xx", count(sum((sample) => sample.labels.code.startsWith("5")))],
  ];
}

function Metrics() {
  const { data, error } = usePath("metrics", { read: gauges });
  if (!data) return html`<${Loading} of=${{ error }} />`;
  const value = (name) => {
    const found = data.all.filter((sample) => sample.name === name);
    return found.length ? found.reduce((sum, sample) => sum + sample.value, 0) : null;
  };
  const known = MATTER.map(([name, words, unit]) => [words, value(name), unit]).filter(([, number]) => number !== null);
  return html`<${Facts} facts=${[...known.map(([words, number, unit]) => [words, unit(number)]), ...Requests(data)]} />`;
}

export function System() {
  const { stats } = useLive();
  const health = usePath("health/ready");
  const index = usePath("./");
  const origins = Object.entries(stats?.works ?? {}).map(([origin, works]) => ({ origin, works }));
  const names = { api: "over REST", consumer: "by messages", app: "by applications" };
  const parts = [
    { name: "part", of: (part) => part.name },
    { name: "state", of: (part) => html`<${Mark} as=${AS[part.state] ?? "wait"}>${part.state}<//>` },
    { name: "needed", wide: true, of: (part) => (part.essential ? "for every request" : "for some things") },
    { name: "reason", long: true, of: (part) => part.reason ?? "" },
  ];
  const works = [
    { name: "asked for", of: (row) => names[row.origin] ?? row.origin },
    ...STATUSES.map((status) => ({ name: status, number: true, wide: status === "cancelled" || status === "running", of: (row) => count(row.works[status]) })),
  ];
  return html`
    <${Title}>System<//>
    <section aria-labelledby="parts"><h2 id="parts">Parts of this process</h2>
      ${partsOf(health) ? html`<${Table} label="Parts" rows=${partsOf(health)} of=${(part) => part.name} columns=${parts} />` : html`<${Loading} of=${health} />`}</section>
    <section aria-labelledby="works"><h2 id="works">Works by origin</h2><${Table} label="Works by origin" rows=${origins} of=${(row) => row.origin} columns=${works} empty="The counters are not here yet." /></section>
    <section aria-labelledby="metrics"><h2 id="metrics">This process</h2><${Metrics} /></section>
    <${Note}>${index.data && `${index.data.name} ${index.data.version}. `}<a href="metrics">All metrics</a> are text for Prometheus. Another process has its own. <a href="ui/vendor/LICENCES.txt">Licences</a> of the code of others in this page.<//>`;
}
