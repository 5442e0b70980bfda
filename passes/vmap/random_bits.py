"""The rule of random bits from a key for each example: SplitMix64, element by element."""

from __future__ import annotations

import math

from ...ir import OPS, Node, Value
from ...ir.types import INT64
from ..graph.split_mix import bits_of, state_of_key, steps_of
from .vectorizer import Outputs, Vectorizer


def vectorized_random_bits(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """The bits that each example would draw from its key, computed by arithmetic on int64."""
    if len(inputs) > 1:
        return v.in_turn(node, inputs, flags)  # a slice of larger bits, which no trace has
    shape: tuple[int, ...] = node.attrs["shape"]
    size = math.prod(shape)
    state = state_of_key(v.b, inputs[0], node.attrs["stream"])
    steps = steps_of(v.b, v.b.emit(OPS["iota"], shape=(size,), axis=0, dtype=INT64))
    both = (v.count, size)
    state = v.b.emit(OPS["broadcast"], state, shape=both, axes=(0,))
    bits = bits_of(v.b, state, v.b.emit(OPS["broadcast"], steps, shape=both, axes=(1,)), node.attrs["dtype"])
    return [(v.b.emit(OPS["reshape"], bits, shape=(v.count, *shape)), True)]
