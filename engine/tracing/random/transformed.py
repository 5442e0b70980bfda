"""Floats that draws from other distributions are mapped to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir import DType
from ... import array_api as xp
from ...array_api.broadcasting import broadcasts_to, shape_of
from ..keywords import tells_keywords
from ..tracer import ShapeError, located
from .continuous import Shape, exponential, float_dtype, known, normal, open_uniform, shape_with
from .discrete import rademacher
from .gamma import loggamma
from .keys import lengths_of


def _drawn(
    name: str, shape: Shape | None, dtype: npt.DTypeLike, *parameters: Any
) -> tuple[tuple[int, ...], DType, list[Any]]:
    """The shape and the dtype of a draw, and its parameters of that dtype."""
    resolved = float_dtype(dtype)
    return shape_with(name, shape, *parameters), resolved, [xp.astype(xp.asarray(p), resolved) for p in parameters]


def _above_zero(what: str, **parameters: Any) -> None:
    for name, given in parameters.items():
        values = known(given)
        if values is not None and not bool(np.all(values > 0)):
            raise ValueError(located(f"{what}: {name} is above 0, got {given}"))


@tells_keywords
def cauchy(shape: Shape = (), dtype: npt.DTypeLike = "float32") -> Any:
    """Cauchy with location 0 and scale 1."""
    return xp.tan(math.pi * (open_uniform(shape, float_dtype(dtype)) - 0.5))


@tells_keywords
def logistic(shape: Shape = (), dtype: npt.DTypeLike = "float32") -> Any:
    """Logistic with location 0 and scale 1."""
    u = open_uniform(shape, float_dtype(dtype))
    return xp.log(u) - xp.log1p(-u)


@tells_keywords
def pareto(b: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Pareto with exponent `b`, which broadcasts to `shape`, and least value 1. Differentiable in `b`."""
    _above_zero("pareto", b=b)
    lengths, resolved, (b,) = _drawn("pareto", shape, dtype, b)
    return xp.exp(exponential(lengths, resolved) / b)


@tells_keywords
def rayleigh(scale: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Rayleigh with `scale`, which broadcasts to `shape`: the length of a vector of two normals."""
    lengths, resolved, (scale,) = _drawn("rayleigh", shape, dtype, scale)
    return scale * xp.sqrt(2 * exponential(lengths, resolved))


@tells_keywords
def weibull_min(scale: Any, concentration: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Weibull with `scale` and the exponent `concentration`, which broadcast to `shape`. Differentiable in both."""
    _above_zero("weibull_min", concentration=concentration)
    lengths, resolved, (scale, exponent) = _drawn("weibull_min", shape, dtype, scale, concentration)
    return scale * (-xp.log(open_uniform(lengths, resolved))) ** (1 / exponent)


@tells_keywords
def lognormal(sigma: Any = 1.0, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """The exponential of a normal number with mean 0 and standard deviation `sigma`, which broadcasts to `shape`."""
    lengths, resolved, (sigma,) = _drawn("lognormal", shape, dtype, sigma)
    return xp.exp(sigma * normal(lengths, resolved))


@tells_keywords
def maxwell(shape: Shape = (), dtype: npt.DTypeLike = "float32") -> Any:
    """Maxwell with scale 1: the length of a vector of three normals."""
    lengths = lengths_of(shape)
    x = normal((*lengths, 3), dtype)
    return xp.sqrt(xp.sum(x * x, axis=-1))


@tells_keywords
def double_sided_maxwell(loc: Any, scale: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Maxwell with `scale` and a random sign, about `loc`; both broadcast to `shape`."""
    lengths, resolved, (loc, scale) = _drawn("double_sided_maxwell", shape, dtype, loc, scale)
    return loc + scale * (maxwell(lengths, resolved) * rademacher(lengths, resolved))


@tells_keywords
def triangular(left: Any, mode: Any, right: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Triangular from `left` to `right` with its peak at `mode`; all broadcast to `shape`."""
    lengths, resolved, (left, mode, right) = _drawn("triangular", shape, dtype, left, mode, right)
    u, width = open_uniform(lengths, resolved), right - left
    rising = left + xp.sqrt(u * width * (mode - left))
    return xp.where(u * width < mode - left, rising, right - xp.sqrt((1 - u) * width * (right - mode)))


@tells_keywords
def chisquare(df: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Chi-square with `df` degrees of freedom, which broadcast to `shape`: twice a gamma of half of them."""
    _above_zero("chisquare", df=df)
    lengths, resolved, (df,) = _drawn("chisquare", shape, dtype, df)
    return 2 * xp.exp(loggamma(0.5 * df, lengths, resolved))


@tells_keywords
def f(dfnum: Any, dfden: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Fisher's F with `dfnum` and `dfden` degrees of freedom, which broadcast to `shape`."""
    _above_zero("f", dfnum=dfnum, dfden=dfden)
    lengths, resolved, degrees = _drawn("f", shape, dtype, dfnum, dfden)
    above, below = (loggamma(0.5 * df, lengths, resolved) - xp.log(df) for df in degrees)
    return xp.exp(above - below)


@tells_keywords
def t(df: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Student's t with `df` degrees of freedom, which broadcast to `shape`."""
    _above_zero("t", df=df)
    lengths, resolved, (df,) = _drawn("t", shape, dtype, df)
    half = 0.5 * df
    return normal(lengths, resolved) * xp.exp(0.5 * (xp.log(half) - loggamma(half, lengths, resolved)))


@tells_keywords
def generalized_normal(p: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """With a density proportional to exp(-|x|ᵖ); `p` broadcasts to `shape`."""
    _above_zero("generalized_normal", p=p)
    lengths, resolved, (p,) = _drawn("generalized_normal", shape, dtype, p)
    return rademacher(lengths, resolved) * xp.exp(loggamma(1 / p, lengths, resolved) / p)


@tells_keywords
def wald(mean: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Wald, or inverse Gaussian, with `mean`, which broadcasts to `shape`, and scale 1. Michael, Schucany and Haas
    1976, "Generating random variates using transformations with multiple roots".
    """
    _above_zero("wald", mean=mean)
    lengths, resolved, (mean,) = _drawn("wald", shape, dtype, mean)
    half = 0.5 * mean * normal(lengths, resolved) ** 2
    # The smaller root of a quadratic equation, as a quotient: a difference would lose its digits.
    root = mean / (1 + half + xp.sqrt(half * (half + 2)))
    return xp.where(open_uniform(lengths, resolved) * (mean + root) < mean, root, mean / root * mean)


@tells_keywords
def multivariate_normal(
    mean: Any, cov: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32", method: str = "cholesky"
) -> Any:
    """Normal vectors with `mean` (..., n) and covariances `cov` (..., n, n); `shape` is that of the draws, which the
    leading axes of both broadcast to. Differentiable in both.

    Raises `NotImplementedError` for another `method` than "cholesky".
    """
    if method != "cholesky":
        raise NotImplementedError(located(f"multivariate_normal: the method is 'cholesky', got {method!r}"))
    resolved = float_dtype(dtype)
    mean, cov = (xp.astype(xp.asarray(x), resolved) for x in (mean, cov))
    if not shape_of(mean) or len(shape_of(cov)) < 2 or shape_of(cov)[-2:] != (shape_of(mean)[-1],) * 2:
        raise ShapeError(
            located(f"multivariate_normal: mean (..., n) and cov (..., n, n), got {shape_of(mean)}, {shape_of(cov)}")
        )
    own = np.broadcast_shapes(shape_of(mean)[:-1], shape_of(cov)[:-2])
    lengths = own if shape is None else lengths_of(shape)
    if not broadcasts_to(own, lengths):
        raise ShapeError(located(f"multivariate_normal: parameters of shape {own} do not broadcast to {lengths}"))
    noise = normal((*lengths, shape_of(mean)[-1]), resolved)
    return mean + xp.sum(xp.linalg.cholesky(cov) * noise[..., None, :], axis=-1)
