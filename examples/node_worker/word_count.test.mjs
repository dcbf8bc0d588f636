// Tests of the function alone. Run them with: node --test
import assert from "node:assert/strict";
import { test } from "node:test";

import { wordCount } from "./word_count.mjs";
import { Permanent } from "./worker.mjs";

function run() {
  const told = [];
  return { told, signal: new AbortController().signal, progress: (...progress) => told.push(progress) };
}

test("words are counted", async () => {
  const one = run();
  const most = [["to", 2], ["be", 2], ["or", 1]];
  assert.deepEqual(await wordCount({ text: "To be or\nnot to be" }, one), { words: 6, most });
  assert.deepEqual(one.told.at(-1), [100, "line 2"]);
});

test("a cancelled run stops", async () => {
  const { words } = await wordCount({ text: "to be" }, { ...run(), signal: AbortSignal.abort() });
  assert.equal(words, 0);
});

test("arguments without a text fail for good", async () => {
  for (const args of [{}, { text: 1 }, null]) await assert.rejects(wordCount(args, run()), Permanent);
});
