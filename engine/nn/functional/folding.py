"""Blocks that slide over images as columns of a matrix, and the sum of such columns as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import Array, is_float
from ....ir.ops import indexing
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, TracingError, emit, located
from .spatial import Numbers, numbers_of, spatial_input

_Blocks = list[tuple[int, int, int, int]]
"""For each axis the number of blocks, their size, stride and dilation."""


def unfold(
    input: Any,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Any:
    """The blocks of `kernel_size` of (N, C, H, W) or (C, H, W), each a column: (N, C kh kw, L), or without N.

    Blocks begin `stride` apart, their elements are `dilation` apart, and `padding` zeros are added on all sides. The L
    blocks come row by row. Raises `ShapeError` where no block fits.
    """
    x = spatial_input("unfold", input, 2)
    if x.ndim == 3:
        return unfold(x[None], kernel_size, dilation, padding, stride)[0]
    size, apart, low, steps = _geometry("unfold", kernel_size, dilation, padding, stride)
    x = xp.pad(x, [(0, 0), (0, 0), *((p, p) for p in low)]) if any(low) else x
    blocks = _blocks("unfold", x.shape[2:], size, apart, steps, described(x))
    for axis, block in ((3, blocks[1]), (2, blocks[0])):
        x = _cut(x, axis, block)
    n, c, rows, kh, columns, kw = x.shape
    return xp.reshape(xp.transpose(x, (0, 1, 3, 5, 2, 4)), (n, c * kh * kw, rows * columns))


def fold(
    input: Any,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Any:
    """The sum of the blocks that are the columns of (N, C kh kw, L) or (C kh kw, L) where `unfold` takes them from:
    (N, C, *output_size), or without N. Arguments as in `unfold`. Raises `ShapeError` for another number of blocks.
    """
    x = as_arraylike(input)
    if x.ndim not in (2, 3):
        raise ShapeError(located(f"fold: the input is (N, C kh kw, L) or (C kh kw, L), got {described(x)}"))
    if not is_float(x.dtype):
        raise TracingError(located(f"fold: takes floats, got {described(x)}; write .astype('float32')"))
    if x.ndim == 2:
        return fold(x[None], output_size, kernel_size, dilation, padding, stride)[0]
    lengths = numbers_of("fold", "output_size", output_size, 2, least=1)
    size, apart, low, steps = _geometry("fold", kernel_size, dilation, padding, stride)
    padded = [length + 2 * p for length, p in zip(lengths, low)]
    blocks = _blocks("fold", padded, size, apart, steps, f"an image of {lengths}")
    (rows, kh, *_), (columns, kw, *_) = blocks
    n, k, count = x.shape
    if k % (kh * kw) or count != rows * columns:
        expected = f"(N, C {kh * kw}, {rows * columns}) for {rows} x {columns} blocks of {lengths}"
        raise ShapeError(located(f"fold: the input is {described(x)}, expected {expected}"))
    x = xp.transpose(xp.reshape(x, (n, k // (kh * kw), kh, kw, rows, columns)), (0, 1, 4, 2, 5, 3))
    for axis, block, length in ((2, blocks[0], padded[0]), (3, blocks[1], padded[1])):
        x = _joined(x, axis, block, length)
    return x[:, :, low[0] : padded[0] - low[0], low[1] : padded[1] - low[1]]


def _geometry(what: str, size: Any, dilation: Any, padding: Any, stride: Any) -> list[Numbers]:
    named = (("kernel_size", size, 1), ("dilation", dilation, 1), ("padding", padding, 0), ("stride", stride, 1))
    return [numbers_of(what, name, value, 2, least) for name, value, least in named]


def _blocks(what: str, lengths: Sequence[int], size: Numbers, apart: Numbers, steps: Numbers, shown: str) -> _Blocks:
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, d, s in zip(lengths, size, apart, steps)]
    if min(counts) < 1:
        raise ShapeError(located(f"{what}: no block of {size} with dilation {apart} fits {shown}"))
    return list(zip(counts, size, steps, apart))


def _cut(x: Any, axis: int, block: tuple[int, int, int, int]) -> Any:
    """`x` with `axis` as two: the blocks, and what lies in one."""
    count, size, stride, dilation = block
    if stride == size and dilation == 1:
        whole = x[(*(slice(None),) * axis, slice(0, count * size))]
        return xp.reshape(whole, (*x.shape[:axis], count, size, *x.shape[axis + 1 :]))
    return xp.take(x, _places(block), axis=axis)


def _joined(x: Any, axis: int, block: tuple[int, int, int, int], length: int) -> Any:
    """The sum of what lies in blocks, axes `axis` and the next, as one axis of `length`."""
    count, size, stride, dilation = block
    lead, rest = x.shape[:axis], x.shape[axis + 2 :]
    if stride == size and dilation == 1:
        joined = xp.reshape(x, (*lead, count * size, *rest))
        return xp.pad(joined, [*((0, 0),) * axis, (0, length - count * size), *((0, 0),) * len(rest)])
    zeros = np.broadcast_to(np.zeros((), x.dtype), (*lead, length, *rest))
    return emit(indexing.scatter_add, zeros, _places(block), x, axis=axis, batch=0)


def _places(block: tuple[int, int, int, int]) -> Array:
    count, size, stride, dilation = block
    return np.arange(count)[:, None] * stride + np.arange(size) * dilation
