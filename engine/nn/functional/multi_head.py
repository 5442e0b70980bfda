"""Multi-head attention of given weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....ir import is_float, kind_of
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.errors import UnsupportedError
from ...tracing.tracer import ShapeError, TracingError, located
from .attention import attention_weights, causal_places, scaled_dot_product_attention
from .dropout import dropout
from .transformations import linear


def multi_head_attention_forward(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    batch_first: bool = False,
) -> tuple[Any, Any]:
    """(output, weights) of `nn.MultiheadAttention` with these weights, or (output, None) without `need_weights`.

    query is (L, N, E), key (S, N, kdim), value (S, N, vdim), or with `batch_first` (N, L, E) and so on; without a
    batch (L, E) and so on. Weights and masks are those of the layer, in_proj_weight (3 E, E), or with
    `use_separate_proj_weight` q_proj_weight (E, E), k_proj_weight (E, kdim) and v_proj_weight (E, vdim).

    Raises `ShapeError` where shapes do not fit, `TracingError` for masks that are neither booleans nor floats,
    `UnsupportedError` for `static_k` and `static_v`.
    """
    if static_k is not None or static_v is not None:
        instead = "write nn.functional.scaled_dot_product_attention(q, static_k, static_v)"
        raise UnsupportedError(located(f"multi_head_attention_forward does not take static_k and static_v; {instead}"))
    attended, weights = attended_by_heads(
        query,
        key,
        value,
        embed_dim_to_check,
        num_heads,
        (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight,
        in_proj_bias,
        bias_k=bias_k,
        bias_v=bias_v,
        add_zero_attn=add_zero_attn,
        dropout_p=dropout_p if training else 0.0,
        key_padding_mask=key_padding_mask,
        need_weights=need_weights,
        attn_mask=attn_mask,
        average_attn_weights=average_attn_weights,
        is_causal=is_causal,
        batch_first=batch_first,
    )
    return linear(attended, out_proj_weight, out_proj_bias), weights


def attended_by_heads(
    query: Any,
    key: Any,
    value: Any,
    embed_dim: int,
    num_heads: int,
    weights: Any,
    bias: Any,
    *,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    key_padding_mask: Any,
    need_weights: bool,
    attn_mask: Any,
    average_attn_weights: bool,
    is_causal: bool,
    batch_first: bool,
) -> tuple[Any, Any]:
    """What `multi_head_attention_forward` gives, before the last projection; `weights` is one array or three."""
    query_is_key, key_is_value = query is key, key is value
    query = as_arraylike(query)
    key = query if query_is_key else as_arraylike(key)
    value = key if key_is_value else as_arraylike(value)
    widths = [embed_dim] * 2
    if isinstance(weights, tuple):
        weights = tuple(as_arraylike(w) for w in weights)
        if any(w.ndim != 2 for w in weights):
            shapes = ", ".join(str(w.shape) for w in weights)
            raise ShapeError(located(f"q_proj_weight, k_proj_weight and v_proj_weight are matrices, got {shapes}"))
        widths = [w.shape[-1] for w in weights[1:]]
    batched = _is_batched(query, key, value, (embed_dim, *widths), batch_first)
    batch_leads = batch_first or not batched
    q, k, v = (_heads(x, num_heads, batched, batch_leads) for x in _projected(query, key, value, weights, bias))
    count, heads, length, _ = q.shape
    mask = _mask(key_padding_mask, attn_mask, (count, heads, length, k.shape[2]), batched)
    if bias_k is not None or add_zero_attn:
        keys = k.shape[2]
        k, v = _with_more(k, bias_k, add_zero_attn), _with_more(v, bias_v, add_zero_attn)
        mask = _seeing_more(mask, causal_places(q, length, keys) if is_causal else None, k.shape[2] - keys)
        is_causal = False
    if need_weights:
        attention = dropout(attention_weights(q, k, mask, is_causal), dropout_p)
        attended = xp.matmul(attention, v)
    else:
        attention = None
        attended = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
    attended = xp.transpose(attended, (0, 2, 1, 3) if batch_leads else (2, 0, 1, 3))
    if attention is not None:
        attention = xp.mean(attention, axis=1) if average_attn_weights else attention
        attention = attention if batched else xp.squeeze(attention, 0)
    return xp.reshape(attended, query.shape), attention


def _is_batched(query: Any, key: Any, value: Any, widths: tuple[int, ...], batch_first: bool) -> bool:
    """Whether there is a batch axis. Raises `ShapeError` where the shapes do not fit."""
    batch = 0 if batch_first else 1
    shown = f"query {described(query)}, key {described(key)} and value {described(value)}"
    if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
        layout = "(N, L, E)" if batch_first else "(L, N, E)"
        raise ShapeError(located(f"MultiheadAttention: expected {layout} or (L, E), got {shown}"))
    if (query.shape[-1], key.shape[-1], value.shape[-1]) != widths:
        raise ShapeError(
            located(
                "MultiheadAttention: the last axes of query, key and value are embed_dim, kdim and vdim = "
                f"{widths}, got {shown}"
            )
        )
    batched = query.ndim == 3
    if tuple(key.shape[:-1]) != tuple(value.shape[:-1]) or (batched and query.shape[batch] != key.shape[batch]):
        axis = f"; axis {batch} is the batch, batch_first={batch_first}" if batched else ""
        raise ShapeError(located(f"MultiheadAttention: the lengths do not fit in {shown}{axis}"))
    return batched


def _projected(query: Any, key: Any, value: Any, weights: Any, bias: Any) -> list[Any]:
    """Queries, keys and values of `weights`, one array or three."""
    if not isinstance(weights, tuple):
        if query is key and key is value:
            return xp.split(linear(query, weights, bias), 3, axis=-1)
        weights = xp.split(weights, 3, axis=0)
    biases = [None] * 3 if bias is None else xp.split(bias, 3, axis=0)
    return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]


def _heads(x: Any, count: int, batched: bool, batch_leads: bool) -> Any:
    """(N, heads, length, E / heads)."""
    if not batched:
        x = xp.expand_dims(x, 0)
    split = xp.reshape(x, (*x.shape[:2], count, x.shape[-1] // count))
    return xp.transpose(split, (0, 2, 1, 3) if batch_leads else (1, 2, 0, 3))


def _with_more(x: Any, bias: Any, add_zero_attn: bool) -> Any:
    """Keys or values (N, heads, S, E / heads), and behind them the learned one and that of zeros."""
    parts = [x]
    shape = (*x.shape[:2], 1, x.shape[3])
    if bias is not None:
        parts.append(xp.broadcast_to(xp.reshape(bias, (1, *shape[1:])), shape))
    if add_zero_attn:
        parts.append(np.broadcast_to(np.zeros((), x.dtype), shape))
    return xp.concat(parts, axis=2)


def _mask(key_padding_mask: Any, attn_mask: Any, shape: tuple[int, int, int, int], batched: bool) -> Any:
    """Both masks as one for `attention_weights`, where true means seen; `None` where there is none."""
    count, heads, queries, keys = shape
    hidden = added = None
    masks: list[Any] = []
    if key_padding_mask is not None:
        padding = _checked_mask("key_padding_mask", key_padding_mask, [(count, keys)] if batched else [(keys,)])
        masks.append(xp.reshape(padding, (count, 1, 1, keys)))
    if attn_mask is not None:
        attn_mask = _checked_mask("attn_mask", attn_mask, [(queries, keys), (count * heads, queries, keys)])
        masks.append(xp.reshape(attn_mask, shape) if attn_mask.ndim == 3 else attn_mask)
    for mask in masks:
        if mask.dtype.kind == "b":
            hidden = mask if hidden is None else xp.logical_or(hidden, mask)
        else:
            added = mask if added is None else added + mask
    if hidden is None or added is None:
        return added if hidden is None else xp.logical_not(hidden)
    return xp.where(hidden, -math.inf, added)


def _seeing_more(mask: Any, allowed: Any, count: int) -> Any:
    """A mask for `attention_weights`, with what `allowed` says too, and so many more keys that all queries see."""
    if allowed is not None and mask is not None and is_float(mask.dtype):
        mask = xp.where(allowed, mask, -math.inf)
    elif allowed is not None:
        mask = allowed if mask is None else xp.logical_and(mask, allowed)
    if mask is None:
        return None
    seen = np.broadcast_to(np.array(mask.dtype.kind == "b", mask.dtype), (*mask.shape[:-1], count))
    return xp.concat([mask, seen], axis=-1)


def _checked_mask(name: str, mask: Any, shapes: list[tuple[int, ...]]) -> Any:
    mask = as_arraylike(mask)
    if kind_of(mask.dtype) not in "bf":
        hint = f"write {name}.astype(bool), true where a key may not be seen, or .astype('float32') to add it"
        raise TracingError(located(f"{name} is booleans or floats, got {described(mask)}; {hint}"))
    if tuple(mask.shape) not in shapes:
        raise ShapeError(located(f"{name} is {described(mask)}, expected shape {' or '.join(map(str, shapes))}"))
    return mask
