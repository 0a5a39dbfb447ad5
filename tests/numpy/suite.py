"""Products of NumPy's arrays, in every format that goes in and out.

    python3 suite.py ADDRESS

asks the service at ADDRESS, host:port. Each product must be the exact one within the documented
bound.
"""

import gzip
import http.client
import io
import itertools
import json
import sys
import unittest
import zlib
from urllib.parse import urlencode

import numpy as np
import safetensors.numpy

ADDRESS = None
JSON = "application/json"
NPY = "application/x-npy"
NPZ = "application/x-npz"
SAFETENSORS = "application/vnd.safetensors"
RAW = "application/octet-stream"
FORMATS = [JSON, NPY, NPZ, SAFETENSORS, RAW]


class Pipe(io.RawIOBase):
    """A file that can't seek."""

    def __init__(self):
        self.content = b""

    def writable(self):
        return True

    def write(self, more):
        self.content += bytes(more)
        return len(more)


def npy(*arrays):
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


def archive(save, file, **named):
    save(file, **named)
    return file.content if isinstance(file, Pipe) else file.getvalue()


def named(a, b, c):
    return {"a": a, "b": b} if c is None else {"a": a, "b": b, "c": c}


def encode(kind, a, b, c, settings):
    """The body of a request, and its query."""
    arrays = named(a, b, c)
    if kind == JSON:
        rows = {name: array.astype("f8").tolist() for name, array in arrays.items()}
        return json.dumps({**rows, **settings}).encode(), {}
    query = {name: str(value).lower() for name, value in settings.items()}
    if kind == NPY:
        return npy(*arrays.values()), query
    if kind == NPZ:
        return archive(np.savez, io.BytesIO(), **arrays), query
    if kind == SAFETENSORS:
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return safetensors.numpy.save(plain), query
    shapes = {name: "x".join(map(str, array.shape)) for name, array in arrays.items()}
    dtype = "<f4" if query.get("dtype") == "f32" else "<f8"
    elements = b"".join(array.astype(dtype).tobytes() for array in arrays.values())
    return elements, {**query, **shapes}


def decode(kind, body, shape, dtype):
    if kind == JSON:
        return np.array(json.loads(body)["c"], dtype).reshape(shape)
    if kind == NPY:
        return np.load(io.BytesIO(body), allow_pickle=False)
    if kind == NPZ:
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            assert file.files == ["c"], file.files
            assert file.zip.testzip() is None
            return file["c"]
    if kind == SAFETENSORS:
        tensors = safetensors.numpy.load(body)
        assert list(tensors) == ["c"], tensors
        return tensors["c"]
    return np.frombuffer(body, "<f4" if dtype == "f4" else "<f8").reshape(shape)


class Suite(unittest.TestCase):
    def setUp(self):
        self.connection = http.client.HTTPConnection(ADDRESS, timeout=60)
        self.random = np.random.default_rng(4)

    def tearDown(self):
        self.connection.close()

    def post(self, kind, body, query=(), accept=None, **fields):
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        if accept:
            fields["Accept"] = accept
        if kind:
            fields["Content-Type"] = kind
        path = "/v1/multiply" + (f"?{urlencode(query)}" if query else "")
        self.connection.request("POST", path, body, fields)
        reply = self.connection.getresponse()
        return reply, reply.read()

    def multiply(self, kind, a, b, c=None, accept=None, dtype="f8", **settings):
        """The product, checked."""
        body, query = encode(kind, a, b, c, settings)
        reply, content = self.post(kind, body, query, accept)
        return self.check(reply, content, a, b, c, dtype, **settings)

    def check(self, reply, content, a, b, c, dtype="f8", **settings):
        self.assertEqual(reply.status, 200, content[:500])
        kind = reply.headers["Content-Type"]
        self.assertEqual(reply.headers["Gemmule-Currency"], "EUR")
        a, b = (np.asarray(array, np.longdouble) for array in (a, b))
        a = a.T if settings.get("transpose_a") else a
        b = b.T if settings.get("transpose_b") else b
        alpha, beta = settings.get("alpha", 1), settings.get("beta", 1)
        unit = np.longdouble(2) ** (-24 if dtype == "f4" else -53)
        exact, most = alpha * (a @ b), abs(alpha) * (abs(a) @ abs(b))
        if c is not None and beta != 0:
            exact, most = exact + beta * np.asarray(c, np.longdouble), most + abs(beta * c)
        found = decode(kind, content, np.atleast_2d(exact).shape, dtype)
        self.assertEqual(found.dtype, np.dtype(dtype))
        bound = (a.shape[-1] + 3) * unit * most
        # The bound is one of first order.
        error = abs(found - np.atleast_2d(exact).reshape(found.shape))
        self.assertTrue(np.all(error <= bound.reshape(found.shape) * (1 + 1e-6)))
        return found

    def matrices(self, m=7, k=11, n=5, dtype="f8"):
        shapes = ((m, k), (k, n), (m, n))
        return [self.random.standard_normal(shape).astype(dtype) for shape in shapes]

    def test_every_format_in_and_out(self):
        for kind, accept in itertools.product(FORMATS, FORMATS):
            for dtype, name in (("f8", "f64"), ("f4", "f32")):
                with self.subTest(kind=kind, accept=accept, dtype=dtype):
                    a, b, c = self.matrices(dtype=dtype)
                    alike = {"accept": accept, "dtype": dtype}
                    told = {"dtype": name} if kind in (JSON, RAW) and name == "f32" else {}
                    self.ask(kind, a, b, None, alike, told)
                    settings = {"alpha": 0.5, "beta": -2.25, **told}
                    self.ask(kind, a, b, c, alike, settings)
                    self.ask(kind, a, b, c, alike, {"beta": 0, **told})
                    a, b = a.T.copy(), b.T.copy()
                    settings = {"transpose_a": True, "transpose_b": True, **told}
                    self.ask(kind, a, b, c, alike, settings)

    def ask(self, kind, a, b, c, alike, settings):
        body, query = encode(kind, a, b, c, settings)
        reply, content = self.post(kind, body, query, alike["accept"])
        self.assertEqual(reply.headers["Content-Type"], alike["accept"])
        settings = {name: value for name, value in settings.items() if name != "dtype"}
        self.check(reply, content, a, b, c, alike["dtype"], **settings)

    def test_the_reply_has_the_format_of_the_request_unless_told_otherwise(self):
        a, b, _ = self.matrices()
        for kind in FORMATS:
            body, query = encode(kind, a, b, None, {})
            for accept, expected in ((None, kind), ("*/*", kind), (f"{NPY};q=0.1, {NPZ}", NPZ)):
                reply, content = self.post(kind, body, query, accept)
                self.assertEqual(reply.headers["Content-Type"], expected)
                self.check(reply, content, a, b, None)

    def test_other_names_of_the_formats(self):
        a, b, _ = self.matrices()
        names = {
            NPY: ["application/x-numpy", "application/vnd.numpy.npy"],
            NPZ: ["application/zip", "application/vnd.numpy.npz"],
            SAFETENSORS: ["application/x-safetensors", "application/safetensors"],
        }
        for kind, others in names.items():
            for other in others:
                body, query = encode(kind, a, b, None, {})
                reply, content = self.post(other, body, query, other)
                self.assertEqual(reply.headers["Content-Type"], kind)
                self.check(reply, content, a, b, None)

    def test_both_orders_of_elements_and_of_bytes(self):
        a, b, c = self.matrices()
        for orders in itertools.product("CF", repeat=3):
            for byte_orders in itertools.product("<>", repeat=3):
                arrays = [
                    array.astype(f"{byte_order}f8", order=order)
                    for array, order, byte_order in zip((a, b, c), orders, byte_orders)
                ]
                for kind in (NPY, NPZ):
                    with self.subTest(kind=kind, orders=orders, byte_orders=byte_orders):
                        self.multiply(kind, *arrays, beta=3)

    def test_promotion(self):
        floats = ["f2", "f4", "f8"]
        integers = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
        for one, other in itertools.product(floats + integers, repeat=2):
            dtype = "f4" if {one, other} <= {"f2", "f4"} else "f8"
            a = (self.random.integers(0, 100, (3, 4))).astype(one)
            b = (self.random.integers(0, 100, (4, 2))).astype(other)
            for kind in (NPY, NPZ, SAFETENSORS):
                with self.subTest(kind=kind, one=one, other=other):
                    found = self.multiply(kind, a, b, dtype=dtype)
                    exact = a.astype("f8") @ b.astype("f8")
                    np.testing.assert_array_equal(found, exact)
        # C takes part in it, and is not multiplied in less than it has.
        a, b, c = self.matrices(dtype="f4")
        self.multiply(NPY, a, b, c.astype("f8") * np.pi)

    def test_whole_numbers_of_64_bits_are_rounded_to_the_nearest(self):
        for kind in ("<i8", ">i8", "<u8"):
            numbers = self.random.integers(0, 2**63 - 1, (1, 9), kind[1:])
            reply, content = self.post(NPY, npy(numbers.astype(kind), np.eye(9)))
            self.assertEqual(reply.status, 200)
            np.testing.assert_array_equal(np.load(io.BytesIO(content)), numbers.astype("f8"))

    def test_the_dtype_may_be_chosen(self):
        a, b, c = self.matrices()
        for kind in (NPY, NPZ, SAFETENSORS):
            body, _ = encode(kind, a, b, c, {})
            reply, content = self.post(kind, body, {"dtype": "f32"})
            narrow = [array.astype("f4") for array in (a, b, c)]
            self.check(reply, content, *narrow, "f4")
            body, _ = encode(kind, *narrow, {})
            reply, content = self.post(kind, body, {"dtype": "f64"})
            self.check(reply, content, *narrow, "f8")

    def test_vectors_are_rows_and_columns(self):
        a, b, c = self.matrices()
        found = self.multiply(NPY, a[0], b)
        self.assertEqual(found.shape, (1, 5))
        found = self.multiply(NPZ, a, b[:, 0])
        self.assertEqual(found.shape, (7, 1))
        found = self.multiply(NPY, a[0], b[:, 0], c[0, :1])
        self.assertEqual(found.shape, (1, 1))
        found = self.multiply(NPY, a, b[:, 0], c[:, 0])
        self.assertEqual(found.shape, (7, 1))

    def test_zero_sized(self):
        for m, k, n in itertools.product((0, 2), repeat=3):
            a, b, c = np.ones((m, k)), np.ones((k, n)), np.ones((m, n))
            for kind in (NPY, NPZ, SAFETENSORS, RAW):
                with self.subTest(kind=kind, shape=(m, k, n)):
                    self.assertEqual(self.multiply(kind, a, b, c).shape, (m, n))

    def test_what_is_not_finite_goes_through(self):
        a = np.array([[np.inf, 1], [np.nan, 1]])
        found = self.post(NPY, npy(a, np.eye(2)))[1]
        expected = [[np.inf, np.nan], [np.nan, np.nan]]
        np.testing.assert_array_equal(np.load(io.BytesIO(found)), expected)
        reply, content = self.post(NPY, npy(a, np.eye(2)), accept=JSON)
        self.assertEqual(reply.status, 422, content)
        self.assertEqual(json.loads(content)["type"], "/problems/result-not-finite")

    def test_large(self):
        for shape in ((300, 400, 500), (1, 1000, 700), (900, 800, 1)):
            a, b, c = self.matrices(*shape)
            for kind in (NPY, NPZ, SAFETENSORS, RAW):
                self.multiply(kind, a, np.asfortranarray(b) if kind in (NPY, NPZ) else b, c)

    def test_archives_that_are_compressed_or_piped(self):
        a, b, c = self.matrices(40, 50, 60)
        for save, file in itertools.product((np.savez, np.savez_compressed), (io.BytesIO, Pipe)):
            content = archive(save, file(), b=b, c=c, a=np.round(a))
            reply, found = self.post(NPZ, content)
            self.check(reply, found, np.round(a), b, c)
        zeros = np.zeros((900, 900))
        content = archive(np.savez_compressed, io.BytesIO(), a=zeros, b=zeros)
        self.assertLess(len(content), 20_000)
        reply, found = self.post(NPZ, content)
        self.assertEqual(reply.status, 200)
        np.testing.assert_array_equal(decode(NPZ, found, None, "f8"), zeros)

    def test_content_codings_of_requests(self):
        a, b, c = self.matrices(30, 20, 10)
        for kind in FORMATS:
            body, query = encode(kind, a, b, c, {})
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            for coding, content in (
                ("gzip", gzip.compress(body)),
                ("x-gzip", gzip.compress(body, 0)),
                ("deflate", zlib.compress(body)),
                ("deflate", deflate.compress(body) + deflate.flush()),
                ("identity", body),
            ):
                with self.subTest(kind=kind, coding=coding):
                    reply, found = self.post(kind, content, query, Content_Encoding=coding)
                    self.check(reply, found, a, b, c)
            wrong = gzip.compress(body)[:-8] + bytes(8)
            reply, found = self.post(kind, wrong, query, Content_Encoding="gzip")
            self.refused(reply, found, 400, "malformed-body", "Content-Encoding")
            reply, found = self.post(kind, gzip.compress(body)[:-1], query, Content_Encoding="gzip")
            self.refused(reply, found, 400, "malformed-body", "Content-Encoding")
            reply, found = self.post(kind, body, query, Content_Encoding="br")
            self.refused(reply, found, 415, "unsupported-content-coding", "Content-Encoding")
            self.assertEqual(reply.headers["Accept-Encoding"], "gzip, deflate")

    def test_content_codings_of_replies(self):
        a, b, _ = self.matrices(40, 3, 40)
        plain = self.post(NPY, npy(a, b), accept=JSON)[1]
        for coding, read in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
            reply, content = self.post(NPY, npy(a, b), accept=JSON, Accept_Encoding=coding)
            self.assertEqual(reply.headers["Content-Encoding"], coding)
            self.assertLess(len(content), len(plain))
            self.check(reply, read(content), a, b, None)
            reply, content = self.post(NPY, npy(a, b), Accept_Encoding=coding)
            self.assertIsNone(reply.headers["Content-Encoding"])
            self.check(reply, content, a, b, None)

    def test_bodies_in_chunks(self):
        a, b, c = self.matrices(30, 20, 10)
        for kind in FORMATS:
            body, query = encode(kind, a, b, c, {})
            pieces = [body[start:start + 999] for start in range(0, len(body), 999)]
            path = "/v1/multiply?" + urlencode(query)
            fields = {"Content-Type": kind}
            self.connection.request("POST", path, iter(pieces), fields, encode_chunked=True)
            reply = self.connection.getresponse()
            self.check(reply, reply.read(), a, b, c)

    def refused(self, reply, content, status, kind, field):
        self.assertEqual(reply.status, status, content)
        problem = json.loads(content)
        self.assertEqual(problem["type"], f"/problems/{kind}", problem)
        self.assertEqual(problem.get("field"), field, problem)

    def test_what_is_refused(self):
        a, b, c = self.matrices()
        both = npy(a, b)
        shapes = {"a": "7x11", "b": "11x5"}
        raw = a.tobytes() + b.tobytes()
        for kind, body, query, status, problem, field in (
            (NPY, npy(a.astype(object), b), {}, 422, "unknown-dtype", "/a"),
            (NPY, npy(a, b.astype("c16")), {}, 422, "unknown-dtype", "/b"),
            (NPY, npy(a, a), {}, 422, "shape-mismatch", "/b"),
            (NPY, npy(a), {}, 422, "missing-field", "/b"),
            (NPY, both[:-1], {}, 400, "malformed-body", "/b"),
            (NPY, both + b"x", {}, 400, "malformed-body", "/c"),
            (NPY, b"PK", {}, 400, "malformed-body", "/a"),
            (NPY, both, {"beta": "x"}, 422, "not-a-number", "?beta"),
            (NPY, both, {"aleph": 1}, 422, "unknown-field", "?aleph"),
            (NPZ, both, {}, 400, "malformed-body", None),
            (NPZ, archive(np.savez, io.BytesIO(), a=a, b=b, x=c), {}, 422, "unknown-field", "/x.npy"),
            (SAFETENSORS, safetensors.numpy.save({"a": a}), {}, 422, "missing-field", "/b"),
            (RAW, raw, {"a": "7x11"}, 422, "missing-field", "?b"),
            (RAW, raw[:-1], shapes, 422, "length-mismatch", "Content-Length"),
            (RAW, raw, {**shapes, "b": "10x5"}, 422, "shape-mismatch", "/b"),
            (RAW, b"", {"a": "16000000x1", "b": "1x16000000"}, 422, "length-mismatch", "Content-Length"),
            (JSON, b"{}", {"alpha": 1}, 422, "unknown-field", "?alpha"),
            ("text/csv", b"1", {}, 415, "unsupported-media-type", "Content-Type"),
        ):
            with self.subTest(kind=kind, problem=problem, field=field):
                self.connection.close()
                reply, content = self.post(kind, body, query)
                self.refused(reply, content, status, problem, field)
        reply, content = self.post(NPY, both, accept="text/html")
        self.refused(reply, content, 406, "not-acceptable", "Accept")

    def test_what_never_fits_is_refused(self):
        column, row = np.ones((4096, 1)), np.ones((1, 4096))
        for kind in (NPY, NPZ, SAFETENSORS, RAW):
            body, query = encode(kind, column, row, None, {})
            self.connection.close()
            reply, content = self.post(kind, body, query)
            self.refused(reply, content, 413, "memory-exceeded", None)

    def test_the_bill_counts_the_bytes_of_both_ways(self):
        a, b, _ = self.matrices()
        body = npy(a, b)
        reply, content = self.post(NPY, body)
        job = reply.headers["Gemmule-Job"]
        self.connection.request("GET", f"/v1/jobs/{job}/bill")
        bill = json.loads(self.connection.getresponse().read())
        self.assertEqual((bill["bytes_in"], bill["bytes_out"]), (len(body), len(content)))
        self.assertEqual(bill["flops"], 2 * 7 * 11 * 5)
        self.assertEqual(reply.headers["Gemmule-Flops"], str(bill["flops"]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    ADDRESS = sys.argv.pop()
    unittest.main(verbosity=2)
