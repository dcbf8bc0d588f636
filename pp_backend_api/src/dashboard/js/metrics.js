// What the screens take from /metrics, the page of the process for Prometheus.

const LINE = /^([a-z_]+)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-z_]+)="((?:[^"\\]|\\.)*)"/g;

/** The samples of a page: name, labels, value. */
export function samples(page) {
  return page.split("\n").flatMap((line) => {
    const [, name, labels = "", value] = LINE.exec(line) ?? [];
    if (!name || line.startsWith("#")) return [];
    const pairs = [...labels.matchAll(LABEL)].map(([, label, text]) => [label, text.replace(/\\(.)/g, "$1")]);
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }];
  });
}

/** What has a limit that it may reach: the metric, that of its limit, its label, and words. */
const BUDGETS = [
  ["pp_http_budget_bytes", "pp_http_budget_limit_bytes", "budget", (label) => `the budget for bytes of ${label === "body" ? "bodies" : "answers"}`],
  ["pp_http_connections", "pp_http_connections_limit", "listener", (label) => `the room for connections of the listener ${label}`],
  ["pp_stream_clients", "pp_stream_clients_limit", null, () => "the room for live streams"],
  ["pp_database_connections_in_use", "pp_database_connections_limit", null, () => "the pool of database connections"],
];
/** The share from which a budget is nearly used up. */
const NEARLY = 0.8;

/** The budgets that are nearly used up, in words, with the share that is used. */
function nearlyUsedUp(all) {
  return BUDGETS.flatMap(([used, limit, label, words]) =>
    all.filter((sample) => sample.name === used).flatMap(({ labels, value }) => {
      const most = all.find((other) => other.name === limit && (label === null || other.labels[label] === labels[label]));
      return most?.value > 0 && value / most.value >= NEARLY ? [{ words: words(labels[label]), share: value / most.value }] : [];
    }),
  );
}

/** What is due for how long, by kind, and which budgets are nearly used up, beside all samples. */
export function gauges(page) {
  const all = samples(page);
  const due = all.filter((sample) => sample.name === "pp_oldest_due_seconds" && sample.value > 0);
  return { all, oldestDue: Object.fromEntries(due.map((sample) => [sample.labels.kind, sample.value])), budgets: nearlyUsedUp(all) };
}
