"""Matrices that stay, their names, and how they come."""

import pathlib

import things
from products import MEDIA_TYPES, refilled, size

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "formats"
SINGLES = {
    MEDIA_TYPES["npy"]: "npy-alone.npy",
    MEDIA_TYPES["npz"]: "npz-alone.npz",
    MEDIA_TYPES["safetensors"]: "st-alone.safetensors",
    MEDIA_TYPES["raw"]: "raw-f64.bin",
}
# Of 144 bytes.
RAW_SHAPES = {"f64": "2x9", "f32": "4x9"}
LENGTH_MAX = 1000


def fit_store(case):
    """A body that is one matrix, of the shape and at the address that the query says."""
    query = {name: value for name, value in case.query.items() if name != "shape"}
    if case.media_type == "application/json":
        case.body = refilled(case.body, *size(case.body))
        sent = {"json": case.body}
    else:
        case.body = (FIXTURES / SINGLES[case.media_type]).read_bytes()
        sent = {"data": case.body, "headers": {"Content-Type": case.media_type}}
    if case.media_type == MEDIA_TYPES["raw"]:
        query["shape"] = RAW_SHAPES[query.get("dtype", "f64")]
    if "digest" in query:
        settings = {name: query[name] for name in ("dtype", "shape") if name in query}
        query["digest"] = things.send("POST", "/v1/matrices", params=settings, **sent).json()["matrix"]
    case.query = query


def fit_begin(case):
    """Raw elements have a dtype and a shape, whose length is bounded."""
    query = dict(case.query)
    if "dtype" in query and "shape" not in query:
        query["shape"] = "2x3"
    if "shape" in query:
        query["shape"] = "x".join(str(min(int(it), LENGTH_MAX)) for it in query["shape"].split("x"))
    case.query = query


def fit_chunk(case):
    """A chunk that is where its upload goes on and fills it, at the address of what it brings."""
    chunk = case.body if isinstance(case.body, bytes) else b""
    elements = chunk or bytes(8 * 2)
    columns = len(elements) // 8
    case.path_parameters["upload"] = upload = things.upload(columns)
    path = f"/v1/matrices/uploads/{upload}"
    if not chunk:
        things.send("PATCH", path, data=elements, headers={"Content-Type": MEDIA_TYPES["raw"]})
        case.headers.pop("Content-Range", None)
    elif "Content-Range" in case.headers:
        range_ = case.headers["Content-Range"]
        unit = "bytes " if range_.startswith("bytes ") else ""
        _, slash, all_ = range_.partition("/")
        all_ = all_ if all_ in ("", "*") else str(len(chunk))
        case.headers["Content-Range"] = f"{unit}0-{len(chunk) - 1}{slash}{all_}"
    if case.operation.label.startswith("PUT"):
        whole = {"data": elements, "headers": {"Content-Type": MEDIA_TYPES["raw"]}}
        stored = things.send("POST", "/v1/matrices", params={"shape": f"1x{columns}"}, **whole)
        case.query["digest"] = stored.json()["matrix"]


def fit_read(case):
    """Each format in turn, and a part of those that have parts."""
    formats = ["application/json", *MEDIA_TYPES.values()]
    accepted = formats[next(things.numbers) % len(formats)]
    case.headers["Accept"] = accepted
    if "Range" in case.headers:
        case.headers["Range"] = "bytes=0-9"


def fit_refer(case):
    case.body = {"matrix": things.matrix()}
