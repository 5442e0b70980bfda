"""Rows of a table by index, one by one or in bags."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.activations import activation
from ...tracing.errors import UnsupportedError
from ...tracing.tracer import ShapeError, TracingError, emit, located
from ...tracing.transforms import stop_gradient
from ..spelling import torch_arguments
from .transformations import checked_index

_MODES = ("sum", "mean", "max")


@torch_arguments
def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """The rows `input` of weight (num, dim): shape (*input.shape, dim). Row `padding_idx` gets no gradient.

    With `scale_grad_by_freq` the gradient of a row is divided by how often it is looked up. An index outside 0 <= index
    < num stops the run with `IndexError`. `max_norm` is not supported. Where few rows of a large table are read, no
    gradient of its size is made, whatever `sparse` says; a layer with `sparse=True` asks for an optimizer that leaves
    the other rows alone.
    """
    check_max_norm("embedding", max_norm)
    weight = _checked_table("embedding", weight)
    index = checked_index(input, weight.shape[0], "embedding: indices")
    return activation(_rows(weight, index, _place("embedding", padding_idx, weight.shape[0]), scale_grad_by_freq))


@torch_arguments
def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """The sum, mean or maximum, by `mode`, of the rows of weight (num, dim) in each bag of indices: (bags, dim).

    `input` is (bags, n), or all indices (N,) one bag after another with `offsets` (bags,): where each begins, the first
    at 0, or with `include_last_offset` (bags + 1,), where the last ends too. `per_sample_weights`, of the shape of
    `input`, multiply the rows in a sum. Indices that are `padding_idx` count for nothing, and a bag of nothing gives
    zeros. Indices out of range, and offsets that do not divide all of `input`, stop the run with `IndexError`.
    `max_norm` is not supported, and `sparse` is as for `embedding`.
    """
    what = "embedding_bag"
    check_max_norm(what, max_norm)
    weight, x = _checked_table(what, weight), as_arraylike(input)
    check_mode(what, mode, scale_grad_by_freq, per_sample_weights is not None)
    if x.ndim not in (1, 2) or (x.ndim == 1) == (offsets is None):
        raise ShapeError(located(f"{what}: input is (bags, n), or (N,) with offsets, got {described(x)}"))
    padding = _place(what, padding_idx, weight.shape[0])
    index = checked_index(x, weight.shape[0], f"{what}: indices")
    rows = _rows(weight, index, padding, scale_grad_by_freq)
    counts = None if padding is None else index != padding
    if per_sample_weights is not None:
        factors = as_arraylike(per_sample_weights)
        if tuple(factors.shape) != tuple(x.shape) or factors.dtype != weight.dtype:
            wanted = f"{tuple(x.shape)} {weight.dtype}"
            raise ShapeError(located(f"{what}: per_sample_weights are {described(factors)}, expected {wanted}"))
        rows = rows * xp.expand_dims(factors, -1)
    if offsets is None:
        return _of_equal_bags(rows, counts, mode)
    return _of_bags(rows, counts, mode, *_bags(offsets, x.shape[0], include_last_offset))


def check_max_norm(what: str, max_norm: float | None) -> None:
    """Raise `UnsupportedError` where rows are to be scaled as they are looked up."""
    if max_norm is not None:
        instead = "rows are not scaled where they are looked up: scale the weight, or the rows that come out"
        raise UnsupportedError(located(f"{what} does not take torch's max_norm={max_norm!r}; {instead}"))


def check_mode(what: str, mode: str, scale_grad_by_freq: bool, weighted: bool) -> None:
    """Raise `ValueError` for a mode that there is not, or that does not go with the rest."""
    if mode not in _MODES:
        raise ValueError(located(f"{what}: mode is one of {', '.join(_MODES)}, got {mode!r}"))
    if weighted and mode != "sum":
        raise ValueError(located(f"{what}: per_sample_weights go with mode='sum', not with {mode!r}"))
    if scale_grad_by_freq and mode == "max":
        raise ValueError(located(f"{what}: scale_grad_by_freq does not go with mode='max'"))


def _checked_table(what: str, weight: Any) -> Any:
    weight = as_arraylike(weight)
    if weight.ndim != 2:
        raise ShapeError(located(f"{what}: weight is (num, dim), got {described(weight)}"))
    return weight


def _place(what: str, padding_idx: int | None, count: int) -> int | None:
    if padding_idx is None:
        return None
    if not -count <= padding_idx < count:
        raise ValueError(located(f"{what}: padding_idx {padding_idx} is not among {count} embeddings"))
    return padding_idx % count


def _rows(weight: Any, index: Any, padding: int | None, by_frequency: bool) -> Any:
    """Rows by index, with the gradients that are asked for."""
    rows = xp.take(weight, index, axis=0)
    if by_frequency:
        flat = xp.reshape(index, (-1,))
        ones = xp.ones_like(xp.astype(flat, weight.dtype))
        often = xp.take(xp.segment_sum(ones, flat, weight.shape[0]), index, axis=0)
        fixed = stop_gradient(rows)
        rows = fixed + (rows - fixed) / xp.expand_dims(xp.maximum(often, 1), -1)  # to the bit, and the gradient divided
    if padding is None:
        return rows
    return xp.where(xp.expand_dims(index == padding, -1), stop_gradient(rows), rows)


def _of_equal_bags(rows: Any, counts: Any, mode: str) -> Any:
    """Of rows (bags, n, dim), of which those count that `counts` (bags, n) says."""
    if rows.shape[1] == 0:
        return xp.sum(rows, axis=1)
    if counts is None:
        return {"sum": xp.sum, "mean": xp.mean, "max": xp.max}[mode](rows, axis=1)
    there = xp.expand_dims(counts, -1)
    if mode == "max":
        best = xp.max(xp.where(there, rows, -math.inf), axis=1)
        return xp.where(xp.any(there, axis=1), best, 0)
    total = xp.sum(xp.where(there, rows, 0), axis=1)
    return total if mode == "sum" else total / xp.maximum(xp.sum(xp.astype(there, rows.dtype), axis=1), 1)


def _bags(offsets: Any, count: int, include_last_offset: bool) -> tuple[Any, int]:
    """For each of `count` indices its bag, and the number of bags."""
    starts = as_arraylike(offsets)
    if starts.ndim != 1 or starts.dtype.kind not in "iu" or starts.shape[0] < 1 + include_last_offset:
        expected = "(bags + 1,)" if include_last_offset else "(bags,)"
        raise TracingError(located(f"embedding_bag: offsets are integers {expected}, got {described(starts)}"))
    starts = emit(ew.check_index, xp.astype(starts, "int64"), size=count + 1)
    begins = starts[:-1] if include_last_offset else starts
    number = begins.shape[0]
    begun = xp.segment_sum(xp.ones_like(begins), begins, count + 1)
    # An index before the first bag, or behind the last, is found as one of bag -1 or of one too many.
    bags = xp.cumsum(begun)[:count] - 1
    if include_last_offset:
        bags = xp.where(np.arange(count) < starts[-1], bags, number)
    return emit(ew.check_index, bags, size=number), number


def _of_bags(rows: Any, counts: Any, mode: str, bags: Any, number: int) -> Any:
    """Of rows (N, dim) by their bags, of which those count that `counts` (N,) says."""
    there = xp.ones_like(xp.astype(bags, rows.dtype)) if counts is None else xp.astype(counts, rows.dtype)
    often = xp.expand_dims(xp.segment_sum(there, bags, number), -1)
    if mode != "max":
        total = xp.segment_sum(rows if counts is None else xp.where(xp.expand_dims(counts, -1), rows, 0), bags, number)
        return total if mode == "sum" else total / xp.maximum(often, 1)
    best = xp.segment_max(
        rows if counts is None else xp.where(xp.expand_dims(counts, -1), rows, -math.inf), bags, number
    )
    return xp.where(often > 0, best, 0)
