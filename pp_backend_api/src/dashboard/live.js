// Follows /stats/stream while the page is seen, and shows every sample as it comes.

const STATUSES = ["pending", "running", "done", "failed", "cancelled"];
const whole = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const element = (id) => document.getElementById(id);

// Two samples in one frame are drawn once.
let newest = null;
let source = null;

function state(name) {
  element("state").textContent = name;
  element("state").dataset.state = name;
}

function text(id, value, format) {
  element(id).textContent = value === null ? "–" : format.format(value);
}

function cell(content, className = "") {
  const cell = document.createElement("td");
  cell.textContent = content;
  cell.className = className;
  return cell;
}

function row(cells) {
  const row = document.createElement("tr");
  row.append(...cells);
  return row;
}

function count(name, byStatus) {
  const numbers = STATUSES.map((status) => byStatus[status]);
  const all = numbers.reduce((sum, number) => sum + number, 0);
  return row([cell(name), ...[...numbers, all].map((number) => cell(whole.format(number), "number"))]);
}

function counts(works) {
  const sum = Object.fromEntries(
    STATUSES.map((status) => [status, Object.values(works).reduce((sum, origin) => sum + origin[status], 0)]),
  );
  return [...Object.entries(works), ["all", sum]].map(([name, byStatus]) => count(name, byStatus));
}

function work(work) {
  const { id, work_code, add_up_to, status, result, run_at, updated_on } = work;
  return row([
    cell(id, "number"),
    cell(work_code, "code"),
    cell(whole.format(add_up_to), "number"),
    cell(status, `status ${status}`),
    cell(result === null ? "–" : whole.format(result), "number"),
    cell(run_at === undefined ? "–" : new Date(run_at * 1000).toLocaleString(), "number"),
    cell(new Date(updated_on * 1000).toLocaleTimeString(), "number"),
  ]);
}

function draw() {
  const stats = newest;
  newest = null;
  text("over_1s", stats.works_per_second.over_1s, whole);
  text("over_60s", stats.works_per_second.over_60s, tenths);
  text("backlog", stats.backlog, whole);
  text("scheduled", stats.scheduled, whole);
  text("p50", stats.latency_ms.p50, tenths);
  text("p99", stats.latency_ms.p99, tenths);
  element("works").tBodies[0].replaceChildren(...counts(stats.works));
  element("newest").tBodies[0].replaceChildren(...stats.newest.map(work));
}

// The largest results are larger than what a number holds exactly; browsers that do not tell their text round them.
function exact(key, value, context) {
  return key === "result" && value !== null && context?.source ? BigInt(context.source) : value;
}

function show(event) {
  if (newest === null) requestAnimationFrame(draw);
  newest = JSON.parse(event.data, exact);
}

function open() {
  state("connecting");
  source = new EventSource("stats/stream");
  source.onopen = () => state("live");
  source.addEventListener("stats", show);
  source.onerror = () => {
    state("reconnecting");
    // What was refused is not tried again by the browser.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => source?.readyState === EventSource.CLOSED && again(), 2000);
  };
}

// A stream does not tell why it was refused.
async function again() {
  const answer = await fetch("stats", { method: "HEAD" }).catch(() => null);
  element("sign_in").hidden = ![401, 403].includes(answer?.status);
  if (element("sign_in").hidden) open();
  else state("sign in");
}

async function signIn(event) {
  event.preventDefault();
  const body = JSON.stringify({ key: element("key").value.trim() });
  const headers = { "content-type": "application/json" };
  const answer = await fetch("session", { method: "POST", headers, body }).catch(() => null);
  element("refused").textContent = answer?.ok ? "" : "this key is not valid";
  if (!answer?.ok) return;
  element("key").value = "";
  element("sign_in").hidden = true;
  open();
}

function close() {
  source?.close();
  source = null;
  state("paused");
}

const follow = () => (document.hidden ? close() : source ?? open());
document.addEventListener("visibilitychange", follow);
element("sign_in").addEventListener("submit", signIn);
follow();
