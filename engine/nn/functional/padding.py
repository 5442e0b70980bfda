"""Padding as torch has it: widths from the last axis on, in four modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, located

_NUMPY_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """`input` with elements added along its last axes: `pad` is (before, after) for the last axis, then for the one
    before it, and so on. Negative widths take elements away.

    `mode` is "constant" (with `value`, 0 if not given), "reflect" (without the edge, so widths are below the length),
    "replicate" (the edge) or "circular" (from the other end, at most once around).
    """
    x = as_arraylike(input)
    if mode not in _NUMPY_MODES:
        raise ValueError(located(f"pad: mode is one of {', '.join(_NUMPY_MODES)}, got {mode!r}"))
    widths = tuple(pad)
    if len(widths) % 2 or len(widths) > 2 * x.ndim or not all(isinstance(n, int) for n in widths):
        raise ValueError(
            located(
                f"pad: the widths are pairs of whole numbers for up to {x.ndim} axes of {described(x)}, got {pad!r}"
            )
        )
    if mode != "constant" and value not in (None, 0):
        raise ValueError(located(f"pad: a value goes with mode='constant', not with {mode!r}"))
    pairs = [(0, 0)] * (x.ndim - len(widths) // 2) + list(zip(widths[-2::-2], widths[-1::-2]))
    if mode == "circular":  # what is taken away is gone before the rest comes around
        x, pairs = _cropped(x, pairs), [(max(a, 0), max(b, 0)) for a, b in pairs]
    for axis, (before, after) in enumerate(pairs):
        n = x.shape[axis]
        limit = {"reflect": n - 1, "circular": n}.get(mode)
        if limit is not None and max(before, after) > max(limit, 0):
            raise ShapeError(
                located(
                    f"pad: mode {mode!r} adds at most {max(limit, 0)} elements to axis {axis} of {described(x)}, "
                    f"got {pad!r}"
                )
            )
        if n + before + after < 0 or (mode != "constant" and n == 0 and max(before, after) > 0):
            raise ShapeError(located(f"pad: widths {pad!r} leave nothing of axis {axis} of {described(x)}"))
    grown = [(max(a, 0), max(b, 0)) for a, b in pairs]
    if mode == "constant":
        x = xp.pad(x, grown, constant_values=0 if value is None else value)
    else:
        x = xp.pad(x, grown, mode=_NUMPY_MODES[mode])
    # One side may take away more than there was, as long as the other gives it back.
    return _cropped(x, pairs)


def _cropped(x: Any, pairs: Sequence[tuple[int, int]]) -> Any:
    """`x` without what negative widths take away."""
    if all(a >= 0 and b >= 0 for a, b in pairs):
        return x
    return x[tuple(slice(max(-a, 0), max(n - max(-b, 0), 0)) for (a, b), n in zip(pairs, x.shape))]
