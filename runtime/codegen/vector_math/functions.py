"""Element-wise functions that LLVM vectorizes inside a generated loop, with the same bits in whatever loop they stand.

llvmlite's wheels carry no vector math library, so `math.exp` in a kernel is one call an element. The functions here are
straight lines of multiply-adds, bit tricks and selects instead. `VECTOR_MATH["exp", "float32"]` is a function named
`exp_f32`; put under that name into the globals of a kernel's source, it can be called there. Such a kernel must be
compiled without fastmath: the functions rely on every operation being rounded as it is written.

Each function is written once, over "numbers" (see `traced_numbers`): NumPy scalars when Python calls it, `Traced`
values when a call of it is compiled. In the latter case it is run once, and each operation appends one LLVM instruction
to the kernel. So there is no second function to compile and to inline, and Python and machine code compute the same
bits (but for NaNs' own).

"Within 1.5 ulp" is against the exact value, in units in the last place of the result, the final rounding included.
Results below the smallest normal number are rounded to subnormal ones, never flushed. Polynomials without a source in
the docstring of their function are minimax, fitted by the Remez exchange on the interval that the docstring names.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from ..natives import NATIVES, NUMBERS, Native, Signature
from .bessel_functions import i0, i0e, i1, i1e
from .dilogarithm import spence
from .error_functions import erf, ndtr
from .exponentials import exp, expm1, sigmoid, tanh_f32, tanh_f64
from .formats import FLOAT32, FLOAT64, Format
from .gamma_functions import digamma, gamma, lgamma, lgamma1p, log1p_rest, stirling
from .logarithms import log, log1p, log2, log10_f32, log10_f64
from .normal_tail import erfc, erfcinv, erfcx, erfinv, log_ndtr, ndtri
from .powers import pow_f32, pow_f64
from .traced_numbers import Number, Traced
from .trigonometry import cos, sin, tan
from .zeta import zeta_rest


def _declare(name: str, body: Callable[..., Number], f: Format) -> Callable[..., Any]:
    """A function of NumPy scalars, native to kernels, that runs `body` in the format f."""
    dtype = np.dtype(f.real)
    number = f"f{8 * dtype.itemsize}"
    arity = len(inspect.signature(body).parameters) - 1

    def function(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return body(*map(f.real, arguments), f)

    function.__name__ = function.__qualname__ = f"{name}_{number}"
    function.__doc__ = body.__doc__

    def typed(arguments: tuple[str, ...]) -> Signature | None:
        fits = len(arguments) == arity and all(a in NUMBERS for a in arguments)
        return (number, (number,) * arity) if fits else None

    def emit(builder: ir.IRBuilder, *arguments: Any) -> ir.Value:
        return body(*(Traced(builder, argument, dtype) for argument in arguments), f).value

    NATIVES[function] = Native(emit, typed)
    return function


VECTOR_MATH: dict[tuple[str, str], Callable[..., Any]] = {
    (name, dtype): _declare(name, body, f)
    for name, bodies in {
        "exp": (exp, exp),
        "expm1": (expm1, expm1),
        "log": (log, log),
        "log2": (log2, log2),
        "log10": (log10_f32, log10_f64),
        "log1p": (log1p, log1p),
        "tanh": (tanh_f32, tanh_f64),
        "sigmoid": (sigmoid, sigmoid),
        "erf": (erf, erf),
        "ndtr": (ndtr, ndtr),
        "sin": (sin, sin),
        "cos": (cos, cos),
        "tan": (tan, tan),
        "pow": (pow_f32, pow_f64),
    }.items()
    for dtype, body, f in zip(("float32", "float64"), bodies, (FLOAT32, FLOAT64))
}
"""(name, dtype) -> function. `pow` takes two numbers, the others one."""


SPECIAL_MATH: dict[str, Callable[..., Any]] = {
    body.__name__: _declare(body.__name__, body, FLOAT64)
    for body in (
        *(lgamma, lgamma1p, gamma, digamma, stirling, log1p_rest, zeta_rest),
        *(erfc, erfcx, erfinv, erfcinv, ndtri, log_ndtr),
        *(i0, i0e, i1, i1e, spence),
    )
}
"""Functions of float64 by name. What is asked of them is accuracy: float32 is computed by them too."""
