"""Attention, kept whole so that its scores need not lie in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...nn import functional as F
from ..table import aten


@aten("scaled_dot_product_attention.default", whole=True)
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
    """softmax(query keyᵀ scale + mask) value. A mask that is known while tracing, and that is all true or causal, is
    not stored.
    """
    if isinstance(attn_mask, np.ndarray):
        attn_mask = _without_repetition(attn_mask)
        if attn_mask.dtype == np.dtype("bool"):
            lengths = (query.shape[-2], key.shape[-2])
            if attn_mask.all():
                attn_mask = None
            elif attn_mask.squeeze().shape == lengths and (attn_mask.squeeze() == np.tri(*lengths, dtype=bool)).all():
                attn_mask, is_causal = None, True
    return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)


def _without_repetition(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The mask with one entry along leading axes along which it is the same."""
    for axis in range(mask.ndim - 2):
        first = mask[(slice(None),) * axis + (slice(0, 1),)]
        if mask.shape[axis] > 1 and (mask == first).all():
            mask = first
    return mask
