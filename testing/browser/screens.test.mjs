// Every screen in both themes and both widths: accessible, within its window, and unharmed by hostile works.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LOOKS, eventually, faultsOf, launch, noComplaints, open, pp, settled, visit } from "./browser.mjs";
import { populate, running } from "./demo.mjs";

const SCRIPT = `<script>globalThis.hurt=1</script><img src=x onerror="globalThis.hurt=1">'"\`\${1}`;
const HOSTILE = "a".repeat(100);

let browser;
const ids = {};

/** Ends a work of a kind as its worker. */
async function end(kind, args, report) {
  const { id } = await pp.post("/work", { kind, args });
  const { runs } = await pp.post("/run/claim", { kinds: [kind], worker: "test@host", max: 1, wait: "10s" });
  const { error, ...rest } = report;
  await pp.post(error === undefined ? "/run/complete" : "/run/fail", { run: runs[0].run, ...(error !== undefined && { error }), ...rest });
  return id;
}

before(async () => {
  browser = await launch();
  await populate(pp);
  ids.done = await end("image.thumbnail", { url: "https://images.example.com/1.png", width: 64 }, { result: { bytes: 1 } });
  ids.failed = await end("payment.capture", { order: 7 }, { error: "the bank declined the card", permanent: true });
  ids.retried = await end("payment.capture", { order: 8 }, { error: "timed out", retry_after: "1h" });
  ids.running = await running(pp, "user.welcome.email", { to: "ada@example.com", template: "welcome" }, "handing over");
  ids.pending = (await pp.post("/work", { kind: "order.export", args: { order: 9 } })).id;
  await pp.put(`/kind/${HOSTILE}`, { delivery: "pull", args_schema: { type: "object", properties: { [SCRIPT]: { type: "string", description: SCRIPT } } } });
  ids.hostile = await end(HOSTILE, { text: SCRIPT, long: "x".repeat(60_000) }, { error: SCRIPT + "y".repeat(300), permanent: true });
  ids.hostileDone = await end(HOSTILE, { list: [SCRIPT, "w".repeat(3000)] }, { result: SCRIPT.repeat(400) });
  await pp.post("/work", { kind: HOSTILE, args: { [SCRIPT]: SCRIPT }, unique: SCRIPT });
});

after(() => browser.close());

const SCREENS = () => [
  "", "works", "works?kind=payment.capture&status=failed&since=1d&work_code=api-",
  ...Object.values(ids).map((id) => `works/${id}`), "works/999999999",
  "kinds", "kinds?q=user", "kinds/user.welcome.email", "kinds/add_up_to", "kinds/report.monthly", `kinds/${HOSTILE}`,
  "workers", "deadletters", "deadletters?kind=payment.capture&error=the%20bank", `deadletters?kind=${HOSTILE}`,
  "keys", "audit", "system", "nowhere",
];

for (const look of LOOKS) {
  test(`every screen is accessible and fits: ${look.theme}, ${look.width} px`, async () => {
    const page = await open(browser, "", look);
    const faults = [];
    for (const path of SCREENS()) {
      await visit(page, path);
      await settled(page);
      faults.push(...(await faultsOf(page, path)));
    }
    assert.deepEqual(faults, []);
    assert.equal(await page.evaluate(() => globalThis.hurt), undefined);
    noComplaints(page);
    await page.context().close();
  });

  test(`dialogs and the menu are accessible and fit: ${look.theme}, ${look.width} px`, async () => {
    const page = await open(browser, `works/${ids.hostile}`, look);
    const faults = [];
    for (const [path, button] of [
      [`works/${ids.hostile}`, "Edit…"], [`works/${ids.pending}`, "Cancel…"], ["works", "Delete all…"], ["keys", "Make a key…"],
      ["kinds/user.welcome.email", "Pause…"], ["kinds/user.welcome.email", "Set max_attempts"], [`deadletters?kind=${HOSTILE}`, "Drop…"],
    ]) {
      await visit(page, path);
      await page.getByRole("button", { name: button }).first().click();
      await page.getByRole("dialog").waitFor();
      faults.push(...(await faultsOf(page, button)));
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
    }
    if (look.width === 380) {
      await page.getByRole("button", { name: "Menu" }).click();
      await page.getByRole("link", { name: "System" }).waitFor();
      faults.push(...(await faultsOf(page, "the menu")));
      await page.getByRole("link", { name: "System" }).click();
      await page.getByRole("heading", { level: 1, name: "System" }).waitFor();
    }
    assert.deepEqual(faults, []);
    noComplaints(page);
    await page.context().close();
  });
}

test("hostile arguments are shown as the text that they are", async () => {
  const page = await open(browser, `works/${ids.hostile}`);
  const shown = page.getByRole("group", { name: "Arguments" });
  await eventually(async () => (await shown.textContent())?.includes("<script>globalThis.hurt=1</script>"), "the script is text");
  assert.equal(await page.locator("main img, main script").count(), 0);
  await page.getByRole("button", { name: /^Show all/ }).first().click();
  assert.ok((await shown.textContent()).length > 60_000);
  assert.deepEqual(await faultsOf(page, "64 KiB of arguments"), []);
  assert.equal(await page.evaluate(() => globalThis.hurt), undefined);
  noComplaints(page);
});

test("the theme can be chosen and stays", async () => {
  const page = await open(browser, "system");
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByLabel("Theme").selectOption("dark");
  await eventually(async () => (await ground()) !== light, "the page is dark");
  assert.deepEqual(await faultsOf(page, "the chosen theme"), []);
  await page.reload();
  await page.locator("main h1").waitFor();
  assert.notEqual(await ground(), light);
});

test("everything is reached by keyboard alone", async () => {
  const page = await open(browser, "");
  await page.locator("main h1").waitFor();
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.getByRole("link", { name: "Works", exact: true }).focus();
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, "none");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Works" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
});
