"""Windows of signals, whose length is known while tracing: NumPy's arrays, which become constants of a program."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tracing.tracer import ArrayLike, Tracer
from . import elementwise as e
from .broadcasting import integer
from .special import i0


def bartlett(M: int) -> Any:
    """A triangle over `M` samples, 0 at both ends, float64."""
    return np.bartlett(integer(M, "np.bartlett: M"))


def blackman(M: int) -> Any:
    """0.42 - 0.5 cos(2 π n / (M - 1)) + 0.08 cos(4 π n / (M - 1)) for the samples n of `M`, float64."""
    return np.blackman(integer(M, "np.blackman: M"))


def hamming(M: int) -> Any:
    """0.54 - 0.46 cos(2 π n / (M - 1)) for the samples n of `M`, float64."""
    return np.hamming(integer(M, "np.hamming: M"))


def hanning(M: int) -> Any:
    """0.5 - 0.5 cos(2 π n / (M - 1)) for the samples n of `M`, float64."""
    return np.hanning(integer(M, "np.hanning: M"))


def kaiser(M: int, beta: ArrayLike) -> Any:
    """Kaiser's window of `M` samples with the shape `beta`, a number, float64."""
    count = integer(M, "np.kaiser: M")
    if not isinstance(beta, Tracer):
        return np.kaiser(count, beta)
    half = (count - 1) / 2
    places = np.zeros(count) if count == 1 else (np.arange(count) - half) / half
    return i0(e.multiply(beta, np.sqrt(1 - places**2))) / i0(beta)
