// The page is live: it says when its stream is cut, misses nothing, and reads nothing while it is hidden.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, launch, noComplaints, open, pp, visit, wire } from "./browser.mjs";
import { populate } from "./demo.mjs";

let browser;
before(async () => {
  browser = await launch();
  await populate(pp);
});
after(() => browser.close());

const sign = (page, words) => page.locator("header").getByText(words).waitFor();
const create = async () => (await pp.post("/work", { kind: "report.monthly", args: {} })).id;
const link = (page, id) => page.getByRole("link", { name: String(id), exact: true });

test("a cut stream is shown, and what happened meanwhile is there when it is back", async () => {
  const proxy = await wire();
  const page = await open(browser, "works", { base: proxy.base });
  await sign(page, "Live");
  proxy.cut();
  await sign(page, "Cut off, trying again…");
  const ids = [await create(), await create()];
  await pp.remove(`/work/${ids[0]}`);
  assert.equal(await link(page, ids[1]).count(), 0);
  await proxy.join();
  await sign(page, "Live");
  await link(page, ids[1]).waitFor();
  assert.equal(await link(page, ids[0]).count(), 0);
  await link(page, await create()).waitFor();
  proxy.end();
  await page.context().close();
});

test("the page has one stream, closes it while it is hidden, and is current when it is seen again", async () => {
  const page = await open(browser, "works");
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await sign(page, "Live");
  const clients = async () => {
    const metrics = await (await fetch(`${pp.base}/metrics`)).text();
    return Number(/^pp_stream_clients (\d+)$/m.exec(metrics)[1]);
  };
  for (const path of ["", "kinds", "workers", "works"]) await visit(page, path);
  await eventually(async () => (await clients()) === 1, "one stream is open");
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await sign(page, "Paused");
  await eventually(async () => (await clients()) === 0, "the stream is closed");
  await eventually(async () => {
    const before = asked.length;
    await new Promise((resume) => setTimeout(resume, 3000));
    return asked.length === before;
  }, "nothing is read while it is hidden");
  const id = await create();
  await hide(false);
  await sign(page, "Live");
  await link(page, id).waitFor();
  noComplaints(page);
  await page.context().close();
});

test("what needs attention is said in words", async () => {
  const page = await open(browser);
  const attention = page.locator(".attention");
  await attention.getByText("No worker is there for order.export, and 12 works wait.").waitFor();
  await attention.getByText("report.monthly is paused, and").waitFor();
  await page.route("**/metrics", (route) => route.fulfill({
    contentType: "text/plain",
    body: '# TYPE pp_stream_clients gauge\npp_stream_clients 9\npp_stream_clients_limit 10\npp_oldest_due_seconds{kind="image.thumbnail"} 95.5\npp_http_budget_bytes{budget="body"} 5\npp_http_budget_limit_bytes{budget="body"} 10\n',
  }));
  const parts = [{ name: "store", state: "down", reason: "the database does not answer", essential: true }];
  await page.route("**/health/ready", (route) => route.fulfill({ status: 503, json: { status: 503, detail: "not ready", parts } }));
  await page.reload();
  await attention.getByText("The part store is down: the database does not answer").waitFor();
  await attention.getByText("Of the room for live streams, 90 % are in use.").waitFor();
  await attention.getByText("The oldest due work of image.thumbnail waits for 2 min.").waitFor();
  assert.equal(await attention.getByText("the budget for bytes").count(), 0);
  await visit(page, "system");
  await page.getByRole("row").filter({ hasText: "store" }).getByText("down").waitFor();
  noComplaints(page);
  await page.context().close();
});

test("numbers change on the overview without a reload", async () => {
  const page = await open(browser);
  const scheduled = page.getByRole("link", { name: /^Scheduled/ }).locator("strong");
  await eventually(async () => /^\d+$/.test(await scheduled.textContent()), "there is a number");
  const before = Number(await scheduled.textContent());
  await pp.post("/work", { kind: "report.monthly", args: {}, run_at: Math.floor(Date.now() / 1000) + 3600 });
  await eventually(async () => Number(await scheduled.textContent()) === before + 1, "one more is scheduled");
  noComplaints(page);
});
