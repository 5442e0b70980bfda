"""Pairs of examples as one: their images and their labels mixed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....ir import is_float
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing import random
from ...tracing.keywords import tells_keywords
from ...tracing.numbers import as_real
from ...tracing.tracer import ShapeError, TracingError, located
from .images import images


@tells_keywords
def mixup(input: Any, target: Any, alpha: float = 1.0, num_classes: int | None = None) -> tuple[Any, Any]:
    """λ of each example and 1 - λ of its neighbour in the batch, of the input and of the target; λ ~ Beta(alpha, alpha)
    is drawn for each example. The first is the neighbour of the last, so the batch comes shuffled.

    `input` is floats (N, ...), `target` probabilities (N, C), or labels (N,) of `num_classes` classes. The target that
    comes back is probabilities, for `nn.cross_entropy`. Zhang et al. 2018, "mixup: beyond empirical risk minimization".
    """
    x = as_arraylike(input)
    if not is_float(x.dtype) or not x.ndim:
        raise TracingError(located(f"mixup: the input is floats (N, ...), got {described(x)}"))
    y = _probabilities("mixup", target, num_classes, x)
    share = _shares("mixup", x, alpha)
    return _mixed(x, xp.reshape(share, (-1, *(1 for _ in x.shape[1:])))), _mixed(y, xp.expand_dims(share, 1))


@tells_keywords
def cutmix(input: Any, target: Any, alpha: float = 1.0, num_classes: int | None = None) -> tuple[Any, Any]:
    """Images with a rectangle of their neighbour in the batch, of a part 1 - λ of the area, and as much of its target;
    λ ~ Beta(alpha, alpha) and the place of the rectangle are drawn for each image. What lies outside is cut off, and
    counts for nothing. Arguments and results are those of `mixup`, for images (N, C, H, W). Yun et al. 2019, "CutMix".
    """
    x = images("cutmix", input)
    y = _probabilities("cutmix", target, num_classes, x)
    sides = xp.sqrt(1 - _shares("cutmix", x, alpha))
    height, width = x.shape[2:]
    inside = []
    for axis, length in ((2, height), (3, width)):
        center = xp.expand_dims(random.randint((x.shape[0],), 0, length), 1)
        half = xp.expand_dims(xp.astype(sides * (length / 2), "int64"), 1)
        place = np.arange(length)
        along = (place >= center - half) & (place < center + half)
        inside.append(xp.reshape(along, (-1, 1, length, 1) if axis == 2 else (-1, 1, 1, length)))
    cut = inside[0] & inside[1]
    kept = 1 - xp.mean(xp.astype(cut, x.dtype), axis=(1, 2, 3))
    return xp.where(cut, xp.roll(x, 1, axis=0), x), _mixed(y, xp.expand_dims(kept, 1))


def _mixed(x: Any, share: Any) -> Any:
    return x * share + xp.roll(x, 1, axis=0) * (1 - share)


def _shares(what: str, x: Any, alpha: float) -> Any:
    number = as_real(alpha)
    if number is None or not 0 < number < math.inf:
        raise ValueError(located(f"{what}: alpha is above 0, got {alpha!r}"))
    shape = (x.shape[0],)
    # Of Beta(1, 1) no draw is refused.
    return random.uniform(shape, x.dtype) if number == 1 else random.beta(number, number, shape, x.dtype)


def _probabilities(what: str, target: Any, num_classes: int | None, x: Any) -> Any:
    y = as_arraylike(target)
    if is_float(y.dtype) and y.ndim == 2:
        y = xp.astype(y, x.dtype)
    elif y.dtype.kind in "iu" and y.ndim == 1 and num_classes is not None:
        y = xp.one_hot(y, num_classes, dtype=x.dtype)
    else:
        wanted = "labels (N,) with num_classes=, or probabilities (N, C)"
        raise ShapeError(located(f"{what}: the target is {wanted}, got {described(y)}"))
    if y.shape[0] != x.shape[0]:
        raise ShapeError(located(f"{what}: {x.shape[0]} inputs, but {y.shape[0]} targets"))
    return y
