"""Shapes, orders of axes, parts and joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import array_api as xp
from ...nn import functional as F
from ...tracing.errors import UnsupportedError, located
from ..promotion import promoted
from ..table import aten

_FAR = 2**62
"""A bound above this stands for the end of an axis."""


@aten("view.default", "reshape.default", "_unsafe_view.default", "_reshape_alias.default")
def view(x: Any, size: Sequence[int], *_: Any) -> Any:
    """x in another shape."""
    return x if tuple(size) == tuple(x.shape) else xp.reshape(x, tuple(size))


@aten("permute.default")
def permute(x: Any, dims: Sequence[int]) -> Any:
    """x with its axes in another order."""
    return xp.transpose(x, tuple(dims))


@aten("transpose.int", whole=True)
def transpose(x: Any, dim0: int, dim1: int) -> Any:
    """x with two axes exchanged."""
    return xp.swapaxes(x, dim0, dim1) if x.ndim else x


@aten("t.default", whole=True)
def t(x: Any) -> Any:
    """The transposed matrix."""
    return xp.transpose(x) if x.ndim > 1 else x


@aten("expand.default")
def expand(x: Any, size: Sequence[int], implicit: bool = False) -> Any:
    """x, repeated along axes of length 1."""
    before = (1,) * (len(size) - x.ndim) + tuple(x.shape)
    shape = tuple(old if new == -1 else new for old, new in zip(before, size))
    return x if shape == tuple(x.shape) else xp.broadcast_to(x, shape)


@aten("squeeze.default")
def squeeze(x: Any) -> Any:
    """x without axes of length 1."""
    return xp.reshape(x, tuple(n for n in x.shape if n != 1))


@aten("squeeze.dim", "squeeze.dims")
def squeeze_dims(x: Any, dim: int | Sequence[int]) -> Any:
    """x without those of some axes that have length 1."""
    dims = [dim] if isinstance(dim, int) else dim
    gone = {d % max(x.ndim, 1) for d in dims}
    return xp.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in gone or n != 1))


@aten("unsqueeze.default")
def unsqueeze(x: Any, dim: int) -> Any:
    """x with one more axis."""
    return xp.expand_dims(x, dim)


@aten("flatten.using_ints", whole=True)
def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """x with some axes as one."""
    if not x.ndim:
        return xp.reshape(x, (1,))
    start, end = start_dim % x.ndim, end_dim % x.ndim
    size = int(np.prod(x.shape[start : end + 1]))
    return xp.reshape(x, (*x.shape[:start], size, *x.shape[end + 1 :]))


def along(x: Any, dim: int, part: Any) -> Any:
    """The index of a part along one axis."""
    return (slice(None),) * (dim % x.ndim) + (part,)


def bounds(x: Any, dim: int, start: int | None, end: int | None) -> tuple[int, int]:
    """The first place of a slice and the one after its last."""
    length = x.shape[dim]
    first, last, _ = slice(start, None if end is None or end > _FAR else end).indices(length)
    return first, max(first, last)


@aten("slice.Tensor")
def slice_tensor(x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """A part of x along one axis."""
    first, last = bounds(x, dim, start, end)
    return x if (first, last, step) == (0, x.shape[dim], 1) else x[along(x, dim, slice(first, last, step))]


@aten("select.int")
def select(x: Any, dim: int, index: int) -> Any:
    """x at one place of an axis."""
    return x[along(x, dim, index)]


@aten("narrow.default", whole=True)
def narrow(x: Any, dim: int, start: int, length: int) -> Any:
    """A part of x of a length."""
    start = start % max(x.shape[dim], 1) if start < 0 else start
    return x[along(x, dim, slice(start, start + length))]


@aten("split_with_sizes.default")
def split_with_sizes(x: Any, split_sizes: Sequence[int], dim: int = 0) -> Any:
    """Parts of x of given lengths."""
    ends = [int(n) for n in np.cumsum(split_sizes)]
    return [x[along(x, dim, slice(end - size, end))] for size, end in zip(split_sizes, ends)]


@aten("split.Tensor", whole=True)
def split(x: Any, split_size: int, dim: int = 0) -> Any:
    """Parts of x of equal lengths; the last may be shorter."""
    length = x.shape[dim]
    starts = range(0, length, split_size) if length else [0]
    return [x[along(x, dim, slice(start, start + split_size))] for start in starts]


@aten("chunk.default", whole=True)
def chunk(x: Any, chunks: int, dim: int = 0) -> Any:
    """At most so many parts of equal lengths."""
    return split(x, max(-(-x.shape[dim] // chunks), 1), dim)


@aten("unbind.int", whole=True)
def unbind(x: Any, dim: int = 0) -> Any:
    """x at each place of an axis."""
    return [x[along(x, dim, i)] for i in range(x.shape[dim])]


@aten("cat.default")
def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Arrays, one after another along an axis; those of shape (0,) count for nothing."""
    parts = [part for part in tensors if tuple(part.shape) != (0,)] or list(tensors[:1])
    parts = promoted(*parts)
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, dim)


@aten("stack.default", whole=True)
def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Arrays along a new axis."""
    return xp.stack(promoted(*tensors), dim)


@aten("repeat.default")
def repeat(x: Any, repeats: Sequence[int]) -> Any:
    """x, so many times along each axis."""
    return xp.tile(x, tuple(repeats))


@aten("repeat_interleave.self_int", whole=True)
def repeat_interleave(x: Any, repeats: int, dim: int | None = None, output_size: int | None = None) -> Any:
    """Each element of an axis so many times."""
    return xp.repeat(x, repeats, dim)


@aten("flip.default")
def flip(x: Any, dims: Sequence[int]) -> Any:
    """x in reverse along axes."""
    return xp.flip(x, tuple(dims))


@aten("roll.default", whole=True)
def roll(x: Any, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    """x shifted along axes, what leaves at one end comes in at the other."""
    if not dims:
        return xp.roll(x, shifts[0])
    return xp.roll(x, tuple(shifts), tuple(dims))


@aten("constant_pad_nd.default")
def constant_pad_nd(x: Any, pad: Sequence[int], value: Any = 0) -> Any:
    """x with a number around, or with less at its ends where `pad` is negative."""
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    cut = tuple(slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(x.shape, widths))
    if any(low < 0 or high < 0 for low, high in widths):
        x = x[cut]
    widths = [(max(low, 0), max(high, 0)) for low, high in widths]
    number = x.dtype.type(value).item() if x.dtype.kind in "iub" else value
    return xp.pad(x, tuple(widths), mode="constant", constant_values=number)


@aten("reflection_pad1d.default", "reflection_pad2d.default", "reflection_pad3d.default", whole=True)
def reflection_pad(x: Any, padding: Sequence[int]) -> Any:
    """x with its own mirror image around."""
    return F.pad(x, tuple(padding), "reflect")


@aten("replication_pad1d.default", "replication_pad2d.default", "replication_pad3d.default", whole=True)
def replication_pad(x: Any, padding: Sequence[int]) -> Any:
    """x with its border repeated around."""
    return F.pad(x, tuple(padding), "replicate")


def strided_places(size: Sequence[int], stride: Sequence[int], storage_offset: int | None) -> np.ndarray[Any, Any]:
    """Where the elements of a window over memory lie."""
    places = sum(
        (np.arange(n).reshape((-1,) + (1,) * (len(size) - 1 - i)) * s for i, (n, s) in enumerate(zip(size, stride))),
        np.asarray(storage_offset or 0),
    )
    return np.broadcast_to(places, tuple(size))


@aten("as_strided.default", in_memory=True)
def as_strided(x: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Any:
    """Windows over x as it lies in memory, row by row."""
    if not x.size:
        return xp.reshape(x, tuple(size))
    return xp.take(xp.reshape(x, (-1,)), strided_places(size, stride, storage_offset))


@aten("unfold.default", whole=True)
def unfold(x: Any, dimension: int, size: int, step: int) -> Any:
    """Windows along an axis; their elements are the last axis."""
    dimension %= max(x.ndim, 1)
    count = (x.shape[dimension] - size) // step + 1
    places = np.arange(count)[:, None] * step + np.arange(size)
    return xp.moveaxis(xp.take(x, places, dimension), dimension + 1, -1)


@aten("tril.default", whole=True)
def tril(x: Any, diagonal: int = 0) -> Any:
    """The lower triangle of matrices, zeros above."""
    return xp.tril(x, diagonal)


@aten("triu.default", whole=True)
def triu(x: Any, diagonal: int = 0) -> Any:
    """The upper triangle of matrices, zeros below."""
    return xp.triu(x, diagonal)


@aten("diagonal.default", whole=True)
def diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of matrices."""
    return xp.diagonal(x, offset, dim1, dim2)


@aten("view.dtype")
def view_dtype(x: Any, dtype: Any) -> Any:
    """The bits of x as another dtype, which there is only for the dtype that it has."""
    if x.dtype == dtype:
        return x
    raise UnsupportedError(located(f"x.view({dtype}) reads bits as another dtype, which is not supported"))
