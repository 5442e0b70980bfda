"""Attention: weighted means of values, with weights from how well queries and keys agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, TracingError, located
from ...tracing.transforms import stop_gradient
from ..spelling import torch_arguments
from .transformations import class_places, dropout


@torch_arguments
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    """softmax(query keyᵀ scale + mask) value, of shape (..., L, V). Vaswani et al. 2017, "Attention is all you need".

    query is (..., L, E), key (..., S, E), value (..., S, V); the leading axes broadcast. `attn_mask` broadcasts to
    (..., L, S): booleans, true where a query may see a key, or floats that are added. With `is_causal` query i sees the
    keys 0 to i, of those that the mask allows. A query that sees no key gets zeros. `dropout_p` drops weights, in
    evaluation too: give 0 there. `scale` is 1/√E by default.
    """
    query, key, value = as_arraylike(query), as_arraylike(key), as_arraylike(value)
    _check_operands(query, key, value)
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return xp.matmul(dropout(weights, dropout_p), value)


def attention_weights(query: Any, key: Any, attn_mask: Any, is_causal: bool, scale: float | None = None) -> Any:
    """softmax(query keyᵀ scale + mask), of shape (..., L, S), for the arguments of `scaled_dot_product_attention`."""
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    # A scaled query would be smaller but kept for the backward; the scaled scores live inside the softmax's kernel.
    scores = xp.matmul(query, xp.swapaxes(key, -1, -2)) * scale
    allowed = _causal(scores) if is_causal else None
    if attn_mask is None:
        return _softmax(scores if allowed is None else xp.where(allowed, scores, -math.inf), rows_may_be_empty=False)
    attn_mask = as_arraylike(attn_mask)
    _check_mask(attn_mask, scores)
    if attn_mask.dtype.kind == "f":
        scores = scores + xp.astype(attn_mask, scores.dtype)
    else:
        allowed = attn_mask if allowed is None else xp.logical_and(attn_mask, allowed)
    return _softmax(scores if allowed is None else xp.where(allowed, scores, -math.inf), rows_may_be_empty=True)


def _softmax(scores: Any, rows_may_be_empty: bool) -> Any:
    """Softmax over the last axis; rows of -inf give zeros, if there may be any."""
    top = stop_gradient(xp.max(scores, axis=-1, keepdims=True))
    if rows_may_be_empty:
        top = xp.where(top == -math.inf, 0, top)
    e = xp.exp(scores - top)
    total = xp.sum(e, axis=-1, keepdims=True)
    if rows_may_be_empty:
        total = xp.where(total == 0, 1, total)
    return e / total


def _causal(scores: Any) -> Any:
    """(L, S) booleans: whether the query's place is at or after the key's. Computed where needed, never stored."""
    queries, keys = scores.shape[-2:]
    return xp.expand_dims(class_places(scores, (queries,)), -1) >= class_places(scores, (keys,))


def _check_operands(query: Any, key: Any, value: Any) -> None:
    what = "scaled_dot_product_attention"
    shown = f"query {described(query)}, key {described(key)} and value {described(value)}"
    if min(query.ndim, key.ndim, value.ndim) < 2 or query.shape[-1] != key.shape[-1]:
        raise ShapeError(located(f"{what}: {shown}; expected query (..., L, E), key (..., S, E), value (..., S, V)"))
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(located(f"{what}: there must be as many keys as values, got {shown}"))
    if any(x.dtype.kind != "f" or x.dtype != query.dtype for x in (query, key, value)):
        raise TracingError(located(f"{what}: query, key and value are floats of one dtype, got {shown}"))


def _check_mask(attn_mask: Any, scores: Any) -> None:
    if attn_mask.dtype.kind not in "bf":
        hint = "write attn_mask.astype(bool), true where a query may see a key, or .astype('float32') to add it"
        raise TracingError(located(f"attn_mask is booleans or floats, got {described(attn_mask)}; {hint}"))
    mask_shape, shape = tuple(attn_mask.shape), tuple(scores.shape)
    try:
        fits = np.broadcast_shapes(mask_shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            located(f"attn_mask is {described(attn_mask)}, it must broadcast to the scores (..., L, S) = {shape}")
        )
