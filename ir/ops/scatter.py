"""Scatters other than sums: entries named by indices are replaced, multiplied, raised or lowered by updates."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..builder import Builder
from ..complex_parts import apart
from ..graph import Value
from ..op import OPS, Op, PartsRule, Recompute, TypeRuleError, VjpRule, declare
from ..types import BOOL, INT64, Array, ArrayType
from .elementwise import cast, div, eq, maximum, mul, select
from .indexing import (
    checked_indices,
    gather,
    index_blocks,
    later_axis_and_batch,
    scatter_add,
    scatter_axes,
    scatter_flops,
    scattered_type,
)

Combine = Callable[[Array, tuple[Array, Array], Array], None]


def _declare(
    name: str,
    combine: Combine,
    vjp: VjpRule,
    doc: str,
    takes_bool: bool = False,
    parts: PartsRule | None = None,
) -> Op:
    def infer(x: ArrayType, indices: ArrayType, updates: ArrayType, axis: int, batch: int) -> ArrayType:
        scattered_type(x, indices, updates, axis, batch)
        if x.dtype == BOOL and not takes_bool:
            raise TypeRuleError(f"does not take {x}")
        return x

    def reference(x: Array, indices: Array, updates: Array, axis: int, batch: int) -> Array:
        batches, outer, length, inner = index_blocks(x.shape, axis, batch)
        rows = checked_indices(indices, length).reshape(batches, math.prod(indices.shape[batch:]))
        result = np.array(x, order="C")
        blocks = result.reshape(batches, outer, length, inner).transpose(0, 2, 1, 3)
        given = updates.reshape(batches, outer, rows.shape[1], inner).transpose(0, 2, 1, 3)
        combine(blocks, (np.arange(batches)[:, None], rows), given)
        return result

    return declare(
        Op(
            name,
            "indexing",
            infer,
            reference,
            scatter_flops,
            scatter_axes,
            vjp,
            doc,
            recompute=Recompute.COSTLY,
            changes=0,
            batch=later_axis_and_batch,
            parts=parts,
        )
    )


def _replace(blocks: Array, at: tuple[Array, Array], updates: Array) -> None:
    # One after the other: NumPy does not say which of several assignments to one place is the last.
    for k in range(at[1].shape[1]):
        blocks[at[0][:, 0], at[1][:, k]] = updates[:, k]


def _zeros(b: Builder, like: Value) -> Value:
    return b.full_like(like, 0)


def _set_vjp(
    b: Builder, g: Value, o: Value, x: Value, i: Value, u: Value, axis: int, batch: int
) -> tuple[Value, None, Value]:
    """The cotangent of an entry goes to the last update of it, and to x where there is none."""
    kept = scatter_set(b, g, i, _zeros(b, u), axis=axis, batch=batch)
    batches, count = i.type.shape[:batch], math.prod(i.type.shape[batch:])
    numbers = OPS["iota"](b, shape=(math.prod(batches), count), axis=1, dtype=INT64)
    numbers = OPS["reshape"](b, numbers, shape=i.type.shape)
    none = b.full(-1, ArrayType((*batches, x.type.shape[axis]), INT64))
    last = gather(b, scatter_set(b, none, i, numbers, axis=batch, batch=batch), i, axis=batch, batch=batch)
    middle = range(axis, axis + i.type.ndim - batch)
    whole = OPS["broadcast"](b, eq(b, last, numbers), shape=u.type.shape, axes=(*range(batch), *middle))
    return kept, None, select(b, whole, gather(b, g, i, axis=axis, batch=batch), _zeros(b, u))


def _mul_vjp(
    b: Builder, g: Value, o: Value, x: Value, i: Value, u: Value, axis: int, batch: int
) -> tuple[Value, None, Value]:
    """The cotangent times all other factors; a factor of 0 is no factor of the others' derivative but its own."""
    attrs = {"axis": axis, "batch": batch}
    of_x = mul(b, g, scatter_mul(b, b.full_like(x, 1), i, u, **attrs))
    zero, one = _zeros(b, u), b.full_like(u, 1)
    is_zero = eq(b, u, zero)
    factors = select(b, is_zero, one, u)
    rest = gather(b, scatter_mul(b, x, i, factors, **attrs), i, **attrs)
    zeros = gather(b, scatter_add(b, _zeros(b, x), i, cast(b, is_zero, dtype=u.type.dtype), **attrs), i, **attrs)
    others = eq(b, zeros, select(b, is_zero, one, zero))  # where no other factor is 0
    product = select(b, others, div(b, rest, factors), zero)
    return of_x, None, mul(b, gather(b, g, i, **attrs), product)


def _extremum_vjp(
    b: Builder, g: Value, o: Value, x: Value, i: Value, u: Value, axis: int, batch: int
) -> tuple[Value, None, Value]:
    """The cotangent of an entry in equal parts to all that it equals."""
    attrs = {"axis": axis, "batch": batch}
    from_x, from_u = eq(b, x, o), eq(b, u, gather(b, o, i, **attrs))
    dtype = x.type.dtype
    equal = scatter_add(b, cast(b, from_x, dtype=dtype), i, cast(b, from_u, dtype=dtype), **attrs)
    share = div(b, g, maximum(b, equal, b.full_like(equal, 1)))
    of_u = select(b, from_u, gather(b, share, i, **attrs), _zeros(b, u))
    return select(b, from_x, share, _zeros(b, x)), None, of_u


scatter_set = _declare(
    "scatter_set",
    _replace,
    _set_vjp,
    "x with `updates` in place of the entries at `indices` along `axis`; the last of several for one entry stays",
    takes_bool=True,
    parts=apart,
)
scatter_mul = _declare(
    "scatter_mul", np.multiply.at, _mul_vjp, "x with the entries at `indices` along `axis` multiplied by `updates`"
)
scatter_max = _declare(
    "scatter_max",
    np.maximum.at,
    _extremum_vjp,
    "x with the larger of each entry at `indices` along `axis` and its `updates`",
)
scatter_min = _declare(
    "scatter_min",
    np.minimum.at,
    _extremum_vjp,
    "x with the smaller of each entry at `indices` along `axis` and its `updates`",
)
