"""Ops that move elements without computing: reshape, transpose, broadcast, slice, reverse, pad, concatenate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..builder import Builder
from ..complex_parts import apart, filled
from ..graph import Value
from ..op import (
    Attrs,
    AxisRule,
    BatchRule,
    Fusion,
    InferRule,
    Layout,
    Op,
    PartsRule,
    Recompute,
    ReferenceRule,
    TypeRuleError,
    ViewRule,
    VjpRule,
    declare,
    later_axis,
    no_flops,
)
from ..types import Array, ArrayType, contiguous_strides
from .reduction import reduce_sum


def _movement(
    name: str,
    infer: InferRule,
    reference: ReferenceRule,
    axes: AxisRule,
    vjp: VjpRule,
    doc: str,
    batch: BatchRule,
    *,
    view: ViewRule | None = None,
    fusion: Fusion = "never",
    is_axiswise: bool = False,
    parts: PartsRule = apart,
) -> Op:
    return declare(
        Op(
            name,
            "movement",
            infer,
            reference,
            no_flops,
            axes,
            vjp,
            doc,
            view=view,
            only_moves=True,
            accepts_strides=view is not None,
            can_trap=False,
            recompute=Recompute.FREE if view else Recompute.COSTLY,
            fusion=fusion,
            is_axiswise=is_axiswise,
            batch=batch,
            parts=parts,
        )
    )


def _reshape_type(x: ArrayType, shape: tuple[int, ...]) -> ArrayType:
    if math.prod(shape) != x.size or any(n < 0 for n in shape):
        raise TypeRuleError(f"{x} has {x.size} elements, shape {shape} has {math.prod(shape)}")
    return ArrayType(shape, x.dtype)


def _reshape_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    (x,) = inputs
    result: list[int | None] = [None] * output.ndim
    for axis, (a, b) in enumerate(zip(x.shape, output.shape)):
        if a != b:
            break
        result[axis] = axis
    return [result]


def _reshape_vjp(b: Builder, g: Value, o: Value, x: Value, shape: tuple[int, ...]) -> Value:
    return reshape(b, g, shape=x.type.shape)


def _reshape(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(shape)


def _reshape_batch(attrs: Attrs, length: int) -> Attrs:
    return {**attrs, "shape": (length, *attrs["shape"])}


def _reshape_view(x: Layout, shape: tuple[int, ...], attrs: Attrs) -> Layout | None:
    strides = _reshaped_strides(x.shape, x.strides, shape)
    return None if strides is None else Layout(x.offset, shape, strides)


def _reshaped_strides(old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    if 0 in new:
        return contiguous_strides(new)
    # Axes of length 1 have no say. Each run of old axes that is one progression may be cut up anew.
    runs: list[tuple[int, int]] = []  # (elements, innermost stride), outermost first
    for length, stride in zip(old, strides):
        if length == 1:
            continue
        if runs and runs[-1][1] == length * stride:
            runs[-1] = (runs[-1][0] * length, stride)
        else:
            runs.append((length, stride))
    result: list[int] = []
    remaining, inner = 1, 0
    for length in reversed(new):
        if length == 1:
            result.append(0)
            continue
        if remaining == 1:
            if not runs:
                return None
            remaining, inner = runs.pop()
        if remaining % length:
            return None
        result.append(inner)
        inner *= length
        remaining //= length
    return tuple(reversed(result))


reshape = _movement(
    "reshape",
    _reshape_type,
    _reshape,
    _reshape_axes,
    _reshape_vjp,
    "the same elements in row-major order",
    _reshape_batch,
    view=_reshape_view,
    fusion="reshaping",
)


def _transpose_type(x: ArrayType, perm: tuple[int, ...]) -> ArrayType:
    if sorted(perm) != list(range(x.ndim)):
        raise TypeRuleError(f"{perm} is no permutation of the axes of {x}")
    return ArrayType(tuple(x.shape[i] for i in perm), x.dtype)


def _transpose_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [list(attrs["perm"])]


def _transpose_vjp(b: Builder, g: Value, o: Value, x: Value, perm: tuple[int, ...]) -> Value:
    return transpose(b, g, perm=tuple(int(i) for i in np.argsort(perm)))


def _transpose(x: Array, perm: tuple[int, ...]) -> Array:
    return x.transpose(perm)


def _transpose_batch(attrs: Attrs, length: int) -> Attrs:
    return {**attrs, "perm": (0, *(i + 1 for i in attrs["perm"]))}


def _transpose_view(x: Layout, shape: tuple[int, ...], attrs: Attrs) -> Layout:
    perm: tuple[int, ...] = attrs["perm"]
    return Layout(x.offset, shape, tuple(x.strides[i] for i in perm))


transpose = _movement(
    "transpose",
    _transpose_type,
    _transpose,
    _transpose_axes,
    _transpose_vjp,
    "axis i of the output is axis perm[i] of x",
    _transpose_batch,
    view=_transpose_view,
)


def _broadcast_type(x: ArrayType, shape: tuple[int, ...], axes: tuple[int, ...]) -> ArrayType:
    distinct = list(axes) == sorted(set(axes)) and all(0 <= a < len(shape) for a in axes)
    if len(axes) != x.ndim or not distinct or any(n < 0 for n in shape):
        raise TypeRuleError(f"axes {axes} do not place {x} in shape {shape}")
    if any(shape[a] != n for a, n in zip(axes, x.shape)):
        raise TypeRuleError(f"{x} does not fit the axes {axes} of shape {shape}")
    return ArrayType(shape, x.dtype)


def _broadcast_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    where: dict[int, int] = {a: i for i, a in enumerate(attrs["axes"])}
    return [[where.get(axis) for axis in range(output.ndim)]]


def _broadcast_vjp(b: Builder, g: Value, o: Value, x: Value, shape: tuple[int, ...], axes: tuple[int, ...]) -> Value:
    return reduce_sum(b, g, axes=tuple(i for i in range(len(shape)) if i not in axes))


def _broadcast(x: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.expand_dims(x, [i for i in range(len(shape)) if i not in axes]), shape)


def _broadcast_batch(attrs: Attrs, length: int) -> Attrs:
    return {"shape": (length, *attrs["shape"]), "axes": (0, *(a + 1 for a in attrs["axes"]))}


def _broadcast_view(x: Layout, shape: tuple[int, ...], attrs: Attrs) -> Layout:
    strides = [0] * len(shape)
    for axis, stride in zip(attrs["axes"], x.strides):
        strides[axis] = stride
    return Layout(x.offset, shape, tuple(strides))


broadcast = _movement(
    "broadcast",
    _broadcast_type,
    _broadcast,
    _broadcast_axes,
    _broadcast_vjp,
    "x repeated along new axes: axis i of x becomes axis axes[i] of `shape`",
    _broadcast_batch,
    view=_broadcast_view,
    fusion="reshaping",
)


def _slice_type(x: ArrayType, start: tuple[int, ...], stop: tuple[int, ...], step: tuple[int, ...]) -> ArrayType:
    if not len(start) == len(stop) == len(step) == x.ndim:
        raise TypeRuleError(f"start {start}, stop {stop} and step {step} are not for the axes of {x}")
    for a, b, s, n in zip(start, stop, step, x.shape):
        if not 0 <= a <= b <= n or s < 1:
            raise TypeRuleError(f"{a}:{b}:{s} lies outside an axis of length {n} of {x}")
    return ArrayType(tuple(-(-(b - a) // s) for a, b, s in zip(start, stop, step)), x.dtype)


def _slice_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[i if n == m else None for i, (n, m) in enumerate(zip(inputs[0].shape, output.shape))]]


def _slice_vjp(b: Builder, g: Value, o: Value, x: Value, **attrs: Any) -> Value:
    start, step = attrs["start"], attrs["step"]
    covered = [max(n + (n - 1) * (s - 1), 0) for n, s in zip(g.type.shape, step)]
    high = tuple(n - a - c for n, a, c in zip(x.type.shape, start, covered))
    return pad(b, g, low=start, high=high, interior=tuple(s - 1 for s in step), value=0.0)


def _slice(x: Array, start: tuple[int, ...], stop: tuple[int, ...], step: tuple[int, ...]) -> Array:
    return x[tuple(slice(a, b, s) for a, b, s in zip(start, stop, step))]


def _slice_batch(attrs: Attrs, length: int) -> Attrs:
    return {"start": (0, *attrs["start"]), "stop": (length, *attrs["stop"]), "step": (1, *attrs["step"])}


def _slice_view(x: Layout, shape: tuple[int, ...], attrs: Attrs) -> Layout:
    start: tuple[int, ...] = attrs["start"]
    step: tuple[int, ...] = attrs["step"]
    offset = x.offset + sum(a * s for a, s in zip(start, x.strides))
    return Layout(offset, shape, tuple(s * k for s, k in zip(x.strides, step)))


slice_ = _movement(
    "slice",
    _slice_type,
    _slice,
    _slice_axes,
    _slice_vjp,
    "x[start:stop:step] along every axis, step > 0",
    _slice_batch,
    view=_slice_view,
)


def _reverse_type(x: ArrayType, axes: tuple[int, ...]) -> ArrayType:
    if any(not 0 <= a < x.ndim for a in axes) or len(set(axes)) != len(axes):
        raise TypeRuleError(f"axes {axes} of {x}")
    return x


def _reverse_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None if i in attrs["axes"] else i for i in range(output.ndim)]]


def _reverse_vjp(b: Builder, g: Value, o: Value, x: Value, axes: tuple[int, ...]) -> Value:
    return reverse(b, g, axes=axes)


def _reverse(x: Array, axes: tuple[int, ...]) -> Array:
    return np.flip(x, axes)


def _reverse_view(x: Layout, shape: tuple[int, ...], attrs: Attrs) -> Layout:
    strides, offset = list(x.strides), x.offset
    axes: tuple[int, ...] = attrs["axes"]
    for axis in axes:
        offset += strides[axis] * max(shape[axis] - 1, 0)
        strides[axis] = -strides[axis]
    return Layout(offset, shape, tuple(strides))


reverse = _movement(
    "reverse",
    _reverse_type,
    _reverse,
    _reverse_axes,
    _reverse_vjp,
    "x with the order along `axes` turned",
    later_axis,
    view=_reverse_view,
)


def _pad_type(
    x: ArrayType, low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...], value: float
) -> ArrayType:
    if not len(low) == len(high) == len(interior) == x.ndim:
        raise TypeRuleError(f"low {low}, high {high} and interior {interior} are not for the axes of {x}")
    if any(n < 0 for n in (*low, *high, *interior)):
        raise TypeRuleError(f"padding is not negative: low {low}, high {high}, interior {interior}")
    shape = tuple(a + n + max(n - 1, 0) * i + b for n, a, b, i in zip(x.shape, low, high, interior))
    return ArrayType(shape, x.dtype)


def _pad_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[i if n == m else None for i, (n, m) in enumerate(zip(inputs[0].shape, output.shape))]]


def pad_window(type: ArrayType, attrs: Attrs) -> tuple[slice, ...]:
    """Where the elements of an input of `type` stand in its padded array."""
    return tuple(
        slice(a, a + n + max(n - 1, 0) * i, i + 1) for n, a, i in zip(type.shape, attrs["low"], attrs["interior"])
    )


def _pad_vjp(b: Builder, g: Value, o: Value, x: Value, **attrs: Any) -> Value:
    window = pad_window(x.type, attrs)
    start, stop, step = (tuple(getattr(w, field) for w in window) for field in ("start", "stop", "step"))
    return slice_(b, g, start=start, stop=stop, step=step)


def _pad(x: Array, **attrs: Any) -> Array:
    type = ArrayType(tuple(x.shape), x.dtype)
    result = np.full(_pad_type(type, **attrs).shape, attrs["value"], x.dtype)
    result[pad_window(type, attrs)] = x
    return result


def _pad_batch(attrs: Attrs, length: int) -> Attrs:
    return {**attrs, **{name: (0, *attrs[name]) for name in ("low", "high", "interior")}}


pad = _movement(
    "pad",
    _pad_type,
    _pad,
    _pad_axes,
    _pad_vjp,
    "x with `value` put before (`low`), after (`high`) and between (`interior`) its elements along every axis",
    _pad_batch,
    parts=filled,
)


def _concatenate_type(*types: ArrayType, axis: int) -> ArrayType:
    if not types:
        raise TypeRuleError("joins one array or more, got none")
    first = types[0]
    if not 0 <= axis < first.ndim:
        raise TypeRuleError(f"axis {axis} of {first}")
    for t in types:
        others = t.shape[:axis] + t.shape[axis + 1 :]
        if t.ndim != first.ndim or others != first.shape[:axis] + first.shape[axis + 1 :] or t.dtype != first.dtype:
            raise TypeRuleError(f"cannot join along axis {axis}: {', '.join(map(str, types))}")
    return ArrayType((*first.shape[:axis], sum(t.shape[axis] for t in types), *first.shape[axis + 1 :]), first.dtype)


def _concatenate_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None if i == attrs["axis"] else i for i in range(output.ndim)] for _ in inputs]


def slice_along(shape: Sequence[int], axis: int, start: int, stop: int) -> dict[str, tuple[int, ...]]:
    """The attributes of a `slice` of an array of `shape` that takes `[start:stop]` along one axis."""
    return {
        "start": tuple(start if i == axis else 0 for i in range(len(shape))),
        "stop": tuple(stop if i == axis else n for i, n in enumerate(shape)),
        "step": (1,) * len(shape),
    }


def _concatenate_vjp(b: Builder, g: Value, o: Value, *inputs: Value, axis: int) -> list[Value]:
    parts: list[Value] = []
    begin = 0
    for x in inputs:
        end = begin + x.type.shape[axis]
        parts.append(slice_(b, g, **slice_along(g.type.shape, axis, begin, end)))
        begin = end
    return parts


def _concatenate(*arrays: Array, axis: int) -> Array:
    return np.concatenate(arrays, axis)


concatenate = _movement(
    "concatenate",
    _concatenate_type,
    _concatenate,
    _concatenate_axes,
    _concatenate_vjp,
    "the inputs one after another along `axis`",
    later_axis,
    is_axiswise=True,
)
