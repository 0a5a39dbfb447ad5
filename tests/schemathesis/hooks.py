"""What no schema can say of a job: that its matrices fit together.

Cases that are to be taken are made to fit; those that are to be refused stay as they are.
"""

import itertools
import json
import pathlib

import schemathesis
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "formats"
MEDIA_TYPES = {
    "npy": "application/x-npy",
    "npz": "application/x-npz",
    "safetensors": "application/vnd.safetensors",
    "raw": "application/octet-stream",
}
SHAPES = ("a", "b", "c")
TRANSPOSES = ("transpose_a", "transpose_b")
NUMBER_MAX = 1e9
LENGTH_MAX = 8


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
        if bodies:
            schemathesis.openapi.media_type(media_type, strategies.sampled_from(bodies))


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None:
        return
    if case.operation.label.endswith("/infer"):
        if case.meta.generation.mode == GenerationMode.POSITIVE:
            case.body = fitting_inference(case.body, case.path_parameters["model"])
        return
    if case.operation.label != "POST /v1/multiply":
        return
    # JSON takes no query and no coding is applied, so that neither may be what a case is refused for
    # unless it is what the case is about.
    if not case.meta.is_negative_at(ParameterLocation.HEADER):
        case.headers.pop("Content-Encoding", None)
    is_json = case.media_type == "application/json"
    if is_json and not case.meta.is_negative_at(ParameterLocation.QUERY):
        case.query = {}
    if case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if is_json:
        case.body = fitting(case.body)
    else:
        case.query = fitting_query(case.query or {}, case.media_type)


def fitting(job):
    """The same job with matrices whose shapes fit, and numbers whose product no dtype overflows."""
    job = {name: job[name] for name in job if name != "beta" or "c" in job}
    (rows_a, columns_a), (rows_b, columns_b) = size(job["a"]), size(job["b"])
    is_a_transposed, is_b_transposed = (job.get(name, False) for name in TRANSPOSES)
    m, k = (columns_a, rows_a) if is_a_transposed else (rows_a, columns_a)
    n = rows_b if is_b_transposed else columns_b
    shapes = {
        "a": (rows_a, columns_a),
        "b": (n, k) if is_b_transposed else (k, n),
        "c": (m, n),
    }
    # A matrix without rows can't be written as rows.
    if any(rows == 0 for rows, _ in shapes.values()):
        shapes = dict.fromkeys(shapes, (1, 1))
    for name in job:
        if name in shapes:
            job[name] = refilled(job[name], *shapes[name])
        elif name in ("alpha", "beta"):
            job[name] = bounded(job[name])
    return job


def fitting_inference(request, model):
    """The same request with tensors that fit, of the model's type."""
    datatype = "FP32" if model == "matmul_fp32" else "FP64"
    given = {tensor["name"]: tensor["data"] for tensor in request["inputs"]}
    parameters = dict(request.get("parameters", {}))
    if "C" not in given:
        parameters.pop("beta", None)
    for name in ("alpha", "beta"):
        if name in parameters:
            parameters[name] = bounded(parameters[name])
    shapes = {"A": [2, 3], "B": [3, 4], "C": [2, 4]}
    for name, flag in zip("AB", TRANSPOSES):
        if parameters.get(flag, False):
            shapes[name].reverse()
    inputs = []
    for name in sorted({"A", "B", *given}):
        flat = given.get(name, [])
        if flat and isinstance(flat[0], list):
            flat = list(itertools.chain.from_iterable(flat))
        shape = shapes[name]
        filled = refilled({"shape": shape, "data": flat}, *shape)
        inputs.append({"name": name, "datatype": datatype, **filled})
    fitted = {**request, "inputs": inputs}
    if "parameters" in request:
        fitted["parameters"] = parameters
    return fitted


def size(matrix):
    """Rows and columns, of which a shape may tell more than are wanted here."""
    if isinstance(matrix, dict):
        rows, columns = matrix["shape"]
        return int(min(rows, LENGTH_MAX)), int(min(columns, LENGTH_MAX))
    return len(matrix), len(matrix[0])


def refilled(matrix, rows, columns):
    is_flat = isinstance(matrix, dict)
    numbers = matrix["data"] if is_flat else itertools.chain.from_iterable(matrix)
    numbers = itertools.cycle([bounded(number) for number in numbers] or [0])
    if is_flat:
        return {"shape": [rows, columns], "data": list(itertools.islice(numbers, rows * columns))}
    return [list(itertools.islice(numbers, columns)) for _ in range(rows)]


def bounded(number):
    return max(-NUMBER_MAX, min(NUMBER_MAX, number))


def fitting_query(query, media_type):
    unfit = (*SHAPES, *TRANSPOSES, "beta")
    query = {name: value for name, value in query.items() if name not in unfit}
    if "alpha" in query:
        query["alpha"] = bounded(float(query["alpha"]))
    if media_type == MEDIA_TYPES["raw"]:
        query = {name: query[name] for name in query if name != "dtype"}
        query |= {"a": "2x3", "b": "3x4"}
    return query


register_bodies()
