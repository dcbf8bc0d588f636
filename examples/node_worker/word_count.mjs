// The function of the worker in main.mjs: counts words.
import { Permanent } from "./worker.mjs";

/** Returns the number of words of a text, and its most frequent ones. */
export async function wordCount(args, run) {
  if (typeof args?.text !== "string") throw new Permanent("the arguments have no text");
  const counts = new Map();
  const lines = args.text.toLowerCase().split("\n");
  for (const [number, line] of lines.entries()) {
    if (run.signal.aborted) break;
    for (const word of line.split(/\s+/).filter(Boolean)) counts.set(word, (counts.get(word) ?? 0) + 1);
    run.progress((100 * (number + 1)) / lines.length, `line ${number + 1}`);
  }
  const most = [...counts].sort(([, one], [, other]) => other - one).slice(0, 3);
  return { words: [...counts.values()].reduce((sum, count) => sum + count, 0), most };
}
