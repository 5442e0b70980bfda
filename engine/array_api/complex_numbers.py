"""Complex numbers: their parts, and functions of them written with functions of these."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import BFLOAT16, is_complex, is_float
from ...ir.ops import complex_numbers as op
from ...ir.types import FLOAT32
from ..tracing.mutable_arrays import Memory
from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, Tracer, TracingError, emit, located, trace_of
from .broadcasting import as_arraylike, cast, common_shape, dtype_of, fitted, key_of, shape_of


def is_complex_array(x: ArrayLike) -> bool:
    """Whether an operand is complex, traced or not."""
    return type(x) is complex or is_complex(dtype_of(x))


def parts(z: ArrayLike) -> tuple[Any, Any]:
    """The real and the imaginary parts of an array of complex numbers."""
    return emit(op.real, z), emit(op.imag, z)


def joined(re: ArrayLike, im: ArrayLike) -> Any:
    """`re + i im` of two arrays, or an array and a number, which are broadcast; of what is no float, complex128."""
    dtype = result_dtype(key_of(re), key_of(im), float)
    if not is_float(dtype) or dtype.itemsize < 4:
        raise TracingError(located(f"complex numbers are made of float32 or float64, got {dtype}"))
    shape, trace = common_shape("complex numbers", [re, im]), trace_of([re, im])
    return emit(op.complex_, fitted(re, dtype, shape, trace), fitted(im, dtype, shape, trace))


def as_complex(x: ArrayLike) -> Any:
    """An array as complex numbers: float32 and bfloat16 as complex64, anything else that is real as complex128."""
    x = as_arraylike(x)
    if is_complex(dtype_of(x)):
        return x
    return cast(x, np.dtype("complex64" if dtype_of(x) in (FLOAT32, BFLOAT16) else "complex128"))


def real(x: ArrayLike, /) -> Any:
    """The real parts; of an array of real numbers the array itself. What is traced is no view: `+=` writes to none."""
    x = as_arraylike(x)
    return _part(x, op.real, "real") if is_complex(dtype_of(x)) else x


def imag(x: ArrayLike, /) -> Any:
    """The imaginary parts, zeros of real numbers."""
    x = as_arraylike(x)
    if is_complex(dtype_of(x)):
        return _part(x, op.imag, "imaginary")
    trace = trace_of([x])
    return trace.full(0, shape_of(x), dtype_of(x)) if trace else np.zeros(shape_of(x), dtype_of(x))


def _part(z: ArrayLike, part: Any, name: str) -> Any:
    result = emit(part, z)
    if isinstance(result, Tracer):
        result.memory = Memory(result.value, f"it is the {name} part of a complex array; write z = re + 1j * im anew")
    return result


def conj(x: ArrayLike, /) -> Any:
    """The complex conjugate."""
    x = as_arraylike(x)
    return emit(op.conj, x) if is_complex(dtype_of(x)) else x


conjugate = conj


def angle(z: ArrayLike, deg: bool = False) -> Any:
    """The angle of complex numbers in radians, or in degrees; the derivative at 0 is 0."""
    z = as_arraylike(z)
    found = np.arctan2(*parts(z)[::-1]) if is_complex(dtype_of(z)) else np.arctan2(0.0, z)
    return found * (180 / np.pi) if deg else found


def iscomplex(x: ArrayLike, /) -> Any:
    """Whether an element has an imaginary part other than 0."""
    return imag(x) != 0


def isreal(x: ArrayLike, /) -> Any:
    """Whether an element has no imaginary part, or one of 0."""
    return imag(x) == 0
