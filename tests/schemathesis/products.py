"""Products whose matrices fit together, which no schema can say."""

import itertools
import json

from schemathesis.core.parameters import ParameterLocation

MEDIA_TYPES = {
    "npy": "application/x-npy",
    "npz": "application/x-npz",
    "safetensors": "application/vnd.safetensors",
    "raw": "application/octet-stream",
}
DATATYPES = {"matmul_fp64": ("FP64", 8), "matmul_fp32": ("FP32", 4)}
JSON_BYTES = "Inference-Header-Content-Length"
SHAPES = ("a", "b", "c")
TRANSPOSES = ("transpose_a", "transpose_b")
NUMBER_MAX = 1e9
LENGTH_MAX = 8


def clear(case):
    """Takes out of a case what it may be refused for, unless it is what the case is about.

    No coding is applied, no digest made; JSON takes no query and has nothing behind it.
    """
    is_json = case.media_type == "application/json"
    if not case.meta.is_negative_at(ParameterLocation.HEADER):
        for name in ("Content-Encoding", "Content-Digest"):
            case.headers.pop(name, None)
        if is_json:
            case.headers.pop(JSON_BYTES, None)
    if is_json and not case.meta.is_negative_at(ParameterLocation.QUERY):
        case.query = {}


def fit_multiply(case):
    if case.media_type == "application/json":
        case.body = fitting(case.body)
    else:
        case.query = fitting_query(case.query or {}, case.media_type)


def fit_infer(case):
    datatype, element_bytes = DATATYPES[case.path_parameters["model"]]
    if case.media_type == "application/json":
        case.body = fitting_request(case.body, datatype)
    else:
        text = json.dumps(binary_request(datatype, element_bytes)).encode()
        case.body = text + bytes(2 * 4 * element_bytes)
        case.headers[JSON_BYTES] = str(len(text))


def fitting(job):
    """The same job with matrices whose shapes fit, and numbers whose product no dtype overflows."""
    job = {name: job[name] for name in job if name != "beta" or "c" in job}
    shapes = fitting_shapes(size(job["a"]), size(job["b"]), job)
    for name in job:
        if name in shapes:
            job[name] = refilled(job[name], *shapes[name])
        elif name in ("alpha", "beta"):
            job[name] = bounded(job[name])
    return job


def fitting_shapes(a, b, settings):
    is_a_transposed, is_b_transposed = (settings.get(name, False) for name in TRANSPOSES)
    m, k = reversed(a) if is_a_transposed else a
    n = b[0] if is_b_transposed else b[1]
    shapes = {"a": a, "b": (n, k) if is_b_transposed else (k, n), "c": (m, n)}
    # A matrix without rows can't be written as rows.
    if any(rows == 0 for rows, _ in shapes.values()):
        return dict.fromkeys(shapes, (1, 1))
    return shapes


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


def fitting_request(request, datatype):
    """The same for the inference protocol: A, B and perhaps C, whatever the inputs were called."""
    inputs = request["inputs"]
    parameters = dict(request.get("parameters", {}))
    # What comes as bytes is not for a schema to check.
    parameters.pop("binary_data_output", None)
    for name in ("alpha", "beta"):
        if name in parameters:
            parameters[name] = bounded(parameters[name])
    if len(inputs) < 3:
        parameters.pop("beta", None)
    shapes = fitting_shapes(size(inputs[0]), size(inputs[1]), parameters)
    fitted = []
    for tensor, (name, shape) in zip(inputs, shapes.items()):
        # Nested rows say no more than the numbers in them.
        is_nested = [isinstance(item, list) for item in tensor.get("data", [])]
        data = itertools.chain.from_iterable(
            item if nested else [item] for item, nested in zip(tensor.get("data", []), is_nested)
        )
        filled = refilled({"data": list(data)}, *shape)
        fitted.append({"name": name.upper(), "datatype": datatype, **filled})
    return request | {"inputs": fitted, "parameters": parameters, "outputs": [{"name": "C"}]}


def binary_request(datatype, element_bytes):
    parameters = {"binary_data_size": 4 * element_bytes}
    tensor = {"shape": [2, 2], "datatype": datatype, "parameters": parameters}
    inputs = [tensor | {"name": name} for name in ("A", "B")]
    return {"inputs": inputs, "parameters": {"binary_data_output": True}}
