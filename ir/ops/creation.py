"""Ops that make an array from attributes alone, and counter-based random bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..complex_parts import filled, stored
from ..op import Attrs, Op, Recompute, TypeRuleError, declare, no_flops
from ..types import BOOL, INT32, INT64, SHORT_NAMES, Array, ArrayType, DType, is_complex


def _no_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None] * output.ndim for _ in inputs]


def _made(shape: tuple[int, ...], dtype: DType) -> ArrayType:
    if dtype not in SHORT_NAMES or any(n < 0 for n in shape):
        raise TypeRuleError(f"there are no arrays of shape {shape} and dtype {dtype}")
    return ArrayType(shape, dtype)


def _full_type(value: float | int | bool | complex, shape: tuple[int, ...], dtype: DType) -> ArrayType:
    return _made(shape, dtype)


def _full(value: float | int | bool | complex, shape: tuple[int, ...], dtype: DType) -> Array:
    return np.full(shape, value, dtype)


full = declare(
    Op(
        "full",
        "creation",
        _full_type,
        _full,
        no_flops,
        _no_axes,
        None,
        "an array filled with `value`",
        only_moves=True,
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.FREE,
        fusion="elementwise",
        parts=filled,
    )
)


def _constant_type(value: Array) -> ArrayType:
    return _made(tuple(value.shape), value.dtype)


def _constant(value: Array) -> Array:
    return value


constant = declare(
    Op(
        "constant",
        "creation",
        _constant_type,
        _constant,
        no_flops,
        _no_axes,
        None,
        "the array `value`, kept in the program",
        is_stored=True,
        only_moves=True,
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
        parts=stored,
    )
)


def _iota_type(shape: tuple[int, ...], axis: int, dtype: DType) -> ArrayType:
    if not 0 <= axis < len(shape):
        raise TypeRuleError(f"axis {axis} of shape {shape}")
    if dtype == BOOL or is_complex(dtype):
        raise TypeRuleError(f"counts in real numbers, not in {dtype}")
    return _made(shape, dtype)


def _iota(shape: tuple[int, ...], axis: int, dtype: DType) -> Array:
    along = np.arange(shape[axis]).astype(dtype)
    return np.broadcast_to(np.expand_dims(along, [i for i in range(len(shape)) if i != axis]), shape)


iota = declare(
    Op(
        "iota",
        "creation",
        _iota_type,
        _iota,
        no_flops,
        _no_axes,
        None,
        "0, 1, 2, ... along `axis`",
        only_moves=True,
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.FREE,
        fusion="indexed",
    )
)

GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def mix(z: Array) -> Array:
    """SplitMix64's finalizer, a bijection of uint64 that scatters its bits."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
    return z ^ (z >> np.uint64(31))


def _bits_type(
    *scalars: ArrayType, shape: tuple[int, ...], dtype: DType, stream: int, run: int = 0, apart: int = 0
) -> ArrayType:
    if len(scalars) not in (1, 2) or any(t != ArrayType((), INT64) for t in scalars):
        raise TypeRuleError(f"takes a key and maybe a start, int64 scalars, got {', '.join(map(str, scalars))}")
    if dtype not in (INT32, INT64):
        raise TypeRuleError(f"bits are int32 or int64, not {dtype}")
    if not 0 <= stream < 2**64:
        raise TypeRuleError(f"the stream is an unsigned number of 64 bits, got {stream}")
    if run < 0 or apart < run:
        raise TypeRuleError(f"runs of {run} elements cannot begin {apart} outputs apart")
    return _made(shape, dtype)


def _random_bits(
    *scalars: Array, shape: tuple[int, ...], dtype: DType, stream: int, run: int = 0, apart: int = 0
) -> Array:
    key, *start = scalars
    size = int(np.prod(shape, dtype=np.int64))
    base = mix(np.array([key]).astype(np.uint64) ^ mix(np.array([stream], np.uint64) * np.uint64(GOLDEN)))
    counter = np.arange(1, size + 1, dtype=np.uint64)
    if run:
        counter += (np.arange(size) // run * (apart - run)).astype(np.uint64)
    if start:
        counter += start[0].astype(np.uint64)
    bits = mix(base + counter * np.uint64(GOLDEN))
    if dtype == INT32:
        return (bits >> np.uint64(32)).astype(np.uint32).view(np.int32).reshape(shape)
    return bits.view(np.int64).reshape(shape)


random_bits = declare(
    Op(
        "random_bits",
        "creation",
        _bits_type,
        _random_bits,
        no_flops,
        _no_axes,
        None,
        "uniform random bits from a key (and a start, 0 if not given): element i is SplitMix64's (start + i)-th output "
        "for the state mix(key ^ mix(stream * golden)), the upper half of it for int32 (Steele, Lea and Flood 2014, "
        "'Fast splittable pseudorandom number generators'). Each `run` elements, if given, begin `apart` outputs "
        "after those before: a slice of larger bits",
        only_moves=True,
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.CHEAP,
        fusion="indexed",
    )
)
