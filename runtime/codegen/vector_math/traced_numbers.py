"""Numbers that functions are written over: NumPy scalars when Python calls them, `Traced` values in a kernel.

A function that is run over `Traced` values appends one LLVM instruction to the kernel for each operation.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

Number = Any
"""A NumPy scalar or a Traced value. A plain Python number takes the type of the other operand."""


LLVM_TYPES: dict[str, ir.Type] = {
    "bool": ir.IntType(1),
    "int32": ir.IntType(32),
    "int64": ir.IntType(64),
    "uint64": ir.IntType(64),
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
}


def _operator(instruction: str, unsigned: str | None = None, reflected: bool = False) -> Any:
    """The method of an operator that is one instruction of LLVM's, on unsigned integers another one."""

    def method(self: "Traced", other: Number) -> "Traced":
        name = unsigned if unsigned and self.dtype.kind == "u" else instruction
        name = "f" + name if self.dtype.kind == "f" else name
        operands = (self.like(other), self.value) if reflected else (self.value, self.like(other))
        return Traced(self.builder, getattr(self.builder, name)(*operands), self.dtype)

    return method


def _comparison(operator: str) -> Any:
    """The method of a comparison; with a NaN only != holds."""

    def method(self: "Traced", other: Number) -> "Traced":
        of_reals = self.builder.fcmp_unordered if operator == "!=" else self.builder.fcmp_ordered
        of_integers = self.builder.icmp_unsigned if self.dtype.kind == "u" else self.builder.icmp_signed
        compare = of_reals if self.dtype.kind == "f" else of_integers
        return Traced(self.builder, compare(operator, self.value, self.like(other)), np.dtype("bool"))

    return method


@dataclass(frozen=True, eq=False)
class Traced:
    """A value in LLVM code under construction, with the operators of a NumPy scalar of `dtype`, but no promotion."""

    builder: ir.IRBuilder
    value: Any  # llvmlite does not annotate what its builder returns
    dtype: np.dtype

    __array_ufunc__ = None  # so that a NumPy scalar on the left leaves the operation to us

    def like(self, other: Number) -> ir.Value:
        """`other` in LLVM's terms; raises TypeError for a value of another dtype."""
        if isinstance(other, Traced):
            if other.dtype != self.dtype:
                raise TypeError(f"{self.dtype} and {other.dtype} have no common type: convert one of them")
            return other.value
        return ir.Constant(LLVM_TYPES[self.dtype.name], self.dtype.type(other).item())

    __add__ = __radd__ = _operator("add")
    __mul__ = __rmul__ = _operator("mul")
    __sub__ = _operator("sub")
    __rsub__ = _operator("sub", reflected=True)
    __truediv__ = _operator("div")
    __rtruediv__ = _operator("div", reflected=True)
    __and__ = _operator("and_")
    __or__ = _operator("or_")
    __xor__ = _operator("xor")
    __lshift__ = _operator("shl")
    __rshift__ = _operator("ashr", unsigned="lshr")
    __lt__ = _comparison("<")
    __le__ = _comparison("<=")
    __gt__ = _comparison(">")
    __ge__ = _comparison(">=")
    __eq__ = _comparison("==")
    __ne__ = _comparison("!=")

    def __neg__(self) -> "Traced":
        return Traced(self.builder, self.builder.fneg(self.value), self.dtype)


# ---- operations that NumPy scalars have no operator for


def _of_c(name: str, type: Any) -> Any:
    """The C library's fma, which rounds once; Python's own `math.fma` comes with 3.13 only."""
    function = getattr(ctypes.CDLL(None), name)
    function.argtypes, function.restype = (type, type, type), type
    return function


_fmaf, _fma = _of_c("fmaf", ctypes.c_float), _of_c("fma", ctypes.c_double)


def fma(a: Number, b: Number, c: Number) -> Number:
    """a * b + c, rounded once."""
    for x in (a, b, c):
        if isinstance(x, Traced):
            return Traced(x.builder, x.builder.fma(x.like(a), x.like(b), x.like(c)), x.dtype)
    real = np.result_type(a, b, c).type
    return real((_fmaf if real is np.float32 else _fma)(a, b, c))


def fabs(x: Number) -> Number:
    """|x|"""
    return _unary_intrinsic("llvm.fabs", x) if isinstance(x, Traced) else np.abs(x)


def rint(x: Number) -> Number:
    """The integer nearest to x, ties to even."""
    return _unary_intrinsic("llvm.rint", x) if isinstance(x, Traced) else np.rint(x)


def sqrt(x: Number) -> Number:
    """The square root; NaN below 0."""
    return _unary_intrinsic("llvm.sqrt", x) if isinstance(x, Traced) else np.sqrt(x)


def _unary_intrinsic(name: str, x: Traced) -> Traced:
    function = x.builder.module.declare_intrinsic(name, [x.value.type])
    return Traced(x.builder, x.builder.call(function, [x.value]), x.dtype)


def select(condition: Number, a: Number, b: Number) -> Number:
    """a where the condition holds, else b. Both are computed; one of them at least is not a plain Python number."""
    dtype = (a if hasattr(a, "dtype") else b).dtype
    if not isinstance(condition, Traced):
        return dtype.type(a if condition else b)
    like = Traced(condition.builder, condition.value, dtype).like
    return Traced(condition.builder, condition.builder.select(condition.value, like(a), like(b)), dtype)


def reinterpret(x: Number, dtype: type) -> Number:
    """The bits of x as a number of another dtype of the same width."""
    if not isinstance(x, Traced):
        return x.view(dtype)
    to = np.dtype(dtype)
    return Traced(x.builder, x.builder.bitcast(x.value, LLVM_TYPES[to.name]), to)


def convert(x: Number, dtype: type) -> Number:
    """x as a number of another dtype: between two integers (wrapping) or two reals (rounding)."""
    if not isinstance(x, Traced):
        return x.astype(dtype)
    to, llvm_type = np.dtype(dtype), LLVM_TYPES[np.dtype(dtype).name]
    narrower, wider = ("fptrunc", "fpext") if to.kind == "f" else ("trunc", "zext" if x.dtype.kind == "u" else "sext")
    name = "bitcast" if to.itemsize == x.dtype.itemsize else narrower if to.itemsize < x.dtype.itemsize else wider
    return Traced(x.builder, getattr(x.builder, name)(x.value, llvm_type), to)
