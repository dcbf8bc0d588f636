"""A worker of a chaos run outside of PP: claims works of one kind over HTTP, notes each call in a file, and completes
them. It goes on whatever happens to the API, until it is killed."""

import json
import os
import time
import urllib.error
import urllib.request

API = os.environ["CHAOS_API"]
KIND = os.environ["CHAOS_KIND"]
NAME = os.environ["CHAOS_WORKER"]
CALLS = os.open(os.environ["CHAOS_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def post(path, body):
    """Asks until there is an answer, and returns its status and JSON."""
    while True:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(API + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return error.code, json.load(error)
        except (OSError, ValueError):
            pass
        time.sleep(0.1)


def note(run):
    """Notes a call, in one write."""
    kind, rest = run["idempotency_key"].split("/", 1)
    message_id, generation = rest.rsplit("/", 1)
    words = [kind, run["work_code"], generation, str(run["attempt"]), message_id]
    os.write(CALLS, (" ".join(words) + "\n").encode())


while True:
    wanted = {"kinds": [KIND], "worker": NAME, "max": 5, "wait": "2s", "lease": "3s"}
    status, answer = post("/run/claim", wanted)
    if status == 422:
        # The kind is not declared yet.
        time.sleep(0.2)
        continue
    if status != 200:
        raise SystemExit(f"a claim is answered with {status}: {answer}")
    ends = []
    for run in answer["runs"]:
        note(run)
        time.sleep(0.005)
        ends.append({"run": run["run"], "result": run["args"]["number"]})
    if ends:
        status, answer = post("/run/complete", ends)
        if status != 200:
            raise SystemExit(f"ends are answered with {status}: {answer}")
