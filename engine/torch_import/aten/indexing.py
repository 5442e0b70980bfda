"""Elements by their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.indexing import getitem
from ...nn import functional as F
from ...tracing.errors import UnsupportedError, located
from ...tracing.tracer import Tracer
from ..table import aten


@aten("embedding.default")
def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """Rows of a table; that of `padding_idx` has no gradient."""
    row = None if padding_idx < 0 else padding_idx
    return F.embedding(indices, weight, padding_idx=row, scale_grad_by_freq=scale_grad_by_freq)


_BAGS = ("sum", "mean", "max")


@aten("_embedding_bag.default", "_embedding_bag_forward_only.default")
def embedding_bag(
    weight: Any,
    indices: Any,
    offsets: Any,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Any:
    """Sums, means or maxima of rows of a table, each of the rows from one offset to the next."""
    steps = np.diff(offsets) if isinstance(offsets, np.ndarray) else np.zeros(0)
    width = int(steps[0]) if steps.size else indices.shape[0]
    even = isinstance(offsets, np.ndarray) and len(offsets) > 0 and not offsets[0] and bool((steps == width).all())
    if even and width * (len(offsets) - include_last_offset) == indices.shape[0] and width:
        indices = xp.reshape(indices, (-1, width))
        per_sample_weights = None if per_sample_weights is None else xp.reshape(per_sample_weights, (-1, width))
        offsets, include_last_offset = None, False
    result = F.embedding_bag(
        indices,
        weight,
        offsets,
        scale_grad_by_freq=scale_grad_by_freq,
        mode=_BAGS[mode],
        per_sample_weights=per_sample_weights,
        include_last_offset=include_last_offset,
        padding_idx=None if padding_idx < 0 else padding_idx,
    )
    return result, None, None, None


def index_of(indices: Sequence[Any]) -> tuple[Any, ...]:
    """What NumPy takes for a list of indices, where `None` stands for a whole axis."""
    return tuple(slice(None) if index is None else index for index in indices)


@aten("index.Tensor", "_unsafe_index.Tensor", whole=True)
def index_tensor(x: Any, indices: Sequence[Any]) -> Any:
    """Elements by arrays of places, of which several broadcast."""
    if any(isinstance(index, Tracer) and index.dtype == np.dtype("bool") for index in indices):
        instead = "write torch.where(mask, x, 0), and a sum divided by mask.sum() for a mean"
        raise UnsupportedError(located(f"x[mask] has a shape that depends on values; {instead}"))
    return getitem(x, index_of(indices))


@aten("index_select.default", whole=True)
def index_select(x: Any, dim: int, index: Any) -> Any:
    """Some places of an axis."""
    return xp.take(x, index, dim)


@aten("gather.default")
def gather(x: Any, dim: int, index: Any, sparse_grad: bool = False) -> Any:
    """For each place of `index`, the element that it names along an axis."""
    if not x.ndim:
        return xp.broadcast_to(x, index.shape)
    dim %= x.ndim
    cut = tuple(slice(None) if i == dim else slice(0, n) for i, n in enumerate(index.shape))
    return xp.take_along_axis(x[cut], index, dim)


@aten("take_along_dim.default", whole=True)
def take_along_dim(x: Any, indices: Any, dim: int | None = None) -> Any:
    """The elements that indices name along an axis."""
    return xp.take_along_axis(x, indices, dim)


@aten("take.default", whole=True)
def take(x: Any, index: Any) -> Any:
    """Elements by their places, row by row."""
    return xp.take(xp.reshape(x, (-1,)), index)


@aten("bucketize.Tensor", whole=True)
def bucketize(x: Any, boundaries: Any, out_int32: bool = False, right: bool = False) -> Any:
    """Between which boundaries each element lies."""
    compare = xp.greater_equal if right else xp.greater
    return xp.sum(xp.astype(compare(xp.expand_dims(x, -1), boundaries), "int32" if out_int32 else "int64"), axis=-1)


@aten("one_hot.default", whole=True)
def one_hot(x: Any, num_classes: int = -1) -> Any:
    """1 at the class, 0 elsewhere."""
    return F.one_hot(x, num_classes)
