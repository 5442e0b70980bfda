"""Multi-head attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...ir import is_float, kind_of
from .. import array_api as xp
from ..array_api.broadcasting import as_arraylike, described
from ..tracing.tracer import ShapeError, TracingError, located
from . import functional as F
from . import init
from .functional.attention import attention_weights, causal_places
from .layers import Linear
from .module import Module
from .parameter import Parameter


class MultiheadAttention(Module):
    """Attention in `num_heads` subspaces at once: in_proj, then softmax(q kᵀ / √(E / heads)) v by head, then out_proj.

    Parameters are in_proj_weight (3 E, E), the rows for q, k and v one after another, or q_proj_weight (E, E),
    k_proj_weight (E, kdim) and v_proj_weight (E, vdim) where `kdim` or `vdim` is not E; in_proj_bias (3 E,); and
    out_proj. `dropout` drops attention weights in training. `add_bias_kv` puts a learned key and value behind the
    sequence, bias_k and bias_v (1, 1, E), `add_zero_attn` a key and a value of zeros; all queries see them. Vaswani et
    al. 2017, "Attention is all you need".
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} does not divide into num_heads {num_heads} equal heads")
        if not 0 <= dropout <= 1:
            raise ValueError(f"the probability of dropout is from 0 to 1, got {dropout}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = Parameter((3 * embed_dim, embed_dim), dtype, init.xavier_uniform())
        else:
            self.in_proj_weight = None
            self.q_proj_weight = Parameter((embed_dim, embed_dim), dtype, init.xavier_uniform())
            self.k_proj_weight = Parameter((embed_dim, self.kdim), dtype, init.xavier_uniform())
            self.v_proj_weight = Parameter((embed_dim, self.vdim), dtype, init.xavier_uniform())
        self.in_proj_bias = Parameter(3 * embed_dim, dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        self.bias_k = Parameter((1, 1, embed_dim), dtype, init.xavier_normal()) if add_bias_kv else None
        self.bias_v = Parameter((1, 1, embed_dim), dtype, init.xavier_normal()) if add_bias_kv else None

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """(output, weights), or (output, None) without `need_weights`.

        query is (L, N, E), key (S, N, kdim), value (S, N, vdim), or with `batch_first` (N, L, E) and so on; without a
        batch (L, E) and so on. The output has the shape of the query. The weights are (N, L, S), the mean over the
        heads, or (N, heads, L, S) without `average_attn_weights`.

        `key_padding_mask` is (N, S), `attn_mask` (L, S) or (N * heads, L, S): booleans, true where a key may not be
        seen, or floats that are added to the scores. With `is_causal` no query sees a later key, whether or not
        `attn_mask` says so. A query that sees no key gets the output of zeros.
        """
        query_is_key, key_is_value = query is key, key is value
        query = as_arraylike(query)
        key = query if query_is_key else as_arraylike(key)
        value = key if key_is_value else as_arraylike(value)
        batched = self._check_inputs(query, key, value)
        q, k, v = (self._heads(x, batched) for x in self._projected(query, key, value))
        count, heads, length, _ = q.shape
        mask = self._mask(key_padding_mask, attn_mask, (count, heads, length, k.shape[2]), batched)
        if self.bias_k is not None or self.add_zero_attn:
            keys = k.shape[2]
            k, v = self._with_more(k, self.bias_k), self._with_more(v, self.bias_v)
            mask = _seeing_more(mask, causal_places(q, length, keys) if is_causal else None, k.shape[2] - keys)
            is_causal = False
        drop = self.dropout if self.training else 0.0
        if need_weights:
            weights = F.dropout(attention_weights(q, k, mask, is_causal), drop)
            attended = xp.matmul(weights, v)
        else:
            weights = None
            attended = F.scaled_dot_product_attention(q, k, v, mask, drop, is_causal)
        order = (0, 2, 1, 3) if self.batch_first or not batched else (2, 0, 1, 3)
        output = self.out_proj(xp.reshape(xp.transpose(attended, order), query.shape))
        if weights is not None:
            weights = xp.mean(weights, axis=1) if average_attn_weights else weights
            weights = weights if batched else xp.squeeze(weights, 0)
        return output, weights

    def _check_inputs(self, query: Any, key: Any, value: Any) -> bool:
        """Whether there is a batch axis. Raises `ShapeError` where the shapes do not fit."""
        batch = 0 if self.batch_first else 1
        shown = f"query {described(query)}, key {described(key)} and value {described(value)}"
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            layout = "(N, L, E)" if self.batch_first else "(L, N, E)"
            raise ShapeError(located(f"MultiheadAttention: expected {layout} or (L, E), got {shown}"))
        lasts = (query.shape[-1], key.shape[-1], value.shape[-1])
        if lasts != (self.embed_dim, self.kdim, self.vdim):
            raise ShapeError(
                located(
                    "MultiheadAttention: the last axes of query, key and value are embed_dim, kdim and vdim = "
                    f"{(self.embed_dim, self.kdim, self.vdim)}, got {shown}"
                )
            )
        batched = query.ndim == 3
        if tuple(key.shape[:-1]) != tuple(value.shape[:-1]) or (batched and query.shape[batch] != key.shape[batch]):
            axis = f"; axis {batch} is the batch, batch_first={self.batch_first}" if batched else ""
            raise ShapeError(located(f"MultiheadAttention: the lengths do not fit in {shown}{axis}"))
        return batched

    def _projected(self, query: Any, key: Any, value: Any) -> list[Any]:
        if self.in_proj_weight is not None and query is key and key is value:
            return xp.split(F.linear(query, self.in_proj_weight, self.in_proj_bias), 3, axis=-1)
        if self.in_proj_weight is not None:
            weights = xp.split(self.in_proj_weight, 3, axis=0)
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        biases = [None] * 3 if self.in_proj_bias is None else xp.split(self.in_proj_bias, 3, axis=0)
        return [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]

    def _heads(self, x: Any, batched: bool) -> Any:
        """(N, heads, length, E / heads)."""
        size = self.embed_dim // self.num_heads
        if not batched:
            x = xp.expand_dims(x, 0)
        split = xp.reshape(x, (*x.shape[:2], self.num_heads, size))
        return xp.transpose(split, (0, 2, 1, 3) if self.batch_first or not batched else (1, 2, 0, 3))

    def _with_more(self, x: Any, bias: Any) -> Any:
        """Keys or values (N, heads, S, E / heads), and behind them the learned one and that of zeros."""
        parts = [x]
        shape = (x.shape[0], self.num_heads, 1, x.shape[3])
        if bias is not None:
            parts.append(xp.broadcast_to(xp.reshape(bias, (1, *shape[1:])), shape))
        if self.add_zero_attn:
            parts.append(np.broadcast_to(np.zeros((), x.dtype), shape))
        return xp.concat(parts, axis=2)

    def _mask(self, key_padding_mask: Any, attn_mask: Any, shape: tuple[int, int, int, int], batched: bool) -> Any:
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

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}"


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
