#!/usr/bin/env python3
"""A worker: claims works of one kind over HTTP, calls handle() for each and reports how it ended.

Put your code into handle() and run `python3 worker.py`. Or leave this file as it is, `import worker` in a file of your
own and call `worker.work(your_function)` there. It needs Python 3.8 or newer and nothing else.

Variables: PP_API_URL, the address of the API; PP_API_KEY, its key; PP_WORKER_PLACES, the works at once, 1 by default;
PP_WORKER_NAME, the worker's name among others, by default made of host and process.
"""
import http.client, json, logging, os, random, re, signal, socket, sys, threading, time
from urllib.parse import urlsplit


# ---- your code: begin ----
def handle(args, run):
    """Does one work and returns its result. An exception is a failure, and the work is tried again.

    run.progress(40, "half way")       shows how far it is
    run.cancelled.is_set()             True once nobody waits for the result any more
    run.attempt, run.idempotency_key   1, 2, …; the same text for all attempts
    raise Permanent("no such user")    fails for good
    raise RetryLater("busy", 30)       is tried again after 30 seconds
    raise Snooze(300)                  is put off by 300 seconds, which is no failure
    """
    return args
# ---- your code: end ----


KIND = "text.word_count"
API_URL = os.environ.get("PP_API_URL") or "http://127.0.0.1:3000"
LEASE = 30  # seconds of silence after which another worker gets the work; heartbeats come three times as often
WAIT = 20  # seconds for which the API holds a claim until there is a work
GRACE = 20  # seconds that running works get to end after SIGTERM or SIGINT

API = urlsplit(API_URL)
KEY = os.environ.get("PP_API_KEY")
HEADERS = {"Content-Type": "application/json", **({"Authorization": "Bearer " + KEY} if KEY else {})}
NAME = os.environ.get("PP_WORKER_NAME") or "%s-%d" % (socket.gethostname(), os.getpid())
NAME = re.sub(r"[^A-Za-z0-9._@-]", "-", NAME)[-100:]

log = logging.getLogger("worker")
running = set()  # the runs under way
claims = set()  # the connections of claims that wait
news = threading.Event()  # a run has progress to tell
stopping = threading.Event()


class Permanent(Exception):
    """The work fails for good."""


class RetryLater(Exception):
    """The attempt failed; the next one begins after so many seconds."""

    def __init__(self, reason, seconds):
        super().__init__(reason)
        self.wait = "%dms" % (seconds * 1000)


class Snooze(RetryLater):
    """The work is put off by so many seconds."""

    def __init__(self, seconds):
        super().__init__("snoozed", seconds)


class Refused(Exception):
    """The API did not do what it was asked. `problem` says why, and is empty if the same may succeed later."""

    def __init__(self, reason, problem=None, seconds=0):
        super().__init__(reason)
        self.problem, self.seconds = problem or {}, seconds

    def pause(self, failures):
        """Seconds to wait after so many failures: as asked for, and longer each time, by chance."""
        return self.seconds + random.uniform(0.5, 1) * min(30, 0.5 * 2 ** min(failures, 6))


class Run:
    """One attempt at a work. Its token proves to the API that no newer attempt has begun."""

    def __init__(self, claimed):
        self.token, self.args, self.work_code = claimed["run"], claimed["args"], claimed["work_code"]
        self.attempt, self.idempotency_key = claimed["attempt"], claimed["idempotency_key"]
        self.cancelled = threading.Event()
        self.untold = {}

    def progress(self, percent, note=""):
        """Shows how far the work is: 0 to 100, and a note of up to 200 bytes."""
        self.untold = {"progress": max(0, min(100, int(percent))), "note": note}
        news.set()


def post(path, body, patience=15):
    """Sends JSON to the API and returns the JSON of its answer."""
    connect = http.client.HTTPSConnection if API.scheme == "https" else http.client.HTTPConnection
    connection = connect(API.netloc, timeout=patience)
    if path == "/run/claim":
        claims.add(connection)
    try:
        connection.request("POST", API.path.rstrip("/") + path, json.dumps(body), HEADERS)
        answer = connection.getresponse()
        status, text, wait = answer.status, answer.read(), answer.getheader("Retry-After", "")
        if status in (408, 429) or status >= 500:
            raise Refused("%s answers %d" % (API_URL, status), seconds=int(wait) if wait.isdigit() else 0)
        said = json.loads(text)
        if status != 200:
            raise Refused(said["detail"], said)
        return said
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise Refused("%s gives no answer: %s: %s" % (API_URL, type(error).__name__, error))
    finally:
        claims.discard(connection)
        connection.close()


def place(handle):
    """Does one work after the other until the worker stops."""
    wanted = {"kinds": [KIND], "worker": NAME, "max": 1, "wait": "%ds" % WAIT, "lease": "%ds" % LEASE}
    failures = 0
    while not stopping.is_set():
        try:
            runs = [Run(claimed) for claimed in post("/run/claim", wanted, WAIT + 15)["runs"]]
            running.update(runs)
            failures = 0
        except Refused as refused:
            failures += 1
            if not stopping.is_set():
                log.warning("no work is claimed: %s", refused)
            stopping.wait(refused.pause(failures))
            continue
        for run in runs:
            report(run, *(outcome(handle, run) if not stopping.is_set() else ("snooze", {"for": "0s"})))
            running.discard(run)


def outcome(handle, run):
    """Calls the handler. Returns how its run ends, and what is reported of that."""
    log.info("%s begins, attempt %d", run.work_code, run.attempt)
    try:
        result = handle(run.args, run)
        json.dumps(result, allow_nan=False)  # a result that is no JSON is a failure like any other
        return "complete", {"result": result}
    except Snooze as snooze:
        return "snooze", {"for": snooze.wait}
    except RetryLater as later:
        return "fail", {"error": str(later)[:500], "retry_after": later.wait}
    except Permanent as permanent:
        return "fail", {"error": str(permanent)[:500], "permanent": True}
    except BaseException as error:  # sys.exit() in a handler ends the attempt, not the worker
        log.warning("%s failed", run.work_code, exc_info=True)
        return "fail", {"error": ("%s: %s" % (type(error).__name__, error))[:500]}


def report(run, end, what):
    """Reports an end until there is an answer. That is safe: the same end again has the same answer."""
    for failures in range(1, sys.maxsize):
        try:
            status = post("/run/" + end, {"run": run.token, **what})["status"]
            return log.info("%s: %s, the work is %s", run.work_code, end, status)
        except Refused as refused:
            fate = "has no effect" if refused.problem else "is repeated"
            log.warning("%s: %s %s: %s", run.work_code, end, fate, refused)
            if not refused.problem:
                time.sleep(refused.pause(failures))
            elif end == "complete" and refused.problem.get("code") != "lease-lost":  # a result that cannot be stored
                end, what = "fail", {"error": "its result is refused: %s" % refused, "permanent": True}
            else:
                return None


def heart():
    """Says of all running works that they are at work: three times in a lease, and soon after progress."""
    while True:
        news.wait(LEASE / 3)
        news.clear()
        told = [(run, run.untold) for run in running.copy()]
        try:
            answers = told and post("/run/heartbeat", [{"run": run.token, **untold} for run, untold in told])
        except Refused as refused:
            log.warning("heartbeat of %s: %s", ", ".join(run.work_code for run, _ in told), refused)
            news.set()
            answers = []
        for (run, untold), answer in zip(told, answers):
            run.untold = {} if run.untold is untold else run.untold
            is_over = answer.get("cancel_requested") or answer.get("code") == "lease-lost"
            if is_over and run in running and not run.cancelled.is_set():
                log.warning("%s is to stop: %s", run.work_code, answer.get("why", "cancelled, or out of time"))
                run.cancelled.set()
        time.sleep(1)


def stop():
    """Lets running works end within the grace, and hands back those that do not, so that others begin at once."""
    stopping.set()
    log.info("%s stops", NAME)
    deadline = time.monotonic() + GRACE
    while running and time.monotonic() < deadline:
        for claim in claims.copy():  # one that still waits would get what is handed back
            try:
                claim.sock and claim.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it ended by itself
        time.sleep(0.05)
    left = running.copy()
    for run in left:
        log.warning("%s did not end in time and is handed back", run.work_code)
        run.cancelled.set()
    try:
        left and post("/run/snooze", [{"run": run.token, "for": "0s"} for run in left])
    except Refused as refused:
        log.warning("%s: others begin after the lease: %s", ", ".join(run.work_code for run in left), refused)


def work(handle):
    """Does works until SIGTERM or SIGINT."""
    places = os.environ.get("PP_WORKER_PLACES") or "1"
    if not (places.isdigit() and 1 <= int(places) <= 1000):
        sys.exit("PP_WORKER_PLACES must be a number from 1 to 1000")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    log.info("%s does works of %s from %s, %s at once", NAME, KIND, API_URL, places)
    told = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *signals: told.append(signals))
    for target, args in [(heart, ())] + [(place, (handle,))] * int(places):
        threading.Thread(target=target, args=args, daemon=True).start()
    while not told:
        time.sleep(0.2)
    stop()


if __name__ == "__main__":
    work(handle)
