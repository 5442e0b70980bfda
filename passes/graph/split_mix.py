"""Random bits by arithmetic on int64, for counters that are values: what `random_bits` draws, element by element."""

from __future__ import annotations

import numpy as np

from ...ir import Builder, DType, Op, Value
from ...ir.ops import elementwise as ew
from ...ir.ops.creation import GOLDEN, MIX_1, MIX_2, mix
from ...ir.types import INT32


def state_of_key(b: Builder, key: Value, stream: int) -> Value:
    """The state that the draws of a stream begin with, for each of some keys."""
    with np.errstate(over="ignore"):
        mixed = int(mix(np.array([stream], np.uint64) * np.uint64(GOLDEN))[0])
    return _mix(b, _with(b, ew.xor, key, mixed))


def steps_of(b: Builder, counter: Value) -> Value:
    """What the state is moved by for the draws of these numbers, which are counted from 0."""
    return _with(b, ew.mul, _with(b, ew.add, counter, 1), GOLDEN)


def bits_of(b: Builder, state: Value, steps: Value, dtype: DType) -> Value:
    """The bits that are drawn: all of int64, or the upper half for int32."""
    bits = _mix(b, ew.add(b, state, steps))
    return ew.cast(b, _with(b, ew.shift_right, bits, 32), dtype=INT32) if dtype == INT32 else bits


def _with(b: Builder, op: Op, x: Value, number: int) -> Value:
    """An op of `x` and an unsigned number of 64 bits, as the int64 with its bits."""
    signed = int(np.array([number], np.uint64).view(np.int64)[0])
    return op(b, x, b.full_like(x, signed))


def _mix(b: Builder, z: Value) -> Value:
    """SplitMix64's finalizer, as `creation.mix`."""
    z = _with(b, ew.mul, ew.xor(b, z, _shifted(b, z, 30)), MIX_1)
    z = _with(b, ew.mul, ew.xor(b, z, _shifted(b, z, 27)), MIX_2)
    return ew.xor(b, z, _shifted(b, z, 31))


def _shifted(b: Builder, z: Value, bits: int) -> Value:
    """z >> bits with zeros from above, which a shift of a negative int64 does not bring."""
    return _with(b, ew.and_, _with(b, ew.shift_right, z, bits), (1 << (64 - bits)) - 1)
