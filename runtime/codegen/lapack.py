"""Routines of BLAS and LAPACK that kernels call by address: factors of matrices, and systems of triangles.

Like those of `intrinsics`, each is an ordinary Python function that works on real addresses. Matrices are as in
Fortran, column by column: element (i, j) stands `i + j * leading` elements behind the first.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from .natives import BYTE, INT, WORD, native, stack_slot

_BYTE_POINTER = BYTE.as_pointer()

_INFO = "info"
"""A parameter that the routine sets, which is what the function returns. Every other parameter is the kind of a value:
`n` an integer, `at` an address, `1.0` that number, `R` this letter, `UL` the first or, where a flag is set, the second
letter.
"""


def _declare(name: str, real: Any, c_real: Any, doc: str, *parameters: str) -> Callable[..., Any]:
    returns = _INFO in parameters

    def emit(builder: Any, fn: Any, *given: Any) -> Any:
        def slot(value: Any) -> Any:
            memory = stack_slot(builder, value.type)
            builder.store(value, memory)
            return memory

        values, at, info = iter(given), [], None
        for parameter in parameters:
            if parameter == "at":
                at.append(builder.inttoptr(next(values), _BYTE_POINTER))
                continue
            if parameter == "n":
                memory = slot(builder.trunc(next(values), INT))
            elif parameter == _INFO:
                memory = info = slot(INT(0))
            elif parameter == "1.0":
                memory = slot(real(1.0))
            elif len(parameter) == 1:
                memory = slot(BYTE(ord(parameter)))
            else:
                unset = builder.icmp_signed("==", next(values), WORD(0))
                memory = slot(builder.select(unset, *(BYTE(ord(letter)) for letter in parameter)))
            at.append(builder.bitcast(memory, _BYTE_POINTER))
        typed = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER] * len(at))
        builder.call(builder.inttoptr(fn, typed.as_pointer()), at)
        return builder.sext(builder.load(info), WORD) if info is not None else None

    def routine(fn: int, *given: int) -> int | None:
        values, held = iter(given), []
        for parameter in parameters:
            if parameter == "at":
                held.append(ctypes.c_void_p(next(values)))
            elif parameter in ("n", _INFO):
                held.append(ctypes.c_int32(0 if parameter == _INFO else next(values)))
            elif parameter == "1.0":
                held.append(c_real(1.0))
            else:
                letter = parameter if len(parameter) == 1 else parameter[next(values) != 0]
                held.append(ctypes.c_char(letter.encode()))
        at = [x if isinstance(x, ctypes.c_void_p) else ctypes.addressof(x) for x in held]
        ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(at))(fn)(*at)
        return held[parameters.index(_INFO)].value if returns else None

    routine.__name__ = routine.__qualname__ = name
    routine.__doc__ = doc
    words = [p for p in parameters if p in ("at", "n") or len(p) == 2]
    return native(emit, "i64" if returns else "none", "i64", *["i64"] * len(words))(routine)


_POTRF = "Makes the upper triangle of a matrix A the U with Uᵀ U = A; other than 0 where A is not positive definite."
_GETRF = "Makes a matrix L U, with the rows exchanged that are noted; other than 0 where U has a 0 on its diagonal."
_TRSM = "Makes B the X with X op(A) = B: flags of A lower, transposed, with ones as its diagonal; rows, columns; A; B."

potrf_f32 = _declare("potrf_f32", ir.FloatType(), ctypes.c_float, _POTRF, "U", "n", "at", "n", _INFO)
potrf_f64 = _declare("potrf_f64", ir.DoubleType(), ctypes.c_double, _POTRF, "U", "n", "at", "n", _INFO)
getrf_f32 = _declare("getrf_f32", ir.FloatType(), ctypes.c_float, _GETRF, "n", "n", "at", "n", "at", _INFO)
getrf_f64 = _declare("getrf_f64", ir.DoubleType(), ctypes.c_double, _GETRF, "n", "n", "at", "n", "at", _INFO)

_SYEVD = (
    "Makes the lower triangle of a symmetric matrix the matrix of its eigenvectors, as columns, and gives its "
    "eigenvalues; the last four are memory to work in, each with its size. Other than 0 where it finds none."
)
_WORKED = ("V", "L", "n", "at", "n", "at", "at", "n", "at", "n", _INFO)
syevd_f32 = _declare("syevd_f32", ir.FloatType(), ctypes.c_float, _SYEVD, *_WORKED)
syevd_f64 = _declare("syevd_f64", ir.DoubleType(), ctypes.c_double, _SYEVD, *_WORKED)

_GEQRF = "Makes a matrix, m, n, its R with the reflections of Q below; their factors; memory to work in, its size."
_ORGQR = "Makes such reflections, m, columns, how many, the matrix Q; their factors; memory to work in, its size."
_REFLECTED = ("n", "n", "at", "n", "at", "at", "n", _INFO)
geqrf_f32 = _declare("geqrf_f32", ir.FloatType(), ctypes.c_float, _GEQRF, *_REFLECTED)
geqrf_f64 = _declare("geqrf_f64", ir.DoubleType(), ctypes.c_double, _GEQRF, *_REFLECTED)
orgqr_f32 = _declare("orgqr_f32", ir.FloatType(), ctypes.c_float, _ORGQR, "n", *_REFLECTED)
orgqr_f64 = _declare("orgqr_f64", ir.DoubleType(), ctypes.c_double, _ORGQR, "n", *_REFLECTED)

_GESDD = (
    "Gives of a matrix, m, n, whose place it takes, the singular values, the left vectors as columns and the right as "
    "rows; the last three are memory to work in, its size, and that for integers. Other than 0 where it finds none."
)
_SINGULAR = ("S", "n", "n", "at", "n", "at", "at", "n", "at", "n", "at", "n", "at", _INFO)
gesdd_f32 = _declare("gesdd_f32", ir.FloatType(), ctypes.c_float, _GESDD, *_SINGULAR)
gesdd_f64 = _declare("gesdd_f64", ir.DoubleType(), ctypes.c_double, _GESDD, *_SINGULAR)

_GEEV = (
    "Gives of a matrix, whose place it takes, real and imaginary parts of eigenvalues and, after another matrix that "
    "is not read, vectors; the last two are memory to work in, its size. Other than 0 where it finds none."
)
_GENERAL = ("N", "V", "n", "at", "n", "at", "at", "at", "n", "at", "n", "at", "n", _INFO)
geev_f32 = _declare("geev_f32", ir.FloatType(), ctypes.c_float, _GEEV, *_GENERAL)
geev_f64 = _declare("geev_f64", ir.DoubleType(), ctypes.c_double, _GEEV, *_GENERAL)

_TRIANGLE = ("R", "UL", "NT", "NU", "n", "n", "1.0", "at", "n", "at", "n")
trsm_f32 = _declare("trsm_f32", ir.FloatType(), ctypes.c_float, _TRSM, *_TRIANGLE)
trsm_f64 = _declare("trsm_f64", ir.DoubleType(), ctypes.c_double, _TRSM, *_TRIANGLE)
