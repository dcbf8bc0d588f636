// A browser for tests and pictures: pages of a PP, what they may not do, and waiting for what they show.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createServer as createHttpServer, request } from "node:http";
import { connect, createServer } from "node:net";
import { chromium } from "playwright-core";
import { api } from "./demo.mjs";

export const LOOKS = ["light", "dark"].flatMap((theme) => [1280, 380].map((width) => ({ theme, width })));

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The PP that the test was started for. */
export const pp = api(process.env.PP_TEST_URL ?? "http://127.0.0.1:3000");

const executablePath = process.env.PP_TEST_CHROMIUM ?? "/usr/bin/chromium";
// Its sandbox needs rights that root in a container has not. The pages are the caller's own.
const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];

export const launch = () => chromium.launch({ executablePath, args });

/** A window with the dashboard. Errors of its scripts and what its policy forbids fail the test in `noComplaints`. */
export async function open(browser, path = "", { theme = "light", width = 1280, base = pp.base } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme: theme });
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(error.stack));
  page.on("dialog", (dialog) => {
    page.complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => {
    // Answers that are errors are the tests' own doing.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) page.complaints.push(message.text());
  });
  await visit(page, path, base);
  return page;
}

/** Goes to a screen and waits until it shows something. */
export async function visit(page, path, base = pp.base) {
  await page.goto(`${base}/#/${path}`);
  await page.locator("main h1").first().waitFor();
}

/** Waits until nothing is loading any more. */
export async function settled(page) {
  await page.getByText("Loading…").first().waitFor({ state: "detached" }).catch(() => {});
  await eventually(async () => (await page.getByText("Loading…").count()) === 0, "the screen is read");
}

export const noComplaints = (page) => assert.deepEqual(page.complaints, []);

/** Waits for a condition. */
export async function eventually(holds, what, limit = 15_000) {
  const end = Date.now() + limit;
  let last;
  while (Date.now() < end) {
    last = await holds();
    if (last) return last;
    await new Promise((resume) => setTimeout(resume, 50));
  }
  assert.fail(`not within ${limit} ms: ${what}`);
}

/** What is wrong with the page as it is: what sticks out of its window, and what axe-core finds. */
export const faultsOf = async (page, what) => [...(await sticksOut(page)), ...(await inaccessible(page))].map((fault) => `${what}: ${fault}`);

async function sticksOut(page) {
  const { over, out } = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const out = [...document.querySelectorAll("body *")].filter((element) => {
      const box = element.getBoundingClientRect();
      return box.width > 0 && box.right > width + 1 && !element.closest(".unseen, .plot, pre, .skip");
    });
    return { over: document.documentElement.scrollWidth - width, out: out.slice(0, 3).map((element) => element.outerHTML.slice(0, 200)) };
  });
  return over > 0 || out.length > 0 ? [`${over} px too wide: ${out.join(" ")}`] : [];
}

async function inaccessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)} ${node.any[0]?.message ?? ""}`).join("\n  ")}`);
}

/** A proxy that serves PP below a path, which it takes away. */
export async function below(prefix) {
  const target = new URL(pp.base);
  const server = createHttpServer((asked, answer) => {
    if (!asked.url.startsWith(`${prefix}/`)) return answer.writeHead(404).end();
    const { method, headers } = asked;
    const upstream = request({ host: target.hostname, port: target.port, path: asked.url.slice(prefix.length), method, headers }, (got) => {
      answer.writeHead(got.statusCode, got.headers);
      got.pipe(answer);
    });
    upstream.on("error", () => answer.destroy());
    answer.on("close", () => upstream.destroy());
    return asked.pipe(upstream);
  });
  await new Promise((resume) => server.listen(0, "127.0.0.1", resume));
  return { base: `http://127.0.0.1:${server.address().port}${prefix}`, end: () => {
      server.close();
      server.closeAllConnections();
    } };
}

/** Something between a page and PP that can be cut. */
export async function wire() {
  const sockets = new Set();
  const { hostname, port } = new URL(pp.base);
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    client.pipe(upstream).pipe(client);
  });
  const listen = (at) => new Promise((resume) => server.listen(at, "127.0.0.1", resume));
  await listen(0);
  const own = server.address().port;
  return {
    base: `http://127.0.0.1:${own}`,
    cut: () => {
      server.close();
      sockets.forEach((socket) => socket.destroy());
    },
    join: () => listen(own),
    end: () => {
      server.close();
      sockets.forEach((socket) => socket.destroy());
    },
  };
}
