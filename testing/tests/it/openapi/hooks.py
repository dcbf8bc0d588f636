"""Keeps requests within what the document says in words, because JSON Schema has none for it."""

import itertools
import time

import schemathesis
from schemathesis.core import NotSet
from schemathesis.core.parameters import ParameterLocation

# The furthest that a work may be scheduled.
DAYS_AHEAD = 365
# The kinds that the test declares.
DECLARED = ("text.count", "anything")
numbers = itertools.count()


def within(value):
    """The same value without `2.0` for 2, which is one number for a schema and two texts for the API."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [within(item) for item in value]
    if isinstance(value, dict):
        value = {name: within(item) for name, item in value.items()}
        latest = int(time.time()) + DAYS_AHEAD * 24 * 3600
        if isinstance(value.get("run_at"), int):
            value["run_at"] = min(value["run_at"], latest)
    return value


def is_against(case, location):
    """Whether this part of a request is to be against the document."""
    part = case.meta and case.meta.components.get(location)
    return bool(part) and part.mode.is_negative


@schemathesis.hook
def before_call(context, case, kwargs):
    """Adapts a request in every phase."""
    headers = case.headers or {}
    if isinstance(case.body, NotSet):
        # No body is against the document only where one is needed.
        if is_against(case, ParameterLocation.BODY) and not any(body.is_required for body in case.operation.body):
            case.body = "no object"
    elif not is_against(case, ParameterLocation.BODY):
        case.body = within(case.body)
    name = (case.path_parameters or {}).get("name")
    if case.method == "PUT" and name in DECLARED:
        # The document has the schemas of these kinds as they were declared.
        case.path_parameters["name"] = "another"
    if case.path == "/run/claim" and isinstance(case.body, dict) and not is_against(case, ParameterLocation.BODY):
        # A wait takes its time and has the same answer.
        case.body["wait"] = "0s"
    # Another request with the same key is refused.
    if "Idempotency-Key" in headers and not is_against(case, ParameterLocation.HEADER):
        headers["Idempotency-Key"] = f"{next(numbers)}-{time.time_ns()}"
    # No text without a character fits the pattern of tags; schemathesis takes it for one all the same.
    for name in ("If-Match", "If-None-Match"):
        if headers.get(name) == "":
            del headers[name]
