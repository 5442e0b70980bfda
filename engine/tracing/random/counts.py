"""Numbers of events that are drawn: by the inverse of their distribution function, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir import as_dtype
from ... import array_api as xp
from ...array_api.special import betainc, gammaincc
from ..keywords import tells_keywords
from ..tracer import located
from .continuous import Shape, float_dtype, known, open_uniform, shape_with

_FLOAT64 = np.dtype("float64")


def _parameter(x: Any, lengths: tuple[int, ...]) -> Any:
    return xp.broadcast_to(xp.astype(xp.asarray(x), _FLOAT64), lengths)


def _whole(what: str, dtype: npt.DTypeLike) -> Any:
    resolved = as_dtype(dtype)
    if resolved.kind not in "iu":
        raise TypeError(located(f"{what} draws integers, int32, int64 or uint8, not {resolved}"))
    return resolved


def _quantile(distribution: Callable[[Any], Any], u: Any, most: Any) -> Any:
    """The least whole number from 0 to `most` whose distribution function is `u` or more."""
    # It is written with draws, so it can only be imported late.
    from ..while_loop import while_loop

    def halve(state: Any) -> Any:
        low, high = state
        middle = xp.floor(0.5 * (low + high))
        reached = distribution(middle) >= u
        return xp.where(reached, low, middle + 1), xp.where(reached, middle, high)

    return while_loop(lambda state: xp.any(state[0] < state[1]), halve, (xp.zeros_like(most), most))[0]


@tells_keywords
def poisson(lam: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "int64") -> Any:
    """Poisson with mean `lam`, which broadcasts to `shape`.

    Raises `ValueError` for means that are known while tracing and below 0; a traced one, or NaN, gives -1.
    """
    resolved, lengths = _whole("poisson", dtype), shape_with("poisson", shape, lam)
    values = known(lam)
    if values is not None and not bool(np.all((values >= 0) & (values < 1e15))):
        raise ValueError(located(f"poisson: lam is 0 or more and finite, got {lam}"))
    mean = _parameter(lam, lengths)
    usual = xp.logical_and(mean >= 0, mean < 1e15)
    mean = xp.where(usual, mean, 0.0)
    # Beyond it lies less than 2^-53, for small means and for large ones.
    most = xp.floor(mean + 10 * xp.sqrt(mean) + 40)
    found = _quantile(lambda k: gammaincc(k + 1, mean), open_uniform(lengths, _FLOAT64), most)
    return xp.astype(xp.where(usual, found, -1.0), resolved)


@tells_keywords
def binomial(n: Any, p: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """The number of successes, as a float, of `n` trials that succeed with probability `p`; both broadcast to `shape`.

    Raises `ValueError` for parameters that are known while tracing and none; traced ones give NaN.
    """
    resolved, lengths = float_dtype(dtype), shape_with("binomial", shape, n, p)
    trials, chances = known(n), known(p)
    if trials is not None and not bool(np.all((trials >= 0) & (trials < 1e15))):
        raise ValueError(located(f"binomial: n is 0 or more and finite, got {n}"))
    if chances is not None and not bool(np.all((chances >= 0) & (chances <= 1))):
        raise ValueError(located(f"binomial: a probability is from 0 to 1, got {p}"))
    count, chance = xp.floor(_parameter(n, lengths)), _parameter(p, lengths)
    usual = xp.logical_and(xp.logical_and(count >= 0, count < 1e15), xp.logical_and(chance >= 0, chance <= 1))
    count, chance = xp.where(usual, count, 0.0), xp.where(usual, chance, 0.0)
    u = open_uniform(lengths, _FLOAT64)
    found = _quantile(lambda k: betainc(count - k, k + 1, 1 - chance), u, count)
    return xp.astype(xp.where(usual, found, np.nan), resolved)


@tells_keywords
def geometric(p: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "int64") -> Any:
    """The number of trials, 1 or more, up to the first that succeeds with probability `p`, which broadcasts to `shape`.

    Raises `ValueError` for a `p` that is known while tracing and not above 0 and at most 1.
    """
    resolved, lengths = _whole("geometric", dtype), shape_with("geometric", shape, p)
    values = known(p)
    if values is not None and not bool(np.all((values > 0) & (values <= 1))):
        raise ValueError(located(f"geometric: a probability is above 0 and at most 1, got {p}"))
    u = open_uniform(lengths, _FLOAT64)
    return xp.astype(xp.floor(xp.log(u) / xp.log1p(-_parameter(p, lengths))) + 1, resolved)
