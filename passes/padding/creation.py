"""Rules of arrays that are made from nothing: their numbers may depend on lengths, and are then inputs."""

from __future__ import annotations

import numpy as np

from ...ir import OPS, ArrayType, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.types import INT64
from ..graph.split_mix import bits_of, state_of_key, steps_of
from ..graph.structural_key import attr_key
from .axes import Size, plain, product, varies
from .masker import Masker, Outputs


def masked_full(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """A number that is another one for another length, as the divisor of a mean, is an input."""
    m.same(node, twins, "value", "shape")
    axes = tuple(plain(size, True) for size in m.sizes(node, twins))
    type, numbers = node.output.type, m.attr(node, twins, "value")
    key = tuple(map(attr_key, numbers))
    if len(set(key)) == 1:
        return [(m.b.emit(node.op, **node.attrs), axes)]
    values = [np.array(number, type.dtype) for number in numbers]
    scalar = m.slot((type.dtype, key), ArrayType((), type.dtype), values)
    return [(m.spread(scalar, type.shape), axes)]


def masked_constant(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """An array that is no beginning of the padded one is an input."""
    axes = tuple(map(plain, m.sizes(node, twins)))
    values = m.attr(node, twins, "value")
    whole, type = values[0], node.output.type
    if any(value.dtype != whole.dtype for value in values):
        m.fail(node, "an array of another dtype where lengths are others")
    begins = [tuple(map(slice, value.shape)) for value in values]
    if all(np.ascontiguousarray(whole[at]).tobytes() == v.tobytes() for at, v in zip(begins, values, strict=True)):
        return [(m.b.emit(node.op, **node.attrs), axes)]
    if any(n > most for value in values for n, most in zip(value.shape, whole.shape, strict=True)):
        m.fail(node, "an array is longer where the batch is shorter")
    padded = [np.zeros(whole.shape, whole.dtype) for _ in values]
    for array, at, value in zip(padded, begins, values, strict=True):
        array[at] = value
    slot = m.slot(node, type, padded)
    m.zeros.add(slot)
    return [(slot, axes)]


def masked_iota(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Places are counted from the first real one on."""
    m.same(node, twins, "shape")
    axis = node.attrs["axis"]
    axes = tuple(plain(size, i != axis) for i, size in enumerate(m.sizes(node, twins)))
    return [(m.b.emit(node.op, **node.attrs), axes)]


def masked_random_bits(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Each real element gets the bits that it gets without padding: they are numbered without it."""
    m.same(node, twins, "shape")
    sizes = m.sizes(node, twins)
    axes = tuple(map(plain, sizes))
    if not any(map(varies, sizes[1:])):
        return [(m.b.emit(node.op, *(m.made[v] for v in node.inputs), **node.attrs), axes)]
    key, *start = node.inputs
    if start or node.attrs.get("run"):
        return m.crosses(node)
    b, shape = m.b, node.output.type.shape
    counter = _numbered(m, sizes, shape)
    state = m.spread(state_of_key(b, m.made[key], node.attrs["stream"]), shape)
    return [(bits_of(b, state, steps_of(b, counter), node.attrs["dtype"]), axes)]


def _numbered(m: Masker, sizes: list[Size], shape: tuple[int, ...]) -> Value:
    """The number of each element among those that are real, row by row."""
    total = m.b.full(0, ArrayType(shape, INT64))
    for i in range(len(sizes)):
        places = m.b.emit(OPS["iota"], shape=shape, axis=i, dtype=INT64)
        stride = product(sizes[i + 1 :], len(sizes[i]))
        total = ew.add(m.b, total, ew.mul(m.b, places, m.numbers(stride, shape)))
    return total
