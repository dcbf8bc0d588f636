"""A worker that counts words. Run it with: python3 word_count.py"""
from collections import Counter

import worker


def word_count(args, run):
    """Returns the number of words of a text, and its most frequent ones."""
    if not isinstance(args, dict) or not isinstance(args.get("text"), str):
        raise worker.Permanent("the arguments have no text")
    counts = Counter()
    lines = args["text"].lower().splitlines()
    for number, line in enumerate(lines):
        if run.cancelled.is_set():
            break
        counts.update(line.split())
        run.progress(100 * (number + 1) // len(lines), "line %d" % (number + 1))
    return {"words": sum(counts.values()), "most": counts.most_common(3)}


if __name__ == "__main__":
    worker.work(word_count)
