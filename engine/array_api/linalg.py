"""`numpy.linalg`, as far as it can be traced."""

from .linear_algebra import matmul, outer, tensordot, vecdot
from .manipulation import diagonal, matrix_transpose, trace
from .reductions import norm

vector_norm = norm

__all__ = ["diagonal", "matmul", "matrix_transpose", "norm", "outer", "tensordot", "trace", "vecdot", "vector_norm"]
