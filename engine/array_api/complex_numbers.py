"""Complex numbers: their parts, and functions of them written with functions of these."""

from __future__ import annotations

from collections.abc import Callable
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


# Functions of complex numbers, of an array of them. Branches are NumPy's: along the negative real axis.


def absolute(z: ArrayLike) -> Any:
    """The absolute value, without overflow on the way; the derivative at 0 is 0."""
    return np.hypot(*parts(z))


def sign(z: ArrayLike) -> Any:
    """`z / |z|`, and 0 at 0."""
    size = absolute(z)
    return z / np.where(size == 0, 1, size)


def exp(z: ArrayLike) -> Any:
    """`e ** z`."""
    re, im = parts(z)
    size = np.exp(re)
    return joined(size * np.cos(im), size * np.sin(im))


def log(z: ArrayLike) -> Any:
    """The natural logarithm, whose imaginary part is in [-π, π]."""
    re, im = parts(z)
    return joined(np.log(np.hypot(re, im)), np.arctan2(im, re))


def log2(z: ArrayLike) -> Any:
    """The logarithm to base 2."""
    return log(z) * (1 / np.log(2).item())


def log10(z: ArrayLike) -> Any:
    """The logarithm to base 10."""
    return log(z) * (1 / np.log(10).item())


def sqrt(z: ArrayLike) -> Any:
    """The square root with a real part of 0 or more; the derivative at 0 is 0."""
    re, im = parts(z)
    large = np.sqrt(0.5 * (np.abs(re) + np.hypot(re, im)))
    small = 0.5 * im / np.where(large == 0, 1, large)
    along = re >= 0
    return joined(np.where(along, large, np.abs(small)), np.where(along, small, np.where(_below(im), -large, large)))


def _below(x: ArrayLike) -> Any:
    """Whether a number is below 0, or -0."""
    return np.arctan2(x, -1.0) < 0


def sin(z: ArrayLike) -> Any:
    """The sine."""
    re, im = parts(z)
    return joined(np.sin(re) * np.cosh(im), np.cos(re) * np.sinh(im))


def cos(z: ArrayLike) -> Any:
    """The cosine."""
    re, im = parts(z)
    return joined(np.cos(re) * np.cosh(im), -np.sin(re) * np.sinh(im))


def tan(z: ArrayLike) -> Any:
    """The tangent."""
    re, im = parts(z)
    turned = tanh(joined(-im, re))
    return joined(emit(op.imag, turned), -emit(op.real, turned))


def sinh(z: ArrayLike) -> Any:
    """The hyperbolic sine."""
    re, im = parts(z)
    return joined(np.sinh(re) * np.cos(im), np.cosh(re) * np.sin(im))


def cosh(z: ArrayLike) -> Any:
    """The hyperbolic cosine."""
    re, im = parts(z)
    return joined(np.cosh(re) * np.cos(im), np.sinh(re) * np.sin(im))


def tanh(z: ArrayLike) -> Any:
    """The hyperbolic tangent."""
    re, im = parts(z)
    # Beyond, the real part is ±1 and the imaginary one is 0, to the last digit.
    re = np.clip(re, -25, 25)
    size = np.sinh(re) ** 2 + np.cos(im) ** 2
    return joined(np.sinh(re) * np.cosh(re) / size, np.sin(im) * np.cos(im) / size)


def power(x: ArrayLike, y: ArrayLike) -> Any:
    """`x ** y` of two arrays of one complex dtype; 0 to any power but 0 is 0."""
    none = x == 0
    return np.where(none, cast(y == 0, dtype_of(x)), exp(y * log(np.where(none, 1, x))))


def whole_power(x: ArrayLike, n: int) -> Any:
    """`x ** n` by squares and products."""
    if n < 0:
        return 1 / whole_power(x, -n)
    result: Any = None
    while n:
        if n % 2:
            result = x if result is None else result * x
        n //= 2
        x = x * x if n else x
    return result


OF_COMPLEX: dict[np.ufunc, Callable[[ArrayLike], Any]] = {
    np.absolute: absolute,
    np.sign: sign,
    np.exp: exp,
    np.log: log,
    np.log2: log2,
    np.log10: log10,
    np.sqrt: sqrt,
    np.sin: sin,
    np.cos: cos,
    np.tan: tan,
    np.sinh: sinh,
    np.cosh: cosh,
    np.tanh: tanh,
}
"""What NumPy's functions are of complex numbers."""
