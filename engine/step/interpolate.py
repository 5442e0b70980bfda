"""Parameters on the line between two checkpoints, for the loss along it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...ir import Array, is_float
from ..report.wording import listed
from ..saving.checkpoint_file import CheckpointError, load_arrays
from ..tracing.keywords import tells_keywords
from ..tracing.tracer import located
from .checkpoint import STATE_PREFIX
from .step import Step

Checkpoint = str | os.PathLike[str] | Mapping[str, Any] | Step


@tells_keywords
def interpolate(
    checkpoint_a: Checkpoint, checkpoint_b: Checkpoint, alphas: float | Iterable[float]
) -> Iterator[dict[str, Array]]:
    """For each alpha the parameters (1 - alpha) a + alpha b by name, as `step.set_parameters` takes them.

    A checkpoint is a file of `step.save`, a dict of arrays by name, or a step. Running statistics among them are
    interpolated too; an array of integers comes from the nearer one. Alphas may lie outside of 0 to 1. Goodfellow,
    Vinyals and Saxe 2015, "Qualitatively characterizing neural network optimization problems".

    Raises `CheckpointError` where the names, shapes or dtypes of the two differ, or a file is damaged, and `ValueError`
    for an alpha that is no finite number; all before the first dict.
    """
    wanted = [_finite(alpha) for alpha in (alphas if isinstance(alphas, Iterable) else [alphas])]
    a, b = _arrays(checkpoint_a), _arrays(checkpoint_b)
    _check_alike(a, b)
    return ({name: _between(a[name], b[name], alpha) for name in a} for alpha in wanted)


def _finite(alpha: Any) -> float:
    try:
        number = float(alpha)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(located(f"interpolate: an alpha is a finite number, got {alpha!r}"))
    return number


def _arrays(checkpoint: Checkpoint) -> dict[str, Array]:
    """Parameters and buffers by name."""
    if isinstance(checkpoint, Step):
        return {**checkpoint.parameters(), **checkpoint.buffers()}
    if isinstance(checkpoint, Mapping):
        return {name: np.asarray(array) for name, array in checkpoint.items()}
    if not isinstance(checkpoint, (str, os.PathLike)):
        kind = type(checkpoint).__name__
        what = "a checkpoint is the path of a file of step.save, a dict of arrays by name, or a step"
        raise TypeError(located(f"interpolate: {what}, got {kind}"))
    return {name: array for name, array in load_arrays(checkpoint).items() if not name.startswith(STATE_PREFIX)}


def _check_alike(a: Mapping[str, Array], b: Mapping[str, Array]) -> None:
    problems = [f"only {which} has {listed(names)}" for which, names in _only(a, b) if names]
    for name in a.keys() & b.keys():
        one, other = a[name], b[name]
        if one.shape != other.shape or is_float(one.dtype) != is_float(other.dtype):
            first, second = (f"{array.dtype}{list(array.shape)}" for array in (one, other))
            problems.append(f"{name} is {first} in the first, {second} in the second")
    if problems:
        raise CheckpointError(located(f"interpolate: the checkpoints differ: {'; '.join(sorted(problems))}"))


def _only(a: Mapping[str, Array], b: Mapping[str, Array]) -> list[tuple[str, list[str]]]:
    return [("the first", sorted(a.keys() - b.keys())), ("the second", sorted(b.keys() - a.keys()))]


def _between(a: Array, b: Array, alpha: float) -> Array:
    if not is_float(a.dtype):
        return (a if alpha < 0.5 else b).copy()
    # At the ends exactly, also where the other one is not finite.
    if alpha in (0.0, 1.0):
        return (b if alpha else a).astype(a.dtype)
    return ((1 - alpha) * a.astype(np.float64) + alpha * b.astype(np.float64)).astype(a.dtype)
