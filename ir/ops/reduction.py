"""Reductions over axes, and running sums. The reduced axes are gone from the output."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..complex_parts import apart, product_of_all
from ..op import OPS, Attrs, Op, PartsRule, Recompute, TypeRuleError, VjpRule, declare, later_axis, one_per_input
from ..types import BOOL, FLOAT32, INT64, Array, ArrayType, is_float, is_inexact, kind_of
from . import elementwise as ew

if TYPE_CHECKING:
    from ..builder import Builder
    from ..graph import Value

_MOST_IN_A_ROW = 256
"""Elements of a running sum that are added up in their own type, at most."""


def _check_axes(x: ArrayType, axes: tuple[int, ...]) -> None:
    if list(axes) != sorted(set(axes)) or any(not 0 <= a < x.ndim for a in axes):
        raise TypeRuleError(f"axes {axes} of {x}; they are increasing, from 0 to {x.ndim - 1}")


def _kept(x: ArrayType, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(x.shape) if i not in axes)


def _reduce_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    axes: tuple[int, ...] = attrs["axes"] if "axes" in attrs else (attrs["axis"],)
    return [[i for i in range(inputs[0].ndim) if i not in axes]]


def expand(b: Builder, reduced: Value, like: Value, axes: tuple[int, ...]) -> Value:
    """A reduced value repeated along the reduced `axes`, in the shape of `like`."""
    kept = tuple(i for i in range(like.type.ndim) if i not in axes)
    return OPS["broadcast"](b, reduced, shape=like.type.shape, axes=kept)


_REDUCED: dict[str, Any] = {
    "accepts_strides": True,
    "can_trap": False,
    "recompute": Recompute.COSTLY,
    "fusion": "reduction",
    "batch": later_axis,
}
"""The traits of what combines the elements along some axes."""


def _reduction(
    name: str,
    kinds: str,
    function: Callable[..., Any],
    vjp: VjpRule | None,
    doc: str,
    empty: bool,
    parts: PartsRule | None = None,
) -> Op:
    def infer(x: ArrayType, axes: tuple[int, ...]) -> ArrayType:
        _check_axes(x, axes)
        if kind_of(x.dtype) not in kinds:
            raise TypeRuleError(f"does not take {x}")
        if not empty and any(x.shape[a] == 0 for a in axes):
            raise TypeRuleError(f"has no value over the empty axes {axes} of {x}")
        return ArrayType(_kept(x, axes), x.dtype)

    def reference(x: Array, axes: tuple[int, ...]) -> Array:
        if x.dtype == BOOL and not axes:
            return x
        return np.asarray(function(x, axis=axes)).astype(x.dtype, copy=False)

    return declare(
        Op(name, "reduction", infer, reference, one_per_input, _reduce_axes, vjp, doc, parts=parts, **_REDUCED)
    )


def _sum_vjp(b: Builder, g: Value, o: Value, x: Value, axes: tuple[int, ...]) -> Value:
    return expand(b, g, x, axes)


def _extreme_vjp(b: Builder, g: Value, o: Value, x: Value, axes: tuple[int, ...]) -> Value | None:
    # Equal shares for all that attain the extreme, as PyTorch's amax and JAX do.
    hits = ew.cast(b, ew.eq(b, x, expand(b, o, x, axes)), dtype=x.type.dtype)
    share = ew.div(b, g, reduce_sum(b, hits, axes=axes))
    return ew.mul(b, hits, expand(b, share, x, axes))


def _prod_vjp(b: Builder, g: Value, o: Value, x: Value, axes: tuple[int, ...]) -> Value:
    # The product of all others, by a tree of products: right at zeros, and for derivatives of every order.
    kept = tuple(i for i in range(x.type.ndim) if i not in axes)
    perm = (*axes, *kept)
    moved = OPS["transpose"](b, x, perm=perm)
    kept_shape = tuple(x.type.shape[i] for i in kept)
    length = int(np.prod([x.type.shape[a] for a in axes], dtype=np.int64))
    flat = OPS["reshape"](b, moved, shape=(length, *kept_shape))
    others = OPS["reshape"](b, _product_of_others(b, flat), shape=moved.type.shape)
    back = OPS["transpose"](b, others, perm=tuple(int(i) for i in np.argsort(perm)))
    return ew.mul(b, expand(b, g, x, axes), back)


def _product_of_others(b: Builder, x: Value) -> Value:
    n, rest = x.type.shape[0], x.type.shape[1:]
    if n <= 1:
        return b.full_like(x, 1)
    if n % 2:
        x = OPS["pad"](
            b, x, low=(0,) * x.type.ndim, high=(1,) + (0,) * len(rest), interior=(0,) * x.type.ndim, value=1.0
        )
    pairs = OPS["reshape"](b, x, shape=((n + 1) // 2, 2, *rest))
    swapped = OPS["reverse"](b, pairs, axes=(1,))
    above = _product_of_others(b, reduce_prod(b, pairs, axes=(1,)))
    result = ew.mul(b, swapped, expand(b, above, swapped, (1,)))
    result = OPS["reshape"](b, result, shape=x.type.shape)
    if n % 2:
        result = OPS["slice"](b, result, start=(0,) * x.type.ndim, stop=(n, *rest), step=(1,) * x.type.ndim)
    return result


def _max(x: Array, axis: tuple[int, ...]) -> Array:
    return x.max(axis=axis)


def _min(x: Array, axis: tuple[int, ...]) -> Array:
    return x.min(axis=axis)


reduce_sum = _reduction("reduce_sum", "fiuc", np.sum, _sum_vjp, "the sum over `axes`", True, apart)
reduce_prod = _reduction("reduce_prod", "fiuc", np.prod, _prod_vjp, "the product over `axes`", True, product_of_all)
reduce_max = _reduction(
    "reduce_max", "fiub", _max, _extreme_vjp, "the largest over `axes`; NaN if any; or, for bool", False
)
reduce_min = _reduction(
    "reduce_min", "fiub", _min, _extreme_vjp, "the smallest over `axes`; NaN if any; and, for bool", False
)


def _arg_reduction(name: str, function: Callable[..., Any], doc: str) -> Op:
    def infer(x: ArrayType, axis: int) -> ArrayType:
        _check_axes(x, (axis,))
        if x.shape[axis] == 0:
            raise TypeRuleError(f"has no value over the empty axis {axis} of {x}")
        return ArrayType(_kept(x, (axis,)), INT64)

    def reference(x: Array, axis: int) -> Array:
        return np.asarray(function(x, axis=axis))

    return declare(Op(name, "reduction", infer, reference, one_per_input, _reduce_axes, None, doc, **_REDUCED))


argmax = _arg_reduction("argmax", np.argmax, "the index of the first largest along `axis`; of the first NaN if any")
argmin = _arg_reduction("argmin", np.argmin, "the index of the first smallest along `axis`; of the first NaN if any")


def _cumsum_type(x: ArrayType, axis: int, reverse: bool) -> ArrayType:
    _check_axes(x, (axis,))
    if x.dtype == BOOL:
        raise TypeRuleError(f"does not take {x}")
    return x


def _cumsum(x: Array, axis: int, reverse: bool) -> Array:
    wide = np.result_type(x, np.float64) if is_inexact(x.dtype) else x.dtype
    sums = np.flip(np.cumsum(np.flip(x, axis), axis, dtype=wide), axis) if reverse else np.cumsum(x, axis, dtype=wide)
    return sums.astype(x.dtype, copy=False)


def _cumsum_vjp(b: Builder, g: Value, o: Value, x: Value, axis: int, reverse: bool) -> Value:
    return cumsum(b, g, axis=axis, reverse=not reverse)


def _cumsum_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None if i == attrs["axis"] else i for i in range(output.ndim)]]


def runs_in_float64(x: ArrayType, axis: int) -> bool:
    """Whether a running sum or product of `x` is float64 inside: float32 along more elements than lose no digit."""
    return x.dtype == FLOAT32 and x.shape[axis] > _MOST_IN_A_ROW


def _running_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """A float64 for each column, where there are several."""
    columns = math.prod(inputs[0].shape[attrs["axis"] + 1 :])
    return 8 * columns if columns > 1 and runs_in_float64(inputs[0], attrs["axis"]) else 0


cumsum = declare(
    Op(
        "cumsum",
        "reduction",
        _cumsum_type,
        _cumsum,
        one_per_input,
        _cumsum_axes,
        _cumsum_vjp,
        "the sums of all elements up to each along `axis`; from the end with `reverse`",
        can_trap=False,
        recompute=Recompute.COSTLY,
        is_axiswise=True,
        batch=later_axis,
        workspace=_running_workspace,
        parts=apart,
    )
)


def _cumprod_type(x: ArrayType, axis: int) -> ArrayType:
    return _cumsum_type(x, axis, reverse=False)


def _cumprod(x: Array, axis: int) -> Array:
    wide = np.dtype(np.float64) if is_float(x.dtype) else x.dtype
    return np.cumprod(x, axis, dtype=wide).astype(x.dtype, copy=False)


def _cumprod_vjp(b: Builder, g: Value, o: Value, x: Value, axis: int) -> Value:
    # Of x[j] it is the product of all before x[j], times S[j] = g[j] + x[j + 1] S[j + 1]: no division, right at zeros.
    n = x.type.shape[axis]
    if n < 2:
        return g
    none = (0,) * x.type.ndim
    first = tuple(int(i == axis) for i in range(x.type.ndim))
    before = OPS["pad"](b, _part(b, o, axis, 0, n - 1), low=first, high=none, interior=none, value=1.0)
    return ew.mul(b, before, _linear_recurrence(b, g, _part(b, x, axis, 1, n), axis))


def _linear_recurrence(b: Builder, x: Value, a: Value, axis: int) -> Value:
    """s of s[i] = x[i] + a[i] s[i + 1], s[n - 1] = x[n - 1], by halves: the even ones are a recurrence of that kind
    too, of which the odd ones follow. Known elsewhere as odd-even (cyclic) reduction.
    """
    n = x.type.shape[axis]
    if n == 1:
        return x
    half, pairs = (n + 1) // 2, n // 2
    even, odd = _part(b, x, axis, 0, n, 2), _part(b, x, axis, 1, n, 2)
    to_odd, to_even = _part(b, a, axis, 0, n - 1, 2), _part(b, a, axis, 1, n - 1, 2)
    merged = ew.add(b, _part(b, even, axis, 0, pairs), ew.mul(b, to_odd, odd))
    merged = _joined(b, [merged, _part(b, even, axis, pairs, half)], axis)
    evens = _linear_recurrence(b, merged, ew.mul(b, _part(b, to_odd, axis, 0, half - 1), to_even), axis)
    odds = ew.add(b, _part(b, odd, axis, 0, half - 1), ew.mul(b, to_even, _part(b, evens, axis, 1, half)))
    odds = _joined(b, [odds, _part(b, odd, axis, half - 1, pairs)], axis)
    return ew.add(b, _every_other(b, evens, axis, 0, n), _every_other(b, odds, axis, 1, n))


def _part(b: Builder, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
    """`x[start:stop:step]` along one axis."""
    shape = x.type.shape
    if (start, stop, step) == (0, shape[axis], 1):
        return x
    begin = tuple(start if i == axis else 0 for i in range(len(shape)))
    end = tuple(stop if i == axis else n for i, n in enumerate(shape))
    return OPS["slice"](b, x, start=begin, stop=end, step=tuple(step if i == axis else 1 for i in range(len(shape))))


def _joined(b: Builder, parts: Sequence[Value], axis: int) -> Value:
    """The parts that are not empty, one after another."""
    found = [x for x in parts if x.type.shape[axis]]
    return found[0] if len(found) == 1 else OPS["concatenate"](b, *found, axis=axis)


def _every_other(b: Builder, x: Value, axis: int, start: int, length: int) -> Value:
    """Zeros of this length with `x` at `[start::2]`."""
    count, along = x.type.shape[axis], range(x.type.ndim)
    low = tuple(start * (i == axis) for i in along)
    high = tuple((length - start - 2 * count + 1) * (i == axis) for i in along)
    return OPS["pad"](b, x, low=low, high=high, interior=tuple(int(i == axis) for i in along), value=0.0)


cumprod = declare(
    Op(
        "cumprod",
        "reduction",
        _cumprod_type,
        _cumprod,
        one_per_input,
        _cumsum_axes,
        _cumprod_vjp,
        "the products of all elements up to each along `axis`",
        can_trap=False,
        recompute=Recompute.COSTLY,
        is_axiswise=True,
        batch=later_axis,
        workspace=_running_workspace,
    )
)


def _moments_type(x: ArrayType, rows: int) -> ArrayType:
    if not is_float(x.dtype) or not 0 < rows <= x.ndim:
        raise TypeRuleError(f"{x} has no {rows} row axes of floats")
    if 0 in x.shape[:rows]:
        raise TypeRuleError(f"nothing has no mean: {x}, {rows} row axes")
    return ArrayType((2, *x.shape[rows:]), x.dtype)


def _moments(x: Array, rows: int) -> Array:
    axes = tuple(range(rows))
    total = x.sum(axis=axes)
    off = x - total / x.dtype.type(max(x.size // max(total.size, 1), 1))
    return np.stack([total, (off * off).sum(axis=axes)]).astype(x.dtype, copy=False)


def _moments_vjp(b: Builder, g: Value, o: Value, x: Value, rows: int) -> Value:
    axes = tuple(range(rows))
    count = int(np.prod(x.type.shape[:rows], dtype=np.int64))

    def row(of: Value, i: int) -> Value:
        return expand(b, moment(b, of, i), x, axes)

    off = ew.sub(b, x, ew.mul(b, row(o, 0), b.full(1 / count, x.type)))
    return ew.add(b, row(g, 0), ew.mul(b, ew.mul(b, off, b.full(2, x.type)), row(g, 1)))


def _moments_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None, *range(attrs["rows"], inputs[0].ndim)]]


def _moments_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return 4 * inputs[0].size


moments = declare(
    Op(
        "moments",
        "reduction",
        _moments_type,
        _moments,
        _moments_flops,
        _moments_axes,
        _moments_vjp,
        "over the first `rows` axes, the sum, and the sum of squared distances from the mean: (2, ...)",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)


def moment(b: Builder, made: Value, i: int) -> Value:
    """One of two `moments`: 0 for the sum, 1 for the sum of squared distances."""
    kept = made.type.shape[1:]
    ones, zeros = (1,) * len(kept), (0,) * len(kept)
    part = OPS["slice"](b, made, start=(i, *zeros), stop=(i + 1, *kept), step=(1, *ones))
    return OPS["reshape"](b, part, shape=kept)
