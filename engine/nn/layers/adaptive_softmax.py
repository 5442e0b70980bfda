"""The softmax of many classes, of which the rare ones are reached by clusters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.numbers import as_whole
from ...tracing.tracer import ShapeError, located
from .. import functional as F
from ..containers import ModuleList, Sequential
from ..functional.transformations import checked_index
from ..module import Module
from .linear import Linear


class LogSoftmaxAndLoss(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` gives."""

    output: Any
    """The log-probability of every target, (N,) or ()."""
    loss: Any
    """Their mean, with the other sign."""


class AdaptiveLogSoftmaxWithLoss(Module):
    """The log-probability of `n_classes` classes, the frequent ones first, and its loss.

    The head has the classes below `cutoffs[0]` and one entry for each cluster; cluster i has the classes from
    `cutoffs[i]` to the next cutoff, behind a projection to in_features / div_value ** (i + 1) features. Parameters are
    torch's: head.weight, tail.0.0.weight, tail.0.1.weight, ... Every cluster is computed for every row, since shapes
    do not depend on values; the result is that of torch. Grave et al. 2017, "Efficient softmax approximation for
    GPUs". Raises `ValueError` for cutoffs that do not rise between 1 and n_classes - 1.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        bounds = [as_whole(c) for c in cutoffs]
        rising = [c for c in bounds if c is not None and 1 <= c < n_classes]
        if not bounds or rising != bounds or sorted(set(rising)) != rising:
            raise ValueError(
                located(
                    f"AdaptiveLogSoftmaxWithLoss: cutoffs are whole numbers that rise between 1 and n_classes - 1 = "
                    f"{n_classes - 1}, got {list(cutoffs)}"
                )
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*rising, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(itertools.pairwise(self.cutoffs)):
            features = int(in_features // div_value ** (i + 1))
            projection = Linear(in_features, features, False, dtype)
            self.tail.append(Sequential(projection, Linear(features, high - low, False, dtype)))

    def forward(self, input_: Any, target_: Any) -> LogSoftmaxAndLoss:
        """For input (N, in_features) and classes (N,), or (in_features,) and (); a class that is none stops the run."""
        x, target = as_arraylike(input_), as_arraylike(target_)
        if x.ndim not in (1, 2) or tuple(target.shape) != tuple(x.shape[:-1]):
            shapes = "(N, in_features) and targets (N,), or (in_features,) and ()"
            raise ShapeError(
                located(
                    f"AdaptiveLogSoftmaxWithLoss: the input is {shapes}, got {described(x)} and {described(target)}"
                )
            )
        target = checked_index(target, self.n_classes, "AdaptiveLogSoftmaxWithLoss: targets")
        head = F.log_softmax(self.head(x))
        entry = target
        output: Any = 0
        for i, (low, high) in enumerate(itertools.pairwise(self.cutoffs)):
            inside = xp.logical_and(target >= low, target < high)
            entry = xp.where(inside, self.shortlist_size + i, entry)
            within = _at(F.log_softmax(self.tail[i](x)), xp.where(inside, target - low, 0))
            output = output + xp.where(inside, within, 0)
        output = output + _at(head, entry)
        return LogSoftmaxAndLoss(output, -xp.mean(output))

    def log_prob(self, input: Any) -> Any:
        """The log-probabilities of all classes, (N, n_classes), for input (N, in_features)."""
        head = F.log_softmax(self.head(input))
        clusters = [
            F.log_softmax(tail(input)) + head[..., self.shortlist_size + i, None] for i, tail in enumerate(self.tail)
        ]
        return xp.concat([head[..., : self.shortlist_size], *clusters], axis=-1)

    def predict(self, input: Any) -> Any:
        """The most probable class of each row, (N,) int64, as torch finds it: among all classes only where the head
        finds a cluster most probable.
        """
        most = xp.argmax(self.head(input), axis=-1)
        return xp.where(most < self.shortlist_size, most, xp.argmax(self.log_prob(input), axis=-1))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, n_classes={self.n_classes}, cutoffs={self.cutoffs[:-1]}"


def _at(x: Any, index: Any) -> Any:
    return xp.squeeze(xp.take_along_axis(x, xp.expand_dims(index, -1), axis=-1), -1)
