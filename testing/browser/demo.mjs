// Works as a real system has them, for pictures and for trying things out: several kinds, workers, failures, schedules.
//
//     node demo.mjs http://127.0.0.1:3000

const SECOND = 1000;
const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));

/** The API of a PP. */
export function api(base, key) {
  const send = async (method, path, body) => {
    const headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
    const answer = await fetch(base + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  };
  return {
    base,
    get: (path) => send("GET", path),
    post: (path, body) => send("POST", path, body),
    put: (path, body) => send("PUT", path, body),
    patch: (path, body) => send("PATCH", path, body),
    remove: (path) => send("DELETE", path),
  };
}

const EMAIL = {
  type: "object",
  required: ["to", "template"],
  properties: {
    to: { type: "string", format: "email", title: "To", description: "The address." },
    template: { enum: ["welcome", "reminder", "farewell"], title: "Template" },
    urgent: { type: "boolean", title: "Urgent", default: false },
    retries: { type: "integer", title: "Retries", minimum: 0, maximum: 9 },
    headers: { type: "object", title: "Headers" },
  },
};

const KINDS = {
  "user.welcome.email": { delivery: "pull", policy: { max_attempts: 3, backoff: { base: "2s" } }, args_schema: EMAIL },
  "image.thumbnail": { delivery: "pull", args_schema: { type: "object", required: ["url", "width"], properties: { url: { type: "string" }, width: { type: "integer", minimum: 16, maximum: 4096 } } } },
  "payment.capture": { delivery: "pull", policy: { max_attempts: 2, backoff: { base: "1s" } } },
  "report.monthly": { delivery: "pull" },
  "report.yearly": { delivery: "pull" },
  "order.export": { delivery: "queue" },
};

const NAMES = ["ada", "grace", "alan", "edsger", "barbara", "donald", "margaret", "tim"];
const one = (list) => list[Math.floor(Math.random() * list.length)];

const ARGS = {
  "user.welcome.email": () => ({ to: `${one(NAMES)}@example.com`, template: one(["welcome", "reminder", "farewell"]) }),
  "image.thumbnail": () => ({ url: `https://images.example.com/${Math.floor(Math.random() * 9000)}.png`, width: one([64, 128, 256]) }),
  "payment.capture": () => ({ order: Math.floor(Math.random() * 90000), amount: "49.90", currency: "EUR" }),
  "report.monthly": () => ({ month: "2026-10" }),
  "report.yearly": () => ({ year: 2026 }),
  "order.export": () => ({ order: Math.floor(Math.random() * 90000) }),
};

const ERRORS = {
  "user.welcome.email": ["550 no such mailbox"],
  "image.thumbnail": ["the image is truncated: 1024 of 88120 bytes"],
  "payment.capture": ["the bank declined the card: insufficient funds", "connect to payments.example.com:443: timed out after 5s", "the currency XBT is unknown"],
};

/** Claims works of a kind and ends them, until `ended()`. */
export async function work(pp, { kind, worker, max, length, fails, ended, results }) {
  while (!ended()) {
    const { runs } = await pp.post("/run/claim", { kinds: [kind], worker, max, wait: "1s" }).catch(() => ({ runs: [] }));
    await Promise.all(runs.map(async ({ run }) => {
      await pause(length * (0.5 + Math.random()));
      const body = Math.random() < fails ? { run, error: one(ERRORS[kind]), permanent: Math.random() < 0.6 } : { run, result: results() };
      await pp.post(body.error ? "/run/fail" : "/run/complete", body).catch(() => null);
    }));
  }
}

/** Declares the kinds and makes the works that stay as they are. */
export async function populate(pp) {
  for (const [kind, declaration] of Object.entries(KINDS)) await pp.put(`/kind/${kind}`, declaration);
  const later = Math.floor(Date.now() / SECOND) + 7200;
  for (let n = 0; n < 12; n += 1) await pp.post("/work", { kind: "order.export", args: ARGS["order.export"]() });
  for (let n = 0; n < 4; n += 1) await pp.post("/work", { kind: "report.monthly", args: ARGS["report.monthly"]() });
  await pp.post("/work", { kind: "user.welcome.email", args: ARGS["user.welcome.email"](), run_at: later });
  await pp.patch("/kind/report.monthly", { policy: { paused: true } });
}

/** Creates works and does them for so long. */
export async function live(pp, ms) {
  const end = Date.now() + ms;
  const ended = () => Date.now() > end;
  const creating = async (kind, every, number) => {
    while (!ended()) {
      const works = Array.from({ length: Math.ceil(number * Math.random()) }, () => ({ kind, args: ARGS[kind]() }));
      if (works.length) await pp.post("/work/bulk", works);
      await pause(every);
    }
  };
  const sums = async () => {
    while (!ended()) {
      await pp.post("/work/bulk", Array.from({ length: 1 + Math.floor(6 * Math.random()) }, () => ({ add_up_to: 1 + Math.floor(Math.random() * 99) })));
      await pause(400);
    }
  };
  await Promise.all([
    creating("user.welcome.email", 500, 8), creating("image.thumbnail", 700, 10), creating("payment.capture", 900, 3), sums(),
    work(pp, { kind: "user.welcome.email", worker: "mailer@web-1", max: 10, length: 400, fails: 0.02, ended, results: () => ({ accepted: true }) }),
    work(pp, { kind: "image.thumbnail", worker: "resize@gpu-1", max: 12, length: 700, fails: 0.01, ended, results: () => ({ bytes: Math.floor(Math.random() * 90000) }) }),
    work(pp, { kind: "payment.capture", worker: "pay@web-2", max: 2, length: 300, fails: 0.3, ended, results: () => ({ captured: true }) }),
  ]);
}

/** A work that is running under a worker, and stays so for a while. */
export async function running(pp, kind, args, note) {
  const { id } = await pp.post("/work", { kind, args });
  const { runs } = await pp.post("/run/claim", { kinds: [kind], worker: "slow@web-3", max: 1, wait: "5s", lease: "10m" });
  await pp.post("/run/heartbeat", { run: runs[0].run, progress: 40, note, lease: "10m" });
  return id;
}

if (process.argv[1]?.endsWith("demo.mjs")) {
  const pp = api(process.argv[2] ?? "http://127.0.0.1:3000");
  await populate(pp);
  await live(pp, Number(process.argv[3] ?? 60) * SECOND);
}
