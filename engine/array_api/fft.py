"""`numpy.fft`: discrete Fourier transforms, with derivatives. float32 gives complex64, all else complex128."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir import is_complex, is_float, part_dtype
from ...ir.ops import complex_numbers, fourier
from ..tracing.keywords import tells_keywords
from ..tracing.missing_names import attributes_of
from ..tracing.tracer import ArrayLike, Tracer, emit, located
from . import creation, manipulation
from .broadcasting import (
    as_arraylike,
    axes_tuple,
    axis_index,
    cast,
    described,
    dtype_argument,
    dtype_of,
    integer,
    shape_of,
)
from .complex_numbers import as_complex, conj

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

_SWAPPED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def _factor(n: int, norm: str | None, inverse: bool) -> float:
    """What a transform of n numbers is multiplied by. Raises `ValueError` for a `norm` that there is not."""
    _check_norm(norm)
    if norm == "ortho":
        return 1 / np.sqrt(n).item()
    return 1 / n if inverse == (norm != "forward") else 1.0


def _check_norm(norm: Any) -> None:
    if norm not in _SWAPPED:
        raise ValueError(located(f'Invalid norm value {norm}; should be "backward", "ortho" or "forward"'))


def _points(n: Any, default: int) -> int:
    """The number of points of a transform. Raises `ValueError` unless it is 1 or more."""
    count = default if n is None else integer(n, "n")
    if count < 1:
        raise ValueError(located(f"Invalid number of FFT data points ({count}) specified; there is 1 at least"))
    return count


def _resized(x: ArrayLike, n: int, axis: int) -> ArrayLike:
    """`x` with its first n elements along an axis, or with zeros behind all of them."""
    length = shape_of(x)[axis]
    if n < length:
        return manipulation.sliced(x, axis, 0, n)
    if n == length:
        return x
    return manipulation.pad(x, [(0, n - length if i == axis else 0) for i in range(len(shape_of(x)))])


def _scaled(x: Any, factor: float) -> Any:
    return x if factor == 1 else x * factor


def _complex(a: ArrayLike, n: Any, axis: Any, norm: Any, inverse: bool) -> Any:
    z = as_complex(a)
    place = axis_index(axis, len(shape_of(z)))
    count = _points(n, shape_of(z)[place])
    factor = _factor(count, norm, inverse)
    planes = emit(complex_numbers.planes, _resized(z, count, place), plane=0)
    found = emit(fourier.fft, planes, axis=place + 1, plane=0, inverse=inverse)
    return emit(complex_numbers.from_planes, _scaled(found, factor), plane=0)


@tells_keywords
def fft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The transform of `n` numbers along `axis`: `X[k] = Σ a[j] exp(-2πi jk / n)`.

    `a` is cut to `n`, or zeros are put behind it; the default is all of it. By its `norm` the sum is as it is
    ("backward", the default), divided by √n ("ortho") or by n ("forward").
    """
    return _complex(a, n, axis, norm, False)


@tells_keywords
def ifft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """What undoes `fft`: `Σ a[k] exp(2πi jk / n) / n`; not divided by n where `norm` is "forward"."""
    return _complex(a, n, axis, norm, True)


@tells_keywords
def rfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """`fft` of real numbers, of whose frequencies those from 0 to n / 2 say all. No complex ones: `TypeError`."""
    x = as_arraylike(a)
    if is_complex(dtype_of(x)):
        raise TypeError(located(f"np.fft.rfft takes real numbers, got {described(x)}; write np.fft.fft(x), or x.real"))
    x = cast(x, part_dtype(dtype_of(as_complex(np.zeros(0, dtype_of(x))))))
    place = axis_index(axis, len(shape_of(x)))
    count = _points(n, shape_of(x)[place])
    factor = _factor(count, norm, False)
    found = emit(fourier.rfft, _resized(x, count, place), axis=place, plane=0)
    return emit(complex_numbers.from_planes, _scaled(found, factor), plane=0)


@tells_keywords
def irfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """What undoes `rfft`: `n` real numbers, by default twice as many as there are frequencies, less 2."""
    z = as_complex(a)
    place = axis_index(axis, len(shape_of(z)))
    count = _points(n, 2 * (shape_of(z)[place] - 1))
    factor = _factor(count, norm, True)
    planes = emit(complex_numbers.planes, _resized(z, count // 2 + 1, place), plane=0)
    return _scaled(emit(fourier.irfft, planes, axis=place + 1, plane=0, length=count), factor)


@tells_keywords
def hfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """`fft` of numbers whose second half is the conjugate of the first, which is given; the result is real."""
    _check_norm(norm)
    return irfft(conj(as_complex(a)), n, axis, _SWAPPED[norm])


@tells_keywords
def ihfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """What undoes `hfft`: the first half of the inverse transform of real numbers."""
    _check_norm(norm)
    return conj(rfft(a, n, axis, _SWAPPED[norm]))


def _lengths_and_axes(x: ArrayLike, s: Any, axes: Any) -> tuple[list[int | None], list[int]]:
    """For each axis to transform, in order, its length, or `None` for all of it. An axis may be named twice."""
    ndim = len(shape_of(x))
    lengths: list[int | None] | None = None
    if s is not None:
        given = [None if n is None else integer(n, "s") for n in s]
        lengths = [None if n == -1 else n for n in given]
    if axes is None:
        places = list(range(ndim)) if lengths is None else list(range(-len(lengths), 0))
    else:
        places = [integer(axis, "axes") for axis in axes]
    if lengths is not None and len(lengths) != len(places):
        raise ValueError(located(f"Shape and axes have different lengths: s={s!r}, axes={axes!r}"))
    return lengths or [None] * len(places), [axis_index(axis, ndim) for axis in places]


def _several(function: Any, x: Any, lengths: Sequence[int | None], axes: Sequence[int], norm: str | None) -> Any:
    for n, axis in reversed(list(zip(lengths, axes))):
        x = function(x, n, axis, norm)
    return x


@tells_keywords
def fftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Any:
    """`fft` along several axes, the last first; of lengths `s`, where -1 is all of an axis. The default is all axes."""
    _check_norm(norm)
    z = as_complex(a)
    return _several(fft, z, *_lengths_and_axes(z, s, axes), norm)


@tells_keywords
def ifftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Any:
    """What undoes `fftn`."""
    _check_norm(norm)
    z = as_complex(a)
    return _several(ifft, z, *_lengths_and_axes(z, s, axes), norm)


@tells_keywords
def rfftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Any:
    """`rfft` along the last of `axes`, then `fft` along the others."""
    x = as_arraylike(a)
    lengths, places = _last_of(x, s, axes)
    found = rfft(x, lengths[-1], places[-1], norm)
    return _several(fft, found, lengths[:-1], places[:-1], norm)


@tells_keywords
def irfftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Any:
    """What undoes `rfftn`."""
    z = as_complex(a)
    lengths, places = _last_of(z, s, axes)
    for n, axis in zip(lengths[:-1], places[:-1]):
        z = ifft(z, n, axis, norm)
    return irfft(z, lengths[-1], places[-1], norm)


def _last_of(x: ArrayLike, s: Any, axes: Any) -> tuple[list[int | None], list[int]]:
    lengths, places = _lengths_and_axes(x, s, axes)
    if not places:
        raise IndexError(located("transforms of real numbers need one axis at least; np.fft.fftn takes none"))
    return lengths, places


@tells_keywords
def fft2(a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    """`fftn` along two axes, the last ones by default."""
    return fftn(a, s, axes, norm)


@tells_keywords
def ifft2(a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    """What undoes `fft2`."""
    return ifftn(a, s, axes, norm)


@tells_keywords
def rfft2(a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    """`rfftn` along two axes, the last ones by default."""
    return rfftn(a, s, axes, norm)


@tells_keywords
def irfft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None
) -> Any:
    """What undoes `rfft2`."""
    return irfftn(a, s, axes, norm)


# Frequencies, and their order.


def _frequencies(n: Any, d: ArrayLike, count: Any, device: Any, dtype: Any) -> Any:
    try:
        length = operator.index(n)
    except TypeError:
        raise ValueError(located(f"n is an integer, got {n!r}")) from None
    if length < 1:
        raise ValueError(located(f"n is the length of a transform, 1 or more; got {length}"))
    creation.check_device(device)
    found = count(length, 1.0) / d if isinstance(d, Tracer) else creation.asarray(count(length, d))
    if dtype is None:
        return found
    if not is_float(dtype_argument(dtype)):
        raise TypeError(located(f"frequencies are float32 or float64, got dtype={dtype!r}"))
    return cast(found, dtype_argument(dtype))


@tells_keywords
def fftfreq(n: int, d: ArrayLike = 1.0, device: str | None = None, *, dtype: Any = None) -> Any:
    """The frequencies of a transform of `n` samples at a distance of `d`: from 0 up, then the negative ones.

    Raises `TypeError` for a `dtype` that is no float.
    """
    return _frequencies(n, d, np.fft.fftfreq, device, dtype)


@tells_keywords
def rfftfreq(n: int, d: ArrayLike = 1.0, device: str | None = None, *, dtype: Any = None) -> Any:
    """The frequencies that `rfft` of `n` samples at a distance of `d` gives."""
    return _frequencies(n, d, np.fft.rfftfreq, device, dtype)


@tells_keywords
def fftshift(x: ArrayLike, axes: Any = None) -> Any:
    """The frequency 0 in the middle of each axis."""
    return _shifted(x, axes, 0)


@tells_keywords
def ifftshift(x: ArrayLike, axes: Any = None) -> Any:
    """What undoes `fftshift`."""
    return _shifted(x, axes, 1)


def _shifted(x: ArrayLike, axes: Any, undone: int) -> Any:
    x = as_arraylike(x)
    places = axes_tuple(axes, len(shape_of(x)))
    return manipulation.roll(x, tuple((shape_of(x)[a] + undone) // 2 for a in places), places) if places else x


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gradloom.numpy.fft")
__dir__ = __all__.copy
