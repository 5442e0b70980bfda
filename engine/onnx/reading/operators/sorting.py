"""Operators that order elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import array_api as xp
from ..operator import Call, operator


@operator("TopK", known=(1,))
def top_k(call: Call, x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    count = call.number(k, "k")
    order = xp.argsort(x, axis=axis, stable=True, descending=bool(largest))
    kept = order[(*(slice(None),) * (axis % x.ndim), slice(0, count))]
    return xp.take_along_axis(x, kept, axis=axis), xp.astype(kept, "int64")


@operator("Unique", known=(0,))
def unique(call: Call, x: Any, *, axis: int | None = None, sorted: int = 1) -> Any:
    """How many there are decides a shape, so that the input must be known."""
    values, first, inverse, counts = np.unique(
        call.known(x, "the input"), return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    if not sorted:
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        values = np.take(values, order, axis=axis or 0)
        first, inverse, counts = first[order], place[inverse.reshape(-1)], counts[order]
    return values, first.astype(np.int64), inverse.reshape(-1).astype(np.int64), counts.astype(np.int64)


@operator("NonMaxSuppression", known=(0, 1, 2, 3, 4))
def non_max_suppression(
    call: Call, boxes: Any, scores: Any, most: Any = None, overlap: Any = None, least: Any = None,
    *, center_point_box: int = 0,
) -> Any:  # fmt: skip
    """How many boxes are left decides a shape, so that all inputs must be known."""
    corners = _corners(call.known(boxes, "the boxes"), center_point_box)
    given = call.known(scores, "the scores")
    count = 0 if most is None else call.number(most, "max_output_boxes_per_class")
    limit = 0.0 if overlap is None else float(call.known(overlap, "iou_threshold").reshape(()))
    bound = -np.inf if least is None else float(call.known(least, "score_threshold").reshape(()))
    found = [
        (n, c, i)
        for n in range(given.shape[0])
        for c in range(given.shape[1])
        for i in _kept(corners[n], given[n, c], count, limit, bound)
    ]
    return np.array(found, np.int64).reshape(-1, 3)


def _corners(boxes: Any, center_point_box: int) -> Any:
    """Boxes as (y1, x1, y2, x2), the smaller ones first."""
    if center_point_box:
        x, y, width, height = (boxes[..., i] for i in range(4))
        return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], -1)
    return np.concatenate(
        [np.minimum(boxes[..., :2], boxes[..., 2:]), np.maximum(boxes[..., :2], boxes[..., 2:])], axis=-1
    )


def _kept(boxes: Any, scores: Any, count: int, limit: float, bound: float) -> list[int]:
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > bound and len(kept) < count and all(_overlap(boxes[i], boxes[j]) <= limit for j in kept):
            kept.append(int(i))
    return kept


def _overlap(a: Any, b: Any) -> float:
    """The area of both boxes over that of either."""
    height, width = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(float(height), 0.0) * max(float(width), 0.0)
    total = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both
    return both / total if total else 0.0
