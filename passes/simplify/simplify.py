"""Constant folding, common subexpressions, algebraic identities, dead code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ...ir import OPS, ArrayType, Builder, Graph, Node, Op, Value, is_float
from ...ir.ops import elementwise as ew
from ...ir.ops import movement, reduction, window
from ...ir.ops.custom_vjp import custom_vjp
from ...ir.types import Array
from ..graph.dead_code import without_dead_parts
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.structural_key import node_key
from .simplify_control_flow import simpler_control_flow
from .simplify_scan import fill_value, last_carry, simpler_scan


@dataclass(frozen=True)
class Simplify(Pass):
    """`y = f(x); z = f(x)` -> `y = f(x); z = y`, and the identities below.

    Known elsewhere as constant folding, common subexpression elimination, dead code elimination, algebraic simplifier
    (XLA), instcombine (LLVM).

    Nothing here changes a float, nor the sign of a zero. The exception is the backward: zero cotangents are dropped,
    though -0 + 0 is 0. A value of the role `recompute` never becomes its original: that would undo the choice to drop
    it.

        f(constants) -> constant           x + -0, x - 0, x * 1, x / 1 -> x      -(-x) -> x
        x + 0 -> x, for cotangents, and for integers
        x ** 2 -> x * x, x ** 3 -> x * x * x                                     where(c, x, x) -> x
        view of full -> full               reshape(reshape(x)) -> reshape(x)     transpose(transpose(x)) -> transpose(x)
        pad(x) + pad(y), y right behind x -> pad(concatenate(x, y)), for cotangents
        nested concatenate -> one
        movement that changes nothing, copy, reduction over axes of length 1 -> x or reshape(x), a sum + 0
        x / 2**k -> x * 2**-k              ys[last] -> last carry               loops: see `simplify_scan`
        branches: see `simplify_control_flow`
        window_pick(x, window_find(x, window_max(x))) -> window_max(x)           custom_vjp(values, ...) -> values
        where(x > 0, window_put(g, window_find(x, y = window_max(x))), 0) -> window_put(where(y > 0, g, 0), ...)
    """

    undo_recompute: bool = False
    """Let recomputed values become their originals: the graph as if nothing had been checkpointed."""

    def __call__(self, graph: Graph) -> Graph:
        graph = without_dead_parts(graph)
        seen: dict[Any, tuple[Value, ...]] = {}

        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if node.op.is_scan:
                return simpler_scan(b, node, inputs, self, once)
            if node.op is custom_vjp:
                return inputs[: len(node.outputs)]
            if node.op.is_decided_at_run_time:
                return simpler_control_flow(b, node, inputs, self, once, known)
            simple = _simpler(b, node, inputs)
            return [simple] if simple is not None else once(b, node, inputs)

        def once(b: Builder, node: Node, inputs: list[Value]) -> list[Value]:
            key = key_of(node, inputs)
            if key not in seen:
                seen[key] = b.copy(node, inputs).outputs
            return list(seen[key])

        def known(node: Node, inputs: Sequence[Value]) -> Sequence[Value] | None:
            return seen.get(key_of(node, inputs))

        def key_of(node: Node, inputs: Sequence[Value]) -> Any:
            recomputed = node.origin.role == "recompute" and not self.undo_recompute
            return node_key(node, tuple(map(id, inputs)), recomputed)

        return without_dead_parts(rewrite_nodes(graph, rule))


def _power_of_two(value: float | int | bool | None) -> bool:
    return isinstance(value, float) and value != 0.0 and math.isfinite(value) and abs(math.frexp(value)[0]) == 0.5


def _full(b: Builder, node: Node, value: float | int | bool) -> Value:
    return b.full(value, node.output.type)


def _made_by(value: Value, op: Op) -> Node | None:
    return value.node if value.node is not None and value.node.op is op else None


def _add(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    x, y = inputs
    cotangents = node.origin.role == "backward"
    if _adds_nothing(x, cotangents):
        return y
    if _adds_nothing(y, cotangents):
        return x
    return (_join_pads(b, x, y) or _join_pads(b, y, x)) if cotangents else None


def _adds_nothing(x: Value, cotangents: bool) -> bool:
    """Whether y + x is y for every y: -0 + 0 is 0, so a float is -0, or the sum one of cotangents."""
    value = fill_value(x)
    return value == 0 and (cotangents or not is_float(x.type.dtype) or _is_negative(value))


def _is_negative(value: float | int | bool) -> bool:
    return math.copysign(1, value) < 0


def _join_pads(b: Builder, x: Value, y: Value) -> Value | None:
    """Two arrays in a field of zeros, the second right behind the first along one axis: the gradients of two slices."""
    first, second = _made_by(x, movement.pad), _made_by(y, movement.pad)
    if (
        first is None
        or second is None
        or any(n.attrs["value"] != 0 or any(n.attrs["interior"]) for n in (first, second))
    ):
        return None
    low: tuple[int, ...] = first.attrs["low"]
    high: tuple[int, ...] = second.attrs["high"]
    ends = [a + n for a, n in zip(low, first.inputs[0].type.shape)]
    starts: tuple[int, ...] = second.attrs["low"]
    axes = [i for i, (end, start) in enumerate(zip(ends, starts)) if end == start and start > 0]
    for axis in axes:
        others = (i for i in range(len(low)) if i != axis)
        if all(low[i] == starts[i] and first.attrs["high"][i] == high[i] for i in others):
            joined = OPS["concatenate"](b, *_parts(first.inputs[0], axis), *_parts(second.inputs[0], axis), axis=axis)
            if not any(low) and not any(high):
                return joined
            return OPS["pad"](
                b, joined, low=low, high=high, interior=first.attrs["interior"], value=first.attrs["value"]
            )
    return None


def _parts(x: Value, axis: int) -> list[Value]:
    """The operands of `x`, if it is a concatenation along `axis`."""
    node = _made_by(x, movement.concatenate)
    return list(node.inputs) if node is not None and node.attrs["axis"] == axis else [x]


def _sub(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    x, y = inputs
    value = fill_value(y)
    return x if value == 0 and not _is_negative(value) else None


def _mul(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    x, y = inputs
    return y if fill_value(x) == 1 else x if fill_value(y) == 1 else None


def _div(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    x, y = inputs
    divisor = fill_value(y)
    if divisor == 1:
        return x
    if _power_of_two(divisor) and math.isfinite(inverse := float(y.type.dtype.type(1 / cast(float, divisor)))):
        return OPS["mul"](b, x, _full(b, node, inverse)) if inverse != 0 else None
    return None


def _neg(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    inner = _made_by(inputs[0], ew.neg)
    return inner.inputs[0] if inner else None


def _pow(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    x, y = inputs
    exponent = fill_value(y)
    if not is_float(x.type.dtype) or exponent not in (1, 2, 3):
        return None
    square = OPS["mul"](b, x, x) if exponent != 1 else x
    return OPS["mul"](b, square, x) if exponent == 3 else square


def _select(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    condition, x, y = inputs
    known = fill_value(condition)
    if known is not None:
        return x if known else y
    return x if x is y else _select_windows(b, condition, x, y)


def _select_windows(b: Builder, condition: Value, x: Value, y: Value) -> Value | None:
    """where(x > c, window_put(g, largest of x), 0) -> window_put(where(window_max(x) > c, g, 0), ...)

    This is a relu in front of a max pooling, in the backward. Only the largest element of a window gets a gradient, so
    one comparison for each window will do.
    """
    put, compared = _made_by(x, window.window_put), condition.node
    if put is None or compared is None or compared.op not in ew.COMPARISONS or fill_value(y) != 0:
        return None
    number = fill_value(compared.inputs[1])
    largest = _largest(put.inputs[1], compared.inputs[0], put)
    if number is None or largest is None:
        return None
    windows = put.inputs[0]
    bound = b.full(number, largest.output.type)
    there = b.emit(compared.op, largest.output, bound)
    chosen = OPS["select"](b, there, windows, b.full(0.0, windows.type))
    return b.emit(put.op, chosen, put.inputs[1], **put.attrs)


def _cast(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    (x,) = inputs
    if node.attrs["dtype"] == x.type.dtype:
        return x
    return None


def _reshape(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    (x,) = inputs
    if x.type == node.output.type:
        return x
    inner = _made_by(x, movement.reshape)
    if inner:
        return _reshape_to(b, inner.inputs[0], node.output.type)
    return _view_of_full(b, node, inputs)


def _reshape_to(b: Builder, x: Value, type: ArrayType) -> Value:
    return x if x.type == type else OPS["reshape"](b, x, shape=type.shape)


def _transpose(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    (x,) = inputs
    perm: tuple[int, ...] = node.attrs["perm"]
    inner = _made_by(x, movement.transpose)
    if inner:
        x, perm = inner.inputs[0], tuple(inner.attrs["perm"][i] for i in perm)
    if perm == tuple(range(len(perm))):
        return x
    return OPS["transpose"](b, x, perm=perm) if inner else _view_of_full(b, node, inputs)


def _broadcast(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    (x,) = inputs
    inner = _made_by(x, movement.broadcast)
    if x.type == node.output.type:
        return x
    if inner:
        axes = tuple(node.attrs["axes"][i] for i in inner.attrs["axes"])
        return OPS["broadcast"](b, inner.inputs[0], shape=node.attrs["shape"], axes=axes)
    return _view_of_full(b, node, inputs)


def _view_of_full(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    value = fill_value(inputs[0])
    return None if value is None else _full(b, node, value)


def _identity_if_same_type(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    return inputs[0] if inputs[0].type == node.output.type else _view_of_full(b, node, inputs)


def _slice(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    final = last_carry(inputs[0], node.attrs)
    if final is None:
        return _identity_if_same_type(b, node, inputs)
    first = {key: (n, *node.attrs[key][1:]) for key, n in (("start", 0), ("stop", 1), ("step", 1))}
    return OPS["slice"](b, OPS["reshape"](b, final, shape=(1, *final.type.shape)), **first)


def _reverse(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    axes: tuple[int, ...] = node.attrs["axes"]
    if all(inputs[0].type.shape[a] == 1 for a in axes):
        return inputs[0]
    return _view_of_full(b, node, inputs)


def _concatenate(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    axis = node.attrs["axis"]
    filled = [part for x in inputs for part in _parts(x, axis) if part.type.shape[axis]]
    if len(filled) == 1:
        return filled[0]
    if filled != inputs and filled:
        return OPS["concatenate"](b, *filled, axis=axis)
    return None


def _sum(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    one = _reduce(b, node, inputs)
    if one is None or not node.attrs["axes"] or not is_float(one.type.dtype) or node.origin.role == "backward":
        return one
    return OPS["add"](b, one, _full(b, node, 0.0))  # a sum begins at 0, which -0 leaves as it is


def _reduce(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    (x,) = inputs
    axes: tuple[int, ...] = node.attrs["axes"]
    if all(x.type.shape[a] == 1 for a in axes):
        return _reshape_to(b, x, node.output.type)
    return None


def _window_pick(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    x, places = inputs
    largest = _largest(places, x, node) if node.attrs["outside"] == -math.inf else None
    return None if largest is None else largest.output


def _largest(places: Value, x: Value, like: Node) -> Node | None:
    """The `window_max` over `x` that has these places; None for other places, or other windows than those of `like`."""
    found = _made_by(places, window.window_find)
    if found is None or found.inputs[0] is not x:
        return None
    largest = _made_by(found.inputs[1], window.window_max)
    if largest is None or largest.inputs[0] is not x or largest.attrs != found.attrs:
        return None
    return largest if all(like.attrs[name] == value for name, value in largest.attrs.items()) else None


def _copy(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    return inputs[0]


_RULES: dict[Op, Callable[[Builder, Node, list[Value]], Value | None]] = {
    ew.add: _add,
    ew.sub: _sub,
    ew.mul: _mul,
    ew.div: _div,
    ew.neg: _neg,
    ew.pow: _pow,
    ew.select: _select,
    ew.cast: _cast,
    movement.reshape: _reshape,
    movement.transpose: _transpose,
    movement.broadcast: _broadcast,
    movement.slice_: _slice,
    movement.pad: lambda b, node, inputs: inputs[0] if inputs[0].type == node.output.type else None,
    movement.reverse: _reverse,
    movement.concatenate: _concatenate,
    reduction.reduce_sum: _sum,
    reduction.reduce_prod: _reduce,
    reduction.reduce_max: _reduce,
    reduction.reduce_min: _reduce,
    window.window_pick: _window_pick,
    ew.copy: _copy,
}


def _simpler(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    rule = _RULES.get(node.op)
    simple = rule(b, node, inputs) if rule else None
    return simple if simple is not None else _fold(b, node, inputs)


def _fold(b: Builder, node: Node, inputs: list[Value]) -> Value | None:
    """An element-wise op on filled arrays, computed once on scalars."""
    if not node.op.is_elementwise or node.op.is_check or node.op is ew.stop_gradient:
        return None
    values: list[float | int | bool] = []
    for x in inputs:
        value = fill_value(x)
        if value is None:
            return None
        values.append(value)
    with np.errstate(all="ignore"):
        result = node.op.reference(*(np.array(v, x.type.dtype) for v, x in zip(values, inputs)), **node.attrs)
    return _full(b, node, cast(Array, result).item())
