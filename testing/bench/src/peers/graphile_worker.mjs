// graphile-worker: enqueues no-op jobs, or works them off until SIGTERM.
// Run it with: node graphile_worker.mjs enqueue COUNT | node graphile_worker.mjs work
import { Logger, makeWorkerUtils, run } from "graphile-worker";

const TASK = "noop";
const PART = 10_000;
const CONCURRENT_JOBS = 24;
const LOCAL_QUEUE = 2_000;

const [action, count] = [process.argv[2], Number(process.argv[3])];
const connectionString = process.env.DATABASE_URL;
// A line for each job would be measured too.
const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});

async function enqueue() {
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  const begun = performance.now();
  for (let first = 0; first < count; first += PART) {
    const size = Math.min(PART, count - first);
    await utils.addJobs(Array.from({ length: size }, (_, n) => ({ identifier: TASK, payload: { n: first + n } })));
  }
  console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1000 }));
  await utils.release();
}

async function work() {
  const started = Date.now() / 1000;
  let handled = 0;
  const worker = {
    connectionString,
    logger,
    concurrentJobs: CONCURRENT_JOBS,
    maxPoolSize: CONCURRENT_JOBS + 1,
    localQueue: { size: LOCAL_QUEUE },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  };
  const taskList = {
    [TASK]: () => {
      handled += 1;
    },
  };
  const stopped = new Promise((stop) => process.once("SIGTERM", stop));
  const runner = await run({ preset: { worker }, taskList, noHandleSignals: true });
  await stopped;
  await runner.stop();
  console.log(JSON.stringify({ started, handled }));
}

await (action === "enqueue" ? enqueue() : work());
