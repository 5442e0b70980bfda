"""Truth values and integers that are drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir import as_dtype, is_float
from ... import array_api as xp
from ...array_api.broadcasting import described, dtype_of
from ..keywords import tells_keywords
from ..numbers import as_real
from ..tracer import located
from .continuous import Shape, known, mantissa, shape_with, uniform
from .keys import random_bits

_INT64 = np.dtype("int64")


@tells_keywords
def bernoulli(p: Any = 0.5, shape: Shape | None = None) -> Any:
    """True with probability `p`, to 24 bits: where `uniform` would be below `p`.

    `p` is a number, or an array that broadcasts to `shape`. Raises `ValueError` for one that is known while tracing and
    not from 0 to 1.
    """
    values = known(p)
    if values is not None and not bool(np.all((values >= 0) & (values <= 1))):
        raise ValueError(located(f"a probability is from 0 to 1, got {p}"))
    lengths = shape_with("bernoulli", shape, p)
    if as_real(p) is not None:
        bits, count = mantissa(lengths, np.dtype("float32"))
        return bits < np.int32(math.ceil(p * 2**count))
    return uniform(lengths, dtype_of(p) if is_float(dtype_of(p)) else "float32") < p


@tells_keywords
def rademacher(shape: Shape = (), dtype: npt.DTypeLike = "int64") -> Any:
    """-1 or 1, each with probability 1/2; of integers or floats."""
    bits = random_bits(shape, "int32") & np.int32(1)
    return xp.astype(2 * bits - 1, as_dtype(dtype))


@tells_keywords
def randint(shape: Shape, minval: Any, maxval: Any, dtype: npt.DTypeLike = "int64") -> Any:
    """Integers in [minval, maxval), each as probable as the others: to one part in 2^31 for ranges of up to 2^32.

    The bounds are integers, or arrays of them that broadcast to `shape`. Ranges of more than 2^32 known integers are
    drawn again until they are even. Raises `ValueError` for an empty range that is known while tracing, `OverflowError`
    for bounds that `dtype` does not hold. Where a traced range is empty, the result is `minval`.
    """
    resolved = as_dtype(dtype)
    if resolved.kind not in "iu":
        raise TypeError(located(f"randint draws integers, int32, int64 or uint8, not {resolved}"))
    for name, bound in (("minval", minval), ("maxval", maxval)):
        if dtype_of(bound).kind not in "iu":
            raise TypeError(located(f"randint: {name} is an integer, got {described(bound)}"))
    lengths = shape_with("randint", shape, minval, maxval)
    low, high = known(minval), known(maxval)
    if low is not None and high is not None:
        if not bool(np.all(low < high)):
            raise ValueError(located(f"randint: minval is below maxval, got {minval} and {maxval}"))
        limits = np.iinfo(resolved)
        if low.size and (int(low.min()) < limits.min or int(high.max()) - 1 > limits.max):
            raise OverflowError(located(f"randint: integers from {minval} to {maxval} are no {resolved}"))
        widest = int(np.asarray(high.astype(object) - low.astype(object)).max(initial=1))
        if widest >= 2**63:
            raise OverflowError(located("randint: maxval - minval is below 2^63; gl.random.random_bits draws all bits"))
        if widest > 2**32:
            return xp.astype(low + _even(lengths, np.asarray(high - low)), resolved)
    span = xp.maximum(xp.astype(xp.asarray(maxval), _INT64) - xp.astype(xp.asarray(minval), _INT64), 1)
    return xp.astype(xp.asarray(minval), resolved) + xp.astype(_positive(lengths) % span, resolved)


def _positive(shape: Shape) -> Any:
    """Uniform integers of 63 bits."""
    return random_bits(shape, "int64") & np.int64(2**63 - 1)


def _even(shape: tuple[int, ...], span: Any) -> Any:
    """Uniform integers below `span`, drawn again where they are above its last multiple."""
    # It draws, so it can only be imported late.
    from ..while_loop import while_loop

    largest = np.iinfo(np.int64).max
    last = largest - (largest - span + 1) % span  # the multiples of `span` end here

    def draw(found: Any) -> Any:
        return xp.where(found <= last, found, _positive(shape))

    return while_loop(lambda found: xp.any(found > last), draw, _positive(shape)) % span
