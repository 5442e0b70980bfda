"""Operators that move elements: other shapes, orders, parts and joins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import array_api as xp
from ....tracing.tracer import Tracer
from ..operator import Call, operator


@operator("Reshape", known=(1,))
def reshape(call: Call, x: Any, lengths: Any, *, allowzero: int = 0) -> Any:
    wanted = call.numbers(lengths, "the shape")
    if not allowzero:
        wanted = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(wanted))
    if -1 in wanted and 0 in wanted:
        rest = math.prod(n for n in wanted if n != -1)
        wanted = tuple(x.size // max(rest, 1) if n == -1 else n for n in wanted)
    return xp.reshape(x, wanted)


@operator("Flatten")
def flatten(call: Call, x: Any, *, axis: int = 1) -> Any:
    at = axis + x.ndim if axis < 0 else axis
    return xp.reshape(x, (math.prod(x.shape[:at]), math.prod(x.shape[at:])))


@operator("Transpose")
def transpose(call: Call, x: Any, *, perm: Any = None) -> Any:
    return xp.permute_dims(x, tuple(reversed(range(x.ndim))) if perm is None else perm)


@operator("Squeeze", known=(1,))
def squeeze(call: Call, x: Any, axes: Any = None) -> Any:
    over = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else call.numbers(axes, "the axes")
    return xp.squeeze(x, axis=tuple(over))


@operator("Unsqueeze", known=(1,))
def unsqueeze(call: Call, x: Any, axes: Any) -> Any:
    given = call.numbers(axes, "the axes")
    new = {axis % (x.ndim + len(given)) for axis in given}
    rest = iter(x.shape)
    return xp.reshape(x, tuple(1 if i in new else next(rest) for i in range(x.ndim + len(given))))


@operator("Concat")
def concat(call: Call, *inputs: Any, axis: int) -> Any:
    return xp.concat(list(inputs), axis=axis)


@operator("Split", known=(1,))
def split(call: Call, x: Any, lengths: Any = None, *, axis: int = 0, num_outputs: int | None = None) -> Any:
    if lengths is None:
        count = num_outputs or len(call.node.outputs)
        each = -(-x.shape[axis] // count)
        parts = [max(min(each, x.shape[axis] - i * each), 0) for i in range(count)]
    else:
        parts = list(call.numbers(lengths, "the lengths"))
    if sum(parts) != x.shape[axis] or min(parts, default=0) < 0:
        raise call.refuse(f"the lengths {tuple(parts)} are not those of the axis {axis} of {tuple(x.shape)}")
    return xp.split(x, np.cumsum(parts[:-1]).tolist(), axis=axis)


@operator("Slice", known=(1, 2, 3, 4))
def slice_(call: Call, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    first, last = call.numbers(starts, "the starts"), call.numbers(ends, "the ends")
    along = tuple(range(len(first))) if axes is None else call.numbers(axes, "the axes")
    step = (1,) * len(first) if steps is None else call.numbers(steps, "the steps")
    key = [slice(None)] * x.ndim
    for axis, a, b, s in zip(along, first, last, step):
        key[axis % x.ndim] = slice(*_within(a, b, s, x.shape[axis]))
    return x[tuple(key)]


def _within(start: int, end: int, step: int, length: int) -> tuple[int, int | None, int]:
    """ONNX brings starts and ends inside as Python does; an end below the first element, going down, is `None`."""
    first, last, step = slice(start, end, step).indices(length)
    return first, (None if last < 0 else last), step


_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@operator("Pad", known=(1, 3))
def pad(call: Call, x: Any, pads: Any, value: Any = None, axes: Any = None, *, mode: str = "constant") -> Any:
    given = call.numbers(pads, "the pads")
    along = tuple(range(x.ndim)) if axes is None else call.numbers(axes, "the axes")
    if len(given) != 2 * len(along):
        raise call.refuse(f"there are {len(given)} pads for {len(along)} axes")
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(along):
        widths[axis % x.ndim] = (given[i], given[len(along) + i])
    kept = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths))
    x = x[kept] if any(min(pair) < 0 for pair in widths) else x
    added = [(max(a, 0), max(b, 0)) for a, b in widths]
    if mode == "constant":
        return _filled(x, added, value)
    if mode not in _MODES:
        raise call.refuse(f"mode is one of {', '.join(_MODES)}, got {mode!r}")
    for axis, (a, b) in enumerate(added):
        if a or b:
            places = np.pad(np.arange(x.shape[axis]), (a, b), mode=_MODES[mode])  # pyright: ignore[reportArgumentType, reportCallIssue]
            x = xp.take(x, places, axis=axis)
    return x


def _filled(x: Any, widths: Any, value: Any) -> Any:
    """With `value` around."""
    if value is None or not isinstance(value, Tracer):
        return xp.pad(x, widths, constant_values=0 if value is None else np.asarray(value).reshape(()))
    inside = np.pad(np.ones(x.shape, bool), widths)
    return xp.where(inside, xp.pad(x, widths), xp.reshape(value, ()))


@operator("Expand", known=(1,))
def expand(call: Call, x: Any, lengths: Any) -> Any:
    return xp.broadcast_to(x, np.broadcast_shapes(x.shape, call.numbers(lengths, "the shape")))


@operator("Tile", known=(1,))
def tile(call: Call, x: Any, repeats: Any) -> Any:
    return xp.tile(x, call.numbers(repeats, "the repeats"))


@operator("DepthToSpace")
def depth_to_space(call: Call, x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    n, channels, *lengths = x.shape
    axes = len(lengths)
    blocks = (blocksize,) * axes
    kept = channels // blocksize**axes
    first = (n, *blocks, kept) if mode == "DCR" else (n, kept, *blocks)
    at = 1 if mode == "DCR" else 2
    split_up = xp.reshape(x, (*first, *lengths))
    order = [0, axes + 1 if mode == "DCR" else 1]
    for i in range(axes):
        order += [axes + 2 + i, at + i]
    return xp.reshape(xp.permute_dims(split_up, order), (n, kept, *(length * blocksize for length in lengths)))


@operator("SpaceToDepth")
def space_to_depth(call: Call, x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    n, channels, *lengths = x.shape
    parts = [part for length in lengths for part in (length // blocksize, blocksize)]
    split_up = xp.reshape(x, (n, channels, *parts))
    axes = len(lengths)
    outer, inner = [2 + 2 * i for i in range(axes)], [3 + 2 * i for i in range(axes)]
    order = (0, *inner, 1, *outer) if mode == "DCR" else (0, 1, *inner, *outer)
    shorter = (length // blocksize for length in lengths)
    return xp.reshape(xp.permute_dims(split_up, order), (n, channels * blocksize**axes, *shorter))


@operator("CenterCropPad", known=(1,))
def center_crop_pad(call: Call, x: Any, lengths: Any, *, axes: Any = None) -> Any:
    along = tuple(range(x.ndim)) if axes is None else axes
    for axis, length in zip(along, call.numbers(lengths, "the shape")):
        missing = length - x.shape[axis]
        if missing > 0:
            widths = [(0, 0)] * x.ndim
            widths[axis] = (missing // 2, missing - missing // 2)
            x = xp.pad(x, widths)
        elif missing < 0:
            begin = -missing // 2
            key = [slice(None)] * x.ndim
            key[axis] = slice(begin, begin + length)
            x = x[tuple(key)]
    return x


@operator("Trilu", known=(1,))
def trilu(call: Call, x: Any, k: Any = None, *, upper: int = 1) -> Any:
    diagonal = 0 if k is None else call.number(k, "k")
    if 0 in x.shape:
        return x
    return xp.triu(x, k=diagonal) if upper else xp.tril(x, k=diagonal)


@operator("ReverseSequence")
def reverse_sequence(call: Call, x: Any, lengths: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    """The first elements of each sequence, as many as its length, in reverse."""
    moved = xp.moveaxis(x, (time_axis, batch_axis), (0, 1))
    step = np.arange(moved.shape[0])[:, None]
    each = xp.astype(lengths, "int64")[None, :]
    places = xp.where(step < each, each - 1 - step, step)
    places = xp.reshape(places, (*places.shape, *(1,) * (moved.ndim - 2)))
    found = xp.take_along_axis(moved, xp.broadcast_to(places, moved.shape), axis=0)
    return xp.moveaxis(found, (0, 1), (time_axis, batch_axis))
