// A worker that counts words. Run it with: node main.mjs
import { wordCount } from "./word_count.mjs";
import { work } from "./worker.mjs";

await work(wordCount);
