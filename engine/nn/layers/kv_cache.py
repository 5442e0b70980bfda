"""Keys and values of a sequence so far, so that generation computes each position once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, emit, located
from ...tracing.while_loop import while_loop
from ..module import Module
from ..parameter import Buffer

_BLOCK = 256
"""Keys that are read at once: enough to be worth an iteration, and few beside what a long cache holds."""


class KVCache(Module):
    """Keys and values of up to `max_length` positions, as buffers that a function of `step.bind` goes on with.

    Each call appends those of new positions, one or many, and writes nothing else:

        def forward(self, x):                                          # x is (N, L, width)
            q, k, v = ...                                              # (N, heads, L, E), L new positions
            q, k = (F.rotary_embedding(t, offset=self.cache.length) for t in (q, k))
            return self.cache.attend(q, k, v)                          # as a causal one of all positions so far

    Called as `k, v, mask = self.cache(k, v)` it gives what `F.scaled_dot_product_attention(q, k, v, mask)` takes, which
    reads the whole cache. `nn.scan` generates many tokens in one call, and `reset` begins anew. The buffers keys and
    values are (batch_size, num_heads, max_length, head_dim), and length counts the positions. They are no part of state
    dicts. `num_heads` are those of keys, which may be fewer than of queries (`enable_gqa`).
    """

    def __init__(
        self, batch_size: int, num_heads: int, max_length: int, head_dim: int, dtype: npt.DTypeLike = "float32"
    ) -> None:
        shape = (batch_size, num_heads, max_length, head_dim)
        if min(shape) < 1:
            raise ValueError(located(f"KVCache: sizes are 1 or more, got {shape}"))
        self.keys = Buffer(shape, dtype, persistent=False)
        self.values = Buffer(shape, dtype, persistent=False)
        self.length = Buffer((), "int64", persistent=False)

    def forward(self, key: Any, value: Any) -> tuple[Any, Any, Any]:
        """(keys, values, mask) with those of L new positions, `key` and `value` (batch_size, num_heads, L, head_dim).

        keys and values are whole, (batch_size, num_heads, max_length, head_dim); the mask, (L, max_length), is true
        where a new position may see one that is not later. More positions than `max_length` stop the run with
        `IndexError`. Raises `ShapeError` for other shapes or dtypes.
        """
        key, value = as_arraylike(key), as_arraylike(value)
        count = key.shape[2] if key.ndim == 4 else 0
        batch, heads, limit, width = self.keys.shape
        for new in (key, value):
            if (
                tuple(new.shape) != (batch, heads, count, width)
                or not 0 < count <= limit
                or new.dtype != self.keys.dtype
            ):
                wanted = f"({batch}, {heads}, L, {width}) {self.keys.dtype} with L from 1 to {limit}"
                raise ShapeError(
                    located(f"KVCache: key and value are {wanted}, got {described(key)} and {described(value)}")
                )
        start = emit(ew.check_index, as_arraylike(self.length), size=limit - count + 1)
        self.keys = xp.dynamic_update_slice_in_dim(self.keys, key, start, axis=2)
        self.values = xp.dynamic_update_slice_in_dim(self.values, value, start, axis=2)
        self.length = start + count
        mask = np.arange(limit) <= xp.expand_dims(start + np.arange(count), -1)
        return self.keys, self.values, mask

    def attend(self, query: Any, key: Any, value: Any, scale: float | None = None) -> Any:
        """Causal attention of L new positions to all so far: appends `key` and `value` as a call does, and gives the
        shape of `query`, (batch_size, heads, L, head_dim). Each head of keys serves as many of `query`.

        It reads the positions that there are and no more, some at a time, and has no derivative. `scale` is 1/√head_dim
        by default. Raises `ShapeError` where the shapes do not fit.
        """
        query, start = as_arraylike(query), as_arraylike(self.length)
        batch, heads, _, width = self.keys.shape
        keys, values, _ = self(key, value)
        count = as_arraylike(key).shape[2]
        shape = tuple(query.shape)
        fits = query.ndim == 4 and (shape[0], *shape[2:]) == (batch, count, width) and shape[1] % heads == 0
        if not fits or query.dtype != self.keys.dtype:
            expected = f"({batch}, G {heads}, {count}, {width}) {self.keys.dtype}"
            raise ShapeError(located(f"KVCache: the query is {expected}, got {described(query)}"))
        scale = 1 / math.sqrt(width) if scale is None else scale
        rows = xp.reshape(query, (batch, heads, shape[1] // heads * count, width)) * np.asarray(scale, query.dtype)
        places = start + np.arange(rows.shape[2]) % count
        return xp.reshape(_attended(rows, keys, values, places, start + count), shape)

    def reset(self) -> None:
        """Forget all positions: in a function of `step.bind`, or before a step is compiled."""
        self.length = np.zeros((), "int64")

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.keys.shape))


def _attended(rows: Any, keys: Any, values: Any, places: Any, end: Any) -> Any:
    """Attention of rows at `places` to those of the first `end` keys that are not later, block by block.

    Known elsewhere as flash decoding; the running softmax is that of Milakov and Gimelshein 2018, "Online normalizer
    calculation for softmax".
    """
    limit = keys.shape[2]
    block = min(_BLOCK, limit)

    def step(state: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        begin, top, total, sums = state
        first = xp.minimum(begin, limit - block)  # the last block reaches back, over keys that were read before
        key, value = (xp.dynamic_slice_in_dim(x, first, block, axis=2) for x in (keys, values))
        at = first + np.arange(block)
        seen = xp.logical_and(at >= begin, at <= xp.expand_dims(places, -1))
        scores = xp.where(seen, xp.matmul(rows, xp.swapaxes(key, -1, -2)), -math.inf)
        new_top = xp.maximum(top, xp.max(scores, axis=-1, keepdims=True))
        weights, kept = xp.exp(scores - new_top), xp.exp(top - new_top)
        total = total * kept + xp.sum(weights, axis=-1, keepdims=True)
        return begin + block, new_top, total, sums * kept + xp.matmul(weights, value)

    none = np.zeros((*rows.shape[:-1], 1), rows.dtype)
    start = (np.zeros((), "int64"), none - np.array(np.inf, rows.dtype), none, np.zeros(rows.shape, rows.dtype))
    _, _, total, sums = while_loop(lambda state: state[0] < end, step, start)
    return sums / total
