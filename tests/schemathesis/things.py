"""What must be there for an operation to be about it, made over HTTP as clients make it.

A thing is new each time, so that cases may use it up.
"""

import collections
import itertools
import os

import requests

URL = os.environ["GEMMULE_URL"]
# Absent where the service is open.
KEY = os.environ.get("GEMMULE_KEY")
TIMEOUT_SECONDS = 60
# The service has room for 64.
UPLOADS_MAX = 32

numbers = itertools.count(1)
session = requests.Session()
if KEY is not None:
    session.headers["Authorization"] = f"Bearer {KEY}"
uploads = collections.deque()
endless = []


def send(method, path, **rest):
    reply = session.request(method, URL + path, timeout=TIMEOUT_SECONDS, **rest)
    assert reply.ok, f"{method} {path}: {reply.status_code} {reply.text}"
    return reply


def ended_job():
    job = {"operands": {"A": {"data": [[next(numbers)]]}}, "expression": {"multiply": ["A", "A"]}}
    status = send("POST", "/v1/jobs", json=job, headers={"Prefer": "wait=60"}).json()
    assert status["state"] == "finished", status
    return status["job"]


def endless_job():
    """One that would take minutes; there is one at a time."""
    while endless:
        # It may have been cancelled by a case.
        session.post(f"{URL}/v1/jobs/{endless.pop()}:cancel", timeout=TIMEOUT_SECONDS)
    operands = {"A": {"data": [[1, 0], [0, 1]]}, "x": {"data": [[1], [2]]}}
    expression = {"iterate": {"a": "A", "x": "x", "steps": 10**9}}
    job = {"operands": operands, "expression": expression, "deadline_seconds": 60}
    endless.append(send("POST", "/v1/jobs", json=job).json()["job"])
    return endless[-1]


def product():
    """The job of a product, which has a line of the ledger."""
    job = {"a": [[next(numbers)]], "b": [[2]]}
    return send("POST", "/v1/multiply", json=job).json()["bill"]["job"]


def matrix():
    return send("POST", "/v1/matrices", json=[[next(numbers), 2]]).json()["matrix"]


def reference():
    name = f"name-{next(numbers)}"
    send("PUT", f"/v1/references/{name}", json={"matrix": matrix()})
    return name


def upload(columns=2):
    """One of a row of f64."""
    reply = send("POST", "/v1/matrices/uploads", params={"shape": f"1x{columns}"})
    keep_upload(reply.json()["upload"])
    return reply.json()["upload"]


def keep_upload(upload):
    """Gives up the oldest upload where there are many: what begins one doesn't end it."""
    uploads.append(upload)
    if len(uploads) > UPLOADS_MAX:
        path = f"/v1/matrices/uploads/{uploads.popleft()}"
        # It may have ended.
        session.delete(URL + path, timeout=TIMEOUT_SECONDS)


def account():
    account = f"account-{next(numbers)}"
    send("POST", "/v1/admin/accounts", json={"id": account})
    return account


def key():
    made = send("POST", f"/v1/admin/accounts/{account()}/keys", json={"scopes": ["read"]})
    return made.json()["id"]
