"""Products to ask for, and how near to the exact ones docs/api.md promises their results to be."""

import functools
from dataclasses import dataclass, field

import numpy as np
from tritonclient.http import InferInput, InferRequestedOutput

MODELS = {np.float64: ("matmul_fp64", "FP64"), np.float32: ("matmul_fp32", "FP32")}


@dataclass
class Product:
    """alpha op(A) op(B) + beta C."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray | None = None
    parameters: dict = field(default_factory=dict)

    @property
    def model(self):
        return MODELS[self.a.dtype.type][0]

    @property
    def datatype(self):
        return MODELS[self.a.dtype.type][1]

    def inputs(self, binary="ABC"):
        """The tensors; those that are named in `binary` as bytes, the others in JSON."""
        tensors = []
        for name, matrix in [("A", self.a), ("B", self.b), ("C", self.c)]:
            if matrix is not None:
                tensor = InferInput(name, list(matrix.shape), self.datatype)
                tensors.append(tensor.set_data_from_numpy(matrix, binary_data=name in binary))
        return tensors

    @functools.cached_property
    def exact(self):
        """The result and its bound, in a type so wide that its own rounding doesn't matter."""
        dtype = self.a.dtype.type
        wide = np.float64 if dtype == np.float32 else np.longdouble
        a, b = self.a.astype(wide), self.b.astype(wide)
        if self.parameters.get("transpose_a"):
            a = a.T
        if self.parameters.get("transpose_b"):
            b = b.T
        alpha = wide(dtype(self.parameters.get("alpha", 1)))
        beta = wide(dtype(self.parameters.get("beta", 1)))
        added = 0 if self.c is None else beta * self.c.astype(wide)
        unit = np.finfo(dtype).eps / 2
        terms = abs(alpha) * (np.abs(a) @ np.abs(b)) + np.abs(added)
        return alpha * (a @ b) + added, (a.shape[1] + 3) * unit * terms

    def check(self, found):
        """Raises unless the array is this product, within the bound of docs/api.md."""
        exact, bound = self.exact
        assert found.dtype == self.a.dtype, found.dtype
        assert found.shape == exact.shape, (found.shape, exact.shape)
        excess = np.abs(found - exact) - bound
        assert not excess.size or excess.max() <= 0, f"beyond the bound by {excess.max()}"


def random_product(dtype, m, n, k, *, with_c=False, seed=1, **parameters):
    """A product of random matrices; what is transposed comes transposed."""
    random = np.random.default_rng([seed, m, n, k])

    def matrix(rows, columns):
        return random.standard_normal((rows, columns)).astype(dtype)

    a = matrix(k, m) if parameters.get("transpose_a") else matrix(m, k)
    b = matrix(n, k) if parameters.get("transpose_b") else matrix(k, n)
    return Product(a, b, matrix(m, n) if with_c else None, parameters)


def output(binary):
    return [InferRequestedOutput("C", binary_data=binary)]
