"""Element-wise ops as operators of ONNX, or as a few of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....ir import Op, is_float
from ....ir.ops import elementwise as ew
from ....ir.ops import special as sp
from .emitter import Emitter, emits
from .symbolic_graph import SymbolicNode

_SAME: dict[Op, str] = {
    ew.add: "Add",
    ew.sub: "Sub",
    ew.mul: "Mul",
    ew.div: "Div",
    ew.maximum: "Max",
    ew.minimum: "Min",
    ew.abs_: "Abs",
    ew.sign: "Sign",
    ew.floor: "Floor",
    ew.ceil: "Ceil",
    ew.rint: "Round",
    ew.sqrt: "Sqrt",
    ew.exp: "Exp",
    ew.log: "Log",
    ew.tanh: "Tanh",
    ew.sigmoid: "Sigmoid",
    ew.erf: "Erf",
    ew.sin: "Sin",
    ew.cos: "Cos",
    ew.tan: "Tan",
    ew.asin: "Asin",
    ew.acos: "Acos",
    ew.atan: "Atan",
    ew.sinh: "Sinh",
    ew.cosh: "Cosh",
    ew.asinh: "Asinh",
    ew.acosh: "Acosh",
    ew.atanh: "Atanh",
    ew.eq: "Equal",
    ew.select: "Where",
}
"""Ops that are one operator."""


@emits(*_SAME)
def same(e: Emitter, node: SymbolicNode) -> str:
    return e.node(_SAME[node.op], *e.operands(node))


_OF_NUMBERS: dict[Op, str] = {
    ew.neg: "Neg",
    ew.pow: "Pow",
    ew.relu: "Relu",
    ew.lt: "Less",
    ew.le: "LessOrEqual",
    ew.gt: "Greater",
    ew.ge: "GreaterOrEqual",
}
"""Ops that are one operator, which does not take bytes or bools."""


@emits(*_OF_NUMBERS)
def of_numbers(e: Emitter, node: SymbolicNode) -> str:
    first = node.inputs[0]
    if e.is_wide(first):
        return e.node(_OF_NUMBERS[node.op], *e.operands(node))
    return e.narrow(e.node(_OF_NUMBERS[node.op], *(e.wide(x) for x in node.inputs)), node.output)


@emits(ew.ne)
def not_equal(e: Emitter, node: SymbolicNode) -> str:
    return e.node("Not", e.node("Equal", *e.operands(node)))


_BITWISE: dict[Op, tuple[str, str]] = {
    ew.and_: ("And", "BitwiseAnd"),
    ew.or_: ("Or", "BitwiseOr"),
    ew.xor: ("Xor", "BitwiseXor"),
    ew.invert: ("Not", "BitwiseNot"),
}


@emits(*_BITWISE)
def bitwise(e: Emitter, node: SymbolicNode) -> str:
    of_bools, of_integers = _BITWISE[node.op]
    return e.node(of_bools if node.output.dtype.kind == "b" else of_integers, *e.operands(node))


_SHIFTS: dict[Op, str] = {ew.shift_left: "LEFT", ew.shift_right: "RIGHT"}


@emits(*_SHIFTS)
def shifted(e: Emitter, node: SymbolicNode) -> str:
    if node.output.dtype.kind != "u":
        raise e.refusal(f"ONNX shifts unsigned integers alone, not {node.output.dtype}")
    return e.node("BitShift", *e.operands(node), direction=_SHIFTS[node.op])


@emits(ew.cast)
def cast(e: Emitter, node: SymbolicNode) -> str:
    (x,) = node.inputs
    return e.name(x) if x.dtype == node.output.dtype else e.cast(e.name(x), node.output.dtype)


@emits(ew.trunc)
def trunc(e: Emitter, node: SymbolicNode) -> str:
    (x,) = e.operands(node)
    below = e.node("Less", x, _number(e, node, 0))
    return e.node("Where", below, e.node("Ceil", x), e.node("Floor", x))


_BASES: dict[Op, float] = {ew.log2: math.log(2), ew.log10: math.log(10)}


@emits(*_BASES)
def log_to_base(e: Emitter, node: SymbolicNode) -> str:
    return e.node("Div", e.node("Log", *e.operands(node)), _number(e, node, _BASES[node.op]))


@emits(ew.expm1)
def expm1(e: Emitter, node: SymbolicNode) -> str:
    """Near 0 as 2 t / (1 - t) with t = tanh(x / 2), which loses no digits there."""
    (x,) = e.operands(node)
    one, two = _number(e, node, 1), _number(e, node, 2)
    t = e.node("Tanh", e.node("Div", x, two))
    near = e.node("Div", e.node("Mul", two, t), e.node("Sub", one, t))
    is_near = e.node("Less", e.node("Abs", x), one)
    return e.node("Where", is_near, near, e.node("Sub", e.node("Exp", x), one))


@emits(ew.log1p)
def log1p(e: Emitter, node: SymbolicNode) -> str:
    """log(u) x / (u - 1) with u = 1 + x, and x where that is 1. Goldberg 1991, theorem 4."""
    (x,) = e.operands(node)
    one = _number(e, node, 1)
    u = e.node("Add", x, one)
    away = e.node("Sub", u, one)
    is_zero = e.node("Equal", away, _number(e, node, 0))
    factor = e.node("Div", x, e.node("Where", is_zero, one, away))
    log = e.node("Log", u)
    is_infinite = e.node("Equal", x, _number(e, node, math.inf))
    near = e.node("Where", is_zero, x, e.node("Mul", log, factor))
    return e.node("Where", is_infinite, x, near)


@emits(ew.ndtr)
def ndtr(e: Emitter, node: SymbolicNode) -> str:
    (x,) = e.operands(node)
    erf = e.node("Erf", e.node("Mul", x, _number(e, node, math.sqrt(0.5))))
    return e.node("Mul", e.node("Add", erf, _number(e, node, 1)), _number(e, node, 0.5))


@emits(sp.erfc)
def erfc(e: Emitter, node: SymbolicNode) -> str:
    (x,) = e.operands(node)
    return e.node("Sub", _number(e, node, 1), e.node("Erf", x))


@emits(ew.atan2)
def atan2(e: Emitter, node: SymbolicNode) -> str:
    """The angle of y / x, turned by half a turn on the left."""
    y, x = e.operands(node)
    zero = _number(e, node, 0)
    is_zero = e.node("Equal", x, zero)
    angle = e.node("Atan", e.node("Div", y, e.node("Where", is_zero, _number(e, node, 1), x)))
    half = e.node("Where", e.node("Less", y, zero), _number(e, node, -math.pi), _number(e, node, math.pi))
    turned = e.node("Where", e.node("Less", x, zero), e.node("Add", angle, half), angle)
    upright = e.node("Mul", e.node("Sign", y), _number(e, node, math.pi / 2))
    return e.node("Where", is_zero, upright, turned)


@emits(ew.mod)
def mod(e: Emitter, node: SymbolicNode) -> str:
    """Of floats from the remainder with the sign of x, plus y where the signs differ."""
    x, y = e.operands(node)
    zero = _number(e, node, 0)
    if not is_float(node.output.dtype):
        by_zero, divisor = _divisor(e, node, y)
        return e.node("Where", by_zero, zero, e.node("Mod", x, divisor))
    rest = e.node("Mod", x, y, fmod=1)
    differs = e.node("Less", e.node("Mul", e.node("Sign", rest), e.node("Sign", y)), zero)
    return e.node("Where", differs, e.node("Add", rest, y), rest)


@emits(ew.floordiv)
def floordiv(e: Emitter, node: SymbolicNode) -> str:
    """ONNX divides integers towards 0: one less where that is not the floor."""
    x, y = e.operands(node)
    if is_float(node.output.dtype):
        return e.node("Floor", e.node("Div", x, y))
    zero = _number(e, node, 0)
    by_zero, divisor = _divisor(e, node, y)
    quotient = e.node("Div", x, divisor)
    if node.output.dtype.kind == "i":
        rest = e.node("Sub", x, e.node("Mul", quotient, divisor))
        is_above = e.node("Less", e.node("Mul", e.node("Sign", rest), e.node("Sign", divisor)), zero)
        quotient = e.node("Where", is_above, e.node("Sub", quotient, _number(e, node, 1)), quotient)
    return e.node("Where", by_zero, zero, quotient)


def _divisor(e: Emitter, node: SymbolicNode, y: str) -> tuple[str, str]:
    """Whether an integer is 0, and what to divide by there."""
    by_zero = e.node("Equal", y, _number(e, node, 0))
    return by_zero, e.node("Where", by_zero, _number(e, node, 1), y)


def _number(e: Emitter, node: SymbolicNode, value: Any) -> str:
    """A number of the dtype of the node."""
    with np.errstate(all="ignore"):
        return e.constant(value, node.output.dtype)
