"""What no schema can say of a request: what is there for it to be about, and what fits together.

Cases that are to be taken are made to fit, by `before_call`; those that are to be refused are made to
be about what is there, so that they are refused for what is wrong with them.
"""

import json

import operators
import products
import schemathesis
import stored
import things
from hypothesis import strategies
from products import MEDIA_TYPES
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase
from stored import FIXTURES

SPAN = {"from": "2026-11-01", "until": "2026-11-24T08:00:00+01:00"}


def register_bodies():
    """Bodies that are no text are taken from the fixtures."""
    cases = json.loads((FIXTURES / "cases.json").read_text())
    for name, media_type in MEDIA_TYPES.items():
        files = {
            case["file"]: case["query"]
            for case in cases
            if case["format"] == name and "c" in case and "transpose" not in case["query"]
        }
        if name == "raw":
            files = {"raw-f64.bin": "a=2x3&b=3x4"}
        bodies = [(FIXTURES / file).read_bytes() for file in files]
        schemathesis.openapi.media_type(media_type, strategies.sampled_from(bodies))


def fit_submit(case):
    """A job that can be done: an expression over operands that are there, in enough memory."""
    operands = {"A": {"data": [[1, 2], [3, 4]]}}
    expression = {"add": ["A", {"transpose": "A"}]}
    kept = ("priority", "deadline_seconds", "keep")
    settings = {name: case.body[name] for name in kept if name in case.body}
    case.body = settings | {"operands": operands, "expression": expression}
    # Another job may have it.
    case.headers.pop("Idempotency-Key", None)


def fit_usage(case):
    """A span that begins before it ends."""
    case.query = case.query | {name: time for name, time in SPAN.items() if name in case.query}


def without(name):
    """A cursor or a name leads somewhere, unless there is none."""

    def fit(case):
        case.query = {other: value for other, value in case.query.items() if other != name}

    return fit


# What a path is about. The first that a path begins with counts.
THINGS = {
    "/v1/jobs/{job}:cancel": ("job", things.endless_job),
    "/v1/jobs/{job}/receipt": ("job", things.product),
    "/v1/jobs/{job}": ("job", things.ended_job),
    "/v1/matrices/uploads/{upload}": ("upload", things.upload),
    "/v1/matrices/{matrix}": ("matrix", things.matrix),
    "/v1/references/{name}": ("name", things.reference),
    "/v1/admin/accounts/{account}": ("account", things.account),
    "/v1/admin/keys/{key}": ("key", things.key),
}
FITS = {
    "POST /v1/multiply": products.fit_multiply,
    "POST /v2/models/{model}/infer": products.fit_infer,
    "POST /v2/models/{model}/versions/{version}/infer": products.fit_infer,
    "POST /v1/jobs": fit_submit,
    "GET /v1/jobs/{job}/result": without("name"),
    "GET /v1/usage": fit_usage,
    "GET /v1/usage/events": without("after"),
    "POST /v1/matrices": stored.fit_store,
    "POST /v1/matrices/uploads": stored.fit_begin,
    "PATCH /v1/matrices/uploads/{upload}": stored.fit_chunk,
    "PUT /v1/matrices/uploads/{upload}": stored.fit_chunk,
    "GET /v1/matrices/{matrix}": stored.fit_read,
    "PUT /v1/references/{name}": stored.fit_refer,
    "POST /v1/admin/accounts": operators.fit_account,
    "POST /v1/admin/accounts/{account}": operators.fit_account,
    "POST /v1/admin/accounts/{account}/keys": operators.fit_lines,
    "POST /v1/admin/accounts/{account}/credits": operators.fit_lines,
    "POST /v1/admin/tariffs": operators.fit_tariff,
    "POST /v1/admin/corrections": operators.fit_correction,
}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None:
        return
    is_positive = case.meta.generation.mode == GenerationMode.POSITIVE
    # In a walk from operation to operation a path is about what an operation before has made.
    if case.meta.phase.name != TestPhase.STATEFUL:
        put_thing(case)
    if case.operation.label.endswith(("/infer", "/v1/multiply")):
        products.clear(case)
    if case.meta.is_negative_at(ParameterLocation.BODY) and isinstance(case.body, bytes):
        # The tool takes what was registered where it looks for what is invalid, too.
        case.body = case.body[:-1]
    if is_positive and case.operation.label in FITS:
        FITS[case.operation.label](case)
        # It is to be taken still, though the tool finds no bytes valid that it has not made.
        case._record_starting_state()


def put_thing(case):
    if case.meta.is_negative_at(ParameterLocation.PATH):
        return
    for path, (name, make) in THINGS.items():
        if case.path.startswith(path):
            case.path_parameters[name] = make()
            return


@schemathesis.hook
def after_call(context, case, response):
    if case.operation.label == "POST /v1/matrices/uploads" and response.status_code == 202:
        things.keep_upload(json.loads(response.content)["upload"])


register_bodies()
