"""The padding of windows over images, as ONNX says it: numbers for both ends of each axis, or a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..operator import Call

Pads = tuple[tuple[int, ...], tuple[int, ...]]
"""Elements before, and behind, along each axis."""


def per_axis(call: Call, name: str, given: Any, axes: int, default: int = 1) -> tuple[int, ...]:
    """An attribute with one number for each axis."""
    numbers = (default,) * axes if not given else tuple(given)
    if len(numbers) != axes:
        raise call.refuse(f"{name} has {len(numbers)} numbers for {axes} axes")
    return numbers


def window_pads(
    call: Call,
    auto_pad: str,
    pads: Any,
    lengths: Sequence[int],
    size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Pads:
    """How far windows reach out over both ends."""
    axes = len(lengths)
    if auto_pad in ("NOTSET", ""):
        given = per_axis(call, "pads", pads, 2 * axes, 0)
        return given[:axes], given[axes:]
    if auto_pad == "VALID":
        return (0,) * axes, (0,) * axes
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.refuse(f"auto_pad is NOTSET, VALID, SAME_UPPER or SAME_LOWER, got {auto_pad!r}")
    totals = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) for n, k, s, d in zip(lengths, size, stride, dilation)]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)
