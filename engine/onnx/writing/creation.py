"""Arrays that are known, or made from nothing."""

from __future__ import annotations

from functools import partial

import numpy as np

from ....ir.ops import creation
from .emitter import Emitter, Name, emits
from .symbolic_graph import Length, SymbolicNode


@emits(creation.full)
def full(e: Emitter, node: SymbolicNode) -> Name:
    """A number, which operators repeat by themselves."""
    value, dtype = node.attrs["value"], node.output.dtype
    if isinstance(value, Length):
        number = e.cast(e.node("Squeeze", e.lengths([value]), e.numbers(0)), dtype)
    else:
        number = e.constant(value, dtype)
    if not node.output.shape:
        return number
    e.thin[node.output] = lambda: number
    return partial(_repeated, e, node, number)


def _repeated(e: Emitter, node: SymbolicNode, number: str) -> str:
    return e.node("Expand", number, e.lengths(node.output.shape))


@emits(creation.constant)
def constant(e: Emitter, node: SymbolicNode) -> str:
    return e.file.constant(np.ascontiguousarray(node.attrs["value"]))


@emits(creation.iota)
def iota(e: Emitter, node: SymbolicNode) -> Name:
    shape, axis, dtype = node.output.shape, node.attrs["axis"], node.output.dtype
    length = shape[axis]
    if isinstance(length, Length):
        end = e.node("Squeeze", e.lengths([length]), e.numbers(0))
        along = e.node("Range", e.constant(0, np.int64), end, e.constant(1, np.int64))
        along = e.cast(along, dtype) if dtype != np.dtype("int64") else along
    else:
        along = e.file.constant(np.arange(length).astype(dtype))
    if len(shape) == 1:
        return along
    behind = len(shape) - 1 - axis
    row = e.node("Unsqueeze", along, e.numbers(*range(1, behind + 1))) if behind else along
    e.thin[node.output] = lambda: row
    return partial(_repeated, e, node, row)


@emits(creation.random_bits)
def random_bits(e: Emitter, node: SymbolicNode) -> str:
    return e.refuse_draws()
