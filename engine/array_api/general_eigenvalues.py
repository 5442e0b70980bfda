"""Eigenvalues of square matrices that need not be symmetric, and the polynomials that they are roots of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...ir import BFLOAT16, DType, is_complex
from ...ir.ops import general_eigenvalues as ops
from ..tracing.errors import UnsupportedError
from ..tracing.keywords import tells_keywords
from ..tracing.promotion import float_dtype
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, emit, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, shape_of
from .complex_numbers import joined, real
from .indexing import getitem
from .manipulation import concatenate, expand_dims


class EigResult(NamedTuple):
    """Eigenvalues, and their vectors as columns."""

    eigenvalues: Any
    eigenvectors: Any


@tells_keywords
def eig(a: ArrayLike, /) -> EigResult:
    """The eigenvalues of the square matrices in the last two axes, in LAPACK's order, and their vectors as columns, of
    length 1. Both are complex always, as JAX's and torch's: which are real is known only in a run.

    Derivatives are those of functions that do not depend on the phases of vectors; that of a vector is not finite where
    two eigenvalues are equal. `eigh` is faster and more precise for symmetric matrices. A run raises
    `np.linalg.LinAlgError`, and has changed nothing, where an element is not finite or the iteration finds none. Raises
    `UnsupportedError` for complex matrices, `ShapeError` for matrices that are not square.
    """
    a = as_arraylike(a)
    if len(shape_of(a)) < 2 or shape_of(a)[-1] != shape_of(a)[-2]:
        raise ShapeError(located(f"np.linalg.eig takes square matrices in the last two axes, got {described(a)}"))
    if is_complex(dtype_of(a)):
        raise UnsupportedError(located("np.linalg.eig of complex matrices is not traced; compute it outside"))
    n = shape_of(a)[-1]
    both = emit(ops.eig, cast(a, _dtype(a)))
    values = joined(getitem(both, (..., 0, slice(None))), getitem(both, (..., n + 1, slice(None))))
    re, im = (getitem(both, (..., slice(at, at + n), slice(None))) for at in (1, n + 2))
    return EigResult(values, joined(re, im))


def _dtype(x: ArrayLike) -> DType:
    """Of floats that have complex numbers: there are none of bfloat16."""
    dtype = float_dtype(dtype_of(x))
    return np.dtype("float32") if dtype == BFLOAT16 else dtype


@tells_keywords
def eigvals(a: ArrayLike, /) -> Any:
    """The eigenvalues of square matrices, which are complex. See `eig`."""
    return eig(a).eigenvalues


def roots(p: ArrayLike) -> Any:
    """The roots, complex, of the polynomial with the coefficients `p` (n + 1,), the highest power first: eigenvalues of
    its companion matrix.

    NumPy leaves out leading coefficients that are 0; those of a traced `p` are not known, and give no finite roots.
    Raises `ShapeError` where `p` has not one axis.
    """
    p = as_arraylike(p)
    if len(shape_of(p)) > 1:
        raise ShapeError(located(f"np.roots: p has one axis, got {described(p)}"))
    if not isinstance(p, Tracer):
        return np.roots(p)
    n = shape_of(p)[0] - 1 if shape_of(p) else 0
    if n < 1:
        return np.zeros(0)
    p = cast(p, float_dtype(dtype_of(p)))
    first = e.divide(e.negative(getitem(p, slice(1, None))), getitem(p, 0))
    return eigvals(concatenate([expand_dims(first, 0), np.eye(n - 1, n, dtype=dtype_of(p))]))


def poly(seq_of_zeros: ArrayLike) -> Any:
    """The coefficients (n + 1,), the highest power first, of the polynomial with these roots (n,) and the leading
    coefficient 1; of a square matrix its characteristic polynomial. Those of complex roots are complex.

    Raises `ShapeError` for other axes.
    """
    zeros = as_arraylike(seq_of_zeros)
    if not isinstance(zeros, Tracer):
        return np.poly(zeros)
    shape = shape_of(zeros)
    of_matrix = len(shape) == 2 and shape[0] == shape[1]
    if not of_matrix and len(shape) > 1:
        raise ShapeError(located(f"np.poly takes roots or a square matrix, got {described(zeros)}"))
    zeros = eigvals(zeros) if of_matrix else expand_dims(zeros, 0) if not shape else zeros
    zeros = zeros if is_complex(dtype_of(zeros)) else cast(zeros, float_dtype(dtype_of(zeros)))
    found: Any = np.ones(1, dtype_of(zeros))
    none = np.zeros(1, dtype_of(zeros))
    for i in range(shape_of(zeros)[0]):
        shifted = concatenate([none, found])
        found = concatenate([found, none]) - getitem(zeros, i) * shifted
    return real(found) if of_matrix else found
