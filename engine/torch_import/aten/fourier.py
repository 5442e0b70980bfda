"""Complex numbers, and Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ... import array_api as xp
from ...array_api import complex_numbers as of
from ..table import aten


def _scaled(x: Any, lengths: Sequence[int], normalization: int) -> Any:
    """By torch's number: 0, as it is; 1, divided by the root of the number of elements; 2, divided by that."""
    count = math.prod(lengths)
    return x if normalization == 0 else x * (1 / (math.sqrt(count) if normalization == 1 else count))


@aten("_fft_c2c.default")
def c2c(x: Any, dim: Sequence[int], normalization: int, forward: bool) -> Any:
    """Transforms of complex numbers along some axes."""
    found = x
    for axis in dim:
        found = xp.fft.fft(found, axis=axis) if forward else xp.fft.ifft(found, axis=axis, norm="forward")
    return _scaled(found, [x.shape[axis] for axis in dim], normalization)


@aten("_fft_r2c.default")
def r2c(x: Any, dim: Sequence[int], normalization: int, onesided: bool) -> Any:
    """Transforms of real numbers, of half of the frequencies of the last axis where it is `onesided`."""
    *others, last = dim
    found = xp.fft.rfft(x, axis=last) if onesided else xp.fft.fft(x, axis=last)
    for axis in others:
        found = xp.fft.fft(found, axis=axis)
    return _scaled(found, [x.shape[axis] for axis in dim], normalization)


@aten("_fft_c2r.default")
def c2r(x: Any, dim: Sequence[int], normalization: int, last_dim_size: int) -> Any:
    """The real numbers whose transform is given."""
    *others, last = dim
    found = x
    for axis in others:
        found = xp.fft.ifft(found, axis=axis, norm="forward")
    found = xp.fft.irfft(found, last_dim_size, last, "forward")
    return _scaled(found, [found.shape[axis] for axis in dim], normalization)


@aten("view_as_real.default")
def view_as_real(x: Any) -> Any:
    """Real and imaginary parts along a new last axis."""
    return xp.stack([xp.real(x), xp.imag(x)], axis=-1)


@aten("view_as_complex.default")
def view_as_complex(x: Any) -> Any:
    """Complex numbers of real and imaginary parts along the last axis."""
    return of.joined(x[..., 0], x[..., 1])


@aten("complex.default")
def joined(real: Any, imag: Any) -> Any:
    """Complex numbers of their parts."""
    return of.joined(real, imag)


@aten("polar.default")
def polar(size: Any, angle: Any) -> Any:
    """Complex numbers of their absolute values and angles."""
    return of.joined(size * xp.cos(angle), size * xp.sin(angle))


aten("real.default")(lambda x: xp.real(x))
aten("imag.default")(lambda x: xp.imag(x))
aten("angle.default")(lambda x: xp.angle(x))
aten("_conj.default", "conj.default", "conj_physical.default", "_conj_physical.default")(lambda x: xp.conj(x))
aten("resolve_conj.default", "resolve_neg.default")(lambda x: x)
aten("_neg_view.default")(lambda x: xp.negative(x))
