"""Rotary position embeddings: pairs of elements turned by angles that grow with the place in the sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir import is_float, kind_of
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, axis_index, broadcasts_to, described
from ...tracing.tracer import ShapeError, Tracer, TracingError, located


def rotary_embedding(
    input: Any,
    positions: Any = None,
    *,
    base: float = 10000.0,
    interleaved: bool = False,
    rotary_dim: int | None = None,
    offset: Any = 0,
    axis: int = -2,
) -> Any:
    """Each pair i of the last axis of `input`, which is E long, turned by the angle position base^(-2 i / E).

    `axis` is that of the sequence: -2 for (N, heads, L, E), -3 for (N, L, heads, E). `positions` are (L,), or broadcast
    to `input` without its last axis; 0 to L - 1 if not given. `offset` is added to them. Pair i is of elements i and
    i + E/2, as in GPT-NeoX and the LLaMA of Hugging Face, or with `interleaved` of 2 i and 2 i + 1, as in GPT-J and
    Meta's LLaMA. With `rotary_dim` that many first elements take part, as if E were so long. Raises `ShapeError` where
    they are no pairs. Su et al. 2021, "RoFormer: enhanced transformer with rotary position embedding".
    """
    x = as_arraylike(input)
    if x.ndim < 2 or not is_float(x.dtype):
        raise ShapeError(located(f"rotary_embedding: the input is floats of (..., L, E), got {described(x)}"))
    width = x.shape[-1]
    turned = width if rotary_dim is None else rotary_dim
    if turned % 2 or not 0 < turned <= width:
        raise ShapeError(located(f"rotary_embedding: {turned} elements of {described(x)} are no pairs to be turned"))
    cos, sin = _turns(_angles(x, positions, offset, axis, base, turned), x.dtype)
    part = x if turned == width else x[..., :turned]
    if interleaved:
        pairs = xp.reshape(part, (*part.shape[:-1], turned // 2, 2))
        first, second = pairs[..., 0], pairs[..., 1]
        result = xp.reshape(xp.stack([first * cos - second * sin, second * cos + first * sin], axis=-1), part.shape)
    else:
        first, second = part[..., : turned // 2], part[..., turned // 2 :]
        result = xp.concat([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return result if turned == width else xp.concat([result, x[..., turned:]], axis=-1)


def _angles(x: Any, positions: Any, offset: Any, axis: int, base: float, turned: int) -> Any:
    """The angles, (..., turned / 2), which broadcast to pairs of `x`: in float64 where they are known."""
    place = axis_index(axis, x.ndim)
    length, lead = x.shape[place], x.shape[:-1]
    if place == x.ndim - 1:
        raise ShapeError(located(f"rotary_embedding: axis {axis} of {described(x)} is the one that is turned"))
    at = as_arraylike(np.arange(length) if positions is None else positions)
    if kind_of(at.dtype) not in "iuf":
        raise TracingError(located(f"rotary_embedding: positions are numbers, got {described(at)}"))
    at = at + as_arraylike(offset)
    if at.ndim == 1:
        at = xp.reshape(at, (at.shape[0], *(1,) * (len(lead) - 1 - place)))
    if not broadcasts_to(at.shape, lead):
        raise ShapeError(
            located(f"rotary_embedding: positions {described(at)} are no ({length},), and do not broadcast to {lead}")
        )
    known = not isinstance(at, Tracer)
    speeds = float(base) ** (-np.arange(0, turned, 2) / turned)
    return xp.expand_dims(xp.astype(at, "float64" if known else x.dtype), -1) * (
        speeds if known else speeds.astype(x.dtype)
    )


def _turns(angles: Any, dtype: Any) -> tuple[Any, Any]:
    return xp.astype(xp.cos(angles), dtype), xp.astype(xp.sin(angles), dtype)
