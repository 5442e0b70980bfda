"""Attention: weighted means of values, with weights from how well queries and keys agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....ir import is_float, kind_of
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, broadcasts_to, described
from ...tracing.tracer import ShapeError, TracingError, located
from ...tracing.transforms import stop_gradient
from ..spelling import torch_arguments
from .dropout import dropout
from .transformations import class_places


@torch_arguments
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(query keyᵀ scale + mask) value, of shape (..., L, V). Vaswani et al. 2017, "Attention is all you need".

    query is (..., L, E), key (..., S, E), value (..., S, V); the leading axes broadcast. `attn_mask` broadcasts to
    (..., L, S): booleans, true where a query may see a key, or floats that are added. With `is_causal` query i sees the
    keys 0 to i, of those that the mask allows. A query that sees no key gets zeros. `dropout_p` drops weights, in
    evaluation too: give 0 there. `scale` is 1/√E by default.

    With `enable_gqa` each head of key and value, (..., H, S, E), serves G heads of query, (..., H G, L, E), one after
    another. Ainslie et al. 2023, "GQA: training generalized multi-query transformer models".
    """
    query, key, value = as_arraylike(query), as_arraylike(key), as_arraylike(value)
    _check_operands(query, key, value)
    if enable_gqa:
        return _grouped(query, key, value, attn_mask, dropout_p, is_causal, scale)
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return xp.matmul(dropout(weights, dropout_p), value)


def _grouped(
    query: Any, key: Any, value: Any, attn_mask: Any, dropout_p: float, is_causal: bool, scale: float | None
) -> Any:
    """Attention where a head of keys and values serves several of queries: their rows are queries of that one head."""
    length = query.shape[-2]
    query, groups = _by_key_head(query, key, value)
    if attn_mask is not None:
        attn_mask = _mask_by_key_head(as_arraylike(attn_mask), (*query.shape[:-2], groups, length, key.shape[-2]))
    weights = attention_weights(query, key, attn_mask, is_causal, scale, length)
    attended = xp.matmul(dropout(weights, dropout_p), value)
    lead = attended.shape[:-3]
    return xp.reshape(attended, (*lead, attended.shape[-3] * groups, length, attended.shape[-1]))


def _by_key_head(query: Any, key: Any, value: Any) -> tuple[Any, int]:
    """The query (..., H, G L, E), and G."""
    heads = {x.shape[-3] if x.ndim > 2 else 0 for x in (key, value)}
    shown = f"query {described(query)}, key {described(key)} and value {described(value)}"
    if query.ndim < 3 or len(heads) > 1 or not min(heads) or query.shape[-3] % min(heads):
        rule = "the heads, on axis -3, of key and value are as many, and divide those of query"
        raise ShapeError(located(f"scaled_dot_product_attention with enable_gqa: {rule}; got {shown}"))
    *lead, count, length, width = query.shape
    groups = count // min(heads)
    return xp.reshape(query, (*lead, min(heads), groups * length, width)), groups


def _mask_by_key_head(mask: Any, shape: tuple[int, ...]) -> Any:
    """A mask that broadcasts to (..., G H, L, S) for scores (..., H, G L, S); `shape` is (..., H, G, L, S)."""
    *lead, heads, groups, length, keys = shape
    _check_mask(mask, (*lead, heads * groups, length, keys))
    if mask.ndim > 2 and mask.shape[-3] != 1:
        split = xp.reshape(mask, (*mask.shape[:-3], heads, groups, *mask.shape[-2:]))
    else:
        split = xp.expand_dims(mask, -3)
    spread = xp.broadcast_to(split, (*split.shape[:-3], groups, length, split.shape[-1]))
    return xp.reshape(spread, (*split.shape[:-3], groups * length, split.shape[-1]))


def attention_weights(
    query: Any, key: Any, attn_mask: Any, is_causal: bool, scale: float | None = None, period: int | None = None
) -> Any:
    """softmax(query keyᵀ scale + mask), of shape (..., L, S), for the arguments of `scaled_dot_product_attention`.

    With a `period` the queries are several sequences of so many, one after another.
    """
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    # A scaled query would be smaller but kept for the backward; the scaled scores live inside the softmax's kernel.
    scores = xp.matmul(query, xp.swapaxes(key, -1, -2)) * scale
    allowed = causal_places(scores, scores.shape[-2], scores.shape[-1], period) if is_causal else None
    if attn_mask is None:
        return _softmax(scores if allowed is None else xp.where(allowed, scores, -math.inf), rows_may_be_empty=False)
    attn_mask = as_arraylike(attn_mask)
    _check_mask(attn_mask, tuple(scores.shape))
    if is_float(attn_mask.dtype):
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


def causal_places(like: Any, queries: int, keys: int, period: int | None = None) -> Any:
    """(queries, keys) booleans: whether the query's place is at or after the key's. Computed in the program of `like`
    where needed, never stored. With a `period` places of queries begin anew after so many.
    """
    places = class_places(like, (queries,))
    if period is not None and period < queries:
        places = xp.remainder(places, np.int32(period))
    return xp.expand_dims(places, -1) >= class_places(like, (keys,))


def _check_operands(query: Any, key: Any, value: Any) -> None:
    what = "scaled_dot_product_attention"
    shown = f"query {described(query)}, key {described(key)} and value {described(value)}"
    if min(query.ndim, key.ndim, value.ndim) < 2 or query.shape[-1] != key.shape[-1]:
        raise ShapeError(located(f"{what}: {shown}; expected query (..., L, E), key (..., S, E), value (..., S, V)"))
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(located(f"{what}: there must be as many keys as values, got {shown}"))
    if any(not is_float(x.dtype) or x.dtype != query.dtype for x in (query, key, value)):
        raise TracingError(located(f"{what}: query, key and value are floats of one dtype, got {shown}"))


def _check_mask(attn_mask: Any, shape: tuple[int, ...]) -> None:
    if kind_of(attn_mask.dtype) not in "bf":
        hint = "write attn_mask.astype(bool), true where a query may see a key, or .astype('float32') to add it"
        raise TracingError(located(f"attn_mask is booleans or floats, got {described(attn_mask)}; {hint}"))
    if not broadcasts_to(attn_mask.shape, shape):
        raise ShapeError(
            located(f"attn_mask is {described(attn_mask)}, it must broadcast to the scores (..., L, S) = {shape}")
        )
