"""Numbers of kernels under construction: their types, conversions and operators, each a few LLVM instructions.

Arithmetic is Numba's, with NumPy's error model: integers of 64 bits that wrap around and divide towards minus infinity
(by 0 they give 0), strict reals; the common type of a real and
a number of another type is float64.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from .integer_math import emit_whole
from .natives import NUMBERS, WORD, llvm_type


class Unsupported(Exception):
    """The source is not in the part of Python that the front end knows."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number, or a pointer, under construction; `type` is named as in `natives`."""

    type: str
    llvm: Any


_DTYPES = {np.dtype(f"{kind}{bits // 8}"): f"{kind}{bits}" for kind in "iu" for bits in (8, 32, 64)}
_DTYPES[np.dtype("u2")] = "u16"
TYPES = {d.type: name for d, name in _DTYPES.items()} | {np.float32: "f32", np.float64: "f64", np.bool_: "bool"}
INTRINSICS = {np.sqrt: "sqrt", np.floor: "floor", np.ceil: "ceil", np.trunc: "trunc", np.rint: "rint"}
WIDENED = ("bool", "i8", "i32", "i64", "u8", "u16", "u32")
"""Integers that int64 can hold."""
COMPARISONS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_REAL_OPERATORS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_INTEGER_OPERATORS = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.LShift: "shl",
}


class Arithmetic:
    """Numbers where an LLVM builder stands."""

    def __init__(self, builder: Any) -> None:  # llvmlite annotates its builder wrongly
        self.builder = builder

    def constant(self, value: Any) -> Value:
        if isinstance(value, bool):
            kind = "bool"
        elif isinstance(value, int):
            kind = "i64" if -(2**63) <= value < 2**63 else "u64"
        elif isinstance(value, float):
            kind = "f64"
        elif isinstance(value, np.generic) and type(value) in TYPES:
            kind, value = TYPES[type(value)], value.item()
        else:
            raise Unsupported(f"{value!r} is no number")
        return Value(kind, ir.Constant(llvm_type(kind), value))

    def convert(self, value: Value, kind: str) -> Value:
        """A number as another type."""
        if value.type == kind:
            return value
        known = (*NUMBERS, "bool")
        if value.type not in known or kind not in known:
            raise Unsupported(f"{value.type} as {kind}")
        new: Any = llvm_type(kind)
        old, x, build = value.type, value.llvm, self.builder
        if kind == "bool":
            result = self.nonzero(value)
        elif old[0] == "f":
            if kind[0] == "f":
                result = build.fpext(x, new) if kind == "f64" else build.fptrunc(x, new)
            else:
                result = emit_whole(build, x, kind)
        elif kind[0] == "f":
            result = build.sitofp(x, new) if old[0] == "i" else build.uitofp(x, new)
        elif x.type.width < new.width:
            result = build.sext(x, new) if old[0] == "i" else build.zext(x, new)
        else:
            result = build.trunc(x, new) if x.type.width > new.width else x
        return Value(kind, result)

    def nonzero(self, value: Value) -> Any:
        if value.type == "bool":
            return value.llvm
        if value.type not in NUMBERS:
            raise Unsupported(f"{value.type} as a condition")
        zero = ir.Constant(value.llvm.type, 0)
        compare = self.builder.fcmp_unordered if value.type[0] == "f" else self.builder.icmp_signed
        return compare("!=", value.llvm, zero)

    def common(self, left: Value, right: Value) -> tuple[Value, Value]:
        """Two numbers as their common type."""
        kinds = {left.type, right.type}
        if kinds <= {"f32"} or kinds <= {"u64"}:
            return left, right
        if kinds <= set(WIDENED):
            kind = "i64"
        elif kinds <= {"f32", "f64", "i32", "i64"}:
            kind = "f64"
        else:
            raise Unsupported(f"{left.type} and {right.type} have no common type")
        return self.convert(left, kind), self.convert(right, kind)

    def binary(self, kind: type[ast.operator], left: Value, right: Value) -> Value:
        build = self.builder
        if left.type == right.type == "bool" and kind in (ast.BitAnd, ast.BitOr, ast.BitXor):
            return Value("bool", getattr(build, _INTEGER_OPERATORS[kind])(left.llvm, right.llvm))
        left, right = self.common(left, right)
        x, y = left.llvm, right.llvm
        if left.type[0] == "f":
            if kind in _REAL_OPERATORS:
                return Value(left.type, getattr(build, _REAL_OPERATORS[kind])(x, y))
        elif kind in _INTEGER_OPERATORS:
            return Value(left.type, getattr(build, _INTEGER_OPERATORS[kind])(x, y))
        elif kind is ast.RShift:
            return Value(left.type, build.ashr(x, y) if left.type == "i64" else build.lshr(x, y))
        elif kind in (ast.FloorDiv, ast.Mod) and left.type == "i64":
            return Value("i64", self.divide(x, y, remainder=kind is ast.Mod))
        raise Unsupported(f"{kind.__name__} of {left.type}")

    def divide(self, x: Any, y: Any, remainder: bool) -> Any:
        """Rounded towards minus infinity; 0 where the divisor is 0, or the quotient too large."""
        build, zero = self.builder, WORD(0)
        known = isinstance(y, ir.Constant) and y.constant not in (0, -1)
        fails: Any = None
        if not known:
            overflow = build.and_(build.icmp_signed("==", x, WORD(-(2**63))), build.icmp_signed("==", y, WORD(-1)))
            fails = build.or_(build.icmp_signed("==", y, zero), overflow)
            y = build.select(fails, WORD(1), y)
        rest = build.srem(x, y)
        signs_differ = build.icmp_signed("<", build.xor(rest, y), zero)
        rounds = build.and_(build.icmp_signed("!=", rest, zero), signs_differ)
        if remainder:
            result = build.add(rest, build.select(rounds, y, zero))
        else:
            result = build.sub(build.sdiv(x, y), build.zext(rounds, WORD))
        return result if known else build.select(fails, zero, result)

    def unary(self, kind: type[ast.unaryop], value: Value) -> Value:
        build = self.builder
        if kind is ast.Not:
            return Value("bool", build.not_(self.nonzero(value)))
        if kind is ast.USub and isinstance(value.llvm, ir.Constant) and value.type != "bool":
            return self.constant(-value.llvm.constant)
        if kind is ast.USub and value.type[0] == "f":
            return Value(value.type, build.fneg(value.llvm))
        if kind is ast.UAdd or value.type not in WIDENED or (value.type == "bool" and kind is ast.Invert):
            raise Unsupported(f"{kind.__name__} of {value.type}")
        x = self.convert(value, "i64").llvm
        return Value("i64", build.neg(x) if kind is ast.USub else build.not_(x))

    def compare(self, kind: type[ast.cmpop], left: Value, right: Value) -> Value:
        if kind not in COMPARISONS:
            raise Unsupported(kind.__name__)
        left, right = self.common(left, right)
        sign, build = COMPARISONS[kind], self.builder
        if left.type[0] == "f":
            compare = build.fcmp_unordered if sign == "!=" else build.fcmp_ordered
        else:
            compare = build.icmp_signed if left.type[0] == "i" else build.icmp_unsigned
        return Value("bool", compare(sign, left.llvm, right.llvm))

    def smallest(self, x: Value, y: Value, sign: str = "<") -> Value:
        """The first of two integers that no other is below (or, with ">", above)."""
        x, y = self.common(x, y)
        return Value(x.type, self.builder.select(self.builder.icmp_signed(sign, y.llvm, x.llvm), y.llvm, x.llvm))

    def intrinsic(self, name: str, value: Value) -> Value:
        function = self.builder.module.declare_intrinsic(f"llvm.{name}", [value.llvm.type])
        return Value(value.type, self.builder.call(function, [value.llvm]))

    def absolute(self, value: Value) -> Value:
        if value.type[0] == "f":
            return self.intrinsic("fabs", value)
        x = self.convert(value, "i64").llvm
        negative = self.builder.icmp_signed("<", x, WORD(0))
        return Value("i64", self.builder.select(negative, self.builder.neg(x), x))
