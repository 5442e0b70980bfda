"""The rule of random bits from a key for each example: SplitMix64, element by element."""

from __future__ import annotations

import math

import numpy as np

from ...ir import OPS, Node, Op, Value
from ...ir.ops import elementwise as ew
from ...ir.ops.creation import GOLDEN, MIX_1, MIX_2, mix
from ...ir.types import INT32, INT64
from .vectorizer import Outputs, Vectorizer


def vectorized_random_bits(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """The bits that each example would draw from its key, computed by arithmetic on int64."""
    if len(inputs) > 1:
        return v.in_turn(node, inputs, flags)  # a slice of larger bits, which no trace has
    shape: tuple[int, ...] = node.attrs["shape"]
    size = math.prod(shape)
    with np.errstate(over="ignore"):
        stream = int(mix(np.array([node.attrs["stream"]], np.uint64) * np.uint64(GOLDEN))[0])
    base = _mix(v, _with(v, ew.xor, inputs[0], stream))
    counter = v.b.emit(OPS["iota"], shape=(size,), axis=0, dtype=INT64)
    counter = _with(v, ew.mul, _with(v, ew.add, counter, 1), GOLDEN)
    both = (v.count, size)
    base = v.b.emit(OPS["broadcast"], base, shape=both, axes=(0,))
    bits = _mix(v, ew.add(v.b, base, v.b.emit(OPS["broadcast"], counter, shape=both, axes=(1,))))
    if node.attrs["dtype"] == INT32:
        bits = ew.cast(v.b, _with(v, ew.shift_right, bits, 32), dtype=INT32)
    return [(v.b.emit(OPS["reshape"], bits, shape=(v.count, *shape)), True)]


def _with(v: Vectorizer, op: Op, x: Value, number: int) -> Value:
    """An op of `x` and an unsigned number of 64 bits, as the int64 with its bits."""
    signed = int(np.array([number], np.uint64).view(np.int64)[0])
    return op(v.b, x, v.b.full_like(x, signed))


def _mix(v: Vectorizer, z: Value) -> Value:
    """SplitMix64's finalizer, as `creation.mix`."""
    z = _with(v, ew.mul, ew.xor(v.b, z, _shifted(v, z, 30)), MIX_1)
    z = _with(v, ew.mul, ew.xor(v.b, z, _shifted(v, z, 27)), MIX_2)
    return ew.xor(v.b, z, _shifted(v, z, 31))


def _shifted(v: Vectorizer, z: Value, bits: int) -> Value:
    """z >> bits with zeros from above, which a shift of a negative int64 does not bring."""
    return _with(v, ew.and_, _with(v, ew.shift_right, z, bits), (1 << (64 - bits)) - 1)
