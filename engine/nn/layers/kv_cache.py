"""Keys and values of a sequence so far, so that generation computes each position once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, emit, located
from ..module import Module
from ..parameter import Buffer


class KVCache(Module):
    """Keys and values of up to `max_length` positions, as buffers that a function of `step.bind` goes on with.

    Each call appends those of new positions, one or many, and writes nothing else:

        def forward(self, x):                                          # x is (N, L, width)
            q, k, v = ...                                              # (N, heads, L, E), L new positions
            q, k = (F.rotary_embedding(t, offset=self.cache.length) for t in (q, k))
            k, v, mask = self.cache(k, v)
            return F.scaled_dot_product_attention(q, k, v, mask)       # as a causal one of all positions so far

    `nn.scan` generates many tokens in one call, and `reset` begins anew. The buffers keys and values are (batch_size,
    num_heads, max_length, head_dim), and length counts the positions. They are no part of state dicts. `num_heads` are
    those of keys, which may be fewer than of queries (`enable_gqa`).
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

    def reset(self) -> None:
        """Forget all positions: in a function of `step.bind`, or before a step is compiled."""
        self.length = np.zeros((), "int64")

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.keys.shape))
