"""The gamma distribution, and what is made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir import DType
from ....ir.ops import special as sp
from ... import array_api as xp
from ..keywords import tells_keywords
from ..tracer import Tracer, emit, located
from ..transforms import stop_gradient
from .continuous import Shape, float_dtype, known, normal, open_uniform, shape_with
from .keys import lengths_of


@tells_keywords
def loggamma(a: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """The logarithm of `gamma(a, shape)`, also where that is too small for a float."""
    resolved = float_dtype(dtype)
    return _loggamma(_positive("gamma", "a", a), shape_with("gamma", shape, a), resolved)


@tells_keywords
def gamma(a: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Gamma with shape `a`, which broadcasts to `shape`, and scale 1.

    Values are differentiable functions of `a`: the gradient is that of the inverse of the distribution function, at a
    probability that stays (Figurnov, Mohamed and Mnih 2018, "Implicit reparameterization gradients"). Raises
    `ValueError` for an `a` that is known while tracing and not above 0; a traced one gives NaN. Marsaglia and Tsang
    2000, "A simple method for generating gamma variables", in a loop until all are accepted.
    """
    return xp.exp(loggamma(a, shape, dtype))


@tells_keywords
def beta(a: Any, b: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Beta with shapes `a` and `b`, which broadcast to `shape`; see `gamma`."""
    resolved = float_dtype(dtype)
    lengths = shape_with("beta", shape, a, b)
    one, other = (_loggamma(_positive("beta", name, x), lengths, resolved) for name, x in (("a", a), ("b", b)))
    return 1 / (1 + xp.exp(other - one))


@tells_keywords
def dirichlet(alpha: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Dirichlet with the concentrations `alpha` along its last axis; `shape` is that of the draws; see `gamma`."""
    resolved = float_dtype(dtype)
    concentrations = _positive("dirichlet", "alpha", alpha)
    own = np.shape(concentrations)
    if not own:
        raise ValueError(located("dirichlet: alpha has an axis of concentrations"))
    lengths = own[:-1] if shape is None else lengths_of(shape)
    logs = _loggamma(concentrations, shape_with("dirichlet", (*lengths, own[-1]), concentrations), resolved)
    shares = xp.exp(logs - xp.max(logs, axis=-1, keepdims=True))
    return shares / xp.sum(shares, axis=-1, keepdims=True)


def _positive(what: str, name: str, given: Any) -> Any:
    values = known(given)
    if values is not None and not bool(np.all(values > 0)):
        raise ValueError(located(f"{what}: {name} is above 0, got {given}"))
    return given


def _loggamma(a: Any, lengths: tuple[int, ...], dtype: DType) -> Any:
    # It draws, so it can only be imported late.
    from ..while_loop import while_loop

    shapes = stop_gradient(xp.broadcast_to(xp.astype(xp.asarray(a), dtype), lengths))
    # Below 1 that of a + 1 times u^(1/a) is taken.
    small = shapes < 1
    d = xp.where(small, shapes + 1, shapes) - 1 / 3
    c = 1 / xp.sqrt(9 * d)

    def trial(state: Any) -> Any:
        found, accepted = state
        x = normal(lengths, dtype)
        root = 1 + c * x
        v = xp.where(root > 0, root, 1) ** 3
        likely = xp.log(open_uniform(lengths, dtype)) < 0.5 * x * x + d - d * v + d * xp.log(v)
        new = xp.logical_and(xp.logical_and(root > 0, likely), xp.logical_not(accepted))
        return xp.where(new, xp.log(d) + xp.log(v), found), xp.logical_or(accepted, new)

    # What is NaN, or not above 0, is never accepted, and infinity is its own.
    usual = xp.logical_and(shapes > 0, shapes < np.inf)
    begin = xp.where(shapes == np.inf, np.inf, np.nan)
    begin = (xp.astype(begin, dtype), xp.logical_not(usual))
    found, _ = while_loop(lambda state: xp.logical_not(xp.all(state[1])), trial, begin)
    boost = xp.log(open_uniform(lengths, dtype)) / xp.where(small, shapes, 1)
    found = stop_gradient(xp.where(small, found + boost, found))
    if not isinstance(a, Tracer):
        return found
    # It traces, so it can only be imported late.
    from ..custom_vjp import custom_vjp

    following = custom_vjp(lambda a, found: found)
    following.defvjp(lambda a, found: (found, (a, found)), lambda kept, g: (g * _slope(*kept), None))
    return following(xp.broadcast_to(xp.astype(a, dtype), lengths), found)


def _slope(a: Any, found: Any) -> Any:
    """The derivative in `a` of the logarithm of the gamma variable whose logarithm is `found`, as its probability
    P(a, x) stays: -dP/da / (x dP/dx). Near 0, P is xᵃ / Γ(a + 1).
    """
    a, log_x = (xp.astype(x, np.dtype("float64")) for x in (a, found))
    small = log_x < _SMALL
    x = xp.exp(xp.where(small, _SMALL, log_x))
    usual = -emit(sp.gammainc_slope, a, x) / (x * emit(sp.gamma_density, a, x))
    return xp.astype(xp.where(small, (emit(sp.digamma, a + 1) - log_x) / a, usual), found.dtype)


_SMALL = -40.0
