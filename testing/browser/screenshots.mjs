// The pictures of the dashboard in the documents: starts a PP with works as a real system has them, and takes them.
//
//     node screenshots.mjs PP_STANDALONE FOLDER

import { spawn } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { launch, open, settled } from "./browser.mjs";
import { api, live, populate, running } from "./demo.mjs";
import { smaller } from "./png.mjs";

/** How long works are created and done before the first picture: the charts show two minutes. */
const RUN_MS = 125_000;

const [program, folder] = process.argv.slice(2).map((path) => resolve(path));

function freePort() {
  return new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });
}

async function until(holds) {
  for (let tries = 0; !(await holds().catch(() => false)); tries += 1) {
    if (tries > 100) throw new Error("PP is not ready after 20 s");
    await new Promise((resume) => setTimeout(resume, 200));
  }
}

async function take(pp, browser) {
  await populate(pp);
  const living = live(pp, RUN_MS + 30_000);
  const id = await running(pp, "report.yearly", { year: 2026, tenant: "acme" }, "pages 41 to 60 of 150");
  await new Promise((resume) => setTimeout(resume, RUN_MS));
  const gone = await pp.get("/work/search?status=failed&kind=payment.capture&limit=100");
  // One that was tried twice has more to tell.
  const failed = gone.find((work) => work.attempt > 1) ?? gone[0];
  const pictures = [
    ["overview", "", { theme: "light" }], ["overview-dark", "", { theme: "dark" }],
    ["work", `works/${failed.id}`, { theme: "light" }], ["running", `works/${id}`, { theme: "dark" }],
    ["kind", "kinds/user.welcome.email", { theme: "light" }],
  ];
  const taken = [];
  mkdirSync(folder, { recursive: true });
  for (const [name, path, look] of pictures) {
    const page = await open(browser, path, { ...look, base: pp.base });
    await page.getByText("Live", { exact: true }).waitFor();
    await settled(page);
    await new Promise((resume) => setTimeout(resume, 1500));
    taken.push([name, await page.screenshot()]);
    await page.context().close();
  }
  await living;
  // The workers are in this process too: what takes time comes after them.
  for (const [name, full] of taken) writeFileSync(join(folder, `${name}.png`), await smaller(browser, full));
}

const data = mkdtempSync(join(tmpdir(), "pp-screenshots-"));
const port = await freePort();
const pp = api(`http://127.0.0.1:${port}`);
const service = spawn(program, { cwd: data, env: { ...process.env, PP_API_BIND: `127.0.0.1:${port}`, PP_LOG: "error" }, stdio: ["ignore", "ignore", "inherit"] });
const browser = await launch();
try {
  await until(() => pp.get("/health/ready"));
  await take(pp, browser);
} finally {
  await browser.close();
  service.kill();
  rmSync(data, { recursive: true, force: true });
}
