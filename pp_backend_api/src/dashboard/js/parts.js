// What several screens show: numbers, times, statuses, JSON, tables, dialogs and charts.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact-htm.js";
import { hasMoved } from "./route.js";

export const STATUSES = ["pending", "running", "done", "failed", "cancelled"];

const whole = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const count = (number) => (number === null || number === undefined ? "–" : whole.format(number));
export const rate = (number) => (number === null || number === undefined ? "–" : tenths.format(number));
export const works = (number) => `${count(number)} ${Number(number) === 1 ? "work" : "works"}`;

/** Milliseconds in the unit that fits. */
export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${ms < 10 ? tenths.format(ms) : whole.format(Math.round(ms))} ms`;
  return seconds(ms / 1000);
}

/** Seconds in the largest unit that fits. */
export function seconds(length) {
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"]];
  const [size, unit] = units.find(([size]) => length >= size * 1.5) ?? [1, "s"];
  const number = length / size;
  return `${size === 1 && number < 10 && !Number.isInteger(number) ? tenths.format(number) : Math.round(number)} ${unit}`;
}

/** A Unix second beside now. */
export function relative(at) {
  const ago = Math.round(Date.now() / 1000 - at);
  if (Math.abs(ago) < 2) return "now";
  return ago > 0 ? `${seconds(ago)} ago` : `in ${seconds(-ago)}`;
}

export const absolute = (at) => moment.format(new Date(at * 1000));

// Times beside now are drawn again together.
const clocks = new Set();
setInterval(() => document.hidden || clocks.forEach((tick) => tick((n) => n + 1)), 1000);

export function When({ at }) {
  const [, tick] = useState(0);
  useEffect(() => {
    clocks.add(tick);
    return () => clocks.delete(tick);
  }, []);
  if (at === null || at === undefined) return "–";
  return html`<time dateTime=${new Date(at * 1000).toISOString()} title=${absolute(at)}>${relative(at)}</time>`;
}

export const Status = ({ status, children }) =>
  html`<span class="status" data-status=${status}>${children ?? status}</span>`;

/** Whether something is well: `good`, `bad`, `wait` or `faint`. */
export const Mark = ({ as, children }) => html`<span class="status" data-status=${as}>${children}</span>`;

export const KindLink = ({ name }) =>
  html`<a class="kind" href="#/kinds/${encodeURIComponent(name)}"><${Name} text=${name} /></a>`;

/** A name that may break behind its dots and dashes. */
export const Name = ({ text }) => text.split(/(?<=[._/-])/).flatMap((part) => [part, html`<wbr />`]);

/** JSON with its numbers as they came. */
export function pretty(value, depth = 0) {
  const inner = "  ".repeat(depth + 1);
  const outer = "  ".repeat(depth);
  if (typeof value === "bigint") return String(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const parts = Array.isArray(value)
    ? value.map((item) => inner + pretty(item, depth + 1))
    : Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${pretty(item, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  return parts.length ? `${open}\n${parts.join(",\n")}\n${outer}${close}` : open + close;
}

export const compact = (value) => pretty(value).replace(/\n\s*/g, " ");

/** The fields of an object on one line, or any other value. */
export function brief(value) {
  const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
  return isObject ? Object.entries(value).map(([name, item]) => `${name}: ${compact(item)}`).join(", ") : compact(value);
}

/** The beginning of a text, on one line. */
export function beginning(text, most) {
  const line = text.replace(/\s+/g, " ");
  return line.length > most ? `${line.slice(0, most)}…` : line;
}

const SHOWN = 3000;

/** A field for a text or a number. What is being typed survives updates of the page. */
export function Typed({ value = "", ...rest }) {
  const field = useRef();
  useLayoutEffect(() => {
    field.current.value = value;
  }, [value]);
  return html`<input ref=${field} ...${rest} />`;
}

/** A long text, of which the beginning is shown until more is asked for. */
export function Text({ text, label }) {
  const [all, setAll] = useState(false);
  const shown = all || text.length <= SHOWN ? text : text.slice(0, SHOWN);
  return html`<div class="text">
    <pre tabindex="0" role="group" aria-label=${label}>${shown}</pre>
    ${shown.length < text.length &&
    html`<button type="button" class="quiet" onClick=${() => setAll(true)}>Show all ${count(text.length)} characters</button>`}
  </div>`;
}

export const Json = ({ value, label }) => html`<${Text} text=${pretty(value)} label=${label} />`;

/** Copies a text; true if that worked. Without TLS a page has the old way alone, which needs an element beside the button. */
async function toClipboard(text, button) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return true;
  }
  const area = document.createElement("textarea");
  area.className = "unseen";
  area.value = text;
  button.after(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  button.focus();
  return done;
}

export function Copy({ text, children }) {
  const [copied, setCopied] = useState(false);
  const copy = async ({ currentTarget }) => {
    const done = await toClipboard(text, currentTarget).catch(() => false);
    setCopied(done ? "Copied" : "The browser refuses");
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<button type="button" onClick=${copy}>${copied || children}</button>`;
}

export const Note = ({ as = "faint", children }) => html`<p class="note" data-as=${as}>${children}</p>`;

/** An error in words, with the faults that the API names. */
export function Failure({ error }) {
  if (!error) return null;
  return html`<div class="failure" role="alert">
    <p>${error.message}</p>
    ${error.faults?.length > 0 &&
    html`<ul>${error.faults.map((fault) => html`<li><code>${fault.pointer || "/"}</code> ${fault.detail}</li>`)}</ul>`}
  </div>`;
}

/** Where nothing was read yet. */
export const Loading = ({ of }) =>
  of.error ? html`<${Failure} error=${of.error} />` : html`<p class="note" role="status">Loading…</p>`;

/** The parts of a process, which it also tells when it is not ready. */
export const partsOf = (health) => (health.error?.parts ? health.error : health.data)?.parts;

/** A heading that takes the focus when its screen is opened. */
export function Title({ children, actions, crumb }) {
  const heading = useRef();
  useEffect(() => {
    document.title = `${heading.current.textContent} – PP`;
  });
  useLayoutEffect(() => {
    if (!hasMoved()) return;
    if (document.activeElement === document.body || document.activeElement?.closest("nav")) heading.current.focus({ preventScroll: true });
  }, []);
  return html`<div class="title">
    <div>${crumb && html`<p class="crumb">${crumb}</p>`}<h1 tabindex="-1" ref=${heading}>${children}</h1></div>
    ${actions && html`<div class="actions">${actions}</div>`}
  </div>`;
}

/**
 * A table. A column has a `name`, `of` for a cell's content, and may be a `number`, `wide` (left out on narrow screens),
 * `long`, or the one that takes `most` of the room.
 */
export function Table({ label, columns, rows, of, empty }) {
  if (rows.length === 0) return html`<${Note}>${empty}<//>`;
  const classes = ({ number, wide, long, most }) => [number && "number", wide && "wide", long && "long", most && "most"].filter(Boolean).join(" ");
  return html`<div class="table"><table>
    <caption class="unseen">${label}</caption>
    <thead><tr>${columns.map((column) => html`<th scope="col" class=${classes(column)}>${column.name}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${of(row)}>${columns.map((column) => html`<td class=${classes(column)}>${column.of(row)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** Names with their values. */
export const Facts = ({ facts }) =>
  html`<dl class="facts">${facts.filter(Boolean).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

export const Tile = ({ name, value, note, href, as }) =>
  html`<a class="tile" href=${href} data-as=${as}><span>${name}</span><strong>${value}</strong><small>${note}</small></a>`;

/** A modal dialog, open while it is there. */
export function Dialog({ title, onClose, children, busy }) {
  const dialog = useRef();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.focus?.();
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    if (!busy) onClose();
  };
  return html`<dialog ref=${dialog} aria-labelledby="dialog" onCancel=${cancel}>
    <h2 id="dialog">${title}</h2>
    ${children}
  </dialog>`;
}

/** Asks before something is done, shows why it failed, and closes when it is done. */
export function Confirm({ title, children, act, verb, danger, onClose }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await act(new FormData(event.target));
      onClose(true);
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} busy=${busy} onClose=${onClose}>
    <form onSubmit=${submit}>
      ${children}
      <${Failure} error=${error} />
      <div class="actions end">
        <button type="button" disabled=${busy} onClick=${() => onClose(false)}>Back</button>
        <button class=${danger ? "danger" : "main"} disabled=${busy}>${verb}</button>
      </div>
    </form>
  <//>`;
}

let plotting = null;

/** The code of charts, which is read when the first one is drawn. */
function plots() {
  plotting ??= new Promise((resolve, reject) => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = "ui/vendor/uplot.css";
    const script = document.createElement("script");
    script.src = "ui/vendor/uplot.js";
    script.onload = () => resolve(window.uPlot);
    script.onerror = reject;
    document.head.append(style, script);
  });
  return plotting;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A colour as it is in the theme of now: `light-dark()` is not for a canvas. */
function resolved(name) {
  const probe = document.createElement("i");
  probe.style.color = color(name);
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

export const SERIES = 8;
export const seriesColor = (place) => `--series-${place === null ? "rest" : place % SERIES}`;

/**
 * A chart over seconds. `lines` have a `name`, a `color` (a variable of the style) and `values`; stacked lines stand on
 * each other.
 */
export function Chart({ title, from, lines, stacked, unit, summary }) {
  const [frame, plot] = [useRef(), useRef(null)];
  const [theme, setTheme] = useState(0);
  const shape = JSON.stringify([theme, stacked, unit, lines.map((line) => [line.name, line.color])]);
  const length = lines[0]?.values.length ?? 0;
  const data = [Array.from({ length }, (_, at) => from + at), ...stack(lines.map((line) => line.values), stacked)];
  const newest = useRef(data);
  newest.current = data;

  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => setTheme((n) => n + 1);
    media.addEventListener("change", changed);
    addEventListener("theme", changed);
    return () => {
      media.removeEventListener("change", changed);
      removeEventListener("theme", changed);
    };
  }, []);

  useEffect(() => {
    let [ended, observer] = [false, null];
    plots().then((UPlot) => {
      if (ended) return;
      const width = () => Math.max(frame.current.clientWidth, 100);
      plot.current = new UPlot(optionsOf(lines, { stacked, unit, width: width() }), newest.current, frame.current);
      observer = new ResizeObserver(() => plot.current?.setSize({ width: width(), height: HEIGHT }));
      observer.observe(frame.current);
    }).catch(() => {});
    return () => {
      ended = true;
      observer?.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(newest.current), [JSON.stringify(data)]);

  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <div class="plot" role="img" aria-label=${`${title}: ${summary}`} ref=${frame}></div>
    <ul class="legend">${lines.map((line) => html`<li key=${line.name}><i data-color=${line.color}></i><${Name} text=${line.name} /></li>`)}</ul>
  </figure>`;
}

const HEIGHT = 180;

/** Each line on top of those behind it. */
function stack(lines, stacked) {
  if (!stacked) return lines;
  const sums = lines[0]?.map(() => 0) ?? [];
  return lines.map((values) => values.map((value, at) => (sums[at] += value))).reverse();
}

function optionsOf(lines, { stacked, unit, width }) {
  const axis = { stroke: resolved("--faint"), grid: { stroke: resolved("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const drawn = stacked ? [...lines].reverse() : lines;
  const series = drawn.map((line) => {
    const stroke = resolved(line.color);
    return { label: line.name, stroke, width: 1.5, points: { show: false }, spanGaps: false };
  });
  // Between a line and the one that it stands on.
  const pale = (place) => series[place].stroke.replace("rgb(", "rgba(").replace(")", ", .4)");
  const bands = stacked ? series.slice(1).map((_, place) => ({ series: [place + 1, place + 2], fill: pale(place) })) : [];
  if (stacked) series.at(-1).fill = pale(series.length - 1);
  return {
    width,
    height: HEIGHT,
    cursor: { show: false },
    legend: { show: false },
    scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] } },
    axes: [
      { ...axis, space: 90, size: 28, values: (_, at) => at.map((second) => new Date(second * 1000).toLocaleTimeString("en-GB")) },
      { ...axis, size: 56, values: (_, at) => at.map((value) => unit(value)) },
    ],
    series: [{}, ...series],
    bands,
  };
}
