// pg-boss: enqueues no-op jobs, or works them off until SIGTERM.
// Run it with: node pg_boss.mjs enqueue COUNT | node pg_boss.mjs work
import { PgBoss } from "pg-boss";

const QUEUE = "noop";
const PART = 10_000;

const [action, count] = [process.argv[2], Number(process.argv[3])];
// Neither maintenance nor schedules beside the jobs.
const boss = new PgBoss({ connectionString: process.env.DATABASE_URL, supervise: false, schedule: false });
boss.on("error", (error) => console.error(error));

async function enqueue() {
  await boss.start();
  await boss.createQueue(QUEUE);
  const begun = performance.now();
  for (let first = 0; first < count; first += PART) {
    const size = Math.min(PART, count - first);
    await boss.insert(QUEUE, Array.from({ length: size }, (_, n) => ({ data: { n: first + n } })));
  }
  console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1000 }));
  await boss.stop();
}

async function work() {
  const started = Date.now() / 1000;
  let handled = 0;
  const options = { batchSize: 2_000, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
  const stopped = new Promise((stop) => process.once("SIGTERM", stop));
  await boss.start();
  await boss.work(QUEUE, options, async (jobs) => {
    handled += jobs.length;
  });
  await stopped;
  await boss.stop();
  console.log(JSON.stringify({ started, handled }));
}

await (action === "enqueue" ? enqueue() : work());
