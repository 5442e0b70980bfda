"""Reductions, and what runs or sorts along an axis."""

from __future__ import annotations

import numpy as np

from ....ir import Op
from ....ir.ops import reduction, sorting
from ....ir.types import INT32
from .declarations import declared
from .emitter import Emitter, emits, helper
from .symbolic_graph import SymbolicNode, SymbolicValue

_REDUCTIONS: dict[Op, str] = {
    reduction.reduce_sum: "ReduceSum",
    reduction.reduce_prod: "ReduceProd",
    reduction.reduce_max: "ReduceMax",
    reduction.reduce_min: "ReduceMin",
}


@emits(*_REDUCTIONS)
def reduced(e: Emitter, node: SymbolicNode) -> str:
    (x,) = node.inputs
    axes = node.attrs["axes"]
    if not axes:
        return e.name(x)
    result = e.node(_REDUCTIONS[node.op], e.wide(x), e.numbers(*axes), keepdims=0)
    return result if e.is_wide(x) else e.narrow(result, node.output)


_PLACES: dict[Op, str] = {reduction.argmax: "ArgMax", reduction.argmin: "ArgMin"}


@emits(*_PLACES)
def place(e: Emitter, node: SymbolicNode) -> str:
    (x,) = node.inputs
    found = e.node(_PLACES[node.op], e.wide(x), axis=node.attrs["axis"], keepdims=0)
    return found if node.output.dtype == np.dtype("int64") else e.cast(found, node.output.dtype)


@emits(reduction.cumsum)
def cumsum(e: Emitter, node: SymbolicNode) -> str:
    (x,) = node.inputs
    axis = e.constant(node.attrs["axis"], np.int64)
    result = e.node("CumSum", e.wide(x), axis, reverse=int(node.attrs["reverse"]))
    return result if e.is_wide(x) else e.narrow(result, node.output)


@emits(reduction.cumprod)
def cumprod(e: Emitter, node: SymbolicNode) -> str:
    """ONNX has no operator for it before opset 26: a loop along the axis."""
    (x,) = node.inputs
    axis = node.attrs["axis"]
    rest = [n for i, n in enumerate(x.shape) if i != axis]
    kind = SymbolicValue(tuple(rest), INT32 if not e.is_wide(x) else x.dtype)
    before, now, product, row = (e.file.fresh(name) for name in ("before", "now", "product", "row"))
    make = helper()
    nodes = [make.make_node("Mul", [before, now], [product]), make.make_node("Identity", [product], [row])]
    inputs, outputs = ([declared(name, kind) for name in names] for names in ((before, now), (product, row)))
    body = make.make_graph(nodes, e.file.fresh("body"), inputs, outputs)
    ones = e.node("Expand", e.constant(1, kind.dtype), e.lengths(rest))
    _, rows = e.several(
        "Scan", [ones, e.wide(x)], 2, body=body, num_scan_inputs=1, scan_input_axes=[axis], scan_output_axes=[axis]
    )
    return rows if e.is_wide(x) else e.narrow(rows, node.output)


@emits(sorting.sort, sorting.argsort)
def in_order(e: Emitter, node: SymbolicNode) -> str:
    (x,) = node.inputs
    axis, largest = node.attrs["axis"], int(node.attrs["descending"])
    count = e.lengths([x.shape[axis]])
    values, places = e.several("TopK", [e.wide(x), count], 2, axis=axis, largest=largest, sorted=1)
    if node.op is sorting.argsort:
        return places
    return values if e.is_wide(x) else e.narrow(values, x)
