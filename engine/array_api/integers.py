"""Divisors, and bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, Tracer, located
from . import elementwise as e
from .broadcasting import as_arraylike, axis_index, cast, described, dtype_of, integer, key_of, shape_of
from .comparison import equal, not_equal, truth, where
from .indexing import getitem
from .manipulation import broadcast_to, moveaxis, pad, ravel, reshape
from .reductions import any as any_of
from .reductions import sum as sum_of


def gcd(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The greatest common divisors of integers, by Euclid's algorithm for all of them at once; 0 of 0 and 0."""
    from ..tracing.while_loop import while_loop

    x, y = _integers("gcd", x1, x2)
    if not (isinstance(x, Tracer) or isinstance(y, Tracer)):
        return np.gcd(x, y)
    shape = np.broadcast_shapes(shape_of(x), shape_of(y))
    start = e.abs(broadcast_to(x, shape)), e.abs(broadcast_to(y, shape))

    def further(pair: Any) -> Any:
        a, b = pair
        done = equal(b, 0)
        return where(done, a, b), where(done, b, e.remainder(a, where(done, 1, b)))

    return while_loop(lambda pair: any_of(not_equal(pair[1], 0)), further, start)[0]


def lcm(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The least common multiples of integers; 0 where one of them is 0."""
    x, y = _integers("lcm", x1, x2)
    common = gcd(x, y)
    return e.multiply(e.floor_divide(e.abs(x), where(equal(common, 0), 1, common)), e.abs(y))


def _integers(name: str, *operands: ArrayLike) -> list[Any]:
    arrays = [as_arraylike(x) for x in operands]
    dtype = result_dtype(*map(key_of, arrays))
    if dtype.kind not in "iu":
        shown = " and ".join(map(described, arrays))
        raise TypeError(located(f"np.{name} takes integers, got {shown}; write x.astype('int64')"))
    return [cast(x, dtype) for x in arrays]


def bitwise_count(x: ArrayLike, /) -> Any:
    """How many bits of the absolute value of an integer are 1, uint8."""
    (x,) = _integers("bitwise_count", x)
    x = e.abs(e.astype(x, "int64"))
    for shift, mask in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        x = e.add(e.bitwise_and(x, mask), e.bitwise_and(e.right_shift(x, shift), mask))
    return e.astype(e.right_shift(e.multiply(x, 0x0101010101010101), 56), "uint8")


def packbits(a: ArrayLike, /, axis: int | None = None, bitorder: str = "big") -> Any:
    """Whether elements are other than 0, eight along `axis` (None: of the flattened array) as the bits of a uint8; 0
    behind the last. The first is the highest bit, with `bitorder` "little" the lowest.
    """
    bits, place = _along("packbits", a, axis, bitorder)
    bits = moveaxis(e.astype(truth(bits), "uint8"), place, -1)
    *rest, count = shape_of(bits)
    whole = reshape(pad(bits, [(0, 0)] * len(rest) + [(0, -count % 8)]), (*rest, -(-count // 8), 8))
    weights = np.array([1 << i for i in range(8)], np.uint8)
    packed = sum_of(e.multiply(whole, weights if bitorder == "little" else weights[::-1]), -1)
    return moveaxis(e.astype(packed, "uint8"), -1, place)


def unpackbits(a: ArrayLike, /, axis: int | None = None, count: int | None = None, bitorder: str = "big") -> Any:
    """The bits of uint8 along `axis`, as `packbits` packs them: all, `count` of them with 0 behind the last, or all but
    the last `-count`.
    """
    x, place = _along("unpackbits", a, axis, bitorder)
    if dtype_of(x) != np.dtype("uint8"):
        raise TypeError(located(f"np.unpackbits takes uint8, got {described(x)}"))
    shifts = np.arange(8, dtype=np.uint8)
    shifts = shifts if bitorder == "little" else shifts[::-1]
    split = e.right_shift(getitem(moveaxis(x, place, -1), (..., None)), shifts)
    *rest, length, _ = shape_of(split)
    bits = reshape(e.bitwise_and(split, 1), (*rest, 8 * length))
    wanted = 8 * length if count is None else integer(count, "np.unpackbits: count")
    wanted = max(8 * length + wanted, 0) if wanted < 0 else wanted
    bits = getitem(bits, (..., slice(None, wanted)))
    bits = pad(bits, [(0, 0)] * len(rest) + [(0, max(wanted - 8 * length, 0))])
    return moveaxis(e.astype(bits, "uint8"), -1, place)


def _along(name: str, a: ArrayLike, axis: int | None, bitorder: str) -> tuple[Any, int]:
    """The operand, flattened without an axis, and the axis."""
    if bitorder not in ("big", "little"):
        raise ValueError(located(f"np.{name}: bitorder is 'big' or 'little', got {bitorder!r}"))
    a = as_arraylike(a)
    if dtype_of(a).kind not in "biu":
        raise TypeError(located(f"np.{name} takes integers or bools, got {described(a)}"))
    a = ravel(a) if axis is None else a
    return a, axis_index(0 if axis is None else axis, len(shape_of(a)))
