"""Discrete Fourier transforms along one axis, of complex numbers as planes: see `planes` in `complex_numbers`.

Transforms in either direction are sums without a factor; what divides by the length is a product behind them. The
transform of n numbers is X[k] = Σ x[j] exp(-2πi jk / n), with exp(+2πi jk / n) where it is `inverse`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import OPS, Attrs, Op, Recompute, TypeRuleError, declare
from ..types import Array, ArrayType, is_float
from .complex_numbers import from_planes, planes
from .elementwise import mul

LARGEST_PRIME = 61
"""The largest prime factor of a length that is transformed by sums of that many terms; of others by a convolution."""
_CACHED = 1 << 18
"""Bytes of lines that are transformed together, at most, where there is more than one."""
_MOST_LANES = 16


def _check_floats(x: ArrayType) -> None:
    if not is_float(x.dtype):
        raise TypeRuleError(f"takes floats, got {x}")


def _check_planes(x: ArrayType, axis: int, plane: int) -> None:
    _check_floats(x)
    if not 0 <= plane < axis < x.ndim or x.shape[plane] != 2 or x.shape[axis] < 1:
        raise TypeRuleError(f"transforms axis {axis} of planes along axis {plane} before it, got {x}")


def _with(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    return (*shape[:axis], length, *shape[axis + 1 :])


def _fft_type(x: ArrayType, axis: int, plane: int, inverse: bool) -> ArrayType:
    _check_planes(x, axis, plane)
    return x


def _complex_of(x: Array, plane: int) -> Array:
    return np.asarray(from_planes.reference(x, plane=plane))


def _fft(x: Array, axis: int, plane: int, inverse: bool) -> Array:
    z = _complex_of(x, plane)
    made = np.fft.ifft(z, axis=axis - 1, norm="forward") if inverse else np.fft.fft(z, axis=axis - 1)
    return np.asarray(planes.reference(made.astype(z.dtype, copy=False), plane=plane))


def _fft_vjp(b: Builder, g: Value, o: Value, x: Value, axis: int, plane: int, inverse: bool) -> Value:
    return fft(b, g, axis=axis, plane=plane, inverse=not inverse)


def _fft_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None if i in (attrs["axis"], attrs["plane"]) else i for i in range(output.ndim)]]


def _later(attrs: Attrs, length: int) -> Attrs:
    return {**attrs, "axis": attrs["axis"] + 1, "plane": attrs["plane"] + 1}


def _rfft_type(x: ArrayType, axis: int, plane: int) -> ArrayType:
    _check_floats(x)
    if not 0 <= plane <= axis < x.ndim or x.shape[axis] < 1:
        raise TypeRuleError(f"transforms axis {axis} to planes along axis {plane}, got {x}")
    shape = _with(x.shape, axis, x.shape[axis] // 2 + 1)
    return ArrayType((*shape[:plane], 2, *shape[plane:]), x.dtype)


def _rfft(x: Array, axis: int, plane: int) -> Array:
    made = np.fft.rfft(x, axis=axis)
    return np.asarray(planes.reference(made, plane=plane)).astype(x.dtype, copy=False)


def _counted(b: Builder, like: Value, axis: int, length: int, inner: float) -> Value:
    """1 for the first frequency, and for that of half the length, and `inner` for those between."""
    weights = np.full(like.type.shape[axis], inner, like.type.dtype)
    weights[0] = 1
    if length % 2 == 0:
        weights[-1] = 1
    return OPS["broadcast"](b, b.constant(weights), shape=like.type.shape, axes=(axis,))


def _rfft_vjp(b: Builder, g: Value, o: Value, x: Value, axis: int, plane: int) -> Value:
    length = x.type.shape[axis]
    halved = mul(b, g, _counted(b, g, axis + 1, length, 0.5))
    return irfft(b, halved, axis=axis + 1, plane=plane, length=length)


def _rfft_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    axis, plane = attrs["axis"] + 1, attrs["plane"]
    return [[None if i in (axis, plane) else i - (i > plane) for i in range(output.ndim)]]


def _irfft_type(x: ArrayType, axis: int, plane: int, length: int) -> ArrayType:
    _check_planes(x, axis, plane)
    if length < 1 or x.shape[axis] != length // 2 + 1:
        raise TypeRuleError(f"takes {length // 2 + 1} frequencies for a length of {length}, got {x}")
    shape = _with(x.shape, axis, length)
    return ArrayType((*shape[:plane], *shape[plane + 1 :]), x.dtype)


def _irfft(x: Array, axis: int, plane: int, length: int) -> Array:
    return np.fft.irfft(_complex_of(x, plane), length, axis=axis - 1, norm="forward").astype(x.dtype, copy=False)


def _irfft_vjp(b: Builder, g: Value, o: Value, x: Value, axis: int, plane: int, length: int) -> Value:
    found = rfft(b, g, axis=axis - 1, plane=plane)
    return mul(b, found, _counted(b, found, axis, length, 2))


def _irfft_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    axis, plane = attrs["axis"] - 1, attrs["plane"]
    return [[None if i == axis else i + (i >= plane) for i in range(output.ndim)]]


def transform_length(inputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """How many numbers one transform is of."""
    return attrs.get("length", inputs[0].shape[attrs["axis"]])


def transform_lines(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """How many transforms a node makes."""
    whole = next(x for x in (inputs[0], outputs[0]) if x.shape)
    axis: int = attrs["axis"]
    planes = 2 if inputs[0].ndim >= outputs[0].ndim else 1
    return whole.size // max(whole.shape[axis] * planes, 1)


def convolution_length(n: int) -> int:
    """The length of the transforms by which one of n numbers is computed as a convolution, or 0 where it is not.

    Bluestein 1970, "A linear filtering approach to the computation of discrete Fourier transform".
    """
    rest, prime = n, 2
    while prime * prime <= rest:
        if rest % prime:
            prime += 1
        else:
            rest //= prime
    return 0 if max(rest, 1) <= LARGEST_PRIME else 1 << (2 * n - 2).bit_length()


def lanes(n: int, lines: int, itemsize: int) -> int:
    """How many transforms are computed together, one in each SIMD lane."""
    length = convolution_length(n) or n
    return max(1, min(lines, _MOST_LANES, _CACHED // (4 * length * itemsize)))


def _fft_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    n = transform_length(inputs, attrs)
    real = inputs[0].ndim != outputs[0].ndim
    return int((2.5 if real else 5) * n * math.log2(max(n, 2))) * transform_lines(inputs, outputs, attrs)


def _fft_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """Two buffers of the lines that are transformed together, the roots of unity, and those of a convolution."""
    n = transform_length(inputs, attrs)
    itemsize = inputs[0].dtype.itemsize
    length = convolution_length(n) or n
    together = lanes(n, transform_lines(inputs, outputs, attrs), itemsize)
    chirps = 2 * (n + length) if length != n else 0
    return (4 * length * together + 2 * length + chirps) * itemsize


def _transform(name: str, infer: object, reference: object, axes: object, vjp: object, doc: str) -> Op:
    rules: tuple[object, ...] = (infer, reference, _fft_flops, axes, vjp)
    return declare(
        Op(
            name,
            "fourier",
            *rules,  # pyright: ignore[reportArgumentType]
            doc,
            can_trap=False,
            recompute=Recompute.COSTLY,
            batch=_later,
            workspace=_fft_workspace,
        )
    )


fft = _transform(
    "fft",
    _fft_type,
    _fft,
    _fft_axes,
    _fft_vjp,
    "the discrete Fourier transforms along `axis` of complex numbers, whose real and imaginary parts are the two "
    "entries of axis `plane`",
)
rfft = _transform(
    "rfft",
    _rfft_type,
    _rfft,
    _rfft_axes,
    _rfft_vjp,
    "the transforms of real numbers, of which the frequencies from 0 to half the length say all, with a new axis "
    "`plane` of real and imaginary parts",
)
irfft = _transform(
    "irfft",
    _irfft_type,
    _irfft,
    _irfft_axes,
    _irfft_vjp,
    "`length` times the real numbers whose `rfft` the input is; the imaginary parts that are 0 there are not read",
)
