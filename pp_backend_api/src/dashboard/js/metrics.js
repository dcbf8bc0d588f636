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

/** What is due for how long, by kind, beside all samples. */
export function gauges(page) {
  const all = samples(page);
  const due = all.filter((sample) => sample.name === "pp_oldest_due_seconds" && sample.value > 0);
  return { all, oldestDue: Object.fromEntries(due.map((sample) => [sample.labels.kind, sample.value])) };
}
