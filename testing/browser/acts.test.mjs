// What people do with the dashboard, and what becomes of it: create, cancel, run again, redrive, pause, make keys, sign in.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { below, eventually, faultsOf, launch, noComplaints, open, pp, settled, visit } from "./browser.mjs";
import { api, populate, running } from "./demo.mjs";

let browser;
before(async () => {
  browser = await launch();
  await populate(pp);
});
after(() => browser.close());

const work = (id, of = pp) => of.get(`/work/${id}`);
const dialog = (page) => page.getByRole("dialog");

/** Fails works of a kind for good. */
async function fail(kind, errors) {
  await pp.put(`/kind/${kind}`, { delivery: "pull" });
  await pp.post("/work/bulk", errors.map(() => ({ kind, args: {} })));
  const { runs } = await pp.post("/run/claim", { kinds: [kind], max: errors.length, wait: "10s" });
  await pp.post("/run/fail", runs.map(({ run }, place) => ({ run, error: errors[place], permanent: true })));
  return runs.map(({ id }) => id);
}

test("two windows see the same change", async () => {
  const [one, other] = [await open(browser, "works?kind=report.monthly"), await open(browser, "works?kind=report.monthly")];
  const { id } = await pp.post("/work", { kind: "report.monthly", args: { month: "2026-11" } });
  const row = (page) => page.getByRole("row").filter({ has: page.getByRole("link", { name: String(id), exact: true }) });
  for (const page of [one, other]) await row(page).getByText("pending").waitFor();
  await visit(one, `works/${id}`);
  await one.getByRole("button", { name: "Cancel…" }).click();
  await one.getByRole("button", { name: "Cancel the work" }).click();
  await one.getByRole("heading", { level: 1 }).getByText("cancelled").waitFor();
  await row(other).getByText("cancelled").waitFor();
  [one, other].forEach(noComplaints);
});

test("a work is created from the form of its kind", async () => {
  const page = await open(browser, "kinds/user.welcome.email");
  await page.getByRole("textbox", { name: "To The address." }).fill("ada@example.com");
  await page.getByLabel("Template").selectOption({ label: "welcome" });
  await page.getByLabel("Urgent").check();
  await page.getByLabel("Retries").fill("3");
  await page.getByLabel("Headers").fill('{"x-test": [1, 2]}');
  await page.getByRole("button", { name: "Create" }).click();
  const link = page.getByRole("status").getByRole("link", { name: /^Work \d+$/ });
  const id = (await link.textContent()).replace("Work ", "");
  assert.deepEqual((await work(id)).args, { to: "ada@example.com", template: "welcome", urgent: true, retries: 3, headers: { "x-test": [1, 2] } });

  // What the schema does not take is said with its place.
  await page.getByRole("button", { name: "As JSON" }).click();
  await page.getByLabel("Arguments, as JSON").fill('{"to":"ada@example.com","template":"unknown"}');
  await page.getByRole("button", { name: "Create" }).click();
  const alert = page.getByRole("alert");
  await alert.getByText("/args/template").waitFor();
  await page.getByLabel("Arguments, as JSON").fill("{");
  await page.getByRole("button", { name: "Create" }).click();
  await alert.getByText("not JSON").waitFor();
  noComplaints(page);
});

test("a sum is created with the number that was typed", async () => {
  const page = await open(browser, "kinds/add_up_to");
  await page.getByLabel("add_up_to").fill("2000000000");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("status").getByRole("link").click();
  // The sum is larger than what a script's number holds exactly.
  await page.getByRole("group", { name: "Result" }).getByText("2000000001000000000").waitFor();
  await page.getByRole("button", { name: "Run again…" }).click();
  await page.getByRole("button", { name: "Run again", exact: true }).click();
  await page.getByText("Given other arguments").waitFor();
  noComplaints(page);
});

test("a running work is cancelled, and says why it is where it is", async () => {
  const id = await running(pp, "image.thumbnail", { url: "https://images.example.com/1.png", width: 64 }, "half way");
  const page = await open(browser, `works/${id}`);
  await page.getByText("It is running at slow@web-3").waitFor();
  await page.getByText("40 %: half way").first().waitFor();
  await page.getByRole("button", { name: "Cancel…" }).click();
  await dialog(page).getByText("Its worker is told to stop").waitFor();
  await page.getByRole("button", { name: "Cancel the work" }).click();
  await page.getByRole("heading", { level: 1 }).getByText("cancelled").waitFor();
  assert.equal((await work(id)).status, "cancelled");
  await page.getByRole("button", { name: "Run again…" }).click();
  await page.getByRole("button", { name: "Run again", exact: true }).click();
  await eventually(async () => (await work(id)).status === "pending", "it starts over");
  noComplaints(page);
});

test("a work that does not run says why", async () => {
  const page = await open(browser);
  const says = async (id, words) => {
    await visit(page, `works/${id}`);
    await page.getByText(words).waitFor();
  };
  const later = Math.floor(Date.now() / 1000) + 7200;
  const create = async (kind, more = {}) => (await pp.post("/work", { kind, args: {}, ...more })).id;
  await says(await create("report.monthly"), "Its kind is paused.");
  await says(await create("order.export"), "No worker is there for its kind. None was ever there.");
  await says(await create("order.export", { run_at: later }), "It is scheduled: it runs in 2 h");
  await pp.put("/kind/flaky", { delivery: "pull", policy: { backoff: { base: "1h", cap: "1h" } } });
  const flaky = await create("flaky");
  const { runs } = await pp.post("/run/claim", { kinds: ["flaky"], wait: "5s" });
  await pp.post("/run/fail", { run: runs[0].run, error: "not yet" });
  await says(flaky, "The next one begins after a wait of at most 60 min.");
  noComplaints(page);
});

test("arguments are edited, unless somebody else was faster", async () => {
  const { id } = await pp.post("/work", { kind: "report.monthly", args: { month: "2026-01" } });
  const page = await open(browser, `works/${id}`);
  const edit = async (text) => {
    await page.getByRole("button", { name: "Edit…" }).click();
    await page.getByLabel("Arguments, as JSON").fill(text);
  };
  await edit('{"month":"2026-02"}');
  await page.getByRole("button", { name: "Save and run" }).click();
  await page.getByRole("group", { name: "Arguments" }).getByText("2026-02").waitFor();
  await edit('{"month":"2026-03"}');
  await pp.patch(`/work/${id}`, { args: { month: "2026-04" } });
  await page.getByRole("button", { name: "Save and run" }).click();
  await dialog(page).getByRole("alert").waitFor();
  assert.deepEqual((await work(id)).args, { month: "2026-04" });
});

test("a group of dead letters is redriven, and another one dropped", async () => {
  const ids = await fail("bank.charge", ["declined: no funds", "declined: no funds", "timed out"]);
  const page = await open(browser, "deadletters");
  const group = (error) => page.getByRole("row").filter({ hasText: error }).filter({ hasText: "bank.charge" });
  await group("declined").getByRole("button", { name: "Run again…" }).click();
  await dialog(page).getByText("2 letters of kind bank.charge").waitFor();
  await page.getByRole("button", { name: "Run again 2 letters" }).click();
  await group("declined").waitFor({ state: "detached" });
  // A read may be as old as the bound of staleness.
  const statuses = async () => (await Promise.all(ids.map((id) => work(id)))).map(({ status }) => status).join();
  await eventually(async () => (await statuses()) === "pending,pending,failed", "the group starts over, and no other");
  await group("timed out").getByRole("link", { name: "Show 1 letter" }).click();
  await page.getByRole("link", { name: `Work ${ids[2]}` }).waitFor();
  await page.getByRole("button", { name: "Drop…" }).click();
  await page.getByRole("button", { name: "Drop 1 letter" }).click();
  await page.getByText("None is left.").waitFor();
  assert.deepEqual(await pp.get("/deadletter?kind=bank.charge"), []);
  noComplaints(page);
});

test("a message that is no work is shown with its body", async () => {
  const letter = { id: 7, work_id: null, work_code: null, message_id: "m1", body: '{"to":<b>\ufffd', body_bytes: 2048, reason: "not JSON", attempts: 0, demanded_on: null, created_on: 1795870924, redriven: false, kind: "order.export" };
  const page = await open(browser);
  await page.route("**/deadletter?*", (route) => route.fulfill({ json: [letter] }));
  await visit(page, "deadletters?kind=order.export");
  await page.getByRole("group", { name: "Body of the message" }).getByText('{"to":<b>\ufffd').waitFor();
  await page.getByText("2,048 bytes; the first 1,024 are shown; bytes that are no UTF-8 are shown as \ufffd").waitFor();
  assert.deepEqual(await faultsOf(page, "the letter of a message"), []);
  noComplaints(page);
});

test("all works that match are counted, cancelled, and the others left alone", async () => {
  await pp.put("/kind/many.works", { delivery: "pull" });
  await pp.post("/work/bulk", Array.from({ length: 120 }, (_, n) => ({ kind: "many.works", args: { n } })));
  const page = await open(browser, "works?kind=many.works");
  await page.getByRole("button", { name: "Cancel all…" }).click();
  await dialog(page).getByText("120 works").first().waitFor();
  await page.getByRole("button", { name: "Cancel 120 works" }).click();
  await dialog(page).getByText("120 of 120 works cancelled. Finished.").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  const count = async (query) => (await pp.get(`/work/count?${query}`)).works;
  assert.equal(await count("kind=many.works&status=cancelled"), 120);
  assert.ok((await count("kind=order.export&status=pending")) >= 12);

  // Stopped half way: what was not reached stays.
  await page.route("**/work/*/retry", async (route) => {
    await new Promise((resume) => setTimeout(resume, 200));
    await route.continue();
  });
  await page.getByRole("button", { name: "Run again all…" }).click();
  await page.getByRole("button", { name: "Run again 120 works" }).click();
  await dialog(page).getByText(/[1-9]\d* of 120 works/).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await dialog(page).getByText("Stopped.").waitFor();
  const again = await count("kind=many.works&status=pending");
  assert.ok(again > 0 && again < 120, `${again} were started again`);
  noComplaints(page);
});

test("a kind is paused, resumed, and set", async () => {
  const page = await open(browser, "kinds/image.thumbnail");
  const policy = async () => (await pp.get("/kind/image.thumbnail")).policy;
  await page.getByRole("button", { name: "Pause…" }).click();
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByRole("button", { name: "Resume…" }).waitFor();
  assert.equal((await policy()).paused, true);
  await page.getByRole("button", { name: "Resume…" }).click();
  await page.getByRole("button", { name: "Resume", exact: true }).click();
  await page.getByRole("button", { name: "Pause…" }).waitFor();
  await page.getByRole("button", { name: "Set backoff.cap" }).click();
  await page.getByLabel("backoff.cap", { exact: true }).fill("never");
  await page.getByRole("button", { name: "Set", exact: true }).click();
  await dialog(page).getByRole("alert").waitFor();
  await page.getByLabel("backoff.cap", { exact: true }).fill("1m");
  await page.getByRole("button", { name: "Set", exact: true }).click();
  await dialog(page).waitFor({ state: "detached" });
  assert.deepEqual([(await policy()).paused, (await policy()).backoff.cap], [false, "1m"]);
  await page.getByRole("group", { name: "Code of a worker" }).getByText("image.thumbnail").waitFor();
  noComplaints(page);
});

test("a filter is in the address, and the address leads to it", async () => {
  const page = await open(browser, "works");
  await page.getByLabel("Status").selectOption("pending");
  await page.getByLabel("Kind", { exact: true }).fill("order.export");
  await page.getByLabel("Kind", { exact: true }).press("Enter");
  await eventually(async () => /kind=order\.export/.test(page.url()) && /status=pending/.test(page.url()), "both are in the address");
  const other = await open(browser, new URL(page.url()).hash.slice(2));
  await settled(other);
  const kinds = await other.locator("tbody tr td:nth-child(3)").allTextContents();
  assert.ok(kinds.length >= 12 && kinds.every((kind) => kind === "order.export"), String(kinds));
});

test("it works below a path that a proxy takes away", async () => {
  const proxy = await below("/tools/pp");
  const page = await open(browser, "kinds/report.monthly", { base: proxy.base });
  await page.locator("header").getByText("Live").waitFor();
  await page.getByLabel("Arguments, as JSON").fill('{"month":"2026-12"}');
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("status").getByRole("link", { name: /^Work \d+$/ }).click();
  await page.getByText("Its kind is paused.").waitFor();
  await visit(page, "", proxy.base);
  await page.locator(".plot canvas").first().waitFor();
  noComplaints(page);
  await page.context().close();
  proxy.end();
});

// The last one, since the API asks everybody for a key from then on.
test("keys are made, used to sign in, and revoked", async () => {
  const page = await open(browser, "keys");
  await page.getByRole("button", { name: "Make a key…" }).click();
  await page.getByLabel("Name").fill("owner");
  await page.getByLabel("admin").check();
  await page.getByRole("button", { name: "Make the key" }).click();
  const key = await page.getByRole("group", { name: "API key" }).textContent();
  assert.match(key, /^pp_/);
  await page.getByRole("button", { name: "Close" }).click();

  const field = page.getByLabel("API key");
  await field.waitFor();
  assert.deepEqual(await faultsOf(page, "the form to sign in"), []);
  await field.fill("pp_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("not valid").waitFor();
  await field.fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { level: 1, name: "Keys" }).waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  const cookies = await page.context().cookies();
  assert.deepEqual(cookies.map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite })), [{ name: "pp_key", httpOnly: true, sameSite: "Strict" }]);

  // A key for reading sees works, and is told what it lacks.
  const owner = api(pp.base, key);
  const reader = await owner.post("/key", { name: "reader", scopes: "read" });
  const other = await open(browser);
  await other.getByLabel("API key").fill(reader.key);
  await other.getByRole("button", { name: "Sign in" }).click();
  await visit(other, "audit");
  await other.getByRole("alert").getByText("lacks the scope admin").waitFor();
  await visit(other, "kinds/image.thumbnail");
  await other.getByRole("button", { name: "Pause…" }).click();
  await other.getByRole("button", { name: "Pause", exact: true }).click();
  await dialog(other).getByRole("alert").getByText("lacks the scope operate").waitFor();

  await visit(page, "audit");
  await page.getByRole("row").filter({ hasText: "key.create" }).filter({ hasText: "key:1 owner" }).waitFor();
  await visit(page, "keys");
  await page.getByRole("row").filter({ hasText: "reader" }).getByRole("button", { name: "Revoke…" }).click();
  await page.getByRole("button", { name: "Revoke", exact: true }).click();
  await other.reload();
  await other.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await field.waitFor();
  assert.deepEqual(await page.context().cookies(), []);
});
