"""Dropout: of elements and of channels, and of what keeps mean and variance behind SELU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing import random
from ...tracing.numbers import as_real
from ...tracing.tracer import ShapeError, located
from ..spelling import torch_arguments
from .smooth_activations import SELU_ALPHA, SELU_SCALE


@torch_arguments
def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training each element is 0 with probability `p`, else times 1 / (1 - p). Srivastava et al. 2014.

    Raises `RuntimeError` where there is no key to draw from, see `gl.random.key`.
    """
    x = as_arraylike(input)
    check_probability("dropout", p)
    if not training or p == 0:
        return x
    if p == 1:
        return _nothing_of(x)
    return _dropped(x, p, tuple(x.shape))


def check_probability(what: str, p: Any) -> None:
    """Raise `TypeError` for what is no number, `ValueError` for one outside [0, 1]."""
    if as_real(p) is None:
        raise TypeError(located(f"{what}: the probability is a number from 0 to 1, got {p!r}"))
    if not 0 <= p <= 1:
        raise ValueError(located(f"{what}: the probability is from 0 to 1, got {p}"))


def _nothing_of(x: Any) -> Any:
    """Zeros, also where x is not finite, that depend on x by a derivative of 0."""
    return xp.where(np.zeros((), bool), x, 0)


def _dropped(x: Any, p: float, shape: tuple[int, ...]) -> Any:
    """`x` with the places of a mask of `shape`, which is broadcast, set to 0 with probability `p`; the rest scaled."""
    return xp.where(random.bernoulli(p, shape), 0, x * (1 / (1 - p)))


def _channel_dropout(what: str, ndims: dict[int, int], input: Any, p: float, training: bool) -> Any:
    """Dropout of whole channels; `ndims` says for each number of axes how many lead to and with that of channels."""
    x = as_arraylike(input)
    if x.ndim not in ndims:
        raise ShapeError(located(f"{what}: the input has {' or '.join(map(str, ndims))} axes, got {described(x)}"))
    check_probability(what, p)
    if not training or p == 0:
        return x
    if p == 1:
        return _nothing_of(x)
    leading = ndims[x.ndim]
    return _dropped(x, p, (*x.shape[:leading], *(1,) * (x.ndim - leading)))


@torch_arguments
def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training each channel of (N, C, L) or (C, L) is 0 with probability `p`, else times 1 / (1 - p)."""
    return _channel_dropout("dropout1d", {3: 2, 2: 1}, input, p, training)


@torch_arguments
def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training each channel of (N, C, H, W) is 0 with probability `p`, else times 1 / (1 - p). Three axes are taken
    as (N, C, L), as in torch. Tompson et al. 2015.
    """
    return _channel_dropout("dropout2d", {4: 2, 3: 2}, input, p, training)


@torch_arguments
def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training each channel of (N, C, D, H, W) or (C, D, H, W) is 0 with probability `p`, else times 1 / (1 - p)."""
    return _channel_dropout("dropout3d", {5: 2, 4: 1}, input, p, training)


@torch_arguments
def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """In training each element is SELU's limit for x -> -inf with probability `p`; then all are scaled and shifted so
    that mean 0 and variance 1 stay. Klambauer, Unterthiner, Mayr and Hochreiter 2017.
    """
    x = as_arraylike(input)
    return _alpha_dropped("alpha_dropout", x, p, training, tuple(x.shape))


@torch_arguments
def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """As `alpha_dropout`, of whole channels of (N, C, ...)."""
    x = as_arraylike(input)
    if training and x.ndim < 2:
        raise ShapeError(located(f"feature_alpha_dropout: the input is (N, C, ...), got {described(x)}"))
    return _alpha_dropped("feature_alpha_dropout", x, p, training, (*x.shape[:2], *(1,) * (x.ndim - 2)))


def _alpha_dropped(what: str, x: Any, p: float, training: bool, shape: tuple[int, ...]) -> Any:
    check_probability(what, p)
    if not training or p == 0:
        return x
    if p == 1:
        return _nothing_of(x)
    limit = -SELU_ALPHA * SELU_SCALE
    scale = 1 / math.sqrt((limit * limit * p + 1) * (1 - p))
    shift = -scale * limit * p
    return xp.where(random.bernoulli(p, shape), scale * limit + shift, x * scale + shift)
